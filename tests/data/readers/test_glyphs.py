"""The embedded data set: drawn right, drawn the same everywhere, and split so that test classes are new."""

import hashlib
import io
import lzma
import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from fontTools.pens.areaPen import AreaPen
from fontTools.pens.boundsPen import BoundsPen
from glyph_outlines import OUTLINES, open_face, pack_outlines, read_face
from glyph_selection import class_name, family_of, script_of, select_classes, write_class_lists
from PIL import Image, ImageFont
from scipy.ndimage import gaussian_filter

from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.readers.glyphs import SAMPLES, change_pen, class_character, jitter, rasterise, shrink
from fewshot_km.data.splits import SPLIT_NAMES, read_class_lists
from fewshot_km.data.storage import CACHE_ROOT_VARIABLE
from fewshot_km.errors import DataError

glyphs = import_module("fewshot_km.data.readers.glyphs")  # not the loader, which the package gives the same name
DIGEST = "474b0646192987961519c4b4b7a89731fdde829be6cacd731ebc44cca078d691"  # numbers were published with it
OTHER_FONTS = pytest.mark.skipif(
    version("matplotlib") != "3.11.2", reason=f"matplotlib {version('matplotlib')} may bring other fonts than 3.11.2"
)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return DATASETS.get("glyphs")(tmp_path)


def classes_of(dataset: Dataset, split: str) -> list[str]:
    return [dataset.bank.class_names[i] for i in dataset.splits[split].classes[:, 0]]


def polygon(*corners: tuple[float, float]) -> np.ndarray:
    """Chords of one closed contour."""
    points = np.array(corners, dtype=float)
    return np.stack([points, np.roll(points, -1, axis=0)], axis=1)


def square(low: float, high: float) -> np.ndarray:
    return polygon((low, low), (high, low), (high, high), (low, high))


def pixel_area(outline: np.ndarray) -> float:
    return rasterise([outline]).sum() / SAMPLES**2


def test_contours_add_up_by_the_non_zero_rule() -> None:
    outer, inner = square(-8, 8), square(-3, 3)
    hole = inner[:, ::-1]  # the other direction
    assert pixel_area(outer) == 16**2
    assert pixel_area(np.concatenate([outer, hole])) == 16**2 - 6**2
    assert pixel_area(np.concatenate([outer, inner])) == 16**2
    assert pixel_area(np.concatenate([square(-8, 2), square(-2, 8)])) == 10**2 + 10**2 - 4**2
    # a pentagram is one contour that crosses itself: its middle has winding 2 and must be ink
    star = polygon(*[(10 * np.sin(4 * np.pi * k / 5), 10 * np.cos(4 * np.pi * k / 5)) for k in range(5)])
    assert rasterise([star])[0, 14 * SAMPLES, 14 * SAMPLES]
    assert pixel_area(star) == pytest.approx(1.12257 * 10**2, rel=0.01)  # area of a pentagram of circumradius 1


def test_ink_lies_where_the_outline_says() -> None:
    triangle = polygon((-9, -9), (-9, 9), (3, -9))  # upright side on the left, foot at the bottom
    picture = shrink(rasterise([triangle]))[0]
    assert picture[8:23, 5].min() == 255
    assert picture[22, 5:16].min() == 255
    assert picture[5:12, 14:].max() == 0
    assert pixel_area(triangle) == pytest.approx(18 * 12 / 2, rel=0.01)


@pytest.mark.parametrize("letter", "oSZδC")  # drawn without overlaps, so the area is the ink
@pytest.mark.parametrize("face", ["DejaVuSans", "DejaVuSerif"])
def test_ink_is_the_area_between_the_fonts_own_curves(face: str, letter: str) -> None:
    with open_face(face) as font:
        glyphs_of_face = font.getGlyphSet()
        glyph = glyphs_of_face[font.getBestCmap()[ord(letter)]]
        area, bounds = AreaPen(glyphs_of_face), BoundsPen(glyphs_of_face)
        glyph.draw(area)
        glyph.draw(bounds)
    left, bottom, right, top = bounds.bounds
    expected = abs(area.value) * (20 / max(right - left, top - bottom)) ** 2
    assert pixel_area(read_face(face, letter)[letter] * 20) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("letter", "ǺøЙΏქֆ")
@pytest.mark.parametrize("face", ["DejaVuSans-Bold", "DejaVuSerif-Italic"])
def test_letters_look_as_freetype_draws_them(face: str, letter: str) -> None:
    with open_face(face) as font:
        path = font.reader.file.name
    mask = ImageFont.truetype(path, 2000).getmask(letter)
    theirs = Image.frombytes("L", mask.size, bytes(mask))
    theirs = theirs.crop(theirs.getbbox())
    ours = Image.fromarray(rasterise([read_face(face, letter)[letter] * 100], side=112)[0])
    ours = ours.crop(ours.getbbox())
    a, b = np.array(ours), np.array(theirs.resize(ours.size, Image.Resampling.BOX)) > 127
    assert (a & b).sum() / (a | b).sum() > 0.98


def test_pens_broaden_and_never_break_strokes() -> None:
    thick, hairline = square(-4, 4), polygon((-8, 6), (8, 6), (8, 6.125), (-8, 6.125))
    both = rasterise([np.concatenate([thick, hairline])] * 3)
    finer, same, broader = change_pen(both, [-1, 0, 2])
    assert (same == both[1]).all()
    assert (finer <= same).all()
    assert (same <= broader).all()
    bar_row = int(np.flatnonzero(same.any(axis=1))[0])
    assert finer[bar_row].sum() == same[bar_row].sum()  # one sample thick: nothing can be taken away
    middle = 14 * SAMPLES
    assert [int(p[middle].sum()) for p in (finer, same, broader)] == [8 * SAMPLES - 2, 8 * SAMPLES, 8 * SAMPLES + 4]


def test_no_jitter_takes_a_letter_over_the_border() -> None:
    outline = square(-0.5, 0.5)
    corners = np.stack(np.meshgrid(*[[0.0, 1 - 2**-32]] * 6), axis=-1).reshape(-1, 6)
    placed = [jitter(outline, numbers.tolist()) for numbers in corners]
    reach = np.abs(np.stack(placed)).max()
    assert reach + max(glyphs.PENS) / SAMPLES < 13


def test_every_class_has_twenty_whole_drawings(dataset: Dataset) -> None:
    images = dataset.bank.images
    assert images.shape[1:] == (1, 28, 28)
    assert set(dataset.bank.counts.tolist()) == {20}
    assert images.max(axis=(1, 2, 3)).min() > 127  # some ink that can be seen
    assert images.mean(axis=(1, 2, 3)).max() < 128  # letters, not blocks
    assert images[:, :, [0, -1], :].max() == 0
    assert images[:, :, :, [0, -1]].max() == 0
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_the_data_set_is_the_published_one(dataset: Dataset) -> None:
    assert dataset.bank.is_intact()
    assert dataset.bank.digest == DIGEST


DRAW_SOME = """
import hashlib, sys
from fewshot_km.data.readers.glyphs import draw_bank
print(hashlib.sha256(draw_bank(sys.argv[1:]).images.tobytes()).hexdigest())
"""


@pytest.mark.parametrize(("seed", "locale", "threads"), [("1", "C", "1"), ("77", "C.UTF-8", "2")])
def test_other_processes_draw_the_same_bytes(dataset: Dataset, seed: str, locale: str, threads: str) -> None:
    names = list(dataset.bank.class_names[::40])
    names = names if seed == "1" else names[::-1]
    changed = {"PYTHONHASHSEED": seed, "LC_ALL": locale, "OMP_NUM_THREADS": threads}
    done = subprocess.run(
        [sys.executable, "-c", DRAW_SOME, *names], env=os.environ | changed, capture_output=True, text=True, check=True
    )
    chosen = dataset.bank.class_index(names)
    expected = dataset.bank.images.reshape(-1, 20, 1, 28, 28)[chosen]
    assert done.stdout.strip() == hashlib.sha256(expected.tobytes()).hexdigest()


def test_splits_hold_out_scripts_and_letters(dataset: Dataset) -> None:
    names = {split: classes_of(dataset, split) for split in SPLIT_NAMES}
    assert len(names["train"]) >= 300
    assert min(len(names["val"]), len(names["test"])) >= 5 * 20  # 20-way episodes with room to spare
    families = {split: {family_of(n) for n in names[split]} for split in SPLIT_NAMES}
    scripts = {split: {script_of(n) for n in names[split]} for split in SPLIT_NAMES}
    assert scripts["train"] == {"latin", "greek"}
    assert scripts["val"] - {"latin", "greek"} == {"cyrillic"}
    assert scripts["test"] - {"latin", "greek"} == {"armenian", "georgian"}
    for one, other in [("train", "val"), ("train", "test"), ("val", "test")]:
        assert not set(names[one]) & set(names[other])
        assert not families[one] & families[other]


@pytest.mark.parametrize(
    ("variants", "family"),
    [("aAáÅǻɐⱥ", "latin_a"), ("oøöØ", "latin_o"), ("ωώᾧΩ", "greek_omega"), ("иИй", "cyrillic_i"), ("eɘɛɜ", "latin_e")],
)
def test_variants_of_a_letter_are_one_family(variants: str, family: str) -> None:
    assert {family_of(class_name(c)) for c in variants} == {family}
    assert all(class_character(class_name(c)) == c for c in variants)


@pytest.fixture
def kept() -> set[str]:
    """The letters of all frozen classes."""
    return {class_character(n) for names in read_class_lists("glyphs").values() for n in names}


@pytest.mark.parametrize(
    "letters", ["AΑА", "OΟОՕοоoօი", "EΕЕ", "PΡР", "рp", "XΧХхx", "CСсc", "IΙІӀ", "SЅѕsՏ", "iі", "wԝWԜ"]
)
def test_of_look_alikes_exactly_one_stays(kept: set[str], letters: str) -> None:
    assert len(kept & set(letters)) == 1


@pytest.mark.parametrize("letters", ["RGDkbdf", "ΔΣΩΞλΨ", "ЖШЩЮЯЫБД", "ԱԲԳԴ", "აბდლქ", "ёñ"])
def test_distinct_letters_stay(kept: set[str], letters: str) -> None:
    assert set(letters) <= kept


def test_letters_are_recognised_from_other_drawings(dataset: Dataset) -> None:
    """The nearest mean of ten drawings names the class of the other ten, among all classes at once."""
    pictures = gaussian_filter(dataset.bank.images[:, 0] / 255.0, (0, 1, 1)).reshape(-1, 20, 28 * 28)
    means = pictures[:, 10:].mean(axis=1)
    queries = pictures[:, :10].reshape(-1, 28 * 28)
    distances = (means**2).sum(axis=1) - 2 * queries @ means.T
    right = distances.argmin(axis=1) == np.repeat(np.arange(len(means)), 10)
    assert right.mean() > 100 / len(means)  # a hundred times what guessing gives


def test_second_use_reads_the_cache(tmp_path: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    again = glyphs.glyphs(tmp_path)
    assert capsys.readouterr().err == ""
    assert again.digest == dataset.digest


def test_a_cache_that_cannot_be_written_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("not a folder")
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(blocked))
    with pytest.raises(DataError, match=f"{CACHE_ROOT_VARIABLE}"):
        glyphs.glyphs(tmp_path)


def test_a_missing_letter_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="'hiragana_letter_a'"):
        glyphs.draw_bank(["hiragana_letter_a"])


@OTHER_FONTS
def test_the_shipped_outlines_are_those_of_the_fonts() -> None:
    packed = lzma.decompress((Path(glyphs.__file__).parent / OUTLINES).read_bytes())
    with np.load(io.BytesIO(packed)) as shipped:
        drawn = pack_outlines()
        assert set(shipped) == set(drawn)
        for key, array in drawn.items():
            np.testing.assert_array_equal(shipped[key], array)


@OTHER_FONTS
@pytest.mark.slow
def test_the_frozen_lists_are_what_the_fonts_give(tmp_path: Path) -> None:
    frozen = Path(glyphs.__file__).parents[1] / "class_lists" / "glyphs.json"
    write_class_lists(select_classes(), tmp_path / "glyphs.json")
    assert (tmp_path / "glyphs.json").read_bytes() == frozen.read_bytes()
