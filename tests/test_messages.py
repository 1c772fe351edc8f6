"""First mistakes of people who come from other libraries: each works, or is an error that says what to write instead."""

import jax
import jax.experimental.sparse
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sparse
from helpers import S, close, normal
from operators import CASES

import linops_jax as lo

V = np.arange(1.0, 5.0, dtype=np.float32)
M = normal((3, 4), np.float32)
A, B = lo.Diagonal(V), lo.Matrix(M)
F = lo.Affine(A, V)
PAPER = CASES["paper"].op
SPARSE = sparse.eye_array(4, dtype=np.float32)
MASKED = np.ma.masked_greater(V, 3)


class Host(lo.LinearOperator):
    """Its adjoint is not asked for."""

    adjoint = None

    def apply(self, x):
        return np.array(x)

    def infer_shape(self, x):
        return x


# ---- shapes where specs belong --------------------------------------------------------------------------------------

TAKES_SPECS = {
    "with_domain": lambda spec: A.with_domain(spec),
    "with_domain of a composite": lambda spec: (2 * A @ A).with_domain(spec),
    "with_domain of a nonlinear one": lambda spec: F.with_domain(spec),
    "Function": lambda spec: lo.Function(lambda x: 2 * x, spec),
    "Function: codomain": lambda spec: lo.Function(np.copy, V, adjoint=np.copy, codomain=spec),
    "lo.todense": lambda spec: lo.todense(A, spec),
    "lo.tosparse": lambda spec: lo.tosparse(A, spec),
    "lo.diagonal": lambda spec: lo.diagonal(A, spec),
    "lo.trace": lambda spec: lo.trace(A, spec),
    "lo.norm": lambda spec: lo.norm(A, spec),
    "lo.condition_number": lambda spec: lo.condition_number(A, spec),
    "lo.svds": lambda spec: lo.svds(A, 2, spec),
    "lo.eigsh": lambda spec: lo.eigsh(A, 2, spec),
    "dot_test": lambda spec: lo.dot_test(A, spec),
    "check_operator": lambda spec: lo.check_operator(F, spec),
    "to_scipy": lambda spec: lo.interop.to_scipy(A, spec),
    "jacobian": lambda spec: A.jacobian(spec),
}


@pytest.mark.parametrize("name", TAKES_SPECS)
@pytest.mark.parametrize("shape", [(4,), [4], 4, (np.int64(4),)], ids=str)
def test_a_shape_is_no_spec(name, shape):
    with pytest.raises(
        TypeError, match=r"found .*, which is a shape\. Pass jax\.ShapeDtypeStruct\(\(.*4\)?,\), dtype\)"
    ):
        TAKES_SPECS[name](shape)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ((), r"found \(\), which is a shape"),
        ((64, 64), r"found \(64, 64\), which is a shape\. Pass jax\.ShapeDtypeStruct\(\(64, 64\), dtype\)"),
        ({"a": S((4,), np.float32), "b": (2, 3)}, r"found \(2, 3\) at \['b'\], which is a shape"),
        ([(2,), (3,)], r"found \[\(2,\), \(3,\)\], which is a shape"),
        ({"a": 3}, r"found \{'a': 3\}, which is a shape"),
        (((4,), np.float32), r"found \(4,\) at \[0\], which is a shape"),
        (np.float32, r"found type .*float32.*; expected a jax\.ShapeDtypeStruct\(shape, dtype\) or an array"),
        ("float32", r"found str 'float32'; expected a jax\.ShapeDtypeStruct"),
        (None, r"found NoneType None; expected a jax\.ShapeDtypeStruct"),
    ],
    ids=str,
)
def test_what_is_no_spec_either(spec, message):
    with pytest.raises(TypeError, match=rf"^Identity\.with_domain: {message}"):
        lo.Identity().with_domain(spec)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (V, S((4,), np.float32)),
        (jnp.asarray(V), S((4,), np.float32)),
        (S((4,), np.float64), S((4,), np.float32)),
        (2.0, S((), np.float32)),
        (np.float32(2), S((), np.float32)),
        ((1.0, 2j), (S((), np.float32), S((), np.complex64))),
        ([1.0, 2.0], S((2,), np.float32)),
        ({"a": [V, S((), np.int32)]}, {"a": [S((4,), np.float32), S((), np.int32)]}),
        ((V, 3), (S((4,), np.float32), S((), np.int32))),
        (jnp.asarray(3), S((), np.int32)),
        (((), {}, V), ((), {}, S((4,), np.float32))),
    ],
    ids=str,
)
def test_specs_come_from_arrays_numbers_and_specs(given, expected):
    assert lo.Identity().with_domain(given).domain == expected


def test_a_jacobian_is_taken_at_a_point():
    with pytest.raises(TypeError, match=r"Paper\.jacobian\(x\): found \(2, 3\), which is a shape\. Pass the point"):
        PAPER.jacobian((2, 3))
    close(PAPER.jacobian((2.0, 3.0))((jnp.ones(()), jnp.ones(()))), jnp.asarray(9.0 + 12.0))


# ---- lists of numbers are arrays ------------------------------------------------------------------------------------

LIST = V.tolist()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: A(LIST), V * V),
        (lambda: A @ LIST, V * V),
        (lambda: A(list(V)), V * V),
        (lambda: A.H(LIST), V * V),
        (lambda: (2 * A + A @ A)(LIST), (2 * V + V * V) * V),
        (lambda: F(LIST), V * V + V),
        (lambda: F.jacobian(LIST)(LIST), V * V),
        (lambda: B(LIST), M @ V),
        (lambda: B([LIST, LIST]), np.stack([M @ V, M @ V])),
        (lambda: B([1, 0, 0, 0]), M[:, 0]),
        (lambda: Host()(LIST), V),
        (lambda: jax.jit(lambda op: op(LIST))(A), V * V),
        (lambda: lo.Matrix(M.tolist())(V), M @ V),
        (lambda: lo.Diagonal(LIST)(V), V * V),
        (lambda: lo.Affine(A, LIST)(V), V * V + V),
        (lambda: lo.Affine(A.with_domain(V), LIST)(V), V * V + V),
        (lambda: lo.solve(A, LIST).value, np.ones_like(V)),
        (lambda: lo.block_diag({"a": A, "b": B})({"a": LIST, "b": LIST})["b"], M @ V),
    ],
)
def test_lists_of_numbers_are_arrays(found, expected):
    found = found()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_other_containers_are_pytrees():
    close(PAPER((2.0, 3.0)), jnp.asarray(18.0))
    both = lo.block_diag([A, A])
    close(both([V, V]), [jnp.asarray(V * V)] * 2)
    close(lo.Identity()([V, V]), [jnp.asarray(V)] * 2)


def test_a_domain_says_that_a_list_is_a_pytree():
    numbers = lo.hstack([lo.Identity(), lo.Identity()]).with_domain([S((), np.float32)] * 2)
    for run in (lambda x: numbers(x), lambda x: jax.jit(lambda op: op(x))(numbers), lambda x: (2 * numbers)(x) / 2):
        close(run([1.0, 2.0]), jnp.asarray(3.0))


def test_a_ragged_list():
    with pytest.raises(ValueError, match=r"a list of numbers is an array, but the rows of this one differ in length"):
        A([[1.0], [2.0, 3.0]])


# ---- operations and names of other libraries ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: A * A, r"Diagonal \* Diagonal\. A @ B composes"),
        (lambda: A * V, r"Diagonal \* an array of shape \(4,\)\. A @ x applies"),
        (lambda: A * jnp.asarray(V), r"Diagonal \* an array of shape \(4,\)\. A @ x applies"),
        (lambda: V * A, r"an array of shape \(4,\) \* Diagonal\. lo\.Diagonal\(d\) @ A"),
        (lambda: V @ A, r"an array of shape \(4,\) @ Diagonal\. A\.T @ x"),
        (lambda: jnp.asarray(V) @ A, r"an array of shape \(4,\) @ Diagonal\. A\.T @ x"),
        (lambda: [1.0, 2.0] @ A, r"a list @ Diagonal\. A\.T\(x\) is what x @ A means"),
        (lambda: A @ 2, r"Diagonal @ 2\. 2 \* A scales"),
        (lambda: A @ (V, V), r"Diagonal @ a tuple\. A\(x\) applies to any pytree"),
        (lambda: A + 1, r"Diagonal \+ 1\. A \+ a \* lo\.Identity\(\)"),
        (lambda: 1.0 - A, r"1\.0 - Diagonal\. A \+ a \* lo\.Identity\(\)"),
        (lambda: A - V, r"Diagonal - an array.*lo\.Affine\(A, b\)"),
        (lambda: V + F, r"array of shape \(4,\) \+ Affine\. lo\.Affine\(A, b\)"),
        (lambda: A / A, r"Diagonal / Diagonal\. B\.inv @ A"),
        (lambda: A / V, r"lo\.solve\(A, y\) solves A x = y"),
        (lambda: 1 / A, r"A\.inv is the inverse"),
        (lambda: A**0.5, r"Diagonal \*\* 0\.5\. Powers are integers"),
        (lambda: A @ SPARSE, r"Diagonal @ a dia_array\. lo\.interop\.from_scipy\(S\)"),
        (lambda: SPARSE @ A, r"a dia_array @ Diagonal\. lo\.interop\.from_scipy\(S\)"),
        (lambda: A + SPARSE, r"lo\.interop\.from_scipy\(S\)"),
        (lambda: A @ sparse.linalg.aslinearoperator(M), r"lo\.interop\.from_scipy\(L\)"),
        (lambda: A @ jax.experimental.sparse.BCOO.fromdense(V), r"makes an operator of a sparse matrix"),
        (lambda: np.dot(A, V), r"NumPy's dot does not take operators, found Diagonal\. Write A @ x"),
        (lambda: np.vstack([A, A]), r"NumPy's vstack does not take operators.*lo\.vstack"),
        (lambda: np.linalg.norm(A), r"NumPy's norm does not take operators.*lo\.norm\(A\)"),
        (lambda: np.sum(F), r"NumPy's sum does not take operators, found Affine\. Write lo\.todense\(A\)"),
    ],
)
def test_operations_that_mean_something_elsewhere(act, message):
    with pytest.raises(TypeError, match=message):
        act()


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("matvec", r"A\(x\) or A @ x"),
        ("rmatvec", r"A\.H\(y\)"),
        ("dot", "A @ x"),
        ("shape", r"A\.domain and A\.codomain"),
        ("dtype", r"A\.domain and A\.codomain"),
        ("todense", r"lo\.todense\(A\)"),
    ],
)
def test_names_that_operators_have_elsewhere(name, instead):
    for op in (A, A @ B.H, F, PAPER):
        assert not hasattr(op, name)
        with pytest.raises(AttributeError, match=rf"{type(op).__name__} has no attribute '{name}'\. Write {instead}"):
            getattr(op, name)


def test_fields_may_have_these_names():
    class Sized(Host):
        shape: tuple = lo.static()

    assert Sized((3, 4)).shape == (3, 4)


@pytest.mark.parametrize("two", [2, np.int64(2), np.uint8(2)])
def test_integers_of_numpy_are_powers(two):
    close((A**two)(V), jnp.asarray(V**3))


def test_sum_of_operators():
    close(sum([A, A, A])(V), jnp.asarray(3 * V * V))


def test_operators_are_compared_as_before():
    assert A == A
    assert lo.Diagonal(V) != A
    assert bool(A)


# ---- values that are no arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (MASKED, r"found MaskedArray .*x\.filled\(0\)"),
        (SPARSE, r"found dia_array .*lo\.interop\.from_scipy\(S\).*S\.toarray\(\)"),
        (S((4,), np.float32), r"found ShapeDtypeStruct .*A\.with_domain\(spec\)\.codomain"),
    ],
    ids=["masked", "sparse", "spec"],
)
@pytest.mark.parametrize("op", [Host(), A, 2 * A @ A, F], ids=str)
def test_inputs_that_are_no_arrays(op, value, message):
    with pytest.raises(TypeError, match=message):
        op(value)


@pytest.mark.parametrize("op", [Host(), A, lo.Identity(), 2 * A @ A, F], ids=str)
def test_random_keys_are_no_inputs(op):
    key = jax.random.key(0)
    for run in (lambda: op(key), lambda: jax.jit(lambda key: op(key))(key), lambda: op(jax.random.split(key))):
        with pytest.raises(TypeError, match=r"expected arrays, found random key .*jax\.random\.normal\(key, shape\)"):
            run()


class Noisy(lo.LinearOperator):
    """Its weights come from a key."""

    key: jax.Array

    @lo.traced
    def apply(self, x):
        return x * jax.random.normal(self.key, x.shape, x.dtype)

    def infer_shape(self, x):
        return x


class HostNoisy(Host):
    key: jax.Array


def test_random_keys_are_fields_of_traced_hooks_only():
    key = jax.random.key(3)
    expected = V * jax.random.normal(key, V.shape)
    close(Noisy(key)(V), expected)
    close(jax.grad(lambda x: Noisy(key)(x) @ jnp.ones(4))(jnp.ones(4)), expected / V)
    with pytest.raises(TypeError, match=r"HostNoisy\.apply: found key<fry>\[\].*jax\.random\.key_data\(key\)"):
        HostNoisy(key)(V)


class Weighted(Host):
    weights: jax.Array


class Configured(Host):
    matrix: object = lo.static()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Weighted(SPARSE), r"Weighted\.weights holds .*\(dia_array\).*lo\.interop\.from_scipy\(S\)"),
        (lambda: Weighted(MASKED), r"Weighted\.weights holds .*\(MaskedArray\).*x\.filled\(0\)"),
        (lambda: Configured(SPARSE.tocsr()), r"Configured\.matrix is static.*csr_array.*lo\.interop\.from_scipy\(S\)"),
        (lambda: lo.Matrix(SPARSE), r"Matrix\.matrix holds .*lo\.interop\.from_scipy\(S\)"),
        (lambda: lo.Diagonal(MASKED), r"Diagonal\.d holds .*x\.filled\(0\)"),
        (lambda: lo.Matrix([[A, A], [A, A]]), r"Matrix\.matrix expects an array, found .*lo\.block"),
        (lambda: lo.Diagonal(A), r"Diagonal\.d expects an array, found Diagonal"),
    ],
)
def test_fields_that_are_no_arrays(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    "run", [lambda op: op(V), lambda op: jax.block_until_ready(jax.jit(op)(V))], ids=["eager", "jit"]
)
def test_a_mask_is_not_lost(run):
    class Masks(Host):
        def apply(self, x):
            return np.ma.masked_greater(x, 3)

    with pytest.raises(
        (TypeError, RuntimeError, ValueError), match=r"Masks\.apply returned a masked array.*y\.filled\(0\)"
    ):
        run(Masks())


def test_other_subclasses_of_arrays_are_arrays():
    class Records(Host):
        def apply(self, x):
            return x.copy().view(np.recarray)

    close(Records()(V), jnp.asarray(V))
    close(A(V.view(np.recarray)), jnp.asarray(V * V))


@pytest.mark.parametrize("value", [None, (V,), {"x": V}, A], ids=["None", "tuple", "dict", "operator"])
@pytest.mark.parametrize("op", [A, B, lo.FFT()], ids=str)
def test_ready_made_operators_take_one_array(op, value):
    for run in (op, op.H):
        with pytest.raises(TypeError, match=rf"{type(op).__name__} takes one array, found {type(value).__name__}"):
            run(value)


@pytest.mark.parametrize("run", [A.H, lambda y: lo.solve(A, y), lambda x: lo.solve(A, V, x0=x)], ids=["A.H", "y", "x0"])
def test_a_shape_where_an_array_belongs(run):
    message = r"takes one array, found tuple \(.*32.*, .*32.*\)\. A shape is not an array: pass jnp\.zeros\(shape\)"
    with pytest.raises(TypeError, match=message):
        run((3, 3))


def test_no_probes():
    with pytest.raises(ValueError, match=r"dot_test: probes=0 compares nothing\. Give at least 1"):
        lo.dot_test(A, V, probes=0)


class OfSize(Host):
    """Says its domain itself."""

    answer: object = lo.static()

    @property
    def domain(self):
        return jax.ShapeDtypeStruct((3,), np.float32) if self.answer is None else self.answer


def test_a_domain_that_is_a_shape():
    with pytest.raises(TypeError, match=r"OfSize\.domain: found \(3,\), which is a shape\. Pass jax\.ShapeDtypeStruct"):
        OfSize((3,))
    with pytest.raises(TypeError, match=r"OfSize\.domain: found str 'three'; expected a jax\.ShapeDtypeStruct"):
        OfSize("three")
    assert OfSize(None).codomain == S((3,), np.float32)


@pytest.mark.parametrize("nothing", [{}, (), None, []], ids=str)
def test_an_input_without_arrays(nothing):
    with pytest.raises(
        TypeError, match=r"Zero\(shape=\(2,\)\) takes the dtype of its result from its input, but .* has no arrays"
    ):
        lo.Zero((2,))(nothing)
