"""Derivatives with respect to an operator's own fields, and batches of them, against twins in pure JAX."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, conj, energy, is_inexact, like, normal, stack
from operators import (
    CASES,
    Antilinear,
    BatchedMix,
    Dense,
    DenseWithParameters,
    M,
    Mix,
    N,
    Sine,
    SineWithHessian,
    W,
)

import linops_jax as lo

DIFFERENTIABLE = {name: case for name, case in CASES.items() if case.parameters}
FORWARD = [name for name, case in DIFFERENTIABLE.items() if case.parameters == "both"]
SQUARE = normal((3, 3), np.complex128, 1)


def split(op):
    """The floating point fields of an operator as a list, and the way back."""
    leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, op))
    inexact = [leaf for leaf in leaves if is_inexact(leaf)]

    def join(values):
        values = iter(values)
        return jax.tree.unflatten(tree, [next(values) if is_inexact(leaf) else leaf for leaf in leaves])

    return inexact, join


def both(name):
    """(fields, x) -> y, through the operator and through its twin; and where to evaluate."""
    case = CASES[name]
    fields, join = split(case.op)
    x = like(case.x, 1)
    return (lambda fields, x: join(fields)(x)), (lambda fields, x: case.twin(join(fields), x)), fields, x


def loss(function, **options):
    return lambda *arguments: energy(function(*arguments, **options))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_reverse_mode(name):
    found, twin, fields, x = both(name)
    close(jax.grad(loss(found))(fields, x), jax.grad(loss(twin))(fields, x))
    pulled = lambda f: jax.grad(loss(f), (0, 1))(fields, x)  # noqa: E731
    close(*jax.jit(lambda: (pulled(found), pulled(twin)))())


@pytest.mark.parametrize("name", FORWARD)
def test_forward_mode(name):
    found, twin, fields, x = both(name)
    tangents = (like(fields, 2), like(x, 3))
    pushed = lambda f: jax.jvp(f, (fields, x), tangents)  # noqa: E731
    close(*jax.jit(lambda: (pushed(found), pushed(twin)))())
    close(
        jax.linearize(lambda fields: found(fields, x), fields)[1](tangents[0]), pushed_fields(twin, fields, x, tangents)
    )


def pushed_fields(f, fields, x, tangents):
    return jax.jvp(lambda fields: f(fields, x), (fields,), tangents[:1])[1]


@pytest.mark.parametrize("name", FORWARD)
def test_linear_in_the_tangents(name):
    """The derivative in the fields can be transposed, and its transpose again."""
    found, twin, fields, x = both(name)
    push = lambda f: lambda t: pushed_fields(f, fields, x, (t,))  # noqa: E731
    y = like(jax.eval_shape(lambda: found(fields, x)), 5)
    pull = lambda f: lambda y: jax.linear_transpose(push(f), fields)(y)  # noqa: E731
    close(pull(found)(y), pull(twin)(y))
    again = lambda f: jax.linear_transpose(pull(f), y)((like(fields, 6),))  # noqa: E731
    close(again(found), again(twin))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("axes", [(0, None), (-1, 0)])
def test_batches_of_gradients(name, axes):
    found, twin, fields, x = both(name)
    many = stack([fields, like(fields, 2)], axes[0])
    xs = x if axes[1] is None else stack([x, like(x, 3)])
    mapped = lambda f: jax.vmap(jax.grad(loss(f), (0, 1)), axes)(many, xs)  # noqa: E731
    of_sum = lambda f: jax.grad(lambda *z: energy(jax.vmap(f, axes, 1)(*z)), (0, 1))(many, xs)  # noqa: E731
    close(*jax.jit(lambda: [(mapped(f), of_sum(f)) for f in (found, twin)])())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if jax.tree.leaves(case.op)])
def test_vmap_over_fields(name):
    case = CASES[name]
    leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, case.op))
    x, xs = like(case.x, 1), stack([like(case.x, 1), like(case.x, 2)])
    permuted = [leaf * 0.5 if is_inexact(leaf) else leaf[::-1] for leaf in leaves]
    many = jax.tree.unflatten(tree, stack([leaves, permuted]))
    ops = [jax.tree.unflatten(tree, leaves), jax.tree.unflatten(tree, permuted)]
    expected = lambda inputs: stack([case.twin(op, x) for op, x in zip(ops, inputs, strict=True)])  # noqa: E731
    close(jax.vmap(lambda op: op(x))(many), expected([x, x]))
    close(jax.jit(jax.vmap(lambda op, x: op(x)))(many, xs), expected([x, like(case.x, 2)]))
    first = lambda leaf, *rest: jax.tree.unflatten(tree, [leaf, *rest])(x)  # noqa: E731
    only_first = jax.vmap(first, (0, *[None] * (len(leaves) - 1)))(jnp.stack([leaves[0], permuted[0]]), *leaves[1:])
    mixed = jax.tree.unflatten(tree, [permuted[0], *leaves[1:]])
    close(only_first, stack([case.twin(ops[0], x), case.twin(mixed, x)]))


# ---- through the adjoint, the transpose and the Jacobian --------------------------------------------------------------

LINEAR = [name for name, case in DIFFERENTIABLE.items() if case.linear]
ALL_ORDERS = ["traced", "derived", "derived pytrees"]


def through(name, wrap):
    """(fields, y) -> A^H y (or A^T y, conj(A) x), through the operator and from the transpose of its twin."""
    case = CASES[name]
    fields, join = split(case.op)
    x = like(case.x, 1)
    y = like(jax.eval_shape(case.reference, x), 2)
    found = lambda fields, z: wrap(join(fields).with_domain(x))(z)  # noqa: E731

    def transposed(fields, y):
        return jax.linear_transpose(lambda x: case.twin(join(fields), x), x)(y)[0]

    twin = {
        H: lambda fields, y: conj(transposed(fields, conj(y))),
        T: transposed,
        CONJ: lambda fields, x: conj(case.twin(join(fields), conj(x))),
    }[wrap]
    return found, twin, fields, x if wrap is CONJ else y


def H(op):
    return op.H


def T(op):
    return op.T


def CONJ(op):
    return op.conj()


@pytest.mark.parametrize("wrap", [H, T, CONJ])
@pytest.mark.parametrize("name", LINEAR)
def test_reverse_mode_through(name, wrap):
    found, twin, fields, z = through(name, wrap)
    pulled = lambda f: jax.grad(loss(f), (0, 1))(fields, z)  # noqa: E731
    close(*jax.jit(lambda: (pulled(found), pulled(twin)))())


@pytest.mark.parametrize("name", ALL_ORDERS)
def test_forward_mode_through_a_derived_adjoint(name):
    found, twin, fields, y = through(name, H)
    pushed = lambda f: jax.jvp(f, (fields, y), (like(fields, 3), like(y, 4)))  # noqa: E731
    close(pushed(found), pushed(twin))


@pytest.mark.parametrize("name", LINEAR)
def test_gradient_in_fields_of_the_gradient_in_x(name):
    """The misfit of a gradient step: reverse over reverse, as in a learned reconstruction."""
    found, twin, fields, x = both(name)

    def outer(f):
        inner = lambda fields, x: jax.grad(loss(f), 1)(fields, x)  # noqa: E731
        return jax.grad(loss(inner), (0, 1))(fields, x)

    close(*jax.jit(lambda: (outer(found), outer(twin)))())


@pytest.mark.parametrize("name", [name for name in LINEAR if DIFFERENTIABLE[name].parameters == "both"])
def test_forward_in_x_of_the_gradient_in_fields(name):
    found, twin, fields, x = both(name)
    pushed = lambda f: jax.jvp(lambda x: jax.grad(loss(f))(fields, x), (x,), (like(x, 3),))  # noqa: E731
    close(pushed(found), pushed(twin))


@pytest.mark.parametrize("name", ["traced", "derived", "derived pytrees", "traced sine"])
def test_traced_fields_have_all_orders(name):
    found, twin, fields, x = both(name)
    twice = lambda f: jax.grad(loss(jax.grad(loss(f), (0, 1))), (0, 1))(fields, x)  # noqa: E731
    pushed = lambda f: jax.jvp(jax.grad(loss(f), (0, 1)), (fields, x), (like(fields, 3), like(x, 4)))  # noqa: E731
    close(*jax.jit(lambda: [(twice(f), pushed(f)) for f in (found, twin)])(), 10)


@pytest.mark.parametrize("name", ["sine", "traced sine"])
def test_chain_rule_in_fields(name):
    """Fields and input from one variable, under scan, vmap and checkpoint."""
    found, twin, fields, x = both(name)

    def run(f):
        step = jax.checkpoint(lambda x, t: (jnp.tanh(f([t * fields[0], fields[1] + t], x)), x))
        final = lambda t: jax.lax.scan(lambda x, _: step(x, t), x, None, length=3)[0]  # noqa: E731
        return jax.jit(jax.vmap(jax.grad(loss(final))))(jnp.array([0.1, 0.7]))

    close(run(found), run(twin))


def test_stop_gradient_is_enough():
    x = like(np.zeros(3, complex), 1)
    matrix = jnp.asarray(M, x.dtype)
    found = jax.grad(lambda t: energy(Dense(jax.lax.stop_gradient(t * matrix))(t * x)))(2.0)
    close(found, jax.grad(lambda t: energy(2.0 * matrix @ (t * x)))(2.0))


# ---- answers of parameter_vjp ---------------------------------------------------------------------------------------


class TwoGains(lo.LinearOperator):
    """(a + b) x; ``answer`` says what parameter_vjp returns."""

    a: jax.Array
    b: jax.Array
    answer: str = lo.static(default="operator")

    def apply(self, x):
        return (self.a + self.b) * x

    def adjoint(self, y):
        return np.conj(self.a + self.b) * y

    def infer_shape(self, x):
        return S(x.shape, jnp.result_type(self.a.dtype, self.b.dtype, x.dtype))

    def parameter_vjp(self, x, dy):
        g = np.conj(x) * dy
        return {
            "operator": lambda: dataclasses.replace(self, a=g, b=g),
            "dict": lambda: {"b": g, "a": g},
            "None": lambda: {"a": None, "b": g},
            "missing": lambda: {"b": g},
            "empty": dict,
            "unknown": lambda: {"c": g},
            "static": lambda: {"answer": g},
            "shape": lambda: {"a": g[:1], "b": g},
            "structure": lambda: (g, g),
        }[self.answer]()


@pytest.mark.parametrize(
    ("answer", "has_a", "has_b"),
    [("operator", 1, 1), ("dict", 1, 1), ("None", 0, 1), ("missing", 0, 1), ("empty", 0, 0)],
)
def test_answers(answer, has_a, has_b):
    a, b, x = like((np.zeros(3, complex),) * 3, 1)
    found = jax.grad(lambda a, b: jnp.sum(jnp.abs(TwoGains(a, b, answer)(x)) ** 2), (0, 1))(a, b)
    expected = jax.grad(lambda s: jnp.sum(jnp.abs(s * x) ** 2))(a + b)
    close(found, (has_a * expected, has_b * expected))


def test_the_gradient_of_a_real_field_is_real():
    """parameter_vjp returns complex: the real part counts."""
    a, b, x = like((np.zeros(3), np.zeros(3, complex), np.zeros(3, complex)), 1)
    found = jax.grad(lambda a, b: energy(TwoGains(a, b)(x)), (0, 1))(a, b)
    close(found, jax.grad(lambda a, b: energy((a + b) * x), (0, 1))(a, b))


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ("unknown", TypeError, "returned a derivative for c, which is not a field"),
        ("static", TypeError, "returned a derivative for answer"),
        ("shape", ValueError, r"returned shape \(1,\).*\(3,\)"),
        ("structure", TypeError, "structure"),
    ],
)
def test_wrong_answers(answer, error, message):
    a, b, x = like((np.zeros(3, complex),) * 3, 1)
    with pytest.raises(error, match=message) as caught:
        jax.grad(lambda a: energy(TwoGains(a, b, answer)(x)))(a)
    assert "TwoGains.parameter_vjp" in str(caught.value) + "".join(caught.value.__notes__)


# ---- what cannot follow is named --------------------------------------------------------------------------------------


def scalar(function):
    return lambda t: energy(function(t))


def fields_of(op, by):
    return jax.tree.map(lambda leaf: by.astype(leaf.dtype) * leaf, jax.tree.map(jnp.asarray, op))


X3 = like(np.zeros(3, complex), 1)
Y4 = like(np.zeros(4, complex), 1)
SINE = Sine(M[0], np.asarray(0.5))
HESSIAN = SineWithHessian(M[0], np.asarray(0.5))
PERMUTED = CASES["parameters in reverse"].op
BATCHED = CASES["batched"].op


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda t: fields_of(Dense(M), t)(X3),
            r"Dense\.matrix is being differentiated.*Define Dense\.parameter_jvp and D",
        ),
        (lambda t: fields_of(Dense(M), t).H(Y4), r"Dense\.matrix is being differentiated.*Define Dense\.parameter_jvp"),
        (lambda t: Antilinear(M, t * N)(X3), r"Antilinear\.b is being differentiated"),
        (lambda t: fields_of(Antilinear(M, N), t)(X3), r"Antilinear\.a, Antilinear\.b (is|are) being differentiated"),
        (lambda t: BatchedMix(BATCHED.matrix, t * BATCHED.gain)((X3, Y4)), r"BatchedMix\.gain is being differentiated"),
        (
            lambda t: Mix(t * W)((X3, jnp.ones((2, 3)))),
            r"Mix\.w is being differentiated.*Define Mix\.parameter_jvp and",
        ),
    ],
)
@pytest.mark.parametrize(
    ("mode", "t"),
    [
        (jax.grad, 1.0),
        (jax.jacfwd, 1.0),
        (lambda f: jax.jit(jax.grad(f)), 1.0),
        (lambda f: jax.vmap(jax.grad(f)), [1.0, 2.0]),
    ],
    ids=["grad", "jacfwd", "jit", "vmap"],
)
def test_fields_without_hooks(function, message, mode, t):
    with pytest.raises(NotImplementedError, match=message):
        mode(scalar(function))(jnp.asarray(t))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jax.jvp(lambda a: dataclasses.replace(PERMUTED, a=a)(X3), (X3.real,), (X3.real,)),
         r"Permuted has no parameter_jvp: .*Define Permuted\.parameter_jvp"),
        (lambda: jax.jvp(lambda m: DenseWithParameters(m).H(Y4), (M,), (M,)),
         r"DenseWithParameters\.adjoint has no forward-mode derivative with respect to the fields"),
        (lambda: jax.grad(lambda x: energy(jax.grad(lambda m: energy(DenseWithParameters(m)(x)))(jnp.asarray(M))))(X3),
         r"DenseWithParameters\.adjoint has no forward-mode derivative"),
    ],
)  # fmt: skip
def test_missing_directions(call, message):
    with pytest.raises(NotImplementedError, match=message):
        call()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda t: DenseWithParameters(t * M)(X3), "DenseWithParameters.matrix"),
        (lambda t: Sine(t * SINE.a, SINE.b)(X3), "Sine.a"),
        (lambda t: Sine(SINE.a, t * SINE.b).jacobian(X3)(X3), "Sine.b"),
        (lambda t: Sine(t * SINE.a, SINE.b).jacobian(X3).H(X3), "Sine.a"),
        (lambda t: SineWithHessian(t * HESSIAN.a, HESSIAN.b).jacobian(X3)(X3), "SineWithHessian.a"),
        (lambda t: jax.grad(scalar(Sine(SINE.a, t * SINE.b)))(X3), "Sine.b"),
    ],
)
def test_second_derivatives_in_fields_do_not_ask_for_hooks_that_are_there(function, name):
    """All of these classes define parameter_jvp and parameter_vjp: the message must not ask for them."""
    with pytest.raises(NotImplementedError, match=name) as caught:
        jax.grad(jax.grad(scalar(function)))(1.0)
    assert f"Define {name.split('.')[0]}.parameter_jvp" not in str(caught.value)


def test_gradient_of_a_nonlinear_operator_in_x_of_the_gradient_in_fields_is_named():
    inner = lambda x: jax.grad(lambda a: energy(Sine(a, SINE.b)(x)))(jnp.asarray(SINE.a))  # noqa: E731
    with pytest.raises(NotImplementedError, match=r"parameter_(jvp|vjp).* x"):
        jax.grad(scalar(inner))(X3)


def test_pytree_fields_are_named_with_their_path():
    class Bank(lo.LinearOperator):
        weights: dict

        def apply(self, x):
            return self.weights["low"][0] * x

        def adjoint(self, y):
            return self.weights["low"][0] * y

        def infer_shape(self, x):
            return x

    with pytest.raises(NotImplementedError, match=r"Bank\.weights\['low'\]\[0\] is being differentiated"):
        jax.grad(lambda t: energy(Bank({"low": (t * jnp.ones(3), jnp.ones(2))})(X3)))(1.0)


def test_fields_of_operators_inside_operators():
    """An operator as an array field of a host operator: views inside the hook, gradients outside."""

    class Twice(lo.LinearOperator):
        inner: lo.LinearOperator

        def apply(self, x):
            return self.inner.apply(self.inner.apply(x))

        def adjoint(self, y):
            return self.inner.adjoint(self.inner.adjoint(y))

        def infer_shape(self, x):
            return self.inner.infer_shape(x)

        def parameter_jvp(self, x, dself):
            return dself.inner.apply(self.inner.apply(x)) + self.inner.apply(dself.inner.apply(x))

        def parameter_vjp(self, x, dy):
            outer, inner = np.outer(dy, self.inner.apply(x).conj()), np.outer(self.inner.adjoint(dy), x.conj())
            return {"inner": Dense(outer + inner)}

    m = jnp.asarray(SQUARE, X3.dtype)
    close(Twice(Dense(m))(X3), m @ (m @ X3))
    found = jax.grad(lambda m: energy(Twice(Dense(m))(X3)))(m)
    close(found, jax.grad(lambda m: energy(m @ (m @ X3)))(m))
    pushed = lambda f: jax.jvp(f, (m,), (2j * m,))  # noqa: E731
    close(pushed(lambda m: Twice(Dense(m))(X3)), pushed(lambda m: m @ (m @ X3)))


# ---- one of the two rules, as JAX code ----------------------------------------------------------------------------------


class TracedPush(Dense):
    @lo.traced
    def parameter_jvp(self, x, dself):
        return dself.matrix @ x


class TracedPull(Dense):
    @lo.traced
    def parameter_vjp(self, x, dy):
        return {"matrix": jnp.outer(dy, jnp.conj(x))}


def through_fields(cls):
    """The operator and its adjoint as functions of the matrix, their derivatives in it in both modes, and of the first order
    in the other argument."""
    m, x, y = (jnp.asarray(leaf) for leaf in (like(M, 1), X3, Y4))
    ahead, back = (lambda m: cls(m)(x)), (lambda m: cls(m).with_domain(x).H(y))
    return {
        "forward": jax.jvp(ahead, (m,), (like(m, 2),)),
        "reverse": jax.jit(jax.grad(lambda m: energy(ahead(m))))(m),
        "of the adjoint": jax.jvp(back, (m,), (like(m, 2),)),
        "reverse of the adjoint": jax.grad(lambda m: energy(back(m)))(m),
        "in x": jax.grad(lambda x: energy(jax.grad(lambda m: energy(cls(m)(x)))(m)))(x),
        "batched": jax.vmap(lambda m: jax.grad(lambda m: energy(cls(m)(x)))(m))(jnp.stack([m, 2 * m])),
    }


class DenseTwin(lo.LinearOperator):
    matrix: jax.Array

    @lo.traced
    def apply(self, x):
        return self.matrix @ x


@pytest.mark.parametrize("cls", [TracedPush, TracedPull])
def test_one_traced_rule_in_fields_serves_both_modes(cls):
    close(through_fields(cls), through_fields(DenseTwin), 5)


class TwiceThePush(DenseTwin):
    """What the user says is the derivative is twice that of apply, to tell whose rule is used."""

    @lo.traced
    def parameter_jvp(self, x, dself):
        return 2 * dself.matrix @ x


class TwiceThePushAdjointByHand(TwiceThePush):
    def adjoint(self, y):
        return np.conj(self.matrix.T) @ y


class TwiceThePull(DenseTwin):
    @lo.traced
    def parameter_vjp(self, x, dy):
        return {"matrix": 2 * jnp.outer(dy, jnp.conj(x))}


@pytest.mark.parametrize("cls", [TwiceThePush, TwiceThePushAdjointByHand, TwiceThePull])
def test_rules_that_were_given_are_not_replaced_by_those_of_a_traced_apply(cls):
    m, x, y = (jnp.asarray(leaf) for leaf in (like(M, 1), X3, Y4))
    for of in (lambda op: op(x), lambda op: op.with_domain(x).H(y)):
        pushed, twin = (jax.jvp(lambda m, cls=cls: of(cls(m)), (m,), (like(m, 2),))[1] for cls in (cls, DenseTwin))  # noqa: B023
        close(pushed, 2 * twin, 5)
        pulled, twin = (jax.grad(lambda m, cls=cls: of(cls(m)).real.sum())(m) for cls in (cls, DenseTwin))  # noqa: B023
        close(pulled, 2 * twin, 5)


class HostPush(DenseTwin):
    def parameter_jvp(self, x, dself):
        return dself.matrix @ x


class HostPull(DenseTwin):
    def parameter_vjp(self, x, dy):
        return {"matrix": np.outer(dy, np.conj(x))}


def test_host_rules_in_fields_are_not_replaced_either():
    m, x, y = (jnp.asarray(leaf) for leaf in (like(M, 1), X3, Y4))
    pushed = lambda f: jax.jvp(f, (m,), (m,))[1]  # noqa: E731
    pulled = lambda f: jax.grad(lambda m: energy(f(m)))(m)  # noqa: E731
    close(pushed(lambda m: HostPush(m)(x)), m @ x, 5)
    close(pulled(lambda m: HostPull(m)(x)), pulled(lambda m: m @ x), 5)
    with pytest.raises(
        NotImplementedError, match=r"HostPush has no parameter_vjp: .*HostPush\.parameter_jvp is not traced"
    ):
        pulled(lambda m: HostPush(m)(x))
    with pytest.raises(NotImplementedError, match=r"HostPush has no parameter_vjp: "):
        pulled(lambda m: HostPush(m).with_domain(x).H(y))
    with pytest.raises(
        NotImplementedError, match=r"HostPull has no parameter_jvp: .*HostPull\.parameter_vjp is not traced"
    ):
        pushed(lambda m: HostPull(m)(x))
    with pytest.raises(NotImplementedError, match=r"HostPull\.adjoint has no forward-mode derivative"):
        pushed(lambda m: HostPull(m).with_domain(x).H(y))


# ---- hooks that have no rule of their own -------------------------------------------------------------------------------


class WithGram(DenseWithParameters):
    def gram(self, x):
        return np.conj(self.matrix.T) @ (self.matrix @ x)


class WithGramAndTracedRules(Dense):
    gram = WithGram.gram
    parameter_jvp, parameter_vjp = TracedPush.parameter_jvp, TracedPull.parameter_vjp


def normal_product(m, x):
    return jnp.conj(m.T) @ (m @ x)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("cls", [WithGram, WithGramAndTracedRules])
def test_gram_depends_on_fields_as_adjoint_and_apply_do(cls, jit):
    m, x = jnp.asarray(like(M, 1)), jnp.asarray(X3)
    found = lambda m, x: (cls(m).H @ cls(m))(x)  # noqa: E731
    both = lambda m, x: cls(m).gram(x) if cls is WithGram else found(m, x)  # noqa: E731
    maps = {
        "reverse": lambda f: jax.grad(loss(f), (0, 1))(m, x),
        "batched": lambda f: jax.vmap(jax.grad(loss(f), (0, 1)), (0, None))(jnp.stack([m, 2 * m]), x),
        "batch of x": lambda f: jax.grad(lambda m: energy(jax.vmap(f, (None, 0))(m, jnp.stack([x, 2 * x]))))(m),
    }
    if cls is WithGramAndTracedRules:
        maps |= {
            "forward": lambda f: jax.jvp(f, (m, x), (like(m, 2), like(x, 3))),
            "linearized": lambda f: jax.linearize(f, m, x)[1](like(m, 2), like(x, 3)),
            "second": lambda f: jax.jvp(lambda x: jax.grad(loss(f))(m, x), (x,), (like(x, 3),)),
        }
    for what in maps.values():
        f = lambda f, what=what: (jax.jit(lambda: what(f)) if jit else lambda: what(f))()  # noqa: E731
        close(f(both), f(normal_product), 20)
    assert "gram" in str(jax.make_jaxpr(lambda x: cls(m).gram(x))(x))


def test_gram_without_rules_names_what_is_missing():
    class Bare(Dense):
        gram = WithGram.gram

    with pytest.raises(NotImplementedError, match=r"Bare\.matrix is being differentiated.*Define Bare\.parameter_jvp"):
        jax.grad(lambda m: energy(Bare(m).gram(X3)))(jnp.asarray(M))


class SymmetricGain(lo.LinearOperator, symmetric=True):
    """A real diagonal, which is its own adjoint."""

    d: jax.Array

    def apply(self, x):
        return self.d * x

    def infer_shape(self, x):
        return x

    def parameter_jvp(self, x, dself):
        return dself.d * x

    def parameter_vjp(self, x, dy):
        return {"d": np.conj(x) * dy}


class SymmetricWithAdjoint(SymmetricGain):
    def adjoint(self, y):
        return self.d * y


class NotSymmetric(SymmetricWithAdjoint, symmetric=False):
    infer_adjoint_shape = SymmetricGain.infer_shape


@pytest.mark.parametrize("cls", [SymmetricGain, SymmetricWithAdjoint])
def test_the_adjoint_of_a_symmetric_operator_has_its_derivative(cls):
    d, x = jnp.asarray(normal((3,), np.float32, 1)), X3
    product = lambda d, x: d * x  # noqa: E731
    pushed = lambda f: jax.jvp(f, (d, x), (like(d, 2), like(x, 3)))  # noqa: E731
    pulled = lambda f: jax.grad(loss(f), (0, 1))(d, x)  # noqa: E731
    mixed = lambda f: jax.jvp(lambda x: jax.grad(loss(f))(d, x), (x,), (like(x, 3),))  # noqa: E731
    for found in (lambda d, x: cls(d)(x), lambda d, x: cls(d).H(x), lambda d, x: cls(d).T(x)):
        close(jax.jit(pushed, static_argnums=0)(found), pushed(product))
        close(pulled(found), pulled(product))
        close(mixed(found), mixed(product))
    with pytest.raises(NotImplementedError, match=r"NotSymmetric\.adjoint has no forward-mode derivative"):
        jax.jvp(lambda d: NotSymmetric(d).H(x), (d,), (d,))


# ---- zeros that nobody asked for ----------------------------------------------------------------------------------------


class Gain(lo.LinearOperator):
    """No rule for the derivative in d."""

    d: jax.Array

    def apply(self, x):
        return self.d * x

    def adjoint(self, y):
        return np.conj(self.d) * y

    def infer_shape(self, x):
        return x


class GainWithPull(Gain):
    def parameter_vjp(self, x, dy):
        return {"d": np.conj(x) * dy}


class Growth(lo.NonlinearOperator):
    """exp(d x), without a rule for the derivative in d."""

    d: jax.Array

    def apply(self, x):
        return np.exp(self.d * x)

    def jacobian_apply(self, x, dx):
        return self.d * np.exp(self.d * x) * dx

    def jacobian_adjoint(self, x, dy):
        return np.conj(self.d * np.exp(self.d * x)) * dy

    def infer_shape(self, x):
        return x


REAL3 = jnp.asarray(normal((3,), np.float32, 5))
GAIN = jnp.asarray(0.5 + normal((3,), np.float32, 6) ** 2)


def rooted(op, b):
    """v with v + A v = b, for JAX to differentiate implicitly."""

    def solve(f, _):
        return jax.lax.fori_loop(0, 60, lambda _, v: v - 0.2 * f(v), jnp.zeros_like(b))

    def tangent_solve(g, y):
        return jax.lax.fori_loop(0, 60, lambda _, v: v - 0.2 * (g(v) - y), jnp.zeros_like(y))

    return jax.lax.custom_root(lambda v: v + 0.5 * op(v) - b, jnp.zeros_like(b), solve, tangent_solve)


@jax.custom_jvp
def with_own_rule(op, x):
    return op(x)


@with_own_rule.defjvp
def _(primals, tangents):
    return jax.jvp(lambda op, x: op(x), primals, tangents)


UNASKED = {
    "own rule, forward": lambda op, x: jax.jvp(lambda x: with_own_rule(op, x), (x,), (x,))[1],
    "own rule, batched": lambda op, x: jax.vmap(jax.grad(lambda x: with_own_rule(op, x).sum()))(jnp.stack([x, 2 * x])),
    "own rule, scan": lambda op, x: jax.lax.scan(
        lambda x, _: (jax.jvp(lambda x: with_own_rule(op, x), (x,), (x,))[1], 0), x, None, length=2
    )[0],
    "own rule, checkpoint": lambda op, x: jax.grad(jax.checkpoint(lambda x: with_own_rule(op, x).sum()))(x),
    "own rule, many operators": lambda op, x: jax.vmap(
        lambda op: jax.jvp(lambda x: with_own_rule(op, x), (x,), (x,))[1]
    )(stack([op, op])),
}
OF_ROOT = {
    "root, forward": lambda op, b: jax.jvp(lambda b: rooted(op, b), (b,), (b,))[1],
    "root, reverse": lambda op, b: jax.grad(lambda b: jnp.sum(rooted(op, b) ** 2))(b),
    "root, batched": lambda op, b: jax.vmap(jax.grad(lambda b: jnp.sum(rooted(op, b))))(jnp.stack([b, 2 * b])),
    "root, inner jit": lambda op, b: jax.grad(jax.jit(lambda b: jnp.sum(rooted(op, b) ** 2)))(b),
}


class GainTwin(lo.LinearOperator):
    d: jax.Array
    apply = lo.traced(lambda self, x: self.d * x)


class GrowthTwin(lo.NonlinearOperator):
    d: jax.Array
    apply = lo.traced(lambda self, x: jnp.exp(self.d * x))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("cls", [Gain, GainWithPull, Growth])
@pytest.mark.parametrize("which", UNASKED | OF_ROOT)
def test_zero_tangents_of_fields_are_no_question(which, cls, jit):
    twin = GrowthTwin if cls is Growth else GainTwin
    f = (UNASKED | OF_ROOT)[which]
    f = jax.jit(f) if jit else f
    close(f(cls(GAIN), REAL3), f(twin(GAIN), REAL3), 50)


@pytest.mark.parametrize("which", OF_ROOT)
def test_zero_tangents_of_fields_that_are_constants_of_the_program(which):
    close(jax.jit(lambda b: OF_ROOT[which](Gain(GAIN), b))(REAL3), OF_ROOT[which](GainTwin(GAIN), REAL3), 50)


REFUSED = {
    Gain: r"Gain\.d is being differentiated, but Gain only has .*Define Gain\.parameter_jvp",
    Growth: r"Growth\.d is being differentiated, but Growth only has .*Define Growth\.parameter_jvp",
    GainWithPull: r"GainWithPull has no parameter_jvp: forward mode .*Define GainWithPull\.parameter_jvp",
}


@pytest.mark.parametrize("cls", REFUSED)
def test_a_question_gets_the_error_where_it_is_asked(cls):
    """Forward mode in a compiled program can only say it when it runs: then it knows the tangents."""
    pushed = lambda d: jax.jvp(lambda d: with_own_rule(cls(d), REAL3), (d,), (d,))[1]  # noqa: E731
    with pytest.raises(NotImplementedError, match=REFUSED[cls]):
        pushed(GAIN)
    with pytest.raises(jax.errors.JaxRuntimeError, match=REFUSED[cls]):
        jax.block_until_ready(jax.jit(pushed)(GAIN))
    with pytest.raises(jax.errors.JaxRuntimeError, match=REFUSED[cls]):
        jax.block_until_ready(jax.jit(jax.vmap(pushed))(jnp.stack([0 * GAIN, GAIN])))
    close(jax.jit(pushed)(0 * GAIN), 0 * GAIN)
    if cls is not GainWithPull:
        with pytest.raises(NotImplementedError, match=REFUSED[cls]):
            jax.jit(jax.grad(lambda d: jnp.sum(with_own_rule(cls(d), REAL3))))(GAIN)
        with pytest.raises(NotImplementedError, match=REFUSED[cls]):
            jax.grad(lambda d: jnp.sum(rooted(cls(d), REAL3)))(GAIN)


def test_what_refuses_is_not_in_programs_that_do_not_ask():
    text = str(jax.make_jaxpr(lambda b: jax.value_and_grad(lambda b: energy(Gain(GAIN)(b)))(b))(REAL3))
    assert "in the fields" not in text


def test_other_arguments_with_zero_tangents_are_no_question_either():
    """Growth has no second derivative, and nobody asks for it."""
    op, x = Growth(GAIN), REAL3
    found = jax.jvp(lambda x: jax.jvp(op, (x,), (x,))[1], (x,), (jnp.zeros_like(x),))[1]
    close(found, 0 * x)
