"""Convolutions against SciPy and PyLops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pylops
import pytest
import scipy.signal
from helpers import close, energy, normal, stack

from linops_jax.ops._convolution import Convolution

MODES = {"zero": "same", "valid": "valid", "full": "full"}


def as_jax(tree):
    return jax.tree.map(jnp.asarray, tree)


@pytest.mark.parametrize("method", ["direct", "fft"])
@pytest.mark.parametrize(
    ("kernel_dtype", "dtype"), [(np.float32, np.float32), (np.float64, np.complex128), (np.complex64, np.float32)]
)
def test_boundaries_are_the_modes_of_scipy(kernel_dtype, dtype, method, x64):
    """And the adjoint is the correlation of NumPy's convention, with the conjugate."""
    x = normal((7, 6), dtype, 1)
    kernels = [normal(shape, kernel_dtype, 2) for shape in [(3, 3), (2, 4), (7, 1)]]
    cases = list(itertools.product(kernels, MODES))
    ys = [scipy.signal.convolve(x, h, MODES[boundary], "direct") for h, boundary in cases]
    found = jax.jit(
        lambda x, ys: [
            (A(x), A.with_domain(x).H(y))
            for (h, boundary), y in zip(cases, ys, strict=True)
            for A in [Convolution(h, boundary=boundary, method=method)]
        ]
    )(x, ys)
    part = (lambda z: z) if np.iscomplexobj(x) else np.real
    expected = []
    for (h, boundary), y in zip(cases, ys, strict=True):
        full = scipy.signal.correlate(y, h, "full", "direct")
        starts = {"zero": [k // 2 for k in h.shape], "valid": (0, 0), "full": [k - 1 for k in h.shape]}[boundary]
        adjoint = full[tuple(slice(start, start + n) for start, n in zip(starts, x.shape, strict=True))]
        expected.append((y, part(adjoint)))
    close(found, as_jax(expected))


@pytest.mark.parametrize("method", ["direct", "fft"])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_offsets_are_those_of_pylops(method, dtype, x64):
    shape, h = (5, 6, 4), normal((3, 4), dtype, 1)
    x, y = normal(shape, dtype, 2), normal(shape, dtype, 3)
    offsets = [(0, 0), (2, 1), (1, 3)]
    found = jax.jit(
        lambda x, y: [
            (A(x), A.H(y))
            for offset in offsets
            for A in [Convolution(h, (-1, 0), offset, method=method), Convolution(h[0], 1, offset[1], method=method)]
        ]
    )(x, y)
    expected = []
    for offset in offsets:
        # Not Convolve1D, whose adjoint has an error for complex kernels.
        theirs = lambda h, offset, axes: pylops.signalprocessing.ConvolveND(  # noqa: E731
            shape, h, offset, axes=axes, method="direct", dtype=dtype
        )
        pair = theirs(h.T, offset[::-1], (0, 2)), theirs(h[0], offset[1:], (1,))
        expected += [(P.matvec(x.ravel()).reshape(shape), P.rmatvec(y.ravel()).reshape(shape)) for P in pair]
    close(found, jax.tree.map(lambda values: jnp.asarray(values.astype(dtype)), expected))


@pytest.mark.parametrize("method", ["direct", "fft"])
def test_periodic_is_a_sum_of_rolls_also_for_long_kernels(method):
    x, y = normal((5, 4), np.complex64, 1), normal((5, 4), np.complex64, 2)
    for shape, (c, d) in [((3, 2), (1, 0)), ((12, 9), (3, 7)), ((1, 4), (0, 3)), ((5, 1), (4, 0))]:
        h = normal(shape, np.complex64, 3)
        A = Convolution(h, offset=(c, d), boundary="periodic", method=method)
        entries = list(np.ndenumerate(h))
        close(A(x), jnp.asarray(sum(v * np.roll(x, (i - c, j - d), (0, 1)) for (i, j), v in entries)))
        close(A.H(y), jnp.asarray(sum(v.conj() * np.roll(y, (c - i, d - j), (0, 1)) for (i, j), v in entries)))


def test_kernels_longer_than_the_array():
    x, h = normal((4,), np.float32, 1), normal((40,), np.float32, 2)
    full = np.convolve(x, h)
    for method in ("direct", "fft"):
        close(Convolution(h, method=method)(x), jnp.asarray(full[19:23]))
        close(Convolution(h, boundary="full", method=method)(x), jnp.asarray(full))
        close(Convolution(h, boundary="full", method=method).H(full), jnp.asarray(np.correlate(full, h, "valid")))


@pytest.mark.parametrize("boundary", ["periodic", "full"])
def test_derivatives_in_the_kernel(boundary):
    """A twin of plain JAX, where the kernel has enough entries for several groups."""
    x, h = jnp.asarray(normal((6, 7), np.complex64, 1)), jnp.asarray(normal((4, 5), np.complex64, 2))

    def twin(h, x):
        if boundary == "periodic":
            rolled = jnp.stack([jnp.roll(x, (i - 1, j - 2), (0, 1)) for i in range(4) for j in range(5)])
            return jnp.tensordot(h.ravel(), rolled, 1)
        return jax.scipy.signal.convolve(x, h, MODES[boundary], precision="highest")

    def everything(f, h, x):
        gradients = jax.grad(lambda h, x: energy(f(h, x)), (0, 1))(h, x)
        tangents = jax.jvp(lambda h: f(h, x), (h,), (1j * h + 2,))
        return gradients, tangents, jax.vmap(lambda h: f(h, x))(stack([h, 2 * h]))

    expected = jax.jit(lambda h, x: everything(twin, h, x))(h, x)
    for method in ("direct", "fft"):
        ours = lambda h, x, m=method: Convolution(h, boundary=boundary, method=m)(x)  # noqa: E731
        close(jax.jit(lambda h, x, f=ours: everything(f, h, x))(h, x), expected)


def test_the_method_and_other_dtypes():
    """Small kernels are added, large ones multiplied; half precision and integers give floats."""
    x = jnp.ones((4, 40))
    has_fft = lambda size: "fft" in str(jax.make_jaxpr(Convolution(jnp.ones(size), axes=-1))(x))  # noqa: E731
    assert (has_fft(128), has_fft(129)) == (False, True)
    for method in ("direct", "fft"):
        A = Convolution(jnp.array([1, 2]), method=method)
        close(A(jnp.array([1, 0, 3])), jnp.array([1.0, 2.0, 3.0]))
        half = Convolution(jnp.array([1, 2], jnp.bfloat16), boundary="full", method=method)(jnp.ones(2, jnp.bfloat16))
        close(half, jnp.array([1, 3, 2], jnp.bfloat16))
        assert Convolution(jnp.ones(3), method=method)(jnp.ones(0)).shape == (0,)
        assert Convolution(jnp.ones(3), boundary="full", method=method)(jnp.ones(0)).shape == (2,)


@pytest.mark.parametrize("method", ["direct", "fft"])
def test_four_axes(method):
    x, h = normal((2, 3, 2, 4), np.float32, 1), normal((2, 2, 1, 3), np.float32, 2)
    close(Convolution(h, method=method)(x), jnp.asarray(scipy.signal.convolve(x, h, "same", "direct")))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: Convolution(np.ones((2, 0))),
            ValueError,
            r"Convolution\.kernel has shape \(2, 0\); expected at least one",
        ),
        (
            lambda: Convolution(np.float32(1)),
            ValueError,
            r"Convolution\.kernel has shape \(\); expected at least one axis",
        ),
        (
            lambda: Convolution(np.ones((2, 2)), axes=0),
            ValueError,
            r"Convolution\.kernel has shape \(2, 2\); expected 1 axis",
        ),
        (
            lambda: Convolution(np.ones(3), offset=3),
            ValueError,
            r"Convolution\.offset \(3,\) is not an index of the kernel",
        ),
        (
            lambda: Convolution(np.ones(3), offset=(0, 1)),
            ValueError,
            r"Convolution\.offset is \(0, 1\); expected one value",
        ),
        (
            lambda: Convolution(np.ones(3), offset=-1),
            ValueError,
            r"Convolution\.offset is -1; expected an integer from 0",
        ),
        (lambda: Convolution(np.ones(3), offset=0.5), TypeError, r"Convolution\.offset is 0\.5; expected an integer"),
        (
            lambda: Convolution(np.ones(3), offset=1, boundary="full"),
            ValueError,
            r"Convolution\.offset is \(1,\), but there is none for boundary='full'",
        ),
        (
            lambda: Convolution(np.ones(3), boundary="same"),
            ValueError,
            r"boundary is 'same'; expected one of 'zero', 'peri",
        ),
        (
            lambda: Convolution(np.ones(3), method="FFT"),
            ValueError,
            r"method is 'FFT'; expected one of 'auto', 'direct'",
        ),
        (lambda: Convolution([Convolution([1.0])]), TypeError, r"Convolution\.kernel expects an array"),
        (
            lambda: Convolution(np.ones(3))(np.ones((4, 4))),
            ValueError,
            r"kernel of shape \(3,\) has not one axis for each of the input's, whose shape is \(4, 4\)\. Say along",
        ),
        (
            lambda: Convolution(np.ones(3), 2)(np.ones((4, 4))),
            ValueError,
            r"Convolution\.axes \(2,\) are not distinct axes",
        ),
        (
            lambda: Convolution(np.ones(3), boundary="valid")(np.ones(2)),
            ValueError,
            r"Convolution\.kernel has shape \(3,\), which does not fit into an input of shape \(2,\)",
        ),
        (
            lambda: Convolution(np.ones(3), boundary="full").H(np.ones(1)),
            ValueError,
            r"Convolution\.H takes full convolutions with a kernel of shape \(3,\), found an array of shape \(1,\)",
        ),
        (lambda: Convolution(np.ones(3))((np.ones(3),)), TypeError, r"Convolution takes one array, found tuple"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
