"""RFFT, Hartley, DCT, DST and Shift against NumPy, SciPy, ducc0 and sums that are written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from helpers import S, close, energy, normal

import linops_jax as lo
from linops_jax.ops import _trigonometric
from linops_jax.ops._cosine import DCT, DST
from linops_jax.ops._real_fft import RFFT, Hartley
from linops_jax.ops._shift import Shift

NORMS = ("ortho", "backward", "forward")


def evaluated(*pairs):
    """Operators applied to arrays, in one program."""
    return jax.jit(lambda arrays: [op(x) for (op, _), x in zip(pairs, arrays, strict=True)])([x for _, x in pairs])


# ---- RFFT -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_rfft_is_that_of_numpy_and_its_adjoint_a_sum_over_the_bins(n, x64):
    x, y, bins = normal((2, n, 3)), normal((2, n // 2 + 1, 3), complex, 1), np.arange(n // 2 + 1)
    ops = [RFFT(-2, norm) for norm in NORMS]
    close(evaluated(*((op, x) for op in ops)), [jnp.asarray(np.fft.rfft(x, axis=1, norm=norm)) for norm in NORMS])
    waves = np.exp(2j * np.pi * np.outer(bins, np.arange(n)) / n)
    adjoint = jnp.asarray(np.einsum("bkc,kn->bnc", y, waves).real)
    expected = [adjoint / n**0.5, adjoint, adjoint / n]
    close(evaluated(*((op.with_domain(x).H, y) for op in ops)), expected)
    close(evaluated(*((lambda y, op=op: jax.vjp(op, x)[1](y)[0], y.conj()) for op in ops)), expected)


def test_rfft_of_other_types():
    assert {
        dtype: RFFT()(jnp.ones(4, dtype)).dtype for dtype in ("float32", "bfloat16", "int32", "bool")
    } == dict.fromkeys(("float32", "bfloat16", "int32", "bool"), jnp.dtype("complex64"))
    assert RFFT().with_domain(S((5,), jnp.bfloat16)).H(jnp.ones(3)).dtype == jnp.bfloat16


# ---- Hartley --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [None, -1, (0, -2)], ids=str)
def test_hartley_is_that_of_ducc0(axes, x64):
    fft = pytest.importorskip("ducc0").fft
    x = normal((3, 4, 5))
    along = axes if axes is None else [axis % 3 for axis in np.atleast_1d(axes)]
    oracles = {"genuine": fft.genuine_fht, "separable": fft.separable_fht}
    cases = [(norm, kind) for norm in enumerate(("backward", "ortho", "forward")) for kind in oracles]
    ops = [Hartley(axes, kind, norm) for (_, norm), kind in cases]
    expected = [jnp.asarray(oracles[kind](x, axes=along, inorm=inorm)) for (inorm, _), kind in cases]
    close(evaluated(*((op, x) for op in ops)), expected)
    close(evaluated(*((op.H, x - 2j * x) for op in ops)), [y - 2j * y for y in expected])


def test_hartley_is_its_own_inverse():
    x = normal((4, 5), np.float32)
    close(Hartley()(Hartley()(x)), jnp.asarray(x))
    assert Hartley().properties == lo.Properties(symmetric=True, unitary=True)
    assert Hartley(norm="backward").properties == lo.Properties(symmetric=True)


# ---- DCT and DST ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", [1, 2, 3, 4])
@pytest.mark.parametrize("cls", [DCT, DST])
def test_cosine_and_sine_transforms_are_those_of_scipy(cls, type, x64):
    oracle = scipy.fft.dctn if cls is DCT else scipy.fft.dstn
    arrays = ((normal((4, 5)), None), (normal((3, 2, 5), complex), (0, -1)), (normal((2, 3), np.float32), -2))
    cases = [(x, axes, norm) for x, axes in arrays for norm in NORMS]
    expected = [
        oracle(x, type, axes=None if axes is None else np.atleast_1d(axes), norm=norm) for x, axes, norm in cases
    ]
    close(evaluated(*((cls(type, axes, norm), x) for x, axes, norm in cases)), list(map(jnp.asarray, expected)))
    ops, y = [cls(type, norm=norm) for norm in NORMS], normal((5,), complex)
    matrices = [oracle(np.eye(5), type, axes=0, norm=norm) for norm in NORMS]
    close(evaluated(*((op.H, y) for op in ops)), [jnp.asarray(a.T @ y) for a in matrices])
    for op, a in zip(ops, matrices, strict=True):
        assert op.properties.symmetric == np.allclose(a, a.T)
        assert op.properties.unitary == np.allclose(a @ a.T, np.eye(5))


@pytest.mark.parametrize("kind", ["dct", "dst"])
def test_the_code_for_other_devices_is_that_of_scipy(kind, x64):
    ops = [_trigonometric.Orthogonal(kind, type, (-2, -1)) for type in (1, 2, 3, 4)]
    for n in (2, 3, 8):
        x = normal((3, n), complex)
        found = evaluated(*((lambda x, op=op: _trigonometric.by_fft(op, x), x) for op in ops))
        oracle = scipy.fft.dctn if kind == "dct" else scipy.fft.dstn
        close(found, [jnp.asarray(oracle(x, op.type, norm="ortho")) for op in ops])


def test_cosine_transforms_under_transformations():
    x = normal((3, 4), np.float32)
    for op in (DCT(), DCT(2, 0, "backward")):
        matrix = scipy.fft.dctn(np.eye(12).reshape(12, 3, 4), 2, axes=(1, 2) if op.axes is None else 1, norm=op.norm)
        twin = jnp.asarray(matrix.reshape(12, 12).T, jnp.float32)
        gradient = jax.jit(jax.vmap(jax.grad(lambda v: energy(op(v.reshape(3, 4)).ravel()))))  # noqa: B023
        xs = jnp.stack([x.ravel(), 2 * x.ravel()])
        close(gradient(xs), jax.vmap(jax.grad(lambda v: energy(twin @ v)))(xs))  # noqa: B023


def test_types_of_real_transforms():
    for dtype in (jnp.float32, jnp.bfloat16, jnp.complex64, jnp.int32):
        expected = jnp.float32 if dtype == jnp.int32 else dtype
        x = jnp.ones(4, dtype)
        for op in (DCT(), DST(1, norm="forward"), Hartley(), Shift(0.5)):
            assert op(x).dtype == expected
            assert op.H(op(x)).dtype == expected


# ---- Shift ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5, 6])
def test_shift_delays_every_wave(n, x64):
    """Real waves below the Nyquist frequency are moved; the Nyquist wave of an even length is multiplied by cos(π d)."""
    t, waves, shifts = np.arange(n), range((n + 1) // 2), (0.3, -2.7, 5.0)
    x = np.stack([np.cos(2 * np.pi * k * t / n + k) for k in waves] + [np.cos(np.pi * t)] * (n % 2 == 0))

    def moved(d):
        end = [np.cos(np.pi * d) * np.cos(np.pi * t)] * (n % 2 == 0)
        return jnp.asarray(np.stack([np.cos(2 * np.pi * k * (t - d) / n + k) for k in waves] + end))

    close(evaluated(*((Shift(d), x) for d in shifts)), [moved(d) for d in shifts])
    close(evaluated(*((Shift(d).H, x) for d in shifts)), [moved(-d) for d in shifts])
    close(evaluated(*((Shift(d, 0), (1 + 2j) * x.T) for d in shifts)), [(1 + 2j) * moved(d).T for d in shifts])


def test_shift_by_whole_samples_is_a_roll_also_by_many_of_a_long_array():
    x = normal((5000,), np.float32)
    for d in (1, -3, 123_456.0):
        close(Shift(d)(x), jnp.asarray(np.roll(x, int(d))))
    d = 1234.375
    lost = np.exp(-2j * np.pi * np.fft.rfftfreq(5000) * d)
    close(Shift(d)(x), jnp.asarray(np.fft.irfft(lost * np.fft.rfft(x.astype(float)), 5000).astype(np.float32)))


def test_shift_is_that_of_pylops(x64):
    pylops = pytest.importorskip("pylops")
    x = normal((3, 7))
    oracle = pylops.signalprocessing.Shift((3, 7), 1.4, axis=1, real=True)
    close(Shift(1.4)(x), jnp.asarray(oracle @ x))
    close(Shift(1.4).H(x), jnp.asarray(oracle.H @ x))


@pytest.mark.parametrize("dtype", [float, complex])
def test_derivatives_in_the_shift(dtype, x64):
    x, h = normal((2, 6), dtype), 1e-4
    losses = (lambda d: energy(Shift(d)(x))), (lambda d: energy(Shift(d).H(x)))
    for loss in losses:
        for d in (0.3, 2.0):
            np.testing.assert_allclose(jax.grad(loss)(d), (loss(d + h) - loss(d - h)) / (2 * h), rtol=1e-6, atol=1e-6)
    ds = jnp.array([0.5, 1.5])
    close(jax.vmap(lambda d: Shift(d)(x))(ds), jnp.stack([Shift(d)(x) for d in ds]))


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: RFFT()(np.ones(3, complex)), TypeError, r"RFFT takes a real array, found complex\d+\. lo\.FFT"),
        (lambda: RFFT(norm="unit"), ValueError, r"RFFT\.norm is 'unit'; expected one of 'ortho'"),
        (lambda: RFFT(1)(np.ones(3)), ValueError, r"RFFT\.axis 1 is not an axis of .*\(3,\)"),
        (lambda: RFFT()(np.ones((2, 0))), ValueError, r"RFFT needs at least 1 samples .*\(2, 0\)"),
        (lambda: RFFT().H(np.ones(3)), TypeError, r"RFFT.* needs .*with_domain"),
        (lambda: Hartley(kind="old"), ValueError, r"Hartley\.kind is 'old'; expected one of 'genuine', 'separable'"),
        (lambda: Hartley((0, -1))(np.ones(3)), ValueError, r"Hartley\.axes \(0, -1\) are not distinct axes"),
        (lambda: DCT(5), ValueError, r"DCT\.type is 5; expected one of 1, 2, 3, 4"),
        (lambda: DST(norm=None), ValueError, r"DST\.norm is None; expected one of 'ortho', 'backward', 'forward'"),
        (lambda: DST(axes=2)(np.ones(3)), ValueError, r"DST\.axes \(2,\) are not distinct axes"),
        (lambda: DCT(1)(np.ones((3, 1))), ValueError, r"DCT needs at least 2 samples along the axes .*\(3, 1\)"),
        (lambda: Shift([1.0, 2.0]), ValueError, r"Shift\.shift is float32 of shape \(2,\); expected one real number"),
        (lambda: Shift(np.complex64(1)), ValueError, r"Shift\.shift is complex64 .*; expected one real number"),
        (lambda: Shift(1, axis=0.5), TypeError, r"Shift\.axis is 0\.5; expected an integer"),
        (lambda: Shift(1)(np.ones((2, 0))), ValueError, r"Shift needs at least 1 samples .*\(2, 0\)"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
