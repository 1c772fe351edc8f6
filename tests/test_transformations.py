"""Every transformation of every kind of operator against the same transformation of its twin in pure JAX."""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import between_reals, close, energy, is_inexact, like, normal, stack, tangent
from jax.test_util import check_grads
from operators import (
    CASES,
    BatchedMix,
    Cumulative,
    Dense,
    DerivedDense,
    ForwardOnly,
    ForwardOnlyCube,
    M,
    Modulus,
    Paper,
    ReverseOnly,
    Sine,
    SineWithHessian,
    TracedWithHostAdjoint,
)

import linops_jax as lo

pytestmark = [pytest.mark.versions, pytest.mark.route]

# ---- the transformations: (function, input) -> pytree of results ----------------------------------------------------


def scaled(x, factor):
    return jax.tree.map(lambda leaf: (leaf * factor).astype(leaf.dtype) if is_inexact(leaf) else leaf, x)


def twice(f):
    return lambda x: jax.tree.map(lambda leaf: leaf + leaf, f(x))


def grad(f, x):
    return jax.grad(lambda x: energy(f(x)), allow_int=True)(x)


def grad_in_last_leaf(f, x):
    leaves, tree = jax.tree.flatten(x)
    return jax.grad(lambda last: energy(f(jax.tree.unflatten(tree, [*leaves[:-1], last]))))(leaves[-1])


def grad_of_each_output(f, x):
    count = len(jax.tree.leaves(jax.eval_shape(f, x)))
    return [grad(lambda x, i=i: jax.tree.leaves(f(x))[i], x) for i in range(count)]


def vjp(f, x):
    y, pullback = jax.vjp(f, x)
    return y, pullback(tangent(y, 7))


def vjp_of_vjp(f, x):
    y, pullback = jax.vjp(f, x)
    return jax.vjp(pullback, like(y, 7))[1]((tangent(x, 8),))


def linearize(f, x):
    y, push = jax.linearize(f, x)
    return y, push(tangent(x, 7)), jax.jit(push)(tangent(x, 8))


def linear_transpose(f, x):
    transpose, y = jax.linear_transpose(f, x), jax.eval_shape(f, x)
    again = jax.linear_transpose(lambda y: transpose(y)[0], y)
    return transpose(like(y, 7)), again(like(x, 8)), jax.vmap(transpose)(like(y, 9, (2,)))


def moved(x, axis):
    """Three inputs, stacked along ``axis``."""
    return stack([x, like(x, 1), like(x, 2)], axis)


def nested(x):
    """Two batch axes: the inner one last, the outer one in front."""
    return stack([moved(x, -1), moved(like(x, 5), -1)])


def alternating(x):
    """in_axes that map every other leaf, and the input to go with them."""
    leaves, tree = jax.tree.flatten(x)
    axes = [-1 if i % 2 == 0 else None for i in range(len(leaves))]
    values = [leaf if axis is None else moved(leaf, axis) for leaf, axis in zip(leaves, axes, strict=True)]
    return jax.tree.unflatten(tree, axes), jax.tree.unflatten(tree, values)


def vmap_of_some(f, x):
    axes, values = alternating(x)
    return jax.vmap(f, (axes,), -1)(values)


def grad_of_vmap_of_some(f, x):
    axes, values = alternating(x)
    return grad(jax.vmap(f, (axes,)), values)


def vmap_of_disjoint(f, x):
    """Nested, each leaf with one of the two axes."""
    leaves, tree = jax.tree.flatten(x)
    outer = jax.tree.unflatten(tree, [0 if i % 2 == 0 else None for i in range(len(leaves))])
    inner = jax.tree.unflatten(tree, [None if i % 2 == 0 else 0 for i in range(len(leaves))])
    values = [stack([leaf, like(leaf, 3)]) if i % 2 == 0 else moved(leaf, 0) for i, leaf in enumerate(leaves)]
    return jax.vmap(jax.vmap(f, (inner,)), (outer,))(jax.tree.unflatten(tree, values))


def scan(f, x):
    return jax.lax.scan(lambda carry, x: (carry + 1, f(x)), 0, moved(x, 0))


def grad_of_scan(f, x):
    def step(carry, x):
        y = f(scaled(x, carry))
        return 1 + 0.1 * jnp.tanh(energy(y)), y

    return grad(lambda xs: jax.lax.scan(step, jnp.ones(()), xs), moved(x, 0))


def while_loop(f, x):
    start = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(f, x))
    body = lambda s: (s[0] + 1, jax.tree.map(jnp.add, s[1], f(scaled(x, s[0] + 1))))  # noqa: E731
    return jax.lax.while_loop(lambda s: s[0] < 3, body, (0, start))


def grad_of_cond(f, x):
    return [grad(lambda x, flag=flag: jax.lax.cond(flag, f, twice(f), x), x) for flag in (True, False)]


def cond_under_vmap(f, x):
    choose = lambda flag, x: grad(lambda x: jax.lax.cond(flag, f, twice(f), x), x)  # noqa: E731
    return jax.vmap(choose)(jnp.array([True, False, True]), moved(x, 0))


def jacobian(transform):
    def apply(f, x):
        g, v = between_reals(f, x)
        return transform(g)(v)

    return apply


def jacfwd_of_vmap(f, x):
    g, v = between_reals(f, x)
    return jax.jacfwd(jax.vmap(g, 1, -1))(jnp.stack([v, 2 * v], 1))


def vmap_of_grad_of_vmap(f, x):
    return jax.vmap(lambda xs: grad(jax.vmap(f, -1), xs), 0, -1)(nested(x))


def second(outer, inner):
    def apply(f, x):
        g, v = between_reals(f, x)
        return outer(inner(lambda v: energy(g(v))))(v)

    return apply


ANY = {
    "eager": lambda f, x: f(x),
    "jit": lambda f, x: jax.jit(f)(x),
    "vmap": lambda f, x: jax.vmap(f)(moved(x, 0)),
    "vmap -1": lambda f, x: jax.vmap(f, -1, -1)(moved(x, -1)),
    "vmap nested": lambda f, x: jax.vmap(jax.vmap(f, -1, -1), 0, 1)(nested(x)),
    "scan": scan,
    "while_loop": while_loop,
}
FORWARD = {
    "jvp": lambda f, x: jax.jvp(f, (x,), (tangent(x, 7),)),
    "jvp of vmap": lambda f, x: jax.jvp(jax.vmap(f, -1, 1), (moved(x, -1),), (tangent(moved(x, -1), 7),)),
    "jacfwd": jacobian(jax.jacfwd),
    "jacfwd of vmap": jacfwd_of_vmap,
}
REVERSE = {
    "grad": grad,
    "vjp": vjp,
    "jacrev": jacobian(jax.jacrev),
    "vmap of grad": lambda f, x: jax.vmap(lambda x: grad(f, x), -1, -1)(moved(x, -1)),
    "grad of vmap": lambda f, x: grad(jax.vmap(f, 1, -1), moved(x, 1)),
    "vmap of grad of vmap": vmap_of_grad_of_vmap,
    "grad of scan": grad_of_scan,
    "grad of cond": grad_of_cond,
    "cond under vmap": cond_under_vmap,
    "checkpoint": lambda f, x: grad(jax.checkpoint(lambda x: jax.tree.map(jnp.sin, f(x))), x),
}
BOTH = {"linearize": linearize, "vjp of vjp": vjp_of_vjp}
LINEAR = {"linear_transpose": linear_transpose}
SECOND = {
    "hessian": second(jax.jacfwd, jax.jacrev),
    "jacrev of jacfwd": second(jax.jacrev, jax.jacfwd),
    "jacrev of jacrev": second(jax.jacrev, jax.jacrev),
}
SEVERAL_INPUTS = {
    "vmap of some": vmap_of_some,
    "vmap of disjoint": vmap_of_disjoint,
    "grad of vmap of some": grad_of_vmap_of_some,
    "grad in the last leaf": grad_in_last_leaf,
}
SEVERAL_OUTPUTS = {"grad of each output": grad_of_each_output}


# Every transformation is tried on these; the other operators take the shorter ones only.
REPRESENTATIVE = [
    *("dense complex of real", "pytrees", "conjugates", "half spectrum", "batched", "derived", "traced, host adjoint"),
    *("paper", "indices", "sine with hessian", "reverse only"),
]
MIXED = [
    *("jit", "scan", "while_loop", "jvp of vmap", "jacfwd of vmap", "vmap of grad", "vmap of grad of vmap"),
    *(
        "grad of scan",
        "grad of cond",
        "cond under vmap",
        "checkpoint",
        "vjp of vjp",
        "jacrev of jacfwd",
        "jacrev of jacrev",
    ),
]


def applicable(name):
    case, table = CASES[name], dict(ANY)
    if case.forward:
        table |= FORWARD
    if case.reverse:
        table |= REVERSE
        if len(jax.tree.leaves(case.x)) > 1:
            table |= SEVERAL_INPUTS
        if len(jax.tree.leaves(jax.eval_shape(case.reference, case.x))) > 1:
            table |= SEVERAL_OUTPUTS
    if case.forward and case.reverse:
        table |= BOTH | (LINEAR if case.linear else {})
    if case.second:
        table |= SECOND
    return table if name in REPRESENTATIVE else {which: table[which] for which in table if which not in MIXED}


EAGER = ["eager", "vmap", "jvp", "grad", "linearize", "linear_transpose"]  # also outside of jit, op by op


@functools.cache
def together(name, function):
    """Every transformation, compiled as one program; an exception stands in for what could not be traced."""
    errors = {}

    def attempt(which, transform, x):
        try:
            return transform(function, x)
        except Exception as error:
            errors[which] = error
            return None

    program = jax.jit(lambda x: {which: attempt(which, f, x) for which, f in applicable(name).items()})
    return program(CASES[name].x) | errors


@pytest.mark.parametrize(("name", "which"), [(name, which) for name in CASES for which in applicable(name)])
def test_as_in_pure_jax(name, which):
    case = CASES[name]
    found, expected = together(name, case.op.__call__)[which], together(name, case.reference)[which]
    if isinstance(found, Exception):
        raise found
    close(found, expected)
    if which in EAGER:
        close(applicable(name)[which](case.op, jax.tree.map(jnp.asarray, case.x)), expected)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_compiled_ahead_of_time(case):
    x = like(case.x, 1)
    program = jax.jit(case.op).lower(jax.eval_shape(lambda x: x, x)).compile()
    close(program(x), case.reference(x))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_in_double_precision(case, x64):
    x = like(case.x, 1)
    op = jax.tree.map(lambda leaf: jnp.asarray(np.copy(leaf)), case.op)  # JAX 0.10 remembers NumPy constants as float32
    twin = functools.partial(case.twin, op)
    assert all(leaf.dtype.itemsize >= 8 for leaf in jax.tree.leaves(op(x)))
    close(op(x), twin(x))
    if case.forward:
        pushed = lambda f, x: jax.jvp(f, (x,), (tangent(x, 7),))  # noqa: E731
        close(*jax.jit(lambda x: (pushed(op, x), pushed(twin, x)))(x))
    if case.reverse:
        pulled = lambda f, x: grad(jax.vmap(f), moved(x, 0))  # noqa: E731
        close(*jax.jit(lambda x: (pulled(op, x), pulled(twin, x)))(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES)[::2])
def test_no_false_alarms(name):
    lo.check_operator(CASES[name].op, CASES[name].x)


@pytest.mark.parametrize("name", ["dense complex", "batched", "pytrees", "traced, host adjoint", "sine", "composite"])
def test_without_jit(name):
    case, x = CASES[name], like(CASES[name].x, 1)
    with jax.disable_jit():
        close(case.op(x), case.reference(x))
        close(grad(jax.vmap(case.op, -1), moved(x, -1)), grad(jax.vmap(case.reference, -1), moved(x, -1)))


# ---- what the table cannot hold -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "order"),
    [
        *[("conjugates", 2), ("pytrees", 2), ("traced, host adjoint", 2), ("sine with hessian", 2), ("traced sine", 2)],
        *[("paper", 1), ("indices", 1), ("modulus", 1), ("composite", 1)],
    ],
)
def test_against_finite_differences(name, order, x64):
    function, vector = between_reals(CASES[name].op, like(CASES[name].x, 1))
    check_grads(jax.jit(function), (vector,), order=order, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("policy", ["dots_with_no_batch_dims_saveable", "everything_saveable", "nothing_saveable"])
@pytest.mark.parametrize("name", ["dense real", "fills out", "traced sine, host jacobian"])
def test_checkpoint_policies(name, policy):
    """Of real operators: JAX cannot save complex residuals under some of these policies."""
    case = CASES[name]
    policy = getattr(jax.checkpoint_policies, policy)
    loss = lambda f: jax.checkpoint(lambda x: energy(jnp.sin(f(jnp.sin(x)))), policy=policy)  # noqa: E731
    x = like(case.x, 1)
    close(jax.jit(jax.grad(loss(case.op)))(x), jax.grad(lambda x: energy(jnp.sin(case.reference(jnp.sin(x)))))(x))


@pytest.mark.parametrize("op", [Dense(M), DerivedDense(M), TracedWithHostAdjoint(M)], ids=lambda op: type(op).__name__)
def test_cg_and_its_gradients(op):
    m, lam = jnp.asarray(M, jnp.complex64), jnp.float32(0.3)
    op = op.with_domain(jax.ShapeDtypeStruct((3,), np.complex64))
    ys = jnp.asarray(normal((2, 4), np.complex64, 20))

    def found(lam, y):
        return jax.scipy.sparse.linalg.cg(lambda x: (op.H @ op)(x) + lam * x, op.H(y), tol=1e-7)[0]

    def expected(lam, y):
        return jnp.linalg.solve(m.conj().T @ m + lam * jnp.eye(3), m.conj().T @ y)

    close(jax.jit(jax.vmap(found, (None, 0)))(lam, ys), jax.vmap(expected, (None, 0))(lam, ys), 10)
    loss = lambda f: lambda lam, y: energy(f(lam, y))  # noqa: E731
    close(jax.grad(loss(found), (0, 1))(lam, ys[0]), jax.grad(loss(expected), (0, 1))(lam, ys[0]), 100)


def test_custom_root_and_its_derivatives():
    """a sin(b x) = y by Newton's method."""
    op, y = Sine(np.full(3, 2.0), np.asarray(0.5)), jnp.array([0.3, -0.5, 0.9])

    def newton(f, x):
        return jax.lax.fori_loop(0, 8, lambda i, x: x - jnp.linalg.solve(jax.jacfwd(f)(x), f(x)), x)

    def root(y):
        tangent_solve = lambda g, y: jnp.linalg.solve(jax.jacobian(g)(y), y)  # noqa: E731
        return jax.lax.custom_root(lambda x: op(x) - y, jnp.zeros(3), newton, tangent_solve)

    derivative = jnp.diag(1 / jnp.sqrt(1 - y**2 / 4))
    close(root(y), 2 * jnp.arcsin(y / 2))
    close(jax.jit(jax.jacrev(root))(y), derivative)
    close(jax.jacfwd(root)(y), derivative)


def test_custom_linear_solve_and_its_gradient():
    square = M[:3] + 3 * np.eye(3)
    op, inverse, b = Dense(square), Dense(np.linalg.inv(square)), like(np.zeros(3, complex), 1)

    def solve(b):
        return jax.lax.custom_linear_solve(op, b, lambda _, b: inverse(b), lambda _, b: inverse.T(b))

    twin = lambda b: jnp.linalg.solve(jnp.asarray(square, b.dtype), b)  # noqa: E731
    close(solve(b), twin(b))
    close(grad(solve, b), grad(twin, b), 10)


@pytest.mark.parametrize("name", ["dense complex", "derived", "sine", "pytrees", "batched"])
def test_operators_as_arguments_and_carries(name):
    case = CASES[name]
    x = like(case.x, 1)
    op, other = (jax.tree.map(lambda leaf, k=k: k * jnp.asarray(leaf), case.op) for k in (1.0, 1.5))
    ops, expected = stack([op, other]), [case.twin(op, x), case.twin(other, x)]
    grow = lambda op: jax.tree.map(lambda leaf: 1.5 * leaf, op)  # noqa: E731

    close(jax.jit(lambda op, x: op(x))(other, x), expected[1])
    close(jax.vmap(lambda op: op(x))(ops), stack(expected))
    close(jax.lax.scan(lambda carry, op: (carry, op(x)), 0, ops)[1], stack(expected))
    close(jax.lax.cond(True, lambda op: op(x), lambda op: other(x), op), expected[0])
    carry, ys = jax.lax.scan(lambda op, _: (grow(op), op(x)), op, None, length=2)
    close(ys, stack(expected))
    close(carry, grow(grow(op)))
    close(jax.lax.while_loop(lambda s: s[0] < 1, lambda s: (s[0] + 1, grow(s[1])), (0, op))[1](x), expected[1])


# ---- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dense complex", "batched", "sine", "traced"])
def test_eager_vmap_compiles_once(name, caplog):
    op, xs = CASES[name].op, moved(like(CASES[name].x, 1), 0)
    jax.clear_caches()

    def compilations():
        caplog.clear()
        with jax.log_compiles():
            jax.block_until_ready(jax.vmap(op)(xs))
        return [text for text in caplog.messages if text.startswith("Compiling")]

    caplog.set_level(logging.WARNING)
    assert compilations()
    assert [compilations() for _ in range(20)] == [[]] * 20


def test_batched_hooks_get_all_axes_in_one_call():
    case = CASES["batched"]
    a, b = moved(like(case.x, 1), 0)
    some = lambda f: jax.vmap(f, ((0, None),))  # noqa: E731
    both = lambda f: jax.vmap(jax.vmap(f, ((None, 0),)), ((0, None),))  # noqa: E731

    BatchedMix.seen.clear()
    close(some(case.op)((a, b[0])), some(case.reference)((a, b[0])))
    assert BatchedMix.seen == {("apply", (3, 3), (1, 4))}

    BatchedMix.seen.clear()
    close(grad(both(case.op), (a, b[:2])), grad(both(case.reference), (a, b[:2])))
    assert BatchedMix.seen == {("apply", (3, 1, 3), (1, 2, 4)), ("adjoint", (3, 2, 4))}


@pytest.mark.parametrize("axes", [(-1, None), (-1, 1)])
def test_batched_hooks_loop_over_mapped_fields(axes):
    case = CASES["batched"]
    op, x = jax.tree.map(jnp.asarray, case.op), like(case.x, 1)
    xs = x if axes[1] is None else moved(x, 1)

    def mapped(call):
        return jax.vmap(lambda matrix, x: call(BatchedMix(matrix, op.gain), x), axes)(moved(op.matrix, -1), xs)

    BatchedMix.seen.clear()
    close(mapped(lambda op, x: op(x)), mapped(case.twin))
    close(mapped(lambda op, x: grad(op, x)), mapped(lambda op, x: grad(lambda x: case.twin(op, x), x)))
    assert BatchedMix.seen == {("apply", (3,), (4,)), ("adjoint", (4,))}


@pytest.mark.parametrize("name", ["dense real", "batched", "pytrees", "sine", "derived"])
def test_empty_batches(name):
    x = like(CASES[name].x, 1, lead=(0,))
    close(jax.vmap(CASES[name].op)(x), jax.vmap(CASES[name].reference)(x))
    close(grad(jax.vmap(CASES[name].op), x), grad(jax.vmap(CASES[name].reference), x))


# ---- derivatives that are not there ---------------------------------------------------------------------------------


class HessianForwardOnly(Sine):
    def hessian_apply(self, x, dx1, dx2):
        return -self.a * self.b**2 * np.sin(self.b * x) * dx1 * dx2


V = np.array([0.3, -0.2, 0.5])
SINES = (np.ones(3), np.asarray(2.0))


def twice_differentiated(op, outer, inner):
    return lambda: outer(inner(lambda v: energy(op(v))))(jnp.asarray(V))


def third_derivative(op):
    second_derivative = jax.jacfwd(jax.jacfwd(lambda v: op(v)))
    return jax.jacfwd(second_derivative)(jnp.asarray(V))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jax.jvp(ReverseOnly(), (V,), (V,)), r"ReverseOnly has no jacobian_apply: .*Define ReverseOnly\.jacob"),
        (lambda: grad(ForwardOnlyCube(), V), r"ForwardOnlyCube has no jacobian_adjoint: reverse.*Define Forward"),
        (lambda: grad(ForwardOnly(), V), r"ForwardOnly has no adjoint: reverse-mode.*Define ForwardOnly\.adjoint"),
        (
            lambda: jax.vmap(jax.grad(lambda x: energy(ForwardOnly()(x))))(jnp.ones((2, 3))),
            "ForwardOnly has no adjoint",
        ),
        (lambda: ForwardOnly().with_domain(V).H(V), r"ForwardOnly has no adjoint"),
        (twice_differentiated(Sine(*SINES), jax.jacfwd, jax.grad), r"Define Sine\.hessian_apply and Sine\.hessian_adj"),
        (
            twice_differentiated(Sine(*SINES), jax.jacrev, jax.jacfwd),
            r"Define Sine\.hessian_apply and Sine\.hessian_adj",
        ),
        (
            twice_differentiated(Sine(*SINES), jax.jacfwd, jax.jacfwd),
            r"Define Sine\.hessian_apply and Sine\.hessian_adj",
        ),
        (twice_differentiated(HessianForwardOnly(*SINES), jax.jacrev, jax.jacfwd), r"HessianForwardOnly\.hessian_adj"),
        (lambda: third_derivative(SineWithHessian(*SINES)), r"Derivatives of SineWithHessian\.hessian_apply with resp"),
    ],
)
def test_missing_hooks_are_named(call, message):
    with pytest.raises(NotImplementedError, match=message):
        call()


def test_half_a_hessian_serves_forward_mode():
    op = HessianForwardOnly(*SINES)
    found = twice_differentiated(op, jax.jacfwd, jax.jacfwd)()
    close(found, jax.hessian(lambda v: energy(jnp.sin(2 * v)))(jnp.asarray(V)))


def test_an_adjoint_on_its_own_needs_a_shape():
    op, y = Cumulative(0), jnp.asarray(normal((3,), np.float32))
    expected = jnp.cumsum(y[::-1])[::-1]
    with pytest.raises(
        TypeError, match=r"Cumulative\.H\(y\) needs .*Define Cumulative\.infer_adjoint_shape, or .*with_d"
    ):
        op.H(y)
    close(op.with_domain(y).H(y), expected)
    close(jax.vjp(op, y)[1](y)[0], expected)
    with pytest.raises(TypeError, match=r"DerivedDense\.H\(y\) needs .*Define DerivedDense\.infer_adjoint_shape"):
        DerivedDense(M).H(jnp.ones(4))


def test_two_derivatives_of_a_real_loss_of_a_nonholomorphic_map():
    """The gradient of |x|^2 in JAX's convention is 2 conj(x)."""
    x = like(np.zeros(3, complex), 1)
    close(jax.grad(lambda x: jnp.sum(Modulus()(x)))(x), 2 * x.conj())


def test_first_derivatives_of_the_paper_example():
    x1, x2 = like((np.zeros(3, complex),) * 2, 1)
    d1, d2 = jax.grad(lambda x: jnp.sum(Paper()(x)).real)((x1, x2))
    close(d1, x2**2)
    close(d2, 2 * x1 * x2)
