"""One image file, of whatever format, to the pixels of a bank."""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from fewshot_km.data.files.impostors import name_impostor

PIXELS_LIMIT = 1 << 27  # in one image: 134 million, more than any camera's, and half a gigabyte when decoded
FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
# those that pictures come in: of Pillow's others some call programs (EPS), some hold no pictures (HDF5), all are rare


@dataclass(frozen=True)
class ImageForm:
    """What every image of a bank is brought to.

    size     pixels on either side
    channels 3 for colour, 1 for grey
    fit      stretch: as MAML's code did, the whole image with its sides' ratio lost; crop: the middle square of it
    upright  whether a camera's note of how it was held is obeyed; no published data set's readers do
    """

    size: int
    channels: int = 3
    fit: Literal["stretch", "crop"] = "stretch"
    upright: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.size, self.size

    def __str__(self) -> str:
        return f"{self.size}x{self.size}, {self.channels} channels, {self.fit}{', upright' if self.upright else ''}"


def image_suffixes() -> frozenset[str]:
    """Endings of file names, lower case, of the formats that are read here."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


def decode_image(data: bytes, form: ImageForm) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """The first frame of an image file -> uint8 [C, size, size], and the width and height that it had.

    Resized by Lanczos where it has another size; transparency is laid over white. Raises ValueError, OSError and what
    else Pillow has for files that are damaged, are no images, or have more than PIXELS_LIMIT pixels.
    """
    with _open(data) as image:
        width, height = image.size
        if width * height > PIXELS_LIMIT:
            raise ValueError(f"it is too large: {width}x{height} pixels, and {PIXELS_LIMIT:,} may be decoded")
        if image.format != "PNG":
            return _bring_to(image, form), image.size
        image.verify()  # the chunks' checksums, which loading does not look at; it uses the image up
    with _open(data) as image:
        return _bring_to(image, form), image.size


def describe_damage(error: Exception, data: bytes = b"") -> str:
    """Why an image could not be decoded, in a few words; `data` is the beginning of its file."""
    if impostor := name_impostor(data):
        return f"it is {impostor}"
    if isinstance(error, UnidentifiedImageError):  # its own words show the address of a buffer
        return "it is no image of a known format"
    return " ".join(str(error).split()) or type(error).__name__


def _open(data: bytes) -> Image.Image:
    Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])


def _bring_to(image: Image.Image, form: ImageForm) -> npt.NDArray[np.uint8]:
    plain = _convert(ImageOps.exif_transpose(image) if form.upright else image, "L" if form.channels == 1 else "RGB")
    side = (form.size, form.size)
    if plain.size != side and form.fit == "crop":
        plain = ImageOps.fit(plain, side, Image.Resampling.LANCZOS)
    elif plain.size != side:
        plain = plain.resize(side, Image.Resampling.LANCZOS)
    return np.asarray(plain).reshape(*side, form.channels).transpose(2, 0, 1)


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """To 8 bits of grey or colour, as a viewer would show it."""
    if image.mode.startswith("I"):  # 16 bits, or 32 that hold 16: Pillow's own conversion cuts all above 255 off
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > 65535:
            raise ValueError("its pixels have more than 16 bits")
        image = Image.fromarray(((wide.astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, of no known range: save it with 8 or 16 bits")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        image = opaque.convert("RGB")
    return image.convert(mode)
