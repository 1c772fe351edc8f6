"""Wavelet against PyWavelets."""

import contextlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, energy, normal

import linops_jax as lo
from linops_jax.ops._wavelet import Wavelet, _is_orthogonal

pywt = pytest.importorskip("pywt")


def coefficients(x, wavelet, level, axes):
    """In one array, by PyWavelets."""
    is_deep = level > pywt.dwtn_max_level(x.shape, wavelet, axes)
    with pytest.warns(UserWarning, match="too high") if is_deep else contextlib.nullcontext():
        parts = pywt.wavedecn(x, wavelet, mode="periodization", level=level, axes=axes)
    return jnp.asarray(pywt.coeffs_to_array(parts, axes=axes)[0])


@pytest.mark.parametrize(
    ("shape", "wavelet", "level", "axes"),
    [
        ((4, 6), "haar", 1, None),
        ((40, 24), "db4", 2, None),
        ((3, 36, 2), "sym5", 2, -2),
        ((8, 3, 4), "bior4.4", 2, (0, -1)),
        ((8,), "db20", 3, 0),  # the filter is longer than the array
        ((104,), "coif17", 1, 0),
        ((64, 2), "dmey", 1, 0),
    ],
)
def test_coefficients_are_those_of_pywavelets(shape, wavelet, level, axes, x64):
    x = normal((2, *shape), complex)
    op = Wavelet(shape, wavelet, level, axes)
    along = range(len(shape)) if axes is None else tuple(np.atleast_1d(axes))
    expected = jnp.stack([coefficients(part, wavelet, level, along) for part in x])
    close(jax.jit(op.__call__)(x), expected)
    if wavelet == "dmey":
        with pytest.raises(ValueError, match=r"Wavelet\.wavelet is 'dmey', whose filters have no exact inverse"):
            op.inv(expected)
    else:
        close(jax.jit(op.inv.__call__)(expected), jnp.asarray(x), scale=1000 if wavelet in ("sym5", "bior4.4") else 1)


@pytest.mark.parametrize("wavelet", ["haar", "db2", "bior2.2"])
def test_other_lengths_are_padded_with_zeros(wavelet, x64):
    x = normal((2, 5, 7))
    op = Wavelet((5, 7), wavelet, level=2)
    padded = np.pad(x, [(0, 0), (0, 3), (0, 1)])
    close(op(x), Wavelet((8, 8), wavelet, level=2)(padded))
    close(op.H(op(x)), op.gram(x))
    assert jnp.allclose(op.gram(x), x) == (wavelet != "bior2.2")
    close(op.inv(op(x)), jnp.asarray(x))


def test_which_wavelets_are_orthogonal():
    for name in pywt.wavelist(kind="discrete"):
        assert (
            not _is_orthogonal(name) or pywt.Wavelet(name).orthogonal or name in ("bior1.1", "rbio1.1")
        )  # which are haar
    assert all(map(_is_orthogonal, ["haar", "db1", "db2", "db38", "coif1", "coif17"]))
    assert not any(map(_is_orthogonal, ["dmey", "sym4", "bior1.3", "rbio3.1"]))
    assert Wavelet(8, "db2", 1).properties.unitary
    assert not Wavelet(7, "db2", 1).properties.unitary


@pytest.mark.parametrize(("shape", "wavelet"), [((512, 200), "db4"), (13, "haar"), ((3, 4), "db2"), (64, "bior4.4")])
def test_the_default_level_is_that_of_pywavelets(shape, wavelet):
    assert Wavelet(shape, wavelet).level == pywt.dwtn_max_level(np.atleast_1d(shape), wavelet)


def test_wavelets_under_transformations():
    op, x = Wavelet((6,), "bior2.2", level=1), normal((3, 6), np.float32)
    matrix = lo.todense(op, S((6,), jnp.float32))
    gradients = jax.jit(jax.vmap(jax.grad(lambda x: energy(op(x)))))(x)
    close(gradients, jax.vmap(jax.grad(lambda x: energy(matrix @ x)))(x))
    dual = jnp.linalg.inv(matrix)
    close(lo.todense(op.inv, S((6,), jnp.float32)), dual)
    close(lo.todense(op.inv.H, S((6,), jnp.float32)), dual.T)
    for dtype in (jnp.bfloat16, jnp.int32):
        assert op.H(op(jnp.ones(6, dtype))).dtype == (jnp.float32 if dtype == jnp.int32 else dtype)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Wavelet(8, "db99"), r"Wavelet\.wavelet is 'db99'; expected the name of a discrete wavelet"),
        (lambda: Wavelet(8, "morl"), r"Wavelet\.wavelet is 'morl'; .*pywt\.wavelist"),
        (lambda: Wavelet(8, level=-1), r"Wavelet\.level is -1; expected an integer from 0"),
        (lambda: Wavelet((8, 3), level=3), r"Wavelet\.level is 3; axes of sizes \(8, 3\) can be split 2 times"),
        (lambda: Wavelet((8, 3), axes=2), r"Wavelet\.axes \(2,\) are not distinct axes"),
        (
            lambda: Wavelet(8)(np.ones(7)),
            r"Wavelet takes an array whose last axes have the sizes \(8,\), found shape \(7,\)",
        ),
        (lambda: Wavelet(7, level=1).H(np.ones(7)), r"Wavelet\.H takes an array .* \(8,\), found shape \(7,\)"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_pywavelets(monkeypatch):
    monkeypatch.setitem(sys.modules, "pywt", None)
    with pytest.raises(ImportError, match=r"lo\.ops\.Wavelet needs PyWavelets.*linops-jax\[wavelets\]"):
        Wavelet(8)
