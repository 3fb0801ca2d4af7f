"""Where Omniglot's drawings lie, and which of them belong to which character."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.files.file_names import by_original_name
from fewshot_km.data.files.impostors import HEAD, describe_impostor
from fewshot_km.data.files.locating import find_trees
from fewshot_km.data.files.tree_contents import describe_places
from fewshot_km.data.files.trees import FileTree, sort_key
from fewshot_km.data.layouts.torchmeta_files import ONE_FILE, find_one_file
from fewshot_km.data.layouts.torchmeta_omniglot import Hdf5Tree
from fewshot_km.data.remote_files import OMNIGLOT_FILES, RemoteFile
from fewshot_km.data.splits import read_class_lists
from fewshot_km.data.storage import DATA_ROOT_VARIABLE
from fewshot_km.errors import DataError

Characters = Mapping[str, Sequence[str]]
"""Class name -> its drawings' paths inside an archive or folder, by drawing number."""


def find_omniglot(data_root: Path) -> list[FileTree]:
    """Both halves, zipped or unpacked; or one folder or archive with the drawings of both; or torchmeta's HDF5 file.

    They are looked for in `data_root` and where fetching, torchvision and a clone of the original put them. Raises
    DataError that says what to do.
    """
    places = [_find_half(file, data_root) for file in OMNIGLOT_FILES]
    halves = [open_tree(place) for place in places if place]
    if len(halves) == len(OMNIGLOT_FILES):
        return halves
    alphabets = {name.partition("/")[0] for names in read_class_lists("omniglot").values() for name in names}
    trees = find_trees(data_root, "omniglot", alphabets.__contains__, aliases=("omniglot-py",))
    merged = [] if halves else [tree for tree in trees if list_characters(tree)]
    if merged:
        return merged[:1]
    arrays = [(tree, name) for tree in trees if (name := find_one_file(tree.names))]
    if arrays and not halves:
        return [Hdf5Tree(*arrays[0])]
    missing = [file for file, place in zip(OMNIGLOT_FILES, places, strict=True) if place is None]
    seen = "" if halves else f" ({describe_places(data_root, trees)})"
    raise DataError(
        f"Omniglot: {' and '.join(f.name for f in missing)} not found in {data_root} or {data_root / 'omniglot'}"
        f"{seen}. Run `fewshot-km data fetch omniglot`, or put there, zipped or unpacked, "
        f"{' and '.join(f.url for f in missing)}, or torchmeta's {ONE_FILE}; "
        f"--data-root or {DATA_ROOT_VARIABLE} names another data root"
    )


def _find_half(file: RemoteFile, data_root: Path) -> Path | None:
    """The archive or its unpacked folder; raises DataError where a host has sent something else in its place."""
    for place in file.places(data_root):
        entries = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
        there = by_original_name(entries)
        archive, folder = (place.parent / there.get(name, name) for name in (place.name, place.stem))
        if archive.is_file():
            with archive.open("rb") as content:
                impostor = describe_impostor(content.read(HEAD))
            if impostor:
                raise DataError(f"{archive} {impostor}")
            return archive
        if folder.is_dir():
            return folder
    return None


def list_characters(tree: FileTree) -> Characters:
    """The drawings of a half or of both, <Alphabet>/characterNN/NNNN_MM.png at any depth; all else is passed over.

    Of folders with the same character the fullest counts: a clone also has small selections of the drawings.
    """
    folders: dict[tuple[str, str], list[str]] = {}
    for member in sorted(tree.names, key=lambda m: sort_key(PurePosixPath(m).name)):
        match = re.fullmatch(r"((?:.*/)?)([^/]+/character[0-9]+)/[0-9]+_[0-9]{1,9}\.png", member)
        if match:
            folders.setdefault((match[2], match[1]), []).append(member)
    characters: dict[str, list[str]] = {}
    for (name, _), members in folders.items():
        characters[name] = max(characters.get(name, []), members, key=len)
    return characters
