"""Ready-made operators, one family per file. Most families are loaded on first use: a class costs some milliseconds."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from linops_jax import _public
from linops_jax.algebra import Identity as Identity
from linops_jax.algebra import Zero as Zero
from linops_jax.ops._diagonal import Diagonal as Diagonal
from linops_jax.ops._fft import FFT as FFT
from linops_jax.ops._halo import Halo as Halo
from linops_jax.ops._matrix import Matrix as Matrix

if TYPE_CHECKING:
    from linops_jax.ops._bilinear import BiConvolution as BiConvolution
    from linops_jax.ops._bilinear import Product as Product
    from linops_jax.ops._convolution import Convolution as Convolution
    from linops_jax.ops._cosine import DCT as DCT
    from linops_jax.ops._cosine import DST as DST
    from linops_jax.ops._differences import FirstDerivative as FirstDerivative
    from linops_jax.ops._differences import SecondDerivative as SecondDerivative
    from linops_jax.ops._einsum import Einsum as Einsum
    from linops_jax.ops._elementwise import Cos as Cos
    from linops_jax.ops._elementwise import Exp as Exp
    from linops_jax.ops._elementwise import Log as Log
    from linops_jax.ops._elementwise import Power as Power
    from linops_jax.ops._elementwise import Sigmoid as Sigmoid
    from linops_jax.ops._elementwise import Sin as Sin
    from linops_jax.ops._elementwise import Softplus as Softplus
    from linops_jax.ops._elementwise import Sqrt as Sqrt
    from linops_jax.ops._elementwise import Tanh as Tanh
    from linops_jax.ops._fan_beam import FanBeam as FanBeam
    from linops_jax.ops._gradient import Divergence as Divergence
    from linops_jax.ops._gradient import Gradient as Gradient
    from linops_jax.ops._gradient import SymmetrizedGradient as SymmetrizedGradient
    from linops_jax.ops._integration import CausalIntegration as CausalIntegration
    from linops_jax.ops._interpolation import Interpolation as Interpolation
    from linops_jax.ops._laplacian import Laplacian as Laplacian
    from linops_jax.ops._low_rank import LowRank as LowRank
    from linops_jax.ops._modulus import Abs as Abs
    from linops_jax.ops._modulus import AbsSquared as AbsSquared
    from linops_jax.ops._modulus import Phase as Phase
    from linops_jax.ops._nufft import NUFFT as NUFFT
    from linops_jax.ops._padded import Crop as Crop
    from linops_jax.ops._padded import Downsample as Downsample
    from linops_jax.ops._padded import Pad as Pad
    from linops_jax.ops._parts import Conj as Conj
    from linops_jax.ops._parts import Imag as Imag
    from linops_jax.ops._parts import Real as Real
    from linops_jax.ops._patches import Patches as Patches
    from linops_jax.ops._radio import RadioResponse as RadioResponse
    from linops_jax.ops._real_fft import RFFT as RFFT
    from linops_jax.ops._real_fft import Hartley as Hartley
    from linops_jax.ops._rearranged import Flip as Flip
    from linops_jax.ops._rearranged import Reshape as Reshape
    from linops_jax.ops._rearranged import Roll as Roll
    from linops_jax.ops._rearranged import Transpose as Transpose
    from linops_jax.ops._reductions import Broadcast as Broadcast
    from linops_jax.ops._reductions import Mean as Mean
    from linops_jax.ops._reductions import Sum as Sum
    from linops_jax.ops._selected import Mask as Mask
    from linops_jax.ops._selected import Permutation as Permutation
    from linops_jax.ops._selected import Restriction as Restriction
    from linops_jax.ops._shift import Shift as Shift
    from linops_jax.ops._smoothing import GaussianBlur as GaussianBlur
    from linops_jax.ops._smoothing import Smoothing as Smoothing
    from linops_jax.ops._softmax import Softmax as Softmax
    from linops_jax.ops._sparse import SparseMatrix as SparseMatrix
    from linops_jax.ops._sphere import SphericalHarmonics as SphericalHarmonics
    from linops_jax.ops._sphere_geometry import healpix as healpix
    from linops_jax.ops._structured import Circulant as Circulant
    from linops_jax.ops._structured import Toeplitz as Toeplitz
    from linops_jax.ops._total_convolution import TotalConvolution as TotalConvolution
    from linops_jax.ops._warp import Warp as Warp
    from linops_jax.ops._wavelet import Wavelet as Wavelet
    from linops_jax.ops._xray import XRay as XRay
    from linops_jax.ops._xray_3d import XRay3D as XRay3D

_FAMILIES = {
    "_bilinear": ("BiConvolution", "Product"),
    "_convolution": ("Convolution",),
    "_cosine": ("DCT", "DST"),
    "_differences": ("FirstDerivative", "SecondDerivative"),
    "_einsum": ("Einsum",),
    "_elementwise": ("Cos", "Exp", "Log", "Power", "Sigmoid", "Sin", "Softplus", "Sqrt", "Tanh"),
    "_fan_beam": ("FanBeam",),
    "_gradient": ("Divergence", "Gradient", "SymmetrizedGradient"),
    "_integration": ("CausalIntegration",),
    "_interpolation": ("Interpolation",),
    "_laplacian": ("Laplacian",),
    "_low_rank": ("LowRank",),
    "_modulus": ("Abs", "AbsSquared", "Phase"),
    "_nufft": ("NUFFT",),
    "_padded": ("Crop", "Downsample", "Pad"),
    "_parts": ("Conj", "Imag", "Real"),
    "_patches": ("Patches",),
    "_radio": ("RadioResponse",),
    "_real_fft": ("Hartley", "RFFT"),
    "_rearranged": ("Flip", "Reshape", "Roll", "Transpose"),
    "_reductions": ("Broadcast", "Mean", "Sum"),
    "_selected": ("Mask", "Permutation", "Restriction"),
    "_shift": ("Shift",),
    "_smoothing": ("GaussianBlur", "Smoothing"),
    "_softmax": ("Softmax",),
    "_sparse": ("SparseMatrix",),
    "_sphere": ("SphericalHarmonics",),
    "_sphere_geometry": ("healpix",),
    "_structured": ("Circulant", "Toeplitz"),
    "_total_convolution": ("TotalConvolution",),
    "_warp": ("Warp",),
    "_wavelet": ("Wavelet",),
    "_xray": ("XRay",),
    "_xray_3d": ("XRay3D",),
}
_FILES = {name: file for file, names in _FAMILIES.items() for name in names}

__all__ = [
    "DCT",
    "DST",
    "FFT",
    "NUFFT",
    "RFFT",
    "Abs",
    "AbsSquared",
    "BiConvolution",
    "Broadcast",
    "CausalIntegration",
    "Circulant",
    "Conj",
    "Convolution",
    "Cos",
    "Crop",
    "Diagonal",
    "Divergence",
    "Downsample",
    "Einsum",
    "Exp",
    "FanBeam",
    "FirstDerivative",
    "Flip",
    "GaussianBlur",
    "Gradient",
    "Halo",
    "Hartley",
    "Identity",
    "Imag",
    "Interpolation",
    "Laplacian",
    "Log",
    "LowRank",
    "Mask",
    "Matrix",
    "Mean",
    "Pad",
    "Patches",
    "Permutation",
    "Phase",
    "Power",
    "Product",
    "RadioResponse",
    "Real",
    "Reshape",
    "Restriction",
    "Roll",
    "SecondDerivative",
    "Shift",
    "Sigmoid",
    "Sin",
    "Smoothing",
    "Softmax",
    "Softplus",
    "SparseMatrix",
    "SphericalHarmonics",
    "Sqrt",
    "Sum",
    "SymmetrizedGradient",
    "Tanh",
    "Toeplitz",
    "TotalConvolution",
    "Transpose",
    "Warp",
    "Wavelet",
    "XRay",
    "XRay3D",
    "Zero",
    "healpix",
]

_public.publish(__name__)


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        message = f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}."
        raise AttributeError(message)
    importlib.import_module(f"{__name__}.{_FILES[name]}")
    for known, file in _FILES.items():  # a family may have loaded others
        if (module := sys.modules.get(f"{__name__}.{file}")) and hasattr(module, known):
            globals()[known] = getattr(module, known)
    _public.publish(__name__)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted(__all__)
