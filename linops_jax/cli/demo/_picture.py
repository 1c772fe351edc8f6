"""Reading the picture that a demo works on."""

import gzip
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageOps

from .._errors import BadInput, require

SMALLEST, LARGEST = 8, 512  # pixels along one side
SAMPLES = Path(matplotlib.get_data_path(), "sample_data")
PORTRAIT = SAMPLES / "grace_hopper.jpg"  # 600 x 512: a photograph of the U.S. Navy, in the public domain


def read(file: Path | None, size: int | None = None) -> np.ndarray:
    """The picture in `file`, or matplotlib's MRI slice: float64 (height, width) from 0 to 1.

    Colours become grey levels. The longer side gets `size` pixels; by default, it keeps its own, but not more than `LARGEST`.
    """
    name = str(file or "the MRI slice")
    pixels = _normalised(_grey_levels(file) if file else _mri_slice(), name)
    return _scaled(pixels, min(max(pixels.shape), LARGEST) if size is None else size, name)


def _mri_slice() -> np.ndarray:
    """The 256 x 256 slice among matplotlib's sample data: big-endian 16-bit integers."""
    file = SAMPLES / "s1045.ima.gz"
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


def _scaled(pixels: np.ndarray, size: int, name: str) -> np.ndarray:
    """Means of neighbours where the picture has more pixels, a cubic interpolation where it has less."""
    longer = max(pixels.shape)
    if longer == size:
        return pixels
    height, width = (round(side * size / longer) for side in pixels.shape)
    least = f"at least {SMALLEST} x {SMALLEST} are needed"
    require(
        min(height, width) >= SMALLEST, f"{name} has {height} x {width} pixels if its longer side has {size}: {least}"
    )
    image = Image.fromarray(pixels.astype(np.float32))
    image = image.resize((width, height), Image.Resampling.BOX if longer > size else Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image, dtype=np.float64), 0, 1)
