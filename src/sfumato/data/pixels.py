"""Where images come from: memory, or files that are decoded when asked for."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError

Pixels = NDArray[Any]  # (n, c, h, w), uint8 or float32
SUFFIXES = (".png", ".jpg", ".jpeg")
_ORIENTATION = 0x0112  # of EXIF: how a camera was held


class PixelSource(Protocol):
    """Images by number."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def take(self, rows: NDArray[np.int64]) -> Pixels:
        """(k, c, h, w) uint8, or float32 in [0, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class MemoryPixels:
    """Images in memory (or a memory map): (n, c, h, w) uint8, or float32 in [0, 1]."""

    array: Pixels

    def __len__(self) -> int:
        return len(self.array)

    def take(self, rows: NDArray[np.int64]) -> Pixels:
        """(k, c, h, w) of the array's own type."""
        return self.array[rows]


@dataclass(frozen=True)
class FilePixels:
    """PNG and JPEG files of one shape, decoded when they are taken."""

    files: tuple[Path, ...]
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: NDArray[np.int64]) -> Pixels:
        """(k, c, h, w) uint8.

        Raises:
            InputError: Naming the file that is damaged or has another shape.
        """
        images = np.empty((len(rows), *self.shape), np.uint8)
        for place, row in enumerate(rows):
            path = self.files[row]
            image = decode(path)
            if image.shape != self.shape:
                raise InputError(
                    f"{path} is {_size(image.shape)}, {self.files[0].name} is {_size(self.shape)}",
                    "Bring all images to one size and mode.",
                )
            images[place] = image
        return images


def decode(path: Path) -> NDArray[np.uint8]:
    """(c, h, w) pixels of one PNG or JPEG file, turned as its EXIF data say it is to be shown.

    Raises:
        InputError: If the file is damaged, holds several pictures, or is of a mode that loses
            something as grey or RGB.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            image.load()
            _check_single(image, path)
            plain: Image.Image = image
            if image.getexif().get(_ORIENTATION, 1) != 1:  # as viewers show it
                plain = ImageOps.exif_transpose(image)
            if image.mode == "P" and "transparency" not in image.info:
                plain = plain.convert("RGB")
            elif image.mode == "1":
                plain = plain.convert("L")
            mode = plain.mode
            array: NDArray[np.uint8] = np.asarray(plain)
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        reason = " ".join(str(error).split())[:100].replace(str(path), "it")
        raise InputError(f"{path} is no whole PNG or JPEG ({reason})", "Replace it.") from None
    if mode == "L":
        return array[np.newaxis]
    if mode == "RGB":
        return np.ascontiguousarray(array.transpose(2, 0, 1))
    raise InputError(
        f"{path} has the colour mode {mode}", "Save it as 8-bit grey or RGB without transparency."
    )


def _check_single(image: Any, path: Path) -> None:
    """Refuses an animation, of which all pictures but the first would be left out.

    Raises:
        InputError: If it is one.
    """
    if getattr(image, "is_animated", False):
        raise InputError(
            f"{path} holds {image.n_frames} pictures", "Save each as a file of its own."
        )


def in_memory(images: NDArray[Any], where: str = "images") -> Pixels:
    """(n, c, h, w) uint8, or float32 in [0, 1], from an array of images.

    Args:
        images: (n, h, w), (n, c, h, w) or (n, h, w, c) with 1 or 3 channels; uint8, or floats in
            [0, 1].
        where: What an error names.

    Raises:
        InputError: If the type, the shape or a value does not fit.
    """
    images = np.asanyarray(images)
    if images.ndim == 3:
        images = images[:, np.newaxis]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise InputError(
            f"{where} has shape {images.shape}",
            "Give (n, channels, height, width), 1 or 3 channels.",
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise InputError(f"{where} holds {images.dtype}", "Give uint8, or floats in [0, 1].")
    # One image after the other, so that no whole-set temporaries are made.
    for row, image in enumerate(images):
        if not (image.min() >= 0 and image.max() <= 1):
            bad = image[~((image >= 0) & (image <= 1))][0]
            raise InputError(f"{where}: image {row} has a pixel of {bad}", "Scale it to [0, 1].")
    return images.astype(np.float32, copy=False)


def as_float(images: Pixels) -> NDArray[np.float32]:
    """float32 in [0, 1] whatever the images are kept as."""
    if images.dtype == np.uint8:
        made: NDArray[np.float32] = images.astype(np.float32)
        made /= np.float32(255)
        return made
    return images.astype(np.float32, copy=False)


def as_bytes(images: Pixels) -> NDArray[np.uint8]:
    """uint8 whatever the images are kept as; floats are rounded to 1/255."""
    if images.dtype == np.uint8:
        return images
    rounded: NDArray[np.uint8] = np.rint(images * 255).astype(np.uint8)
    return rounded


def is_image(path: Path) -> bool:
    """Whether a path is that of an image file, by its name; hidden files are none."""
    named = not path.name.startswith(".") and path.suffix.lower() in SUFFIXES
    return named and path.is_file()


def image_files(folder: Path) -> Sequence[Path]:
    """The image files directly in a folder, in order of name.

    Raises:
        InputError: If it holds anything else (hidden files aside).
    """
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not is_image(path):
            raise InputError(f"{path} is no PNG or JPEG file", "Move it out of the folder.")
        found.append(path)
    return found


def _size(shape: Sequence[int]) -> str:
    return f"{shape[2]}x{shape[1]} {'grey' if shape[0] == 1 else 'RGB'}"
