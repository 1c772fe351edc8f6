"""The functional interface: values, derivatives and batches against twins in JAX; then its bad input."""

import functools
import itertools
import operator
import pickle

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from functions import CASES, NATIVE, PLAIN, make_cubic, make_scaled, make_trilinear
from helpers import close, conj, energy, like, normal
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

import linops_jax as lo

FORMS = {"looped": PLAIN, **NATIVE}
DTYPES = [np.float32, np.complex64, np.float64, np.complex128]
MESH = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


def bound(case, form=PLAIN):
    """The call and its twin, as functions of the arguments that are not fixed, given all of them."""
    return tuple(
        functools.partial(f, **case.keywords) for f in (case.make(form), lambda *args, **kw: case.twin(*args, **kw))
    )


def of_free(function, case, args):
    """As a function of the arguments that are not fixed."""

    def call(*free):
        full = list(args)
        for i, value in zip(case.free, free, strict=True):
            full[i] = value
        return function(*full)

    return call, [args[i] for i in case.free]


# ---- the paper -------------------------------------------------------------------------------------------------------


def f(out, args, kwargs_dump):
    kwargs = lo.load_kwargs(kwargs_dump)  # noqa: F841
    x1, x2 = args
    out[0][()] = x1 * x2**2


def f_jvp(out, args, kwargs_dump):
    kwargs = lo.load_kwargs(kwargs_dump)  # noqa: F841
    x1, x2, dx1, dx2 = args
    out[0][()] = x2**2 * dx1 + 2 * x1 * x2 * dx2


def f_vjp(out, args, kwargs_dump):
    kwargs = lo.load_kwargs(kwargs_dump)  # noqa: F841
    x1, x2, dy = args
    out[0][()] = x2**2 * dy
    out[1][()] = 2 * x1 * x2 * dy


def f_abstract(*args, **kwargs):
    assert args[0].shape == args[1].shape
    return ((args[0].shape, args[0].dtype),)


def f_abstract_T(*args, **kwargs):
    return (
        (args[0].shape, args[0].dtype),
        (args[0].shape, args[0].dtype),
    )


def test_the_example_of_the_paper():
    f_jax = lo.get_nonlinear_call(f, (f_jvp, f_vjp), f_abstract, f_abstract_T)
    inp = (jnp.full((4, 3), 4.0), jnp.full((4, 3), 2.0))
    tan = (jnp.full((4, 3), 1.0), jnp.full((4, 3), 1.0))
    res, res_tan = jax.jvp(f_jax, inp, tan)
    close((res, res_tan), ([jnp.full((4, 3), 16.0)], [jnp.full((4, 3), 20.0)]))
    cotan = [jnp.full((4, 3), 6.0)]  # results are lists since release 1.0; in the paper this is a tuple
    res, pull_back = jax.vjp(f_jax, *inp)
    res_cotan = pull_back(cotan)
    close(res_cotan, (jnp.full((4, 3), 24.0), jnp.full((4, 3), 96.0)))
    f_jax_jit = jax.jit(f_jax)
    res = f_jax_jit(*inp)
    close(res, [jnp.full((4, 3), 16.0)])


# ---- values and derivatives ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_first_derivatives(case, dtype, x64):
    call, twin = bound(case)
    args = case.arguments(dtype)
    close(call(*args), twin(*args), 10)
    close(jax.jit(call)(*args), twin(*args), 10)
    call, free = of_free(call, case, args)
    twin, _ = of_free(twin, case, args)
    tangents = like(free, 7)
    close(jax.jvp(call, free, tangents), jax.jvp(twin, free, tangents), 10)
    close(jax.linearize(call, *free)[1](*tangents), jax.jvp(twin, free, tangents)[1], 10)
    y, pull_back = jax.vjp(call, *free)
    cotangents = like(y, 11)
    close(pull_back(cotangents), jax.vjp(twin, *free)[1](cotangents), 10)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_numerical_derivatives_to_order_two(case, dtype, x64):
    call, _ = bound(case)
    call, free = of_free(call, case, case.arguments(dtype))
    check_grads(call, free, order=2, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5)


SECOND = {
    "forward over forward": lambda g: jax.jacfwd(jax.jacfwd(g)),
    "reverse over forward": lambda g: jax.jacrev(jax.jacfwd(g)),
    "forward over reverse": lambda g: jax.jacfwd(jax.jacrev(g)),
    "reverse over reverse": lambda g: jax.jacrev(jax.jacrev(g)),
}


@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND)
@pytest.mark.parametrize("form", [PLAIN, NATIVE["back"]], ids=["looped", "native"])
def test_second_derivatives(case, form, second, x64):
    args = case.arguments(np.float64)

    def derive(function):
        g, free = of_free(function, case, args)
        return jax.jit(second(lambda free: energy(g(*free))))(free)

    found, expected = map(derive, bound(case, form))
    close(found, expected, 10)


def test_third_derivatives_of_multilinear_functions(x64):
    call, twin = bound(CASES["trilinear"])
    args = CASES["trilinear"].arguments(np.float64)

    def third(g):
        return jax.grad(
            lambda x: jax.grad(lambda y: jax.grad(lambda z: energy(g(args[0], x, y, z)))(args[3])[0])(args[2])[0]
        )

    close(third(call)(args[1]), third(twin)(args[1]), 10)


def test_only_some_of_the_outputs_and_arguments_matter(case, x64):
    call, twin = bound(case)
    args = case.arguments(np.complex128)
    for i, argument in itertools.product(range(2), case.free):

        def loss(g, x, i=i, argument=argument):
            return energy(g(*args[:argument], x, *args[argument + 1 :])[i])

        for derivative in (jax.grad, lambda g: jax.grad(lambda x: energy(jax.grad(g)(x)))):
            found, expected = (derivative(functools.partial(loss, g))(args[argument]) for g in (call, twin))
            close(found, expected, 100)


def test_linear_functions_transpose_for_ever(x64):
    case = CASES["pair"]
    call, twin = bound(case)
    args = case.arguments(np.complex128)
    y = like(call(*args), 5)
    transpose = jax.linear_transpose(call, *args)
    close(transpose(y), jax.linear_transpose(twin, *args)(y), 10)
    close(jax.linear_transpose(transpose, y)(tuple(args)), (call(*args),), 10)


def test_control_flow(case, x64):
    call, twin = bound(case)
    args = case.arguments(np.float64)

    def program(g, args):
        def step(carry, _):
            a = jax.checkpoint(g)(*carry)
            return [x + 0.1 * a[0].sum() for x in carry], a

        carry, ys = jax.lax.scan(step, args, None, length=2)
        return jax.lax.cond(True, lambda: energy((carry, ys)), lambda: 0.0)

    found, expected = (jax.jit(lambda args, g=g: program(g, args))(args) for g in (call, twin))
    close(found, expected, 100)


def test_gradient_through_a_scan(x64):
    call, twin = bound(CASES["fixed"])
    d, x = CASES["fixed"].arguments(np.float64)

    def loss(g, x):
        return energy(jax.lax.scan(lambda v, _: (g(d, v)[0], g(d, v)[1]), x, None, length=3))

    close(jax.grad(functools.partial(loss, call))(x), jax.grad(functools.partial(loss, twin))(x), 100)


# ---- batches ---------------------------------------------------------------------------------------------------------


def batched_arguments(case, in_axes, sizes=(4,), dtype=np.complex64):
    """Arguments with one more axis for each vmap, outermost first, at the end put where ``in_axes`` says."""
    args = []
    for position, shape in enumerate(case.shapes):
        for size, axes in reversed(list(zip(sizes, in_axes, strict=True))):
            axis = axes[position]
            if axis is not None:
                shape = list(shape)
                shape.insert(axis % (len(shape) + 1), size)
        args.append(jnp.asarray(normal(tuple(shape), dtype, position)))
    return args


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_vmap_over_all_combinations_of_axes(case, form, dtype):
    call, twin = bound(case, form)
    for in_axes in itertools.product((0, 1, -1, None), repeat=len(case.shapes)):
        if all(axis is None for axis in in_axes) or len(set(in_axes)) > 3:
            continue
        args = batched_arguments(case, [in_axes], dtype=dtype)
        close(jax.vmap(call, in_axes)(*args), jax.vmap(twin, in_axes)(*args), 10)


def test_vmap_puts_axes_where_asked(case, form):
    call, twin = bound(case, form)
    args = batched_arguments(case, [(0,) * len(case.shapes)])
    out_axes = [min(1, y.ndim - 1) for y in jax.vmap(twin)(*args)]
    close(jax.vmap(call, out_axes=out_axes)(*args), jax.vmap(twin, out_axes=out_axes)(*args), 10)


def test_nested_vmaps(case, form):
    call, twin = bound(case, form)
    n = len(case.shapes)
    rest = (None,) * (n - 1)
    for axes in [
        [(0,) * n, (0,) * n],
        [(1,) * n, (0,) * n],
        [(0, *rest), (*rest, 0)],
        [(0,) * n, (-1, *rest)],
        [(0,) * n, (1,) * n, (0,) * n],
        [(*rest, 0), (0,) * n, (0, *rest)],
    ]:
        args = batched_arguments(case, axes, sizes=(2, 3, 4)[: len(axes)])
        found, expected = (
            functools.reduce(lambda g, in_axes: jax.vmap(g, in_axes), reversed(axes), g)(*args) for g in (call, twin)
        )
        close(found, expected, 10)


PROGRAMS = {
    "gradient of a vmap": lambda g, case, in_axes: jax.grad(
        lambda *args: energy(jax.vmap(g, in_axes)(*stopped(case, args))), case.free
    ),
    "vmap of a gradient": lambda g, case, in_axes: jax.vmap(
        jax.grad(lambda *args: energy(g(*args)), case.free), in_axes
    ),
    "vmap of a jvp": lambda g, case, in_axes: jax.vmap(lambda *args: jax.jvp(*moving(g, case, args)), in_axes),
    "gradient of a vmap of a gradient": lambda g, case, in_axes: jax.grad(
        lambda *args: energy(
            jax.vmap(jax.grad(lambda *args: energy(g(*args)), case.free), in_axes)(*stopped(case, args))
        ),
        case.free,
    ),
}


def stopped(case, args):
    return [jax.lax.stop_gradient(x) if i in case.fixed else x for i, x in enumerate(args)]


def moving(g, case, args):
    g, free = of_free(g, case, args)
    return g, free, [0.5 * x for x in free]


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_derivatives_and_vmap_in_any_order(case, form, program):
    call, twin = bound(case, form)
    n = len(case.shapes)
    for in_axes in ((0,) * n, (*(None,) * (n - 1), 0)):
        args = batched_arguments(case, [in_axes])
        found, expected = (jax.jit(program(g, case, in_axes))(*args) for g in (call, twin))
        close(found, expected, 100)


@pytest.mark.parametrize("derivative", [jax.jacfwd, jax.jacrev])
def test_jacobians_of_a_vmap(case, form, derivative):
    call, twin = bound(case, form)
    args = batched_arguments(case, [(0,) * len(case.shapes)], sizes=(2,), dtype=np.float32)
    found, expected = (jax.jit(derivative(jax.vmap(g), case.free))(*args) for g in (call, twin))
    close(found, expected, 10)


def test_native_batches_are_one_call():
    seen = []

    def double(out, args, kwargs_dump):
        seen.append(args[0].shape)
        np.multiply(args[0], 2, out=out[0])

    def abstract(x, batch_axes):
        return ((x.shape, x.dtype, batch_axes[0][-1] if batch_axes else None),)

    call = lo.get_linear_call(double, double, abstract, abstract, func_can_batch=True)
    x = jnp.asarray(normal((5, 2, 3), np.float32))
    close(jax.vmap(call)(x), [2 * x])
    close(jax.vmap(jax.vmap(call), 1, 1)(x), [2 * x])
    assert set(seen) == {(5, 2, 3), (2, 5, 3)}


def test_an_abstract_that_looks_at_one_argument_only_gets_batch_axes_in_all():
    """As in vmaps over tangents alone, of jacfwd: JAXbind fails there."""

    def multiply(out, args, kwargs_dump):
        out[0][...] = args[0] * args[1]

    def jvp(out, args, kwargs_dump):
        x, y, dx, dy = args
        out[0][...] = x * dy + dx * y

    def vjp(out, args, kwargs_dump):
        x, y, dz = args
        out[0][...], out[1][...] = y * dz, x * dz

    def abstract(x, *others, batch_axes):
        return ((x.shape, x.dtype, batch_axes[0][-1] if batch_axes and batch_axes[0] else ()),)

    def abstract_reverse(x, *others, batch_axes):
        return 2 * abstract(x, batch_axes=batch_axes)

    call = lo.get_nonlinear_call(multiply, (jvp, vjp), abstract, abstract_reverse, func_can_batch=True)
    x, y = jnp.asarray(normal((3,), np.float32)), jnp.asarray(normal((4, 3), np.float32))
    close(jax.vmap(call, (None, 0))(x, y), [x[None] * y])
    for derivative in (jax.jacfwd, jax.jacrev):
        found, expected = (derivative(g, (0, 1))(x, y[0]) for g in (call, lambda x, y: [x * y]))
        close(found, expected)


def test_eager_vmap_compiles_once(case, form, caplog):
    call, _ = bound(case, form)
    args = batched_arguments(case, [(0,) * len(case.shapes)])

    def compilations():
        caplog.clear()
        with jax.log_compiles():
            jax.vmap(call)(*args)
        return [record.message for record in caplog.records if "Finished XLA compilation" in record.message]

    jax.clear_caches()
    assert compilations()
    assert [compilations() for _ in range(5)] == [[]] * 5


# ---- arrays ----------------------------------------------------------------------------------------------------------


def copy(out, args, kwargs_dump):
    for y, x in zip(out, args, strict=True):
        y[...] = x


def same(*specs, **keywords):
    return tuple((x.shape, x.dtype) for x in specs)


identity = lo.get_linear_call(copy, copy, same, same)


@pytest.mark.parametrize(
    "dtype",
    [
        *(np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
        *(np.float16, np.float32, np.float64, np.complex64, np.complex128),
        *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
    ],
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_dtypes_and_shapes(dtype, shape, x64):
    x = jnp.asarray(normal(shape, dtype))
    for run in (identity, jax.jit(identity), lambda x: [y[0] for y in jax.vmap(identity)(x[None])]):
        (y,) = run(x)
        assert (y.dtype, y.shape) == (x.dtype, x.shape)
        np.testing.assert_array_equal(np.asarray(y), np.asarray(x))


def test_dtypes_that_numpy_does_not_have_are_refused():
    with pytest.raises(TypeError, match=r"test_functional\.copy: NumPy has no arrays of int4\. Convert with astype"):
        identity(jnp.ones(3, jnp.int4))


def test_scalars_and_numpy_arrays_are_arrays(x64):
    close(identity(2.5, np.float32(3), np.arange(3)), [jnp.float64(2.5), jnp.float32(3), jnp.arange(3)])


def test_promises_follow_x64():
    call = lo.get_linear_call(copy, copy, lambda x: ((x.shape, np.float64),), same)
    x = jnp.ones(3, jnp.float32)
    assert call(x)[0].dtype == jnp.float32
    with jax.enable_x64(True):
        assert call(x)[0].dtype == jnp.float64


def test_real_to_complex_transposes_plainly(x64):
    """Where f_T is the adjoint, the imaginary part has the wrong sign."""
    matrix = normal((4, 3), np.complex128)

    def forward(out, args, kwargs_dump):
        out[0][...] = matrix @ args[0]

    def transpose(out, args, kwargs_dump):
        out[0][...] = (matrix.T @ args[0]).real

    call = lo.get_linear_call(forward, transpose, lambda x: (((4,), np.complex128),), lambda y: (((3,), np.float64),))
    x = jnp.asarray(normal((3,)))
    found, expected = (jax.grad(lambda x, g=g: energy(g(x)))(x) for g in (call, lambda x: [matrix @ x]))
    close(found, expected, 10)


def test_integers_among_the_arguments(x64):
    def take(out, args, kwargs_dump):
        x, index = args
        out[0][...], out[1][...] = x[index], index

    def take_T(out, args, kwargs_dump):
        index, y, _ = args
        out[0][...] = 0
        np.add.at(out[0], index, y)

    call = lo.get_linear_call(
        lambda out, args, dump: take(out, args, dump),
        take_T,
        lambda x, index: ((index.shape, x.dtype), (index.shape, index.dtype)),
        lambda index, y, _: (((5,), y.dtype),),
        fixed_args=(1,),
    )
    x, index = jnp.asarray(normal((5,))), jnp.asarray([0, 3, 3])
    found, expected = (
        jax.grad(lambda x, i, g=g: energy(g(x, i)[0]), allow_int=True, argnums=(0, 1))(x, index)
        for g in (call, lambda x, i: [x[i], i])
    )
    close(found, expected)


# ---- several devices -------------------------------------------------------------------------------------------------


def test_gradients_in_shard_map(case, form):
    """The last argument is sharded, the others are replicated."""
    call, twin = bound(case, form)
    n = len(case.shapes)
    args = batched_arguments(case, [(*(None,) * (n - 1), 0)], sizes=(8,))
    specs = (*(P(),) * (n - 1), P("i"))

    def loss(g, *args):
        return energy(jax.vmap(g, (*(None,) * (n - 1), 0))(*args))

    @functools.partial(jax.shard_map, mesh=MESH, in_specs=specs, out_specs=P())
    def sharded(*args):
        return jax.lax.psum(loss(call, *args), "i")

    def expected(*args):
        return sum(loss(twin, *args[:-1], part) for part in jnp.split(args[-1], 4))

    close(jax.jit(sharded)(*args), expected(*args), 100)
    close(jax.jit(jax.grad(sharded, case.free))(*args), jax.grad(expected, case.free)(*args), 100)

    @functools.partial(jax.shard_map, mesh=MESH, in_specs=specs, out_specs=tuple(specs[i] for i in case.free))
    def inside(*args):
        return jax.grad(lambda *args: loss(call, *args), case.free)(*args)

    close(jax.jit(inside)(*args), jax.grad(expected, case.free)(*args), 100)


# ---- what may be fixed -----------------------------------------------------------------------------------------------


def test_any_argument_may_be_fixed(x64):
    names = ["a", "b", "c"]
    for fixed in itertools.chain.from_iterable(itertools.combinations(range(3), r) for r in (1, 2)):
        free = [i for i in range(3) if i not in fixed]

        def forward(out, args, kwargs_dump, free=free, fixed=fixed):
            scale = np.prod([args[i] for i in fixed], axis=0)
            for y, i in zip(out, free, strict=True):
                y[...] = (i + 2) * scale * args[i]

        def transpose(out, args, kwargs_dump, free=free, fixed=fixed):
            scale = np.prod(args[: len(fixed)], axis=0)
            for x, y, i in zip(out, args[len(fixed) :], free, strict=True):
                x[...] = (i + 2) * scale * y

        def abstract(a, b, c, free=free):
            return tuple((x.shape, x.dtype) for x in [(a, b, c)[i] for i in free])

        def abstract_T(*args, fixed=fixed):
            return same(*args[len(fixed) :])

        def twin(*args, free=free, fixed=fixed):
            scale = functools.reduce(operator.mul, [args[i] for i in fixed])
            return [(i + 2) * scale * args[i] for i in free]

        call = lo.get_linear_call(forward, transpose, abstract, abstract_T, fixed_args=fixed)
        args = [jnp.asarray(normal((3,), seed=i)) for i in range(3)]
        found, expected = (jax.value_and_grad(lambda *a, g=g: energy(g(*a)), free)(*args) for g in (call, twin))
        close(found, expected, 10)
        which = rf"argument {fixed[0]} \({names[fixed[0]]}\), which is fixed\. Wrap it in jax\.lax\.stop_gradient"
        with pytest.raises(NotImplementedError, match=which):
            jax.grad(lambda *a, call=call: energy(call(*a)), fixed[0])(*args)


def test_the_gradient_of_a_pytree_with_a_fixed_argument():
    call = make_scaled()
    d, x = CASES["fixed"].arguments()
    found = jax.grad(lambda tree: energy(call(jax.lax.stop_gradient(tree["d"]), tree["x"])))({"d": d, "x": x})
    expected = jax.grad(lambda x: energy(CASES["fixed"].twin(d, x)))(x)
    close(found, {"d": jnp.zeros(3), "x": expected})


# ---- the checks ------------------------------------------------------------------------------------------------------


def test_the_checks_take_calls_as_operators(case):
    call = case.make()
    args = case.arguments(np.complex64)
    op = call.as_operator(*(args[i] for i in case.fixed), **case.keywords)
    x = tuple(args[i] for i in case.free)
    x = x[0] if len(x) == 1 else x
    assert isinstance(op, lo.LinearOperator) == case.linear
    lo.check_operator(op, x)
    twin = case.twin(*args, **case.keywords)
    close(op(x), tuple(twin))
    if case.linear:
        free, values = of_free(bound(case)[1], case, args)
        y = like(op(x), 3)
        expected = conj(jax.linear_transpose(free, *values)(list(conj(y))))
        close(op.H(y), expected[0] if len(expected) == 1 else expected, 10)
        assert lo.dot_test(op, x).passed


def test_the_checks_tell_an_adjoint_from_a_transpose():
    matrix = normal((3, 3), np.complex64)

    def forward(out, args, kwargs_dump):
        out[0][...] = matrix @ args[0]

    def adjoint(out, args, kwargs_dump):
        out[0][...] = matrix.conj().T @ args[0]

    call = lo.get_linear_call(forward, adjoint, same, same)
    result = lo.dot_test(call.as_operator(), jnp.ones(3, jnp.complex64))
    assert not result.passed
    assert "conjugation is missing" in result.diagnosis
    with pytest.raises(AssertionError, match=r"forward"):
        lo.check_operator(call.as_operator(), jnp.ones(3, jnp.complex64))


# ---- keywords --------------------------------------------------------------------------------------------------------


def test_keywords_reach_functions_and_abstracts():
    seen = []

    def forward(out, args, kwargs_dump):
        kwargs = lo.load_kwargs(kwargs_dump)
        seen.append(kwargs)
        out[0][...] = kwargs.pop("shift") + kwargs["scale"][1] * args[0][: kwargs.pop("n")]

    def abstract(x, *, n, scale, shift):
        return (((n,), x.dtype),)

    call = lo.get_linear_call(forward, None, abstract, None)
    x = jnp.arange(4.0)
    for _ in range(2):
        close(call(x, shift=1.0, scale=("a", 3), n=2), [1 + 3 * x[:2]])
    close(call(x, n=3, scale=("a", True), shift=1.0), [1 + x[:3]])
    assert [type(kwargs["scale"][1]) for kwargs in seen[::2]] == [int, bool]


def test_load_kwargs_takes_what_jaxbind_makes():
    kwargs = {"axes": (0, 1), "name": "x"}
    dump = np.frombuffer(pickle.dumps(kwargs), np.uint8)
    for given in (dump, kwargs):
        found = lo.load_kwargs(given)
        assert found == kwargs
        assert found is not kwargs
    with pytest.raises(TypeError, match=r"load_kwargs: expected the kwargs_dump .* found 3"):
        lo.load_kwargs(3)


# ---- the call as an object -------------------------------------------------------------------------------------------


def test_the_call_has_the_name_of_its_function_and_pickles():
    call = lo.get_linear_call(copy, copy, same, same)
    assert call.__name__ == "copy"
    assert repr(call) == f"<{__name__}.copy bound by get_linear_call>"
    call.__doc__ = "Copies."
    again = pickle.loads(pickle.dumps(call))
    assert again.__doc__ == "Copies."
    x = jnp.arange(3.0)
    close(again(x), [x])
    assert f"binding={__name__}.copy" in str(jax.make_jaxpr(call)(x))
    with pytest.raises((AttributeError, pickle.PicklingError), match=r"lambda"):
        pickle.dumps(lo.get_linear_call(lambda out, args, dump: None, None, same, None))


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind"), [([1], "list"), ({}, "dict"), (np.ones(1), "ndarray"), (jnp.ones(1), "ArrayImpl")]
)
def test_keywords_must_be_hashable(value, kind):
    message = rf"test_functional\.copy: the keyword axes must be hashable, but is {kind} .* Pass a tuple for a list"
    with pytest.raises(TypeError, match=message):
        identity(jnp.ones(3), axes=value)


def test_traced_keywords_are_refused():
    with pytest.raises(TypeError, match=r"the keyword factor must be hashable.*bind keywords with functools\.partial"):
        jax.jit(identity)(jnp.ones(3), factor=2.0)


def test_batch_axes_belong_to_vmap():
    call = CASES["pair"].make(NATIVE["front"])
    with pytest.raises(TypeError, match=r"the keyword batch_axes says which axes vmap has added"):
        call(*CASES["pair"].arguments(), c=1.0, batch_axes=None)


@pytest.mark.parametrize("value", [(jnp.ones(2), jnp.ones(2)), [1.0, 2.0], {"a": 1.0}, None])
def test_pytrees_are_refused(value):
    with pytest.raises(TypeError, match=r"copy: argument 1 is .*, expected an array\. Pass the arrays of a container"):
        identity(jnp.ones(2), value)


def test_what_is_no_array_is_refused():
    with pytest.raises(TypeError, match=r"copy: argument 0: expected arrays, found str 'x'"):
        identity("x")


@pytest.mark.parametrize(
    ("call", "count", "expected"),
    [(make_scaled(), 1, "at least 2, of which 1"), (make_cubic(), 1, "at least 2, of which 1"),
     (identity, 0, "at least 1, of which 0"), (make_trilinear(), 3, "4, of which 1"), (make_trilinear(), 5, "4, of which 1")],
)  # fmt: skip
def test_the_number_of_arguments(call, count, expected):
    with pytest.raises(TypeError, match=rf"{count} arguments were given; expected {expected}"):
        call(*[jnp.ones(3)] * count)


def bad(function, answer=None, **keywords):
    def forward(out, args, kwargs_dump):
        return function(out, args)

    return lo.get_linear_call(forward, copy, lambda x: ((x.shape, x.dtype),), same, **keywords)


def replace(out, args):
    out[0] = args[0]


def append(out, args):
    out.append(args[0])


def broadcast(out, args):
    out[0][...] = np.ones(7)


def mutate(out, args):
    args[0][...] = 1


KEPT = []


def keep(out, args):
    out[0][...] = args[0]
    KEPT.append(args[0])


def fail(out, args):
    message = "no plan"
    raise KeyError(message)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda out, args: None, RuntimeError, "did not write all of out"),
        (lambda out, args: 2 * args[0], TypeError, r"returned ndarray .*its result belongs into out, in place"),
        (lambda out, args: "done", TypeError, r"returned str 'done'; its result belongs into out"),
        (replace, TypeError, r"replaced out\[0\] instead of filling it. Write in place: out\[0\]\[\.\.\.\] = "),
        (append, TypeError, r"replaced out\[0\] instead of filling it"),
        (broadcast, ValueError, "could not broadcast"),
        (mutate, ValueError, "read-only"),
        (keep, RuntimeError, "kept a reference to one of its arrays"),
        (fail, KeyError, "no plan"),
    ],
)
def test_functions_that_break_the_contract(function, error, message):
    call = bad(function)
    try:
        with pytest.raises(error, match=message) as caught:
            call(jnp.ones(4))
        where = "test_functional.bad.<locals>.forward".replace("bad.<locals>.", "")
        assert where in "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
        with pytest.raises((jax.errors.JaxRuntimeError, ValueError), match=rf"(?s)test_functional\.forward.*{message}"):
            jax.block_until_ready(jax.jit(call)(jnp.ones(4)))
    finally:
        KEPT.clear()


@pytest.mark.parametrize("function", [lambda out, args: np.multiply(args[0], 2, out=out[0]), lambda out, args: out])
def test_returning_what_was_filled_does_no_harm(function):
    def forward(out, args):
        out[0][...] = 2 * args[0]
        return function(out, args)

    close(bad(forward)(jnp.ones(4)), [jnp.full(4, 2.0)])


@pytest.mark.parametrize("place", ["front", "back"])
@pytest.mark.parametrize(
    "function", [lambda out, args, dump: None, lambda out, args, dump: out.__setitem__(0, args[0])]
)
def test_natively_batched_functions_that_write_nothing(place, function):
    _, describe = NATIVE[place]
    call = lo.get_linear_call(function, None, describe(same), None, func_can_batch=True)
    with pytest.raises((RuntimeError, TypeError), match=r"did not write all of|replaced out\[0\]"):
        jax.vmap(call)(jnp.ones((5, 3)))


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            lambda x: (x.shape, x.dtype),
            TypeError,
            r"returned \(\(4,\), dtype\('float32'\)\); expected \(\(shape, dtype\), ",
        ),
        (lambda x: None, TypeError, r"returned None; expected"),
        (lambda x: ((x.shape, "no dtype"),), TypeError, r"expected \(\(shape, dtype\), \.\.\.\)"),
        (lambda x: ((x.shape,),), TypeError, r"expected \(\(shape, dtype\), \.\.\.\)"),
        (lambda x, y: (), TypeError, "missing 1 required positional argument: 'y'"),
    ],
)
def test_abstracts_that_do_not_answer(answer, error, message):
    with pytest.raises(error, match=message) as caught:
        lo.get_linear_call(copy, None, answer, None)(jnp.ones(4))
    assert "test_functional." in "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


def test_a_transpose_of_another_shape():
    call = lo.get_linear_call(copy, copy, same, lambda y: (((5,), y.dtype),))
    message = r"says that .*copy returns \[f32\[5\]\]; expected \[f32\[4\]\]\. Fix whichever is wrong"
    with pytest.raises(ValueError, match=message):
        jax.grad(lambda x: call(x)[0].sum())(jnp.ones(4))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ((), r"returned no third entry for batch_axes=\(\(0,\),\); expected \(shape, dtype, axis\)"),
        (((),), r"returned \(\) for batch_axes"),
        ((None,), r"returned None for batch_axes"),
        ((2,), r"returned 2 for batch_axes=.*from 0 to 1"),
        ((0.0,), r"returned 0\.0 for batch_axes"),
        ((1,), r"says that .*copy returns \[f32\[5,3\]\] for batch_axes=\(\(0,\),\); expected \[f32\[3,5\]\]"),
    ],
)
def test_batch_axes_that_do_not_fit(entry, message):
    call = lo.get_linear_call(
        copy, None, lambda x, batch_axes: ((x.shape, x.dtype, *entry),), None, func_can_batch=True
    )
    with pytest.raises(ValueError, match=message):
        jax.vmap(call)(jnp.ones((5, 3)))


def test_missing_functions_are_named():
    x = jnp.ones(3)
    forward_only = lo.get_linear_call(copy, None, same, None)
    close(jax.jvp(forward_only, (x,), (2 * x,)), ([x], [2 * x]))
    with pytest.raises(NotImplementedError, match=r"copy has no f_T: reverse-mode differentiation needs it"):
        jax.grad(lambda x: forward_only(x)[0].sum())(x)
    multiply = lo.get_linear_call(
        lambda out, args, dump: np.multiply(*args, out=out[0]),
        (None, lambda out, args, dump: np.multiply(*args, out=out[0])),
        lambda x, y: ((x.shape, x.dtype),),
        (None, lambda x, dy: ((x.shape, x.dtype),)),
    )
    close(jax.grad(lambda y: multiply(2 * x, y)[0].sum())(x), 2 * x)
    with pytest.raises(NotImplementedError, match=r"has no transpose in its differentiable argument number 0 \(f_T\)"):
        jax.grad(lambda x: multiply(x, x)[0].sum())(x)


def test_one_direction_is_enough_for_nonlinear_functions():
    x = jnp.arange(3.0)

    def square(out, args, kwargs_dump):
        out[0][...] = args[0] ** 2

    def times(out, args, kwargs_dump):
        out[0][...] = 2 * args[0] * args[1]

    def abstract(x, *others):
        return ((x.shape, x.dtype),)

    forward = lo.get_nonlinear_call(square, (times, None), abstract, None)
    close(jax.jvp(forward, (x,), (x,)), ([x**2], [2 * x**2]))
    with pytest.raises(NotImplementedError, match=r"square has no vjp \(f_derivative\[1\]\): reverse-mode"):
        jax.grad(lambda x: forward(x)[0].sum())(x)
    reverse = lo.get_nonlinear_call(square, (None, times), abstract, abstract)
    close(jax.grad(lambda x: reverse(x)[0].sum())(x), 2 * x)
    with pytest.raises(NotImplementedError, match=r"square has no jvp \(f_derivative\[0\]\): forward mode needs it"):
        jax.jvp(reverse, (x,), (x,))


def test_higher_derivatives_that_nobody_gives():
    x = jnp.ones(3)
    call = make_cubic(hessian=False)
    first = jax.grad(lambda x: energy(call(x, jnp.ones(3), x)))
    for second in (jax.jacfwd(first), jax.jacrev(first)):
        with pytest.raises(
            NotImplementedError, match=r"Second derivatives of functions\.cubic .* Pass hessian=\(hessian_app"
        ):
            second(x)
    call = make_cubic()
    with pytest.raises(NotImplementedError, match=r"Third derivatives of functions\.cubic are not available"):
        jax.jacfwd(jax.hessian(lambda x: energy(call(x, jnp.ones(3), x))))(x)
    half = lo.get_nonlinear_call(f, (f_jvp, f_vjp), f_abstract, f_abstract_T, hessian=(f_jvp, None))
    with pytest.raises(NotImplementedError, match=r"has no hessian_transpose \(hessian\[1\]\)"):
        jax.grad(lambda x: jax.grad(lambda x: half(x, x)[0].sum())(x).sum())(x)


def test_transposition_of_what_is_not_linear():
    x = jnp.ones(3)
    with pytest.raises(NotImplementedError, match=r"argument 0 \(d\), which is fixed"):
        jax.linear_transpose(make_scaled(), x, x)([x, x])
    with pytest.raises(NotImplementedError, match=r"cannot be transposed in several arguments together"):
        jax.linear_transpose(lambda x, y: make_trilinear()(jnp.ones(3), x, y, jnp.ones(3)), x, x)([x, x])


class Unhashable:
    __hash__ = None

    def __call__(self, out, args, kwargs_dump):
        pass


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: lo.get_linear_call(3, None, same, None), TypeError, r"f is int 3, expected a hashable function"),
        (
            lambda: lo.get_linear_call(Unhashable(), None, same, None),
            TypeError,
            r"f is Unhashable .* hashable function",
        ),
        (lambda: lo.get_linear_call(copy, 3, same, None), TypeError, r"f_T is int 3"),
        (lambda: lo.get_linear_call(copy, copy, None, same), TypeError, r"abstract is NoneType None"),
        (
            lambda: lo.get_linear_call(copy, (copy,), same, same),
            TypeError,
            r"f_T is a tuple of 1, so abstract_T must be one",
        ),
        (lambda: lo.get_linear_call(copy, (copy, 3), same, (same, same)), TypeError, r"f_T\[1\] is int 3"),
        (
            lambda: lo.get_linear_call(copy, (copy,), same, (same,), first_n_args_fixed=1),
            ValueError,
            r"f_T is a tuple of 1, one for each argument, but the arguments 0 are fixed",
        ),
        (
            lambda: lo.get_linear_call(copy, copy, same, same, first_n_args_fixed=1, fixed_args=(2,)),
            TypeError,
            r"first_n_args_fixed=1 and fixed_args=\(2,\) say the same",
        ),
        (
            lambda: lo.get_linear_call(copy, copy, same, same, first_n_args_fixed=-1),
            ValueError,
            r"first_n_args_fixed=-1",
        ),
        (
            lambda: lo.get_linear_call(copy, copy, same, same, fixed_args=(1, 1)),
            ValueError,
            r"fixed_args=\(1, 1\); expected",
        ),
        (lambda: lo.get_linear_call(copy, copy, same, same, fixed_args=(-1,)), ValueError, r"positions counted from 0"),
        (lambda: lo.get_linear_call(copy, copy, same, same, fixed_args=("x",)), ValueError, r"fixed_args=\('x',\)"),
        (
            lambda: lo.get_nonlinear_call(f, f_jvp, f_abstract, None),
            TypeError,
            r"f_derivative is .*, expected a tuple \(jvp, ",
        ),
        (
            lambda: lo.get_nonlinear_call(f, (f_jvp, f_vjp), f_abstract, f_abstract_T, hessian=(f_jvp,)),
            TypeError,
            r"hessian is .*, expected a tuple \(hessian_apply, hessian_transpose\)",
        ),
    ],
)
def test_what_cannot_be_bound(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_shapes_that_nobody_says():
    call = lo.get_linear_call(copy, copy, same, None)
    x = jnp.ones(3)
    close(jax.grad(lambda x: call(x)[0].sum())(x), x)  # the argument says it
    with pytest.raises(ValueError, match=r"Nothing says what .*copy returns: its abstract is None\. Pass a function"):
        call.as_operator().H(x)


def test_as_operator_wants_the_fixed_arguments():
    with pytest.raises(TypeError, match=r"scaled: as_operator takes its 1 fixed arguments, but 0 were given"):
        make_scaled().as_operator()
