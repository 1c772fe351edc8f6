"""How pytrees lie in vectors, and operators as matrices between these."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linops_jax as lo
from linops_jax._vectors import (
    MatrixForm,
    Packing,
    as_complex,
    as_reals,
    exponent,
    in_complex_numbers,
    in_own_space,
    shift,
)

RNG = np.random.default_rng(0)
S = jax.ShapeDtypeStruct


def normal(shape, dtype):
    z = RNG.standard_normal((*shape, 2))
    return (z @ [1, 1j] if np.dtype(dtype).kind == "c" else z[..., 0]).astype(dtype)


TREES = {
    "array": normal((2, 3), np.float32),
    "scalar": normal((), np.complex64),
    "real and complex": {
        "b": normal((2,), np.complex64),
        "a": (normal((3, 1), np.float32), normal((0, 2), np.float32)),
    },
    "precisions": [normal((3,), jnp.bfloat16), normal((2,), np.float32)],
    "integers": np.arange(4, dtype=np.int32),
    "nothing": (),
}


def packed(tree, pairs):
    """By NumPy, from the description in words."""
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(tree)]
    leaves = [x.view(np.float32) if pairs and x.dtype.kind == "c" else x for x in leaves]
    return np.concatenate(
        [np.zeros(0, np.float32), *(x.astype(x.dtype if x.dtype.kind == "c" else float) for x in leaves)]
    )


@pytest.mark.parametrize("xp", [jnp, np], ids=["jax", "numpy"])
@pytest.mark.parametrize("pairs", [False, True], ids=["numbers", "pairs"])
@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_leaf_after_leaf_in_c_order(tree, pairs, xp):
    tree = jax.tree.map(xp.asarray, tree)
    packing = Packing(tree, pairs, xp=xp)
    expected, vector = packed(tree, pairs), packing.pack(tree)
    assert (packing.size, packing.dtype) == (expected.size, vector.dtype)
    np.testing.assert_array_equal(vector, expected)
    back = packing.unpack(vector)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for found, leaf in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        assert (type(found), found.dtype) == (type(leaf), leaf.dtype)
        np.testing.assert_array_equal(found, leaf)
    for index in range(packing.size + 1):
        np.testing.assert_array_equal(packing.pack(packing.unit(index)), np.arange(packing.size) == index)


def test_the_least_precision():
    spec = [S((2,), jnp.bfloat16), S((1,), jnp.float16)]
    assert Packing(spec[0]).dtype == jnp.bfloat16
    assert Packing(spec[0], least=jnp.float32).dtype == jnp.float32
    assert Packing(S((), np.complex64), pairs=True, least=jnp.float32).dtype == jnp.float32


def test_numpy_has_double_precision_without_x64():
    x = np.array([1 + 2.0**-40, 2.0])
    np.testing.assert_array_equal(Packing(x, xp=np).unpack(Packing(x, xp=np).pack(x)), x)


def test_real_arrays_take_the_real_part():
    found = Packing([S((2,), np.float32), S((1,), np.complex64)]).unpack(
        jnp.array([1 + 2j, 3 + 4j, 5 + 6j], np.complex64)
    )
    np.testing.assert_array_equal(found[0], [1, 3])
    np.testing.assert_array_equal(found[1], [5 + 6j])


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("xp", [jnp, np], ids=["jax", "numpy"])
def test_complex_numbers_as_pairs(axis, xp):
    z = (
        xp.asarray(normal((3, 2), np.complex64)).at[0, 0].set(complex(np.inf, 1))
        if xp is jnp
        else normal((3, 2), np.complex64)
    )
    pairs = as_reals(z, axis, xp)
    assert (pairs.shape[axis], pairs.dtype) == (2, np.float32)
    np.testing.assert_array_equal(as_complex(pairs, z.dtype, axis, xp), z)


# ---- powers of two --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64, np.complex64])
def test_shifts_are_exact_and_by_any_power(dtype):
    with jax.enable_x64(True):
        info = jnp.finfo(dtype)
        low, high = int(info.minexp), int(info.maxexp) - 1
        for power in (0, 1, -1, 7, low, high, low - 1, high + 1, 2 * low + 4, 2 * high - 4):  # most of them no number
            before, after = (np.array([1.5, -1.25]) * 2.0**part for part in (-(power // 2), power - power // 2))
            found = jax.jit(shift)(jnp.asarray(before, dtype), jnp.int32(power))
            assert found.dtype == dtype
            np.testing.assert_array_equal(np.asarray(found).astype(np.complex128), after)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_the_exponent_of_the_largest_entry(dtype):
    with jax.enable_x64(True):
        info = np.finfo(dtype)
        for number in (1, 1.5, 2, 0.3, 7, info.max, info.tiny, 0):
            found = exponent([jnp.asarray([number, -number / 4], dtype), jnp.zeros(2, jnp.bfloat16)])
            assert found == np.frexp(np.asarray(number, info.dtype))[1]
            assert found.dtype == np.int32
        assert exponent(jnp.asarray([1, np.inf], dtype)) == exponent(jnp.asarray([np.nan, 1], dtype)) == 0
        if dtype == np.complex128:
            assert exponent(jnp.asarray([1 + 8j])) == 4


# ---- matrices -------------------------------------------------------------------------------------------------------

M = normal((4, 3), np.complex64)
FORMS = {
    "complex": (in_complex_numbers(lo.Matrix(M).with_domain(S((3,), np.complex64))), M),
    "real to complex": (in_complex_numbers(lo.Matrix(M).with_domain(S((3,), np.float32))), M),
    "pairs": (
        in_own_space(lo.Matrix(M).with_domain(S((3,), np.float32))),
        np.stack([M.real, M.imag], axis=1).reshape(8, 3),
    ),
}


@pytest.mark.parametrize(("form", "matrix"), FORMS.values(), ids=FORMS)
def test_forms_do_what_a_matrix_does(form, matrix):
    """To complex vectors, whatever the operator's arrays are."""
    assert (form.shape, form.dtype) == (matrix.shape, matrix.dtype)
    v, w = normal(matrix.shape[1:], np.complex64), normal(matrix.shape[:1], np.complex64)
    np.testing.assert_allclose(form.forward(v), matrix @ v, rtol=1e-5)
    np.testing.assert_allclose(form.reverse(w), matrix.conj().T @ w, rtol=1e-5)
    np.testing.assert_allclose(form.forward(v.real), matrix @ v.real, rtol=1e-5)


def test_a_real_domain_takes_real_parts_where_asked_for():
    form = MatrixForm(lo.Matrix(M).with_domain(S((3,), np.float32)), complex_linear=False)
    v, w = normal((3,), np.complex64), normal((4,), np.complex64)
    np.testing.assert_allclose(form.forward(v), M @ v.real, rtol=1e-5)
    np.testing.assert_allclose(form.reverse(w), (M.conj().T @ w).real, rtol=1e-5)
    assert form.reverse(w).dtype == np.float32
