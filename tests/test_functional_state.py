"""Functions with a state: one evaluation for the value and all derivatives at a point. Counts, then bad input.

Numbers under every transformation are in test_functional.py, where this is one of the cases.
"""

import collections
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from functions import CASES, NATIVE, make_cubic_with_state
from helpers import S, close, energy, like, normal
from jax.test_util import check_grads

import linops_jax as lo

calls = collections.Counter()


@pytest.fixture(autouse=True)
def _start_from_zero():
    calls.clear()


# ---- f(m, x) = m sin(x), whose state is (sin(x), m cos(x)); m is fixed ------------------------------------------------


def counted(name):
    """Counts the calls of a function, one for each element of a batch."""

    def count(function):
        @functools.wraps(function)
        def run(out, args, kwargs_dump):
            calls[name] += 1
            return function(out, args, kwargs_dump)

        return run

    return count


@counted("f")
def wave(out, args, kwargs_dump):
    m, x = args
    out[0][...] = m * np.sin(x)


@counted("f_linearize")
def wave_linearize(out, args, kwargs_dump):
    m, x = args
    y, sin, slope = out
    sin[...], slope[...] = np.sin(x), m * np.cos(x)
    y[...] = m * sin


@counted("product")
def wave_product(out, args, kwargs_dump):
    _, _, _, slope, tangent = args
    out[0][...] = slope * tangent


@counted("hessian")
def wave_hessian(out, args, kwargs_dump):
    m, _, sin, _, one, other = args
    out[0][...] = -m * sin * one * other


def wave_abstract(m, x, *others):
    return ((x.shape, x.dtype),)


def wave_state(m, x):
    return 2 * wave_abstract(m, x)


def make_wave(**changes):
    given = {
        "f": wave,
        "f_derivative": (wave_product, wave_product),
        "abstract": wave_abstract,
        "abstract_reverse": wave_abstract,
        "first_n_args_fixed": 1,
        "hessian": (wave_hessian, wave_hessian),
        "linearize": (wave_linearize, wave_state),
        **changes,
    }
    return lo.get_nonlinear_call(given.pop("f"), given.pop("f_derivative"), **given)


M = jnp.asarray(normal((3,), np.float32, 1))
X = jnp.asarray(normal((3,), np.float32, 2))


def at_m(call):
    """A function of x alone."""
    return lambda x: call(M, x)[0]


def twin(x):
    return M * jnp.sin(x)


def simulations(function, *args):
    calls.clear()
    result = jax.block_until_ready(function(*args))
    return calls["f"], calls["f_linearize"], result


ASKED = {
    "value": lambda f, x: f(x),
    "value, vmapped": lambda f, x: jax.vmap(f)(x[None]),
    "value, scanned": lambda f, x: jax.lax.scan(lambda x, _: (f(x), None), x, None, length=1)[0],
    "value and grad": lambda f, x: jax.value_and_grad(lambda x: energy(f(x)))(x),
    "several pullbacks": lambda f, x: (lambda y, pull: [pull(k * y) for k in range(3)])(*jax.vjp(f, x)),
    "jvp": lambda f, x: jax.jvp(f, (x,), (2 * x,)),
    "linearize and 5 products": lambda f, x: (lambda y, push: [push(k * x) for k in range(5)])(*jax.linearize(f, x)),
    "jacfwd": lambda f, x: jax.jacfwd(f)(x),
    "jacrev": lambda f, x: jax.jacrev(f)(x),
    "hessian": lambda f, x: jax.hessian(lambda x: energy(f(x)))(x),
    "vmap of grad": lambda f, x: jax.vmap(jax.grad(lambda x: energy(f(x))))(x[None]),
    "grad of jit": lambda f, x: jax.grad(lambda x: energy(jax.jit(f)(x)))(x),
    "scan of grad": lambda f, x: jax.lax.scan(
        lambda x, _: (x - jax.grad(lambda x: energy(f(x)))(x), None), x, None, length=1
    )[0],
    "grad of scan": lambda f, x: jax.grad(
        lambda x: energy(jax.lax.scan(lambda x, _: (f(x), None), x, None, length=1)[0])
    )(x),
    "cond": lambda f, x: jax.lax.cond(True, jax.grad(lambda x: energy(f(x))), lambda x: x, x),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("asked", ASKED)
def test_one_evaluation(asked, compiled):
    def run(f):
        return (jax.jit if compiled else lambda g: g)(lambda x: ASKED[asked](f, x))

    without, with_state, found = simulations(run(at_m(make_wave())), X)
    close(found, run(twin)(X), 30)
    differentiated = not asked.startswith("value") or "grad" in asked
    assert (without, with_state) == ((0, 1) if differentiated else (1, 0))


def test_a_batch_is_looped_over():
    xs = like(jnp.stack([X] * 5), 3)
    without, with_state, found = simulations(
        jax.jit(jax.vmap(jax.value_and_grad(lambda x: energy(at_m(make_wave())(x))))), xs
    )
    close(found, jax.vmap(jax.value_and_grad(lambda x: energy(twin(x))))(xs), 30)
    assert (without, with_state) == (0, 5)
    without, with_state, found = simulations(jax.jit(lambda x: jax.vmap(jax.linearize(at_m(make_wave()), x)[1])(xs)), X)
    close(found, jax.vmap(jax.linearize(twin, X)[1])(xs), 30)
    assert (without, with_state) == (0, 1)


@pytest.mark.parametrize("place", NATIVE)
def test_a_natively_batched_function_is_called_once(place):
    wrap, describe = NATIVE[place]

    def native(name, function):
        batched = wrap(function.__wrapped__)
        return lambda out, args, dump: (calls.update([name]), batched(out, args, dump))[-1]

    product = native("product", wave_product)
    call = make_wave(
        f=native("f", wave),
        f_derivative=(product, product),
        abstract=describe(wave_abstract),
        abstract_reverse=describe(wave_abstract),
        hessian=None,
        linearize=(native("f_linearize", wave_linearize), describe(wave_state)),
        func_can_batch=True,
    )
    xs = like(jnp.stack([X] * 5), 3)
    without, with_state, found = simulations(jax.jit(jax.vmap(jax.value_and_grad(lambda x: energy(at_m(call)(x))))), xs)
    close(found, jax.vmap(jax.value_and_grad(lambda x: energy(twin(x))))(xs), 30)
    assert (without, with_state, calls["product"]) == (0, 1, 1)


def test_checkpoint_evaluates_again():
    run = lambda f: jax.grad(jax.checkpoint(lambda x: energy(f(x))))(X)  # noqa: E731
    without, with_state, found = simulations(run, at_m(make_wave()))
    close(found, run(twin), 30)
    assert (without, with_state) == (1, 1)


def test_nobody_reads_the_state():
    without, with_state, found = simulations(jax.jit(lambda x: jax.jvp(at_m(make_wave()), (x,), (x,))[0]), X)
    close(found, twin(X))
    assert (without, with_state) == (1, 0)


def test_finite_differences(x64):
    call, args = make_cubic_with_state(), CASES["with state"].arguments(np.float64)
    check_grads(lambda x, y: call(x, args[1], y), (args[0], args[2]), order=2, atol=1e-5, rtol=1e-5)


def test_keywords_reach_all_functions():
    def power(out, args, kwargs_dump):
        out[0][...] = args[0] ** lo.load_kwargs(kwargs_dump)["n"]

    def power_linearize(out, args, kwargs_dump):
        n = lo.load_kwargs(kwargs_dump)["n"]
        for k in range(n):  # as many states as the keyword says
            out[1 + k][...] = args[0] ** k
        out[0][...] = args[0] ** n

    def slope(out, args, kwargs_dump):
        n = lo.load_kwargs(kwargs_dump)["n"]
        out[0][...] = n * args[n] * args[n + 1]

    def abstract(x, *others, n):
        return ((x.shape, x.dtype),)

    def abstract_state(x, *, n):
        return n * abstract(x, n=n)

    call = lo.get_nonlinear_call(power, (slope, slope), abstract, abstract, linearize=(power_linearize, abstract_state))
    for n in (1, 2, 3):
        found = jax.value_and_grad(lambda x, n=n: call(x, n=n)[0].sum())(X)
        close(found, jax.value_and_grad(lambda x, n=n: (x**n).sum())(X))


def test_a_state_without_arrays():
    def square(out, args, kwargs_dump):
        out[0][...] = args[0] ** 2

    def times(out, args, kwargs_dump):
        out[0][...] = 2 * args[0] * args[1]

    def same(x, *others):
        return ((x.shape, x.dtype),)

    call = lo.get_nonlinear_call(square, (times, times), same, same, linearize=(square, lambda x: ()))
    close(jax.value_and_grad(lambda x: call(x)[0].sum())(X), (jnp.sum(X**2), 2 * X))


def test_reverse_mode_only():
    call = at_m(make_wave(f_derivative=(None, wave_product), hessian=None))
    close(jax.value_and_grad(lambda x: energy(call(x)))(X), jax.value_and_grad(lambda x: energy(twin(x)))(X), 30)
    with pytest.raises(NotImplementedError, match=r"wave has no jvp \(f_derivative\[0\]\): forward mode needs it"):
        jax.jvp(call, (X,), (X,))
    second = jax.jacrev(jax.grad(lambda x: energy(call(x))))
    with pytest.raises(
        NotImplementedError, match=r"Second derivatives of .*test_functional_state\.wave are not available"
    ):
        second(X)


# ---- as an operator ---------------------------------------------------------------------------------------------------


def test_a_jacobian_is_one_evaluation():
    op = make_wave().as_operator(M)

    def products(x):
        J = op.jacobian(x)
        return [J(k * x) for k in range(3)], [J.H(k * x) for k in range(3)]

    slope = M * jnp.cos(X)
    for run in (products, jax.jit(products)):
        without, with_state, found = simulations(run, X)
        close(found, ([slope * (k * X) for k in range(3)],) * 2, 10)
        assert (without, with_state) == (0, 1)
    without, with_state, (y, J) = simulations(op.value_and_jacobian, X)
    close((y, lo.todense(J)), (twin(X), jnp.diag(slope)), 10)
    assert (without, with_state) == (0, 1)
    assert simulations(op, X)[:2] == (1, 0)


def test_fits_evaluate_once_a_step():
    op = make_wave().as_operator(M)
    start = X + 0.1
    without, with_state, solution = simulations(lambda: lo.solve(op, twin(X), x0=start, solver="gauss_newton"))
    close(op(solution.value), twin(X), 1e4)
    assert without + with_state <= solution.stats.steps + 3


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_the_jacobian_of_several_arguments(dtype):
    call, case = make_cubic_with_state(), CASES["with state"]
    x, p, y = case.arguments(dtype)
    op = call.as_operator(p)
    J = op.jacobian((x, y))
    of_x = lambda x: tuple(case.twin(x[0], p, x[1]))  # noqa: E731
    dx = like((x, y), 5)
    close(J(dx), jax.jvp(of_x, ((x, y),), (dx,))[1], 10)
    dz = like(op((x, y)), 7)
    conj = functools.partial(jax.tree.map, jnp.conj)
    close(J.H(dz), conj(jax.vjp(of_x, (x, y))[1](conj(dz))[0]), 10)
    product = lambda g: jax.grad(lambda v: energy(g(v)))((x, y))  # noqa: E731
    close(product(lambda v: op.jacobian(v)(dx)), product(lambda v: jax.jvp(of_x, (v,), (dx,))[1]), 30)


def test_the_checks_compare_the_values():
    def other(out, args, kwargs_dump):
        wave_linearize(out, args, kwargs_dump)
        out[0][...] *= 1.001

    lo.check_operator(make_wave().as_operator(M), S((3,), np.float32))
    with pytest.raises(AssertionError, match=r"the value of linearize and that of apply"):
        lo.check_operator(make_wave(linearize=(other, wave_state)).as_operator(M), S((3,), np.float32))


def test_the_call_pickles():
    again = pickle.loads(pickle.dumps(make_wave()))
    assert repr(again) == f"<{__name__}.wave bound by get_nonlinear_call>"
    close(jax.grad(lambda x: energy(at_m(again)(x)))(X), jax.grad(lambda x: energy(twin(x)))(X), 30)


# ---- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("linearize", "message"),
    [
        (wave_linearize, r"linearize is <function .*, expected a tuple \(f_linearize, abstract_state\)"),
        ((wave_linearize,), r"linearize is .*, expected a tuple \(f_linearize, abstract_state\)"),
        ((wave_linearize, None), r"linearize\[1\] is NoneType None, expected a hashable function"),
        ((None, wave_state), r"linearize\[0\] is NoneType None, expected a hashable function"),
        ((wave_linearize, ((3,), np.float32)), r"linearize\[1\] is tuple .*, expected a hashable function"),
    ],
)
def test_what_cannot_be_bound(linearize, message):
    with pytest.raises(TypeError, match=rf"get_nonlinear_call: {message}"):
        make_wave(linearize=linearize)


def fail(m, x):
    message = "no mesh"
    raise KeyError(message)


@pytest.mark.parametrize(
    ("abstract_state", "error", "message"),
    [
        (fail, KeyError, "no mesh"),
        (lambda m, x: None, TypeError, r"returned None; expected \(\(shape, dtype\), \.\.\.\) with one entry for each"),
        (lambda m, x: (x.shape, x.dtype), TypeError, r"expected \(\(shape, dtype\), \.\.\.\).* mind the comma"),
        (lambda m, x: ((x.shape, "no dtype"),), TypeError, r"expected \(\(shape, dtype\), \.\.\.\)"),
        (lambda x: (), TypeError, "takes 1 positional argument but 2 were given"),
    ],
)
def test_states_that_nobody_describes(abstract_state, error, message):
    call = at_m(make_wave(linearize=(wave_linearize, abstract_state)))
    close(call(X), twin(X))
    with pytest.raises(error, match=message) as caught:
        jax.grad(lambda x: energy(call(x)))(X)
    assert f"{__name__}." in "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


def one_too_few(out, args, kwargs_dump):
    m, x = args
    out[0][...], out[1][...] = m * np.sin(x), np.sin(x)


def of_another_shape(out, args, kwargs_dump):
    wave_linearize(out, args, kwargs_dump)
    out[2][...] = np.ones(7)


def appends(out, args, kwargs_dump):
    wave_linearize(out, args, kwargs_dump)
    out.append(args[0])


def replaces(out, args, kwargs_dump):
    wave_linearize(out, args, kwargs_dump)
    out[2] = out[2] + 1


@pytest.mark.parametrize(
    ("linearize", "error", "message"),
    [
        ((one_too_few, wave_state), RuntimeError, "did not write all of out"),
        ((wave_linearize, wave_abstract), ValueError, r"not enough values to unpack \(expected 3, got 2\)"),
        ((wave_linearize, lambda m, x: 3 * wave_abstract(m, x)), ValueError, r"too many values to unpack"),
        ((of_another_shape, wave_state), ValueError, "could not broadcast"),
        ((appends, wave_state), TypeError, r"replaced out\[0\] instead of filling it"),
        ((replaces, wave_state), TypeError, r"replaced out\[2\] instead of filling it"),
        ((lambda out, args, dump: args, wave_state), TypeError, r"its result belongs into out, in place"),
    ],
)
def test_states_that_were_not_promised(linearize, error, message):
    call = at_m(make_wave(linearize=linearize))
    with pytest.raises(error, match=message) as caught:
        jax.grad(lambda x: energy(call(x)))(X)
    assert f"{__name__}." in "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


def test_a_derivative_that_does_not_take_the_state():
    @counted("product")
    def product(out, args, kwargs_dump):
        m, x, tangent = args
        out[0][...] = m * np.cos(x) * tangent

    call = at_m(make_wave(f_derivative=(product, product)))
    with pytest.raises(ValueError, match=r"too many values to unpack") as caught:
        jax.jvp(call, (X,), (X,))
    assert any("product" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("shape", "entry", "message"),
    [
        ((5, 3), (), r"wave_axes and .*state returned no third entry for batch_axes=\(\(\), \(0,\)\)"),
        ((5, 3), (5,), r"wave_axes and .*state returned 5 for batch_axes=\(\(\), \(0,\)\); expected .*from 0 to 1"),
        (
            (5, 2),
            (0,),
            r"wave_axes and .*state say that .*wave_linearize returns .*f32\[5,2\].*; expected .*f32\[5,3\]",
        ),
    ],
)
def test_batch_axes_of_the_state_that_do_not_fit(shape, entry, message):
    def wave_axes(m, x, *others, batch_axes):
        return ((x.shape, x.dtype, batch_axes[1][-1] if batch_axes and batch_axes[1] else None),)

    def state(m, x, *, batch_axes):
        if not batch_axes:
            return 2 * ((x.shape, x.dtype, None),)
        return 2 * ((shape, x.dtype, *entry),)

    call = make_wave(abstract=wave_axes, linearize=(wave_linearize, state), func_can_batch=True)
    with pytest.raises(ValueError, match=message):
        jax.vmap(jax.grad(lambda x: energy(at_m(call)(x))))(jnp.stack([X] * 5))


def test_a_fixed_argument_has_no_derivative():
    with pytest.raises(NotImplementedError, match=r"argument 0 \(m\), which is fixed\. Wrap it in jax\.lax\.stop"):
        jax.grad(lambda m: energy(make_wave()(m, X)))(M)


def test_third_derivatives():
    third = jax.jacfwd(jax.hessian(lambda x: energy(at_m(make_wave())(x))))
    with pytest.raises(
        NotImplementedError, match=r"Third derivatives of .*test_functional_state\.wave are not available"
    ):
        third(X)
