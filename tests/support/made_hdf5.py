"""HDF5 files such as torchmeta's sources write them."""

import io
import json
from collections.abc import Mapping, Sequence

import h5py
import numpy as np
import numpy.typing as npt


def of_image_files(splits: Mapping[str, Mapping[str, Sequence[bytes]]]) -> dict[str, bytes]:
    """As torchmeta/datasets/tieredimagenet.py and cub.py do: split -> class -> image files."""
    found = {}
    for split, classes in splits.items():
        out = io.BytesIO()
        with h5py.File(out, "w") as file:
            group = file.create_group("datasets")
            for name, images in classes.items():
                dataset = group.create_dataset(name, (len(images),), dtype=h5py.special_dtype(vlen=np.uint8))
                for i, image in enumerate(images):
                    dataset[i] = np.frombuffer(image, np.uint8)
        found[f"{split}_data.hdf5"] = out.getvalue()
        found[f"{split}_labels.json"] = json.dumps(list(classes)).encode()
    return found


def of_arrays(arrays: Mapping[str, npt.NDArray[np.uint8]]) -> bytes:
    """As torchmeta/datasets/omniglot.py and cifar100/base.py do: path of groups and class -> pixels."""
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for path, pixels in arrays.items():
            file.create_dataset(path, data=pixels)
    return out.getvalue()
