"""Reading the picture that a demo works on."""

import gzip
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageOps

from .._errors import BadInput, require

SMALLEST, LARGEST = 8, 512  # pixels along one side


def read(file: Path | None) -> np.ndarray:
    """The picture in `file`, or matplotlib's MRI slice: float64 (height, width) from 0 to 1.

    Colours become grey levels; a picture with more than `LARGEST` pixels along a side is reduced.
    """
    name = str(file or "the MRI slice")
    return _reduced(_normalised(_grey_levels(file) if file else _mri_slice(), name))


def _mri_slice() -> np.ndarray:
    """The 256 x 256 slice among matplotlib's sample data: big-endian 16-bit integers."""
    file = Path(matplotlib.get_data_path(), "sample_data", "s1045.ima.gz")
    try:
        return np.frombuffer(gzip.decompress(file.read_bytes()), ">u2").reshape(256, 256)
    except (OSError, EOFError, ValueError) as error:
        msg = f"the sample picture {file} of matplotlib cannot be read ({error}): choose a picture with --image"
        raise BadInput(msg) from error


def _grey_levels(file: Path) -> np.ndarray:
    if not file.is_file():
        msg = f"there is no file {file}" if not file.exists() else f"{file} is not a file"
        raise BadInput(msg)
    try:
        if file.suffix.lower() == ".npy":
            return np.load(file, allow_pickle=False)
        with Image.open(file) as image:
            return np.asarray(_grey(ImageOps.exif_transpose(image)))
    except Exception as error:  # decoders raise anything from OSError to SyntaxError
        msg = f"{file} cannot be read as a picture (PNG, JPEG or NPY): {error}"
        raise BadInput(msg) from error


def _grey(image: Image.Image) -> Image.Image:
    deep = image.mode in ("F", "I") or image.mode.startswith("I;16")
    return image if deep else image.convert("L")


def _normalised(levels: np.ndarray, name: str) -> np.ndarray:
    require(levels.ndim == 2, f"{name} must be one grey picture (height, width), found shape {levels.shape}")
    require(levels.dtype.kind in "buif", f"{name} must have real numbers, found dtype {levels.dtype}")
    size = " x ".join(map(str, levels.shape))
    least = f"at least {SMALLEST} x {SMALLEST} are needed"
    require(min(levels.shape) >= SMALLEST, f"{name} has {size} pixels: {least}")
    bad = np.count_nonzero(~np.isfinite(levels))
    require(bad == 0, f"{name} has {bad} values that are NaN or infinite: replace them first")
    lowest, highest = float(levels.min()), float(levels.max())
    require(highest > lowest, f"{name} has no contrast: every pixel is {lowest:g}")
    return (levels.astype(np.float64) - lowest) / (highest - lowest)


def _reduced(pixels: np.ndarray) -> np.ndarray:
    if max(pixels.shape) <= LARGEST:
        return pixels
    image = Image.fromarray(pixels.astype(np.float32))
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float64)
