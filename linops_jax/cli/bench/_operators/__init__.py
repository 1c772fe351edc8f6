"""Operators of `lo.ops` in every library that has them, in single precision, on pictures of n x n pixels."""

from collections.abc import Callable

from . import matrices, neighbourhoods, selections, transforms
from .contestants import Entry as Entry
from .contestants import Pair as Pair

ENTRIES: dict[str, Callable[[int], Entry]] = {
    "FFT": transforms.fft,
    "RFFT": transforms.rfft,
    "DCT": transforms.dct,
    "Wavelet": transforms.wavelet,
    "Convolution": neighbourhoods.convolution,
    "GaussianBlur": neighbourhoods.gaussian_blur,
    "FirstDerivative": neighbourhoods.first_derivative,
    "Gradient": neighbourhoods.gradient,
    "Laplacian": neighbourhoods.laplacian,
    "CausalIntegration": neighbourhoods.causal_integration,
    "Restriction": selections.restriction,
    "Mask": selections.mask,
    "Flip": selections.flip,
    "Roll": selections.roll,
    "Interpolation": matrices.interpolation,
    "SparseMatrix": matrices.sparse_matrix,
    "XRay": matrices.x_ray,
}
