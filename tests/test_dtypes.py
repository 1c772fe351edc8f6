"""Every dtype, every rank, x64 on and off; what a hook may return, and what is refused."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from helpers import S, close, is_complex, is_inexact, like, normal
from jax.dtypes import canonicalize_dtype
from operators import Dense, HalfSpectrum

import linops_jax as lo

pytestmark = [pytest.mark.versions, pytest.mark.route]

DTYPES = [np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
DTYPES += [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.complex64, np.complex128]
SHAPES = [(), (1,), (5,), (0,), (2, 0, 3), (2, 3), (2, 1, 2, 3, 2)]
by_name = lambda value: getattr(value, "__name__", str(value))  # noqa: E731


class Flip(lo.LinearOperator):
    def apply(self, x):
        return np.flip(x)

    def adjoint(self, y):
        return np.flip(y)

    def infer_shape(self, x):
        return x


class FlipInPlace(Flip):
    def apply(self, x, *, out):
        assert (out.shape, out.dtype) == (x.shape, x.dtype)
        out[...] = np.flip(x)


class Returns(lo.LinearOperator):
    """Returns ``value`` as ``dtype`` (of the shape ``shape``), promises ``promise``."""

    dtype: np.dtype = lo.static()
    promise: np.dtype = lo.static()
    shape: tuple = lo.static(default=(2, 3))
    promised_shape: tuple = lo.static(default=(2, 3))

    def apply(self, x):
        return np.ones(self.shape, self.dtype)

    def adjoint(self, y):
        return np.ones(self.shape, self.dtype)

    def infer_shape(self, x):
        return S(self.promised_shape, self.promise)


def values(shape, dtype, seed=0):
    """Of a kind that no other dtype could carry."""
    if dtype is np.bool_:
        return normal(shape, np.int64, seed) > 0
    if not jnp.issubdtype(dtype, np.inexact):
        info = np.iinfo(canonicalize_dtype(dtype))
        return (info.max - normal(shape, np.int64, seed).astype(dtype)).astype(dtype)
    return normal(shape, dtype, seed)


@pytest.mark.parametrize("op", [Flip(), FlipInPlace()], ids=["returned", "filled"])
@pytest.mark.parametrize("dtype", DTYPES, ids=by_name)
def test_every_dtype(dtype, op):
    for shape in SHAPES:
        x = values(shape, dtype)
        y = op(x)
        assert (y.shape, y.dtype, y.weak_type) == (shape, canonicalize_dtype(dtype), False)
        np.testing.assert_array_equal(y, np.flip(x.astype(y.dtype)))
    xs = values((4, 2, 3), dtype, 1)
    np.testing.assert_array_equal(
        jax.jit(jax.vmap(op, -1))(xs), np.flip(np.moveaxis(xs, -1, 0), (1, 2)).astype(y.dtype)
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=by_name)
def test_every_dtype_in_64_bits(dtype, x64):
    x = values((2, 3), dtype)
    for op in (Flip(), FlipInPlace()):
        y = op(x)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, np.flip(x))


@pytest.mark.parametrize("dtype", [d for d in DTYPES if jnp.issubdtype(d, np.inexact)], ids=by_name)
@pytest.mark.parametrize("op", [Flip(), FlipInPlace()], ids=["returned", "filled"])
def test_derivatives_in_every_dtype(op, dtype, x64):
    for shape in [(), (0,), (2, 3)]:
        x, dx, y = (jnp.asarray(values(shape, dtype, seed)) for seed in range(3))
        close(jax.jvp(op, (x,), (dx,)), (jnp.flip(x), jnp.flip(dx)))
        close(jax.vjp(op, x)[1](y)[0], jnp.flip(y))
        close(jax.vmap(jax.grad(lambda x, y=y: jnp.sum(op(x) * y).real))(x[None]), jnp.flip(y)[None])


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2], ids=by_name)
def test_eight_bit_floats(dtype):
    x = np.arange(-3, 3).astype(dtype)
    np.testing.assert_array_equal(np.asarray(Flip()(jnp.asarray(x))), x[::-1])


@pytest.mark.parametrize("dtype", [ml_dtypes.int4, ml_dtypes.uint4], ids=by_name)
def test_four_bit_integers_are_refused(dtype):
    """XLA packs them two to a byte, which NumPy cannot view."""
    with pytest.raises((TypeError, NotImplementedError), match="int4") as caught:
        Flip()(jnp.asarray(np.arange(4).astype(dtype)))
    assert "Flip.apply" in str(caught.value) + "".join(getattr(caught.value, "__notes__", ()))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.complex64, np.float32], ids=by_name)
def test_dense_operators_of_every_precision(dtype):
    m, x, y = (normal(shape, dtype, 1) for shape in [(4, 3), (3,), (4,)])
    op, exact = Dense(m), lambda a: np.asarray(a).astype(np.complex128)
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(exact(op(x)), exact(m) @ exact(x), rtol=0, atol=30 * eps)
    np.testing.assert_allclose(exact(op.H(y)), exact(m).conj().T @ exact(y), rtol=0, atol=30 * eps)
    assert op(x).dtype == op.H(y).dtype == dtype


def test_mixed_dtypes_in_one_pytree():
    class Mixed(lo.NonlinearOperator):
        def apply(self, x):
            return {"count": np.sum(x["mask"]), "chosen": x["values"] * x["mask"], "half": x["half"][::-1]}

        def jacobian_apply(self, x, dx):
            return {"count": None, "chosen": dx["values"] * x["mask"], "half": dx["half"][::-1]}

        def jacobian_adjoint(self, x, dy):
            return {"mask": None, "values": dy["chosen"] * x["mask"], "half": dy["half"][::-1]}

        def infer_shape(self, x):
            return {"count": S((), np.int32), "chosen": x["values"], "half": x["half"]}

    def twin(x):
        return {"count": jnp.sum(x["mask"]), "chosen": x["values"] * x["mask"], "half": x["half"][::-1]}

    x = {
        "mask": jnp.array([True, False, True]),
        "values": jnp.array([1 + 2j, 3, 4], jnp.complex64),
        "half": jnp.array([1.5, 2.5], jnp.bfloat16),
    }
    close(Mixed()(x), twin(x))
    loss = lambda f: lambda x: jnp.sum(jnp.abs(f(x)["chosen"])) + f(x)["half"][0].astype(jnp.float32)  # noqa: E731
    close(jax.grad(loss(Mixed()), allow_int=True)(x), jax.grad(loss(twin), allow_int=True)(x))
    tangents = jax.tree.map(lambda v: v if is_inexact(v) else np.zeros(v.shape, jax.dtypes.float0), x)
    close(jax.jvp(Mixed(), (x,), (tangents,)), jax.jvp(twin, (x,), (tangents,)))
    batch = jax.tree.map(lambda v: jnp.stack([v, v[::-1]]), x)
    close(jax.vmap(Mixed())(batch), jax.vmap(twin)(batch))


# ---- empty and scalar -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "op",
    [
        lo.Function(lambda x: 2.0 * x, S((3,), np.int32)),
        2.0 * lo.Identity(),
        lo.Identity() / jnp.asarray(2),
        lo.vstack([1j * lo.Identity()]),
        lo.Affine(lo.Identity(), jnp.full(3, 2.0)),
        lo.Identity() / jnp.asarray(2) + lo.Diagonal(np.ones(3, np.float32)),
        (2.0 * lo.Identity()) ** 2 - lo.Function(lambda x: 2.0 * x, S((3,), np.int32)),
    ],
    ids=str,
)
def test_no_result_has_a_weak_type(op, x64):
    """It would give way to others: sums would be less precise than they promise."""
    x = jnp.arange(3, dtype=np.int32)
    promised = op.with_domain(x).codomain
    assert promised == jax.tree.map(lambda spec: S(spec.shape, spec.dtype), promised)
    for function in (op, jax.jit(op), op.with_domain(x)):
        assert jax.tree.map(jax.typeof, function(x)) == jax.tree.map(jax.typeof, jax.tree.map(jnp.zeros_like, promised))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_empty_matrices(shape):
    m, x, y = np.ones(shape), like(np.ones(shape[1]), 1), like(np.ones(shape[0]), 1)
    close(Dense(m)(x), jnp.zeros(shape[0]))
    close(Dense(m).H(y), jnp.zeros(shape[1]))
    close(jax.vjp(Dense(m), x)[1](y)[0], jnp.zeros(shape[1]))
    close(jax.jit(jax.vmap(Dense(m)))(jnp.ones((2, shape[1]))), jnp.zeros((2, shape[0])))


def test_scalars_in_and_out():
    class Total(lo.LinearOperator):
        """Returns a NumPy scalar; the adjoint takes a 0-d view."""

        size: int = lo.static()

        def apply(self, x):
            return x.sum()

        def adjoint(self, y):
            assert y.shape == ()
            return np.full(self.size, y)

        def infer_shape(self, x):
            return S((), x.dtype)

    x = like(np.zeros(3, complex), 1)
    close(Total(3)(x), jnp.sum(x))
    close(jax.vmap(jax.grad(lambda x: jnp.abs(Total(3)(x)) ** 2))(x[None]), jnp.full((1, 3), 2 * jnp.sum(x).conj()))
    assert float(Flip()(2.5)) == 2.5
    assert Flip()(3).dtype == jnp.int32
    assert Flip()(np.float32(3)).weak_type is False


# ---- x64 ------------------------------------------------------------------------------------------------------------


class Wide(lo.LinearOperator):
    """Promises 64 bits of everything; the width of the input says which mode is on."""

    def apply(self, x, *, out):
        assert out.dtype == x.dtype
        out[...] = x[::-1]

    def adjoint(self, y):
        return y[::-1].astype(np.complex128 if np.iscomplexobj(y) else np.float64)

    def infer_shape(self, x):
        return S(x.shape, np.complex128 if is_complex(x) else np.float64)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_promises_of_64_bits(dtype):
    for enabled in (False, True, False):
        with jax.enable_x64(enabled):
            expected = canonicalize_dtype(dtype)
            x = normal((3,), dtype)
            y = Wide()(x)
            assert y.dtype == jax.jit(Wide())(x).dtype == jax.eval_shape(Wide(), x).dtype == expected
            assert (y.dtype.itemsize == np.dtype(dtype).itemsize) is enabled
            close(y, jnp.asarray(x)[::-1])
            close(jax.vjp(Wide(), x)[1](y)[0], jnp.asarray(x))


def test_integer_promises_of_64_bits():
    class Count(lo.NonlinearOperator):
        jacobian_apply = jacobian_adjoint = None

        def apply(self, x):
            return np.cumsum(x, dtype=np.int64)

        def infer_shape(self, x):
            return S(x.shape, np.int64)

    for enabled, dtype in ((False, np.int32), (True, np.int64)):
        with jax.enable_x64(enabled):
            y = Count()(np.arange(4))
            assert y.dtype == dtype
            np.testing.assert_array_equal(y, [0, 1, 3, 6])


def test_infer_hooks_see_canonical_dtypes():
    seen = []

    class Watch(Flip):
        field: jax.Array

        def infer_shape(self, x):
            seen.append((x.dtype, self.field.dtype))
            return x

        def infer_adjoint_shape(self, y):
            return self.infer_shape(y)

    op, x = Watch(np.zeros(2, np.int64)), np.zeros(3, np.complex128)
    op(x), op.H(x)
    with jax.enable_x64(True):
        op(x)
    assert list(dict.fromkeys(seen)) == [(np.complex64, np.int32), (np.complex128, np.int64)]


# ---- what a hook may return -----------------------------------------------------------------------------------------

BF16 = ml_dtypes.bfloat16


@pytest.mark.parametrize(
    ("found", "promised"),
    [
        *[(np.float64, np.float32), (np.float32, np.float64), (np.float32, np.float16), (np.float16, np.float32)],
        *[(np.float64, BF16), (BF16, np.float32), (BF16, np.float16), (np.float16, BF16), (BF16, np.complex64)],
        *[(np.complex128, np.complex64), (np.float64, np.complex64), (np.int32, np.complex64), (np.int64, np.float32)],
        *[(np.int64, np.int8), (np.bool_, np.int32), (np.uint8, np.int16), (np.bool_, np.float32), (np.int32, BF16)],
    ],
    ids=by_name,
)
def test_casts_of_the_same_kind(found, promised, x64):
    y = Returns(np.dtype(found), np.dtype(promised))(jnp.zeros(2))
    assert y.dtype == promised
    np.testing.assert_array_equal(np.asarray(y).astype(complex), np.ones((2, 3)))


@pytest.mark.parametrize(
    ("found", "promised"),
    [
        *[(np.complex64, np.float32), (np.complex64, BF16), (np.complex64, np.int32), (np.float32, np.int32)],
        *[
            (np.float16, np.int32),
            (BF16, np.int32),
            (np.float32, np.bool_),
            (np.int32, np.bool_),
            (np.int32, np.uint32),
        ],
    ],
    ids=by_name,
)
def test_other_casts_are_refused(found, promised):
    op = Returns(np.dtype(found), np.dtype(promised))
    message = (
        rf"dtype {np.dtype(found)}; infer_shape promised {np.dtype(promised)}, and a cast would lose more than prec"
    )
    with pytest.raises(TypeError, match=message) as caught:
        op(jnp.zeros(2))
    assert "Returns.apply" in str(caught.value) + "".join(caught.value.__notes__)
    with pytest.raises(jax.errors.JaxRuntimeError, match=rf"Returns\.apply(?s:.)*{message}"):
        jax.block_until_ready(jax.jit(op)(jnp.zeros(2)))


@pytest.mark.parametrize("found", [(3,), (1, 3), (2, 1), (3, 2), (), (6,), (1, 2, 3), (0,)])
def test_other_shapes_are_refused(found):
    op = Returns(np.dtype(np.float32), np.dtype(np.float32), found)
    message = rf"returned shape \({', ?'.join(map(str, found))},?\); infer_shape promised \(2, 3\)"
    with pytest.raises(ValueError, match=message) as caught:
        op(jnp.zeros(2))
    assert "Returns.apply" in str(caught.value) + "".join(caught.value.__notes__)
    with pytest.raises(ValueError, match=message):
        jax.vmap(op)(jnp.zeros((4, 2)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "returned (None|dtype object|shape)"),
        ("text", "returned (dtype <U4|shape)"),
        (np.array(["a", "b"]), "returned dtype <U1"),
        (np.array([object()] * 2), "returned (dtype )?object"),
        ([1.0, [2.0]], "inhomogeneous|returned"),
        ((np.zeros(2), np.zeros(2)), "returned"),
    ],
    ids=["None", "text", "strings", "objects", "ragged", "tuple"],
)
def test_what_is_no_array_is_refused(value, message):
    class Odd(Flip):
        def apply(self, x):
            return value

    with pytest.raises((TypeError, ValueError), match=message) as caught:
        Odd()(jnp.zeros(2))
    assert "Odd.apply" in str(caught.value) + "".join(caught.value.__notes__)


class Strided(Flip):
    """Returns views that are not contiguous, and byte orders that are not native."""

    kind: str = lo.static()

    def apply(self, x):
        return {"strided": np.repeat(x, 2)[::2], "swapped": x.astype(x.dtype.newbyteorder()), "list": list(x)}[
            self.kind
        ]


@pytest.mark.parametrize("kind", ["strided", "swapped", "list"])
def test_unusual_arrays(kind):
    x = like(np.zeros(3), 1)
    close(Strided(kind)(x), x)


# ---- the adjoint on a real domain ---------------------------------------------------------------------------------------


def test_the_real_part_of_a_complex_adjoint():
    x, y = like(np.zeros(6), 1), like(np.zeros(4, complex), 2)
    matrix = np.fft.rfft(np.eye(6), axis=0)
    expected = jnp.asarray((matrix.conj().T @ np.asarray(y, np.complex128)).real, jnp.float32)
    close(HalfSpectrum().with_domain(x).H(y), expected)
    close(jax.linear_transpose(HalfSpectrum(), x)(y)[0], expected_transpose(matrix, y))
    complex_matrix = normal((4, 3), np.complex128)
    op, x = Dense(complex_matrix), like(np.zeros(3), 1)
    close(op.with_domain(x).H(y), jnp.asarray((complex_matrix.conj().T @ np.asarray(y)).real, jnp.float32))
    close(op.H(y), jnp.asarray(complex_matrix.conj().T @ np.asarray(y), jnp.complex64))
    close(jax.linear_transpose(op, x)(y)[0], expected_transpose(complex_matrix, y))


def expected_transpose(matrix, y):
    return jnp.asarray((matrix.T @ np.asarray(y, np.complex128)).real, jnp.float32)


def test_the_real_part_only_in_reverse():
    """A complex pushforward of a real map is an error, its adjoint may be complex."""

    class Bad(lo.NonlinearOperator):
        def apply(self, x):
            return x**2

        def jacobian_apply(self, x, dx):
            return 2 * x * dx + 0j

        def jacobian_adjoint(self, x, dy):
            return 2 * x * dy + 1j

        def infer_shape(self, x):
            return x

    x = like(np.zeros(3), 1)
    close(jax.grad(lambda x: jnp.sum(Bad()(x)))(x), 2 * x)
    with pytest.raises(TypeError, match=r"dtype complex64.* float32"):
        jax.jvp(Bad(), (x,), (x,))


@pytest.mark.parametrize(
    ("dtype", "shape", "error", "message"),
    [
        (np.float32, (3,), ValueError, r"returned shape \(3,\).*\(2,\)"),
        (np.str_, (2,), TypeError, "returned dtype <U1.* float32"),
    ],
)
def test_refused_adjoints(dtype, shape, error, message):
    op = Returns(np.dtype(dtype), np.dtype(np.float32), shape, (2,))
    with pytest.raises(error, match=message) as caught:
        jax.linear_transpose(op, jnp.zeros(2))(jnp.zeros(2))
    assert "Returns.adjoint" in str(caught.value) + "".join(caught.value.__notes__)
