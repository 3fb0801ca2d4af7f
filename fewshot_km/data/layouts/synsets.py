"""Images of ImageNet that say of which class they are: by their folder, or by how their own name begins."""

import re
from collections.abc import Sequence

from fewshot_km.data.layouts.published import Published, SplitFiles, images_among, in_splits


def synset_of(name: str) -> str | None:
    """The WordNet id that a file's or folder's name begins with: n0153282900000005.jpg, n01532829_54.JPEG."""
    match = re.match("n[0-9]{8}", name)
    return match and match[0]


def by_synset(published: Published, names: Sequence[str], suffixes: frozenset[str]) -> SplitFiles | None:
    """Image files of a data set's classes, in the splits of its frozen lists; None where there is none.

    A class's folder, called exactly so, stands over what its files are called. Where several folders hold images of one
    class, the fullest counts: ILSVRC's 50 validation images often lie in folders named as those of the training images.
    """
    owner = published.owner
    folders: dict[tuple[str, str], list[str]] = {}
    for name in images_among(names, suffixes):
        folder, _, file = name.rpartition("/")
        parent = folder.rpartition("/")[2]
        label = parent if parent in owner else synset_of(file)
        if label in owner:
            folders.setdefault((label, folder), []).append(name)
    classes: dict[str, list[str]] = {}
    for (label, _), files in folders.items():
        classes[label] = max(classes.get(label, []), files, key=len)
    return in_splits(published, classes) or None
