"""Masks beside images, in the ways of data sets that have them."""

import pytest

from fewshot_km.data.layouts.masks import pairs_with_masks


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("ant/1.jpg", "ant/1.png"),
        ("ant/1.JPG", "ant/1.PNG"),
        ("ant/1.png", "ant/1_mask.png"),
        ("ant/1.jpg", "ant/1_segmentation.png"),
        ("ant/1.png", "ant/1-GT.png"),
        ("ant/1.jpg", "ant/1_seg.gif"),
    ],
)
def test_a_mask_is_known_by_its_name(image: str, mask: str) -> None:
    assert pairs_with_masks(["ant/0.jpg", image, mask, "bee/1.jpg"]) == [(image, mask)]
    assert pairs_with_masks([mask, image]) == [(image, mask)]


def test_images_of_other_names_and_folders_are_none() -> None:
    assert pairs_with_masks(["ant/1.jpg", "bee/1.png", "ant/2.png", "mask/1.png", "ant/mask.png", "ant/10.png"]) == []
