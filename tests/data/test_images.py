"""One image file to pixels: against arithmetic done by hand, and never a picture out of a damaged file."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fewshot_km.data.images import PIXELS_LIMIT, ImageForm, decode_image, describe_damage, image_suffixes

Pixels = npt.NDArray[np.uint8]
SIDE = 16


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def decoded(data: bytes, size: int = SIDE, channels: int = 3) -> Pixels:
    """[H, W, C]; of the size that it has already, so that nothing is resized."""
    pixels, _ = decode_image(data, ImageForm(size, channels))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (channels, size, size)
    return pixels.transpose(1, 2, 0)


def grey_of(colour: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """ITU-R 601-2 luma, which Pillow documents for mode L."""
    return (colour @ np.array([299, 587, 114]) / 1000)[..., None]


# --- modes ---


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_colour_is_kept(kind: str) -> None:
    pixels = noise(SIDE, SIDE, 3)
    np.testing.assert_array_equal(decoded(saved(Image.fromarray(pixels), kind)), pixels)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_grey_is_kept_and_may_become_colour(kind: str) -> None:
    pixels = noise(SIDE, SIDE)
    data = saved(Image.fromarray(pixels), kind)
    np.testing.assert_array_equal(decoded(data, channels=1), pixels[..., None])
    np.testing.assert_array_equal(decoded(data), np.repeat(pixels[..., None], 3, axis=2))


def test_colour_becomes_grey_by_luma() -> None:
    pixels = noise(SIDE, SIDE, 3)
    grey = decoded(saved(Image.fromarray(pixels)), channels=1)
    np.testing.assert_allclose(grey, grey_of(pixels), atol=0.51)


def test_black_and_white_are_0_and_255() -> None:
    bits = noise(SIDE, SIDE) > 127
    np.testing.assert_array_equal(decoded(saved(Image.fromarray(bits)), channels=1)[..., 0], np.where(bits, 255, 0))


def paletted(opacities: bytes | int | None = None, kind: str = "PNG") -> tuple[bytes, Pixels, Pixels]:
    indexes, palette = noise(SIDE, SIDE) % 8, noise(8, 3, seed=1)
    image = Image.fromarray(indexes)
    image.putpalette(palette.tobytes())
    options = {} if opacities is None else {"transparency": opacities}
    return saved(image, kind, **options), indexes, palette


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP"])
def test_a_palette_is_looked_up(kind: str) -> None:
    data, indexes, palette = paletted(kind=kind)
    np.testing.assert_array_equal(decoded(data), palette[indexes])


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_colour_of_a_palette_is_white(kind: str) -> None:
    data, indexes, palette = paletted(3, kind)
    palette[3] = 255
    np.testing.assert_array_equal(decoded(data), palette[indexes])


def over_white(colour: Pixels, alpha: Pixels) -> npt.NDArray[np.float64]:
    opaque = alpha[..., None] / 255
    return colour * opaque + 255 * (1 - opaque)


def test_a_palette_of_opacities_lies_over_white() -> None:
    opacities = noise(8, seed=2)
    data, indexes, palette = paletted(opacities.tobytes())
    np.testing.assert_allclose(decoded(data), over_white(palette[indexes], opacities[indexes]), atol=1)


def test_colour_with_opacity_lies_over_white() -> None:
    pixels = noise(SIDE, SIDE, 4)
    pixels[0, :4, 3] = 0, 255, 1, 254
    for data in (saved(Image.fromarray(pixels)), saved(Image.fromarray(pixels), "TIFF")):
        found = decoded(data)
        np.testing.assert_allclose(found, over_white(pixels[..., :3], pixels[..., 3]), atol=1)
        np.testing.assert_array_equal(found[0, :2], [[255] * 3, pixels[0, 1, :3]])  # no colour shines through nothing


def test_grey_with_opacity_lies_over_white() -> None:
    pixels = noise(SIDE, SIDE, 2)
    data = saved(Image.merge("LA", [Image.fromarray(pixels[..., 0]), Image.fromarray(pixels[..., 1])]))
    expected = over_white(pixels[..., :1], pixels[..., 1])
    np.testing.assert_allclose(decoded(data, channels=1), expected, atol=1)
    np.testing.assert_allclose(decoded(data), np.repeat(expected, 3, axis=2), atol=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_transparent_colour_of_a_png_without_palette_is_white(channels: int) -> None:
    pixels = noise(SIDE, SIDE, 3) if channels == 3 else noise(SIDE, SIDE)
    clear = tuple(map(int, pixels[5, 7])) if channels == 3 else int(pixels[5, 7])
    data = saved(Image.fromarray(pixels), transparency=clear)
    expected = pixels.reshape(SIDE, SIDE, channels).copy()
    expected[(expected == clear).all(axis=2)] = 255
    assert (expected[5, 7] == 255).all()
    np.testing.assert_array_equal(decoded(data, channels=channels), expected)


def test_inks_are_turned_to_light() -> None:
    for colour in [(0, 0, 0, 0), (255, 0, 0, 0), (0, 128, 64, 0), (30, 60, 90, 120), (0, 0, 0, 255)]:
        data = saved(Image.new("CMYK", (SIDE, SIDE), colour), "JPEG", quality=100)
        *inks, black = colour
        expected = [(255 - ink) * (255 - black) / 255 for ink in inks]
        np.testing.assert_allclose(decoded(data), np.broadcast_to(expected, (SIDE, SIDE, 3)), atol=3)


WIDE = np.concatenate([np.arange(0, 65536, 257), [1, 127, 128, 129, 65535, 65407, 65406, 12345]]).astype(np.uint16)


@pytest.mark.parametrize(("kind", "order"), [("PNG", "<"), ("TIFF", "<"), ("TIFF", ">")])
def test_16_bits_are_rounded_to_8(kind: str, order: str) -> None:
    values = np.resize(WIDE, (SIDE + 1, SIDE + 1))
    data = saved(Image.fromarray(values.astype(f"{order}u2")), kind)
    expected = np.floor(values / 257 + 0.5)
    assert expected.max() == 255
    np.testing.assert_array_equal(decoded(data, SIDE + 1, channels=1)[..., 0], expected)
    np.testing.assert_array_equal(decoded(data, SIDE + 1)[..., 2], expected)


def test_32_bits_that_hold_16_are_rounded_and_others_refused() -> None:
    values = np.resize(WIDE.astype(np.int32), (SIDE, SIDE))
    data = saved(Image.fromarray(values), "TIFF")
    np.testing.assert_array_equal(decoded(data, channels=1)[..., 0], np.floor(values / 257 + 0.5))
    for strange in (-1, 65536):
        values[3, 4] = strange
        with pytest.raises(ValueError, match="more than 16 bits"):
            decoded(saved(Image.fromarray(values), "TIFF"))


def test_floating_point_is_refused() -> None:
    data = saved(Image.fromarray(np.full((SIDE, SIDE), 0.5, np.float32)), "TIFF")
    with pytest.raises(ValueError, match="floating-point numbers, of no known range"):
        decoded(data)


def test_the_first_frame_counts() -> None:
    frames = [Image.fromarray(noise(SIDE, SIDE, seed=i)) for i in range(3)]
    for kind, lossless in (("GIF", {}), ("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **lossless)
        np.testing.assert_array_equal(decoded(data)[..., 0], np.asarray(frames[0]))


def test_lossy_formats_are_near() -> None:
    y, x = np.mgrid[:64, :64]
    pixels = np.stack([4 * x, 4 * y, 2 * (x + y)], axis=2).astype(np.uint8)
    for kind in ("JPEG", "WEBP", "JPEG2000"):
        found = decoded(saved(Image.fromarray(pixels), kind, quality=95), 64).astype(int)
        assert np.abs(found - pixels).mean() < 3


# --- geometry ---

# EXIF 2.3, 4.6.4 A: where the picture's row 0 and column 0 are; from it, how to hold the stored rows upright
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_cameras_note_is_obeyed_where_asked_for(orientation: int, kind: str) -> None:
    pixels = noise(SIDE, SIDE, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(pixels), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    upright, _ = decode_image(data, ImageForm(SIDE, upright=True))
    np.testing.assert_array_equal(upright.transpose(1, 2, 0), TURNS[orientation](pixels))
    np.testing.assert_array_equal(decoded(data), pixels)


def test_a_tiffs_orientation_belongs_to_the_format_and_always_counts() -> None:
    pixels = noise(SIDE, SIDE, 3)
    for orientation, turn in TURNS.items():
        data = saved(Image.fromarray(pixels), "TIFF", tiffinfo={0x0112: orientation})
        for upright in (False, True):
            found, _ = decode_image(data, ImageForm(SIDE, upright=upright))
            np.testing.assert_array_equal(found.transpose(1, 2, 0), turn(pixels))


def blocks(height: int, width: int) -> Pixels:
    """Red to the left of the middle square of a wide image (above that of a high one), blue behind, green in it."""
    pixels = np.zeros((height, width, 3), np.uint8)
    side, margin = min(height, width), abs(height - width) // 2
    along = pixels if height > width else pixels.transpose(1, 0, 2)
    along[:margin, :, 0], along[margin : margin + side, :, 1], along[margin + side :, :, 2] = 200, 200, 200
    return pixels


@pytest.mark.parametrize(("height", "width"), [(32, 96), (96, 32)])
def test_crop_takes_the_middle_square_and_stretch_takes_all(height: int, width: int) -> None:
    data = saved(Image.fromarray(blocks(height, width)))
    cropped, size = decode_image(data, ImageForm(16, fit="crop"))
    assert size == (width, height)
    assert (cropped[1] > 180).all()
    np.testing.assert_array_equal(cropped[:, 4:12, 4:12], np.broadcast_to([[[0]], [[200]], [[0]]], (3, 8, 8)))
    stretched, _ = decode_image(data, ImageForm(24, fit="stretch"))
    along = stretched if height > width else stretched.transpose(0, 2, 1)
    for part, channel in ((slice(0, 4), 0), (slice(12, 13), 1), (slice(20, 24), 2)):  # away from the seams
        expected = np.zeros((3, 1, 1))
        expected[channel] = 200
        np.testing.assert_array_equal(along[:, part], np.broadcast_to(expected, along[:, part].shape))


def test_resizing_is_pillows_lanczos_of_the_whole_image() -> None:
    image = Image.fromarray(noise(37, 61, 3))
    found, size = decode_image(saved(image), ImageForm(20))
    np.testing.assert_array_equal(
        found.transpose(1, 2, 0), np.asarray(image.resize((20, 20), Image.Resampling.LANCZOS))
    )
    assert size == (61, 37)


@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_plain_image_stays_plain_at_any_size(fit: str, size: int) -> None:
    form = ImageForm(size, fit=fit)  # type: ignore[arg-type]
    found, _ = decode_image(saved(Image.new("RGB", (23, 11), (10, 200, 77))), form)
    np.testing.assert_array_equal(found, np.broadcast_to(np.array([10, 200, 77])[:, None, None], form.shape))


# --- damage ---


def outcome(data: bytes) -> Pixels | None:
    """What is decoded, or None where it is refused with a word of why."""
    try:
        return decoded(data)
    except Exception as error:  # Pillow's types are many: the caller makes one of them
        words = describe_damage(error)
        assert words
        assert "\n" not in words
        assert "0x" not in words
        return None


def ancillary(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png() -> bytes:
    data = saved(Image.fromarray(noise(SIDE, SIDE, 3)))
    return data[:33] + ancillary(b"tEXt", b"Comment\0a word") + ancillary(b"pHYs", bytes(9)) + data[33:]


def test_a_png_cut_short_is_refused_until_all_of_its_pixels_are_there() -> None:
    data = png()
    intact = decoded(data)
    accepted = [length for length in range(len(data)) if outcome(data[:length]) is not None]
    assert accepted == list(range(len(data) - 4, len(data)))  # the checksum of the end, which has no content
    for length in accepted:
        np.testing.assert_array_equal(decoded(data[:length]), intact)


def test_a_flipped_bit_anywhere_in_a_png_is_refused_or_changes_no_pixel() -> None:
    data = png()
    intact = decoded(data)
    accepted = []
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            found = outcome(bytes(flipped))
            if found is not None:
                np.testing.assert_array_equal(found, intact)
                accepted.append(position)
    assert len(set(accepted)) < 0.1 * len(data)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_short_is_refused_until_all_of_its_pixels_are_there(progressive: bool) -> None:
    data = saved(Image.fromarray(noise(SIDE, SIDE, 3)), "JPEG", progressive=progressive)
    intact = decoded(data)
    accepted = [length for length in range(len(data)) if outcome(data[:length]) is not None]
    assert min(accepted, default=len(data)) >= len(data) - 4
    for length in accepted:
        np.testing.assert_array_equal(decoded(data[:length]), intact)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000"])
def test_an_image_cut_in_half_is_refused(kind: str) -> None:
    data = saved(Image.fromarray(noise(64, 64, 3)), kind)
    for part in (0.1, 0.5, 0.9):
        assert outcome(data[: int(part * len(data))]) is None


def header_only(width: int, height: int) -> bytes:
    """A whole PNG, right in all its checksums, of far fewer pixels than it claims."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = ancillary(b"IDAT", zlib.compress(bytes(10_000)))
    return b"\x89PNG\r\n\x1a\n" + ancillary(b"IHDR", header) + body + ancillary(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [50_000, 12_000, (1 << 31) - 1])
def test_an_image_too_large_is_refused_at_once(side: int) -> None:
    data = header_only(side, side)
    assert side**2 > PIXELS_LIMIT
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(Exception, match=r"too large|exceeds limit|decompression bomb"):
            decoded(data)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert time.monotonic() - start < 2


NO_IMAGES = {
    "nothing": b"",
    "text": b"class,file\nbird,001.jpg\n" * 50,
    "html": b"<!DOCTYPE html><html>404</html>",
    "zeros": bytes(5000),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n",
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"/>',
}


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_what_is_no_image_is_said_to_be_none(kind: str) -> None:
    with pytest.raises(Exception, match="cannot identify") as caught:
        decoded(NO_IMAGES[kind])
    assert describe_damage(caught.value) == "it is no image of a known format"


def test_no_program_is_called_for_postscript(monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*_: object, **__: object) -> None:
        raise AssertionError("a program was called")

    for name in ("subprocess.Popen", "subprocess.run", "os.system"):
        monkeypatch.setattr(name, called)
    drawn = saved(Image.fromarray(noise(SIDE, SIDE, 3)), "EPS")
    with Image.open(io.BytesIO(drawn)) as image:
        assert image.format == "EPS"  # Pillow would take it for an image
    assert outcome(drawn) is None


def test_the_endings_of_file_names_are_those_of_what_can_be_read() -> None:
    suffixes = image_suffixes()
    assert {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"} <= suffixes
    assert not {".eps", ".ps", ".pdf", ".h5", ".hdf", ".mpg", ".csv", ".txt", ".json", ".svg"} & suffixes
    assert all(suffix == suffix.lower() for suffix in suffixes)
