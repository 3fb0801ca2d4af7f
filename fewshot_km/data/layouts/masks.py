"""Images that look like masks of the images beside them: 1.png beside 1.jpg, or 1_mask.png beside 1.png."""

import re
from collections.abc import Iterable

_ADDED = re.compile(r"(?i)[-_. ]?(mask|masks|seg|segm|segmentation|gt|trimap|annotation|annotated|depth)$")


def pairs_with_masks(images: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of image and mask: of one folder, and of one name but for the ending, or for what is added to masks.

    Of two endings png is the mask's, as masks are stored without loss.
    """
    images = list(images)
    plain: dict[str, list[str]] = {}
    for name in images:
        plain.setdefault(name.rpartition(".")[0], []).append(name)
    pairs = []
    for stem, alike in plain.items():
        bare = _ADDED.sub("", stem)
        if bare != stem and bare in plain:
            pairs += [(plain[bare][0], mask) for mask in alike]
        elif len(alike) == 2:
            image, mask = sorted(alike, key=lambda name: name.lower().endswith(".png"))
            pairs.append((image, mask))
    return pairs
