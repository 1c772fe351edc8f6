"""Operators of PyLops, one of each class and convention, small: PyLops alone, nothing here knows linops_jax."""

import functools

import numpy as np
import pylops
from helpers import normal
from pylops import signalprocessing as sp
from pylops import waveeqprocessing as we
from pylops.utils.wavelets import ricker
from scipy.sparse import csr_array

MATRIX = normal((4, 3), np.float64, 1)
COMPLEX = normal((4, 3), np.complex128, 2)
TIMES, OFFSETS = np.arange(8) * 0.004, np.linspace(-3, 3, 5)
WAVELET = ricker(np.arange(3) * 0.004, 20)[0]
RNG = np.random.default_rng(0)


def first(n=4, **options):
    return pylops.FirstDerivative(n, **options)


def spread():
    table = RNG.integers(0, 6, (3, 4, 5)).astype(float)
    return pylops.Spread(dims=(3, 4), dimsd=(5, 6), table=table.astype(int))


def double(x):
    return 2 * x


OPERATORS = {
    # basic
    "MatrixMult": lambda: pylops.MatrixMult(MATRIX),
    "MatrixMult complex": lambda: pylops.MatrixMult(COMPLEX, dtype=np.complex128),
    "MatrixMult otherdims": lambda: pylops.MatrixMult(MATRIX, otherdims=(2,)),
    "MatrixMult sparse": lambda: pylops.MatrixMult(csr_array(MATRIX)),
    "MatrixMult float32": lambda: pylops.MatrixMult(MATRIX.astype(np.float32), dtype=np.float32),
    "Diagonal": lambda: pylops.Diagonal(MATRIX),
    "Diagonal complex": lambda: pylops.Diagonal(COMPLEX[0], dims=(2, 3), dtype=np.complex128),
    "Identity": lambda: pylops.Identity(3, 5),
    "Identity in place": lambda: pylops.Identity((2, 3), inplace=True),
    "Identity of integers": lambda: pylops.Identity(4, dtype=np.int8),
    "Zero": lambda: pylops.Zero(3, 5),
    "Restriction": lambda: pylops.Restriction((3, 6), [0, 2, 5], axis=-1),
    "Regression": lambda: pylops.Regression(np.linspace(0, 1, 5), order=2),
    "LinearRegression": lambda: pylops.LinearRegression(np.linspace(0, 1, 5)),
    "FunctionOperator": lambda: pylops.FunctionOperator(double, double, 4),
    "MemoizeOperator": lambda: pylops.MemoizeOperator(pylops.MatrixMult(MATRIX)),
    "Flip": lambda: pylops.Flip((3, 4), axis=0),
    "Roll": lambda: pylops.Roll((3, 4), axis=1, shift=-2),
    "Pad": lambda: pylops.Pad((2, 3), ((1, 0), (2, 1))),
    "Sum": lambda: pylops.Sum((3, 4, 2), axis=1),
    "Symmetrize": lambda: pylops.Symmetrize((3, 4), axis=0),
    "Spread": spread,
    "Transpose": lambda: pylops.Transpose((2, 3, 4), (2, 0, 1)),
    "Real": lambda: pylops.Real((2, 3), dtype=np.complex128),
    "Imag": lambda: pylops.Imag((2, 3), dtype=np.complex128),
    "Conj": lambda: pylops.Conj((2, 3), dtype=np.complex128),
    "Real of reals": lambda: pylops.Real(4),
    "Smoothing1D": lambda: pylops.Smoothing1D(3, (4, 6), axis=1),
    "Smoothing2D": lambda: pylops.Smoothing2D((3, 3), (4, 6)),
    "SmoothingND": lambda: pylops.SmoothingND((3, 3, 3), (3, 4, 3), axes=(0, 1, 2)),
    "CausalIntegration": lambda: pylops.CausalIntegration((3, 5), sampling=0.5, kind="trapezoidal"),
    "FirstDerivative": lambda: pylops.FirstDerivative((3, 6), axis=1, order=5, edge=True),
    "FirstDerivative float32": lambda: pylops.FirstDerivative((3, 4), axis=0, dtype=np.float32),
    "FirstDerivative complex": lambda: first(5, dtype=np.complex64),
    "SecondDerivative": lambda: pylops.SecondDerivative((5, 3), axis=0, edge=True),
    "Laplacian": lambda: pylops.Laplacian((4, 5), weights=(1, 2), edge=False),
    "Gradient": lambda: pylops.Gradient((3, 4), kind="forward"),
    "FirstDirectionalDerivative": lambda: pylops.FirstDirectionalDerivative((3, 4), np.array([0.6, 0.8])),
    "SecondDirectionalDerivative": lambda: pylops.SecondDirectionalDerivative((3, 4), np.array([0.6, 0.8])),
    # combinations
    "VStack": lambda: pylops.VStack([first(), pylops.Identity(4)]),
    "HStack": lambda: pylops.HStack([first(), 2 * pylops.Identity(4)]),
    "Block": lambda: pylops.Block([[first(), pylops.Identity(4)], [pylops.Zero(4), first()]]),
    "BlockDiag": lambda: pylops.BlockDiag([first(3, dtype=np.complex128), pylops.MatrixMult(COMPLEX, dtype=np.complex128)]),
    "VStack of real FFTs": lambda: pylops.VStack([sp.FFT(6, real=True), 2 * sp.FFT(6, real=True)]),
    "Kronecker": lambda: pylops.Kronecker(first(3), pylops.MatrixMult(MATRIX)),
    "product": lambda: pylops.Restriction(4, [1, 3]) @ first(),
    "sum, scaled": lambda: 2 * first() - pylops.Identity(4),
    "complex multiple": lambda: 2j * pylops.MatrixMult(COMPLEX, dtype=np.complex128),
    "adjoint": lambda: pylops.MatrixMult(COMPLEX, dtype=np.complex128).H,
    "transpose": lambda: pylops.MatrixMult(COMPLEX, dtype=np.complex128).T,
    "conjugate": lambda: pylops.MatrixMult(COMPLEX, dtype=np.complex128).conj(),
    "power": lambda: first() ** 2,
    # signal processing
    "FFT": lambda: sp.FFT((3, 6), axis=1, dtype=np.complex128),
    "FFT of reals": lambda: sp.FFT(6, dtype=np.float64),
    "FFT real": lambda: sp.FFT((5, 3), axis=0, nfft=8, real=True),
    "FFT real float32": lambda: sp.FFT(6, real=True, dtype=np.float32, engine="scipy"),
    "FFT shifted": lambda: sp.FFT(7, ifftshift_before=True, fftshift_after=True, norm="1/n", dtype=np.complex128),
    "FFT2D": lambda: sp.FFT2D((3, 4), dtype=np.complex128),
    "FFT2D real": lambda: sp.FFT2D((3, 5), nffts=(4, 6), real=True),
    "FFTND": lambda: sp.FFTND((2, 3, 4), dtype=np.complex128),
    "FFTND real": lambda: sp.FFTND((2, 3, 4), real=True),
    "DCT": lambda: sp.DCT((3, 4), type=3),
    "Shift": lambda: sp.Shift((3, 8), 1.5, axis=1, real=True),
    "Convolve1D": lambda: sp.Convolve1D((3, 6), np.array([1.0, -2.0, 0.5]), offset=1),
    "Convolve1D complex": lambda: sp.Convolve1D(6, COMPLEX[0], offset=1, dtype=np.complex128),
    "Convolve2D": lambda: sp.Convolve2D((4, 5), MATRIX[:3], offset=(1, 1)),
    "ConvolveND": lambda: sp.ConvolveND((3, 4, 3), normal((3, 3, 3), seed=3), offset=(1, 1, 1)),
    "NonStationaryConvolve1D": lambda: sp.NonStationaryConvolve1D(8, normal((2, 3), seed=4), ih=(2, 5)),
    "NonStationaryConvolve2D": lambda: sp.NonStationaryConvolve2D(
        (6, 6), normal((2, 2, 3, 3), seed=5), ihx=(1, 4), ihz=(1, 4)
    ),
    "NonStationaryConvolve3D": lambda: sp.NonStationaryConvolve3D(
        (5, 5, 5), normal((2, 2, 2, 3, 3, 3), seed=5), ihx=(1, 3), ihy=(1, 3), ihz=(1, 3)
    ),
    "NonStationaryFilters1D": lambda: sp.NonStationaryFilters1D(normal((8,), seed=6), 3, ih=(2, 5)),
    "NonStationaryFilters2D": lambda: sp.NonStationaryFilters2D(
        normal((6, 6), seed=6), hshape=(3, 3), ihx=(1, 4), ihz=(1, 4)
    ),
    "Bilinear": lambda: sp.Bilinear(np.array([[0.5, 1.2, 2.9], [0.1, 2.2, 3.5]]), (5, 5)),
    "Interp": lambda: sp.Interp((6, 2), np.array([0.3, 2.5, 4.1]), axis=0)[0],
    "Interp sinc": lambda: sp.Interp(6, np.array([0.3, 2.5, 4.1]), kind="sinc")[0],
    "Interp cubic": lambda: sp.Interp(6, np.array([0.3, 2.5, 4.1]), kind="cubic_spline")[0],
    "Radon2D": lambda: sp.Radon2D(TIMES, OFFSETS, np.linspace(-1, 1, 3), kind="linear", engine="numpy"),
    "Radon3D": lambda: sp.Radon3D(TIMES, OFFSETS, OFFSETS, *[np.linspace(-1, 1, 2)] * 2, engine="numpy"),
    "ChirpRadon2D": lambda: sp.ChirpRadon2D(TIMES, OFFSETS, 1e-3),
    "ChirpRadon3D": lambda: sp.ChirpRadon3D(TIMES, OFFSETS, OFFSETS, (1e-3, 1e-3)),
    "Sliding1D": lambda: sp.Sliding1D(first(4), 12, 12, 4, 0),
    "Sliding2D": lambda: sp.Sliding2D(pylops.Identity(12), (12, 3), (12, 3), 4, 0),
    "Patch2D": lambda: sp.Patch2D(pylops.Identity(6), (4, 9), (4, 9), (2, 3), (0, 0), (2, 3)),
    "Patch3D": lambda: sp.Patch3D(pylops.Identity(8), (4, 4, 4), (4, 4, 4), (2, 2, 2), (0, 0, 0), (2, 2, 2)),
    "Fredholm1": lambda: sp.Fredholm1(normal((2, 3, 4), seed=7), nz=2),
    "Fredholm1 complex": lambda: sp.Fredholm1(normal((2, 3, 4), np.complex128, 7), usematmul=False, dtype=np.complex128),
    "Seislet": lambda: sp.Seislet(0.1 * normal((4, 8), seed=8), sampling=(1.0, 1.0)),
    "PWSprayer2D": lambda: sp.PWSprayer2D((4, 5), 0.1 * normal((4, 5), seed=9), radius=2),
    "PWSmoother2D": lambda: sp.PWSmoother2D((4, 5), 0.1 * normal((4, 5), seed=9), radius=2),
    # applications
    "AVOLinearModelling": lambda: pylops.avo.avo.AVOLinearModelling(np.array([0.0, 10.0, 20.0]), nt0=4),
    "PoststackLinearModelling": lambda: pylops.PoststackLinearModelling(WAVELET, 8, spatdims=2),
    "PrestackLinearModelling": lambda: pylops.PrestackLinearModelling(WAVELET, np.array([0.0, 15.0]), nt0=8),
    "MDC": lambda: we.MDC(normal((3, 2, 4), np.complex128, 11), nt=5, nv=2),
    "PhaseShift": lambda: we.PhaseShift(1.5, 2.0, 6, np.fft.rfftfreq(6), np.fft.fftfreq(5)),
    "BlendingContinuous": lambda: we.BlendingContinuous(6, 2, 3, 1.0, np.array([0.0, 2.5, 7.0])),
    "BlendingGroup": lambda: we.BlendingGroup(6, 2, 4, 1.0, np.array([[0.0, 1.5], [0.5, 2.0]]), 2, 2),
    "BlendingHalf": lambda: we.BlendingHalf(6, 2, 4, 1.0, np.array([[0.0, 1.5], [0.5, 2.0]]), 2, 2),
    "MRI2D": lambda: pylops.medical.MRI2D((4, 6), mask=np.arange(24).reshape(4, 6) % 3 == 0),
}  # fmt: skip

CLASSES = {name.split(" ")[0] for name in OPERATORS}


@functools.cache
def operator(name):
    return OPERATORS[name]()
