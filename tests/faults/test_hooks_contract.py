"""What a hook returns, writes, keeps and changes: every breach is an error that names operator and hook."""

import concurrent.futures
import gc
import re
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linops_jax as lo

pytestmark = [pytest.mark.versions, pytest.mark.route]

FAILURES = (ValueError, TypeError, RuntimeError)  # compiled code: JaxRuntimeError, ValueError on the fast path
X = np.arange(8, dtype=np.float32)


def same(self, x):
    return x


def spec_of(shape, dtype):
    return lambda self, x: jax.ShapeDtypeStruct(shape, dtype)


def faulty(hook, promise=same):
    class Faulty(lo.LinearOperator):
        apply = hook
        adjoint = None
        infer_shape = promise

    return Faulty()


def run_eagerly(op, x):
    return op(x)


def run_jitted(op, x):
    return jax.block_until_ready(jax.jit(lambda x: op(x))(x))


both = pytest.mark.parametrize("run", [run_eagerly, run_jitted])


# ---- out= hooks -----------------------------------------------------------------------------------------------------


def nothing(self, x, *, out):
    pass


def first_half(self, x, *, out):
    out[: len(out) // 2] = 1


def last_half(self, x, *, out):
    out[len(out) // 2 :] = 1


def rebound(self, x, *, out):
    out = 2 * x  # noqa: F841 the mistake


@both
@pytest.mark.parametrize("hook", [nothing, first_half, last_half, rebound])
def test_an_output_that_is_not_written(hook, run):
    with pytest.raises(FAILURES, match=r"(?s)^(?=.*Faulty\.apply).*did not write all of out of shape \(8,\)"):
        run(faulty(hook), X)


@both
def test_an_output_in_a_structure_that_is_not_written(run):
    def hook(self, x, *, out):
        out["a"][...] = x

    def promise(self, x):
        return {"a": x, "b": jax.ShapeDtypeStruct((4, 3), np.complex64)}

    with pytest.raises(FAILURES, match=r"(?s)^(?=.*Faulty\.apply).*did not write all of .*shape \(4, 3\)"):
        run(faulty(hook, promise), X)


@both
def test_an_output_that_is_not_written_in_one_element_of_a_batch(run):
    def hook(self, x, *, out):
        if x[0] != 16:
            out[...] = x

    op = faulty(hook)
    with pytest.raises(FAILURES, match=r"(?s)^(?=.*Faulty\.apply).*did not write all of out"):
        run(jax.vmap(op), X + 8 * np.arange(4, dtype=np.float32)[:, None])


def all_but(place):
    def hook(self, x, *, out):
        written = np.ones(out.shape, bool)
        written[place] = False
        np.copyto(out, x, where=written)

    return hook


UNWRITTEN_DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint64", "float16", "float32", "float64", "bfloat16",
                    "complex64", "complex128", "float8_e5m2", "float8_e4m3fn", "float8_e4m3b11fnuz", "float8_e5m2fnuz",
                    "float8_e4m3fnuz", "float8_e4m3", "float8_e3m4"]  # fmt: skip


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("dtype", UNWRITTEN_DTYPES)
def test_one_element_of_an_output_that_is_not_written(dtype, place):
    with jax.enable_x64(True):
        x = jax.numpy.ones(16, dtype)
        for value in (x, x[:1], x[None, :3]):
            index = (0,) * (value.ndim - 1) + (place,)
            with pytest.raises(FAILURES, match="did not write all of out of shape"):
                faulty(all_but(index))(value)
        with pytest.raises(FAILURES, match=r"did not write all of out of shape \(\)"):
            faulty(nothing)(x[0])


@pytest.mark.parametrize("part", ["real", "imag"])
def test_one_part_of_complex_numbers_that_is_not_written(part):
    def hook(self, x, *, out):
        setattr(out, part, getattr(x, part))

    with pytest.raises(FAILURES, match=r"did not write all of out of shape \(8,\)"):
        faulty(hook)(X.astype(np.complex64))


class Scaled(lo.LinearOperator, batched=True):
    d: jax.Array
    first: int = lo.static(default=0)
    adjoint = None

    def apply(self, x, *, out):
        out[self.first :] = (self.d * x)[self.first :]

    def infer_shape(self, x):
        return x


@both
def test_one_element_that_is_not_written_in_a_batch_with_gaps(run):
    """The outer axis of the batch is handed over, the inner one, of the field, is looped over: outputs have strides."""
    x = np.arange(3 * 2 * 4, dtype=np.int16).reshape(3, 2, 4)
    d = np.array([1, 2], np.int16)

    def scaled(first):
        return lambda x: jax.vmap(jax.vmap(lambda d, x: Scaled(d, first)(x)), (None, 0))(d, x)

    np.testing.assert_array_equal(run(scaled(0), x), d[:, None] * x)
    with pytest.raises(FAILURES, match=r"Scaled\.apply did not write all of out of shape \(3, 4\)"):
        run(scaled(1), x)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, jax.numpy.float8_e4m3fn, np.float32])
def test_no_value_of_a_result_is_taken_for_unwritten(dtype):
    def hook(self, x, *, out):
        out[...] = x

    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    canaries = [0xA5, 0x5A, 0x94A5, 0x6B5A, 0x7F, 0xFF, 0x80, 0x7FA5C3E5, 0xFF9A3C1A]
    values = np.arange(256) if bits.itemsize == 1 else [value for value in canaries if value >> 8 * bits.itemsize == 0]
    op = faulty(hook)
    for value in np.asarray(values, bits).view(dtype):
        given = np.full(3, value, dtype)
        result = np.asarray(op(given))
        np.testing.assert_array_equal(result.view(bits), given.view(bits))


@both
@pytest.mark.parametrize("pytree", [False, True])
def test_an_out_hook_that_returns_something_else(run, pytree):
    def hook(self, x, *, out):
        return 2 * x

    op = faulty(hook, lambda self, x: (x,)) if pytree else faulty(hook)
    with pytest.raises(FAILURES, match=r"(?s)^(?=.*Faulty\.apply).*None or out itself, but it returned"):
        run(op, X)


@both
@pytest.mark.parametrize("pytree", [False, True])
def test_an_out_hook_may_return_out(run, pytree):
    def hook(self, x, *, out):
        (out[0] if pytree else out)[...] = 2 * x
        return out

    op = faulty(hook, lambda self, x: (x,)) if pytree else faulty(hook)
    np.testing.assert_array_equal(np.ravel(run(op, X)), 2 * X)


@both
def test_an_out_hook_of_a_view_that_numpy_must_not_resize(run):
    def hook(self, x, *, out):
        np.multiply(x, 2, out=out)

    np.testing.assert_array_equal(run(faulty(hook), X[:1]), [0])
    np.testing.assert_array_equal(run(faulty(hook), X[3]), 6)


# ---- returned results -----------------------------------------------------------------------------------------------

WRONG = {
    "longer": (lambda self, x: np.append(x, 1), same, r"returned shape \(9,\); infer_shape promised \(8,\)"),
    "transposed": (
        lambda self, x: x.reshape(2, 4),
        spec_of((4, 2), np.float32),
        r"returned shape \(2, 4\); infer_shape promised \(4, 2\)",
    ),
    "broadcastable": (lambda self, x: x[:1], same, r"returned shape \(1,\); infer_shape promised \(8,\)"),
    "broadcastable row": (
        lambda self, x: x,
        spec_of((1, 8), np.float32),
        r"returned shape \(8,\); infer_shape promised \(1, 8\)",
    ),
    "scalar": (lambda self, x: 0.0, same, r"returned shape \(\); infer_shape promised \(8,\)"),
    "complex": (lambda self, x: x + 0j, same, r"returned dtype complex64; infer_shape promised float32"),
    "float": (
        lambda self, x: x,
        spec_of((8,), np.int32),
        r"returned dtype float32; infer_shape promised int32",
    ),
    "integer": (lambda self, x: x.astype(int), spec_of((8,), bool), r"returned dtype int64; infer_shape promised bool"),
    "text": (lambda self, x: np.full(8, "1"), same, r"returned dtype <U1; infer_shape promised float32"),
    "nothing": (lambda self, x: None, same, r"returned None.*promised"),
    "ragged": (lambda self, x: (x, x[:2]), same, r"returned .*infer_shape promised \(8,\)"),
    "tuple": (lambda self, x: (x, x), same, r"returned .*infer_shape promised \(8,\)"),
    "array for tuple": (
        lambda self, x: x,
        lambda self, x: (x, x),
        r"returned f32\[8\]; infer_shape promised the structure",
    ),
    "shorter tuple": (
        lambda self, x: (x,),
        lambda self, x: (x, x),
        r"returned \(f32\[8\],\); infer_shape promised the structure",
    ),
    "list for tuple": (
        lambda self, x: [x, x],
        lambda self, x: (x, x),
        r"returned \[f32\[8\], f32\[8\]\]; infer_shape promised",
    ),
    "key": (
        lambda self, x: {"b": x},
        lambda self, x: {"a": x},
        r"returned \{'b': f32\[8\]\}; infer_shape promised the structure",
    ),
    "nothing for tuple": (lambda self, x: None, lambda self, x: (x, x), r"returned None.*promised"),
    "None in a tuple": (lambda self, x: (x, None), lambda self, x: (x, x), r"returned .*None.*promised"),
    "shape in a tuple": (
        lambda self, x: (x, x[1:]),
        lambda self, x: (x, x),
        r"returned shape \(7,\); infer_shape promised \(8,\)",
    ),
}


@both
@pytest.mark.parametrize(("hook", "promise", "text"), WRONG.values(), ids=WRONG)
def test_a_wrong_result(hook, promise, text, run):
    with pytest.raises(FAILURES, match=rf"(?s)^(?=.*Faulty\.apply).*{text}"):
        run(faulty(hook, promise), X)


@both
def test_a_wrong_result_of_an_adjoint(run):
    class Cut(lo.LinearOperator):
        def apply(self, x):
            return x[1:]

        def adjoint(self, y):
            return y

        def infer_shape(self, x):
            return jax.ShapeDtypeStruct((x.shape[0] - 1,), x.dtype)

    gradient = jax.grad(lambda x: jnp.sum(Cut()(x)))
    with pytest.raises(FAILURES, match=r"(?s)^(?=.*Cut\.adjoint).*returned shape \(7,\); .*\(8,\)"):
        run(gradient, X)


@both
def test_wrong_results_of_nonlinear_hooks(run):
    class Square(lo.NonlinearOperator):
        def apply(self, x):
            return x**2

        def jacobian_apply(self, x, dx):
            return 2j * x * dx

        def jacobian_adjoint(self, x, dy):
            return (2 * x * dy)[:3]

        def infer_shape(self, x):
            return x

    with pytest.raises(FAILURES, match=r"(?s)^(?=.*Square\.jacobian_apply).*returned dtype complex64; .*float32"):
        run(lambda x: jax.jvp(Square(), (x,), (x,))[1], X)
    with pytest.raises(FAILURES, match=r"(?s)^(?=.*Square\.jacobian_adjoint).*returned shape \(3,\); .*\(8,\)"):
        run(jax.grad(lambda x: jnp.sum(Square()(x))), X)


@both
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda self: {"c": 1}, r"returned a derivative for c, which is not a field.*has d"),
        (lambda self: {"d": np.ones(3)}, r"returned shape \(3,\); .*\(8,\)"),
        (lambda self: (1, 2), r"returned .*Scale"),
    ],
    ids=["unknown field", "shape", "structure"],
)
def test_wrong_results_of_parameter_vjp(answer, text, run):
    class Scale(lo.LinearOperator):
        d: jax.Array

        def apply(self, x):
            return self.d * x

        def adjoint(self, y):
            return np.conj(self.d) * y

        def parameter_jvp(self, x, dself):
            return dself.d * x

        def parameter_vjp(self, x, dy):
            return answer(self)

        def infer_shape(self, x):
            return x

    with pytest.raises(FAILURES, match=rf"(?s)^(?=.*Scale\.parameter_vjp).*{text}"):
        run(jax.grad(lambda d: jnp.sum(Scale(d)(X))), jnp.ones(8))


# ---- inputs ---------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("pytree", [False, True])
def test_inputs_are_read_only(run, pytree):
    def hook(self, x):
        (x[0] if pytree else x)[0] = 1
        return x

    with pytest.raises(FAILURES, match=r"(?s)^(?=.*Faulty\.apply).*read-only"):
        run(faulty(hook), (X,) if pytree else X)


def test_a_write_to_an_input_is_the_users_own_error():
    def hook(self, x):
        x += 1
        return x

    with pytest.raises(ValueError, match="read-only") as caught:
        faulty(hook)(X)
    assert type(caught.value) is ValueError
    assert any("Faulty.apply" in note for note in caught.value.__notes__)


def test_array_fields_are_read_only():
    class Scale(lo.LinearOperator):
        d: jax.Array
        adjoint = None

        def apply(self, x):
            self.d[0] = 1
            return x

        def infer_shape(self, x):
            return x

    with pytest.raises(ValueError, match=r"(?s)read-only.*Scale\.apply"):
        Scale(jnp.ones(8))(X)


@both
@pytest.mark.parametrize(
    "hook",
    [
        lambda self, x: x,
        lambda self, x: x[:],
        lambda self, x: x[::-1],
        lambda self, x: x.reshape(2, 4).T.reshape(8),
        lambda self, x: np.asarray(memoryview(x)),
        lambda self, x: np.broadcast_to(x[2], 8),
    ],
)
def test_returning_the_input_or_a_view_of_it(hook, run):
    expected = hook(None, X)
    np.testing.assert_array_equal(run(faulty(hook), X), expected)


@both
def test_returning_the_inputs_in_a_structure(run):
    op = faulty(lambda self, x: {"a": x[0], "b": (x[1], x[0])}, lambda self, x: {"a": x[0], "b": (x[1], x[0])})
    result = run(op, (X, X[:2]))
    np.testing.assert_array_equal(result["b"][0], X[:2])
    np.testing.assert_array_equal(result["a"], result["b"][1])


# ---- views that are kept --------------------------------------------------------------------------------------------

KEEPERS = '''
import gc, re, sys
import jax, jax.numpy as jnp, numpy as np
import linops_jax as lo

kept = []

class Holder:
    pass

class Keeper(lo.LinearOperator):
    how: str = lo.static()
    holder: Holder = lo.static()
    adjoint = None

    def apply(self, x, *, out):
        out[...] = x
        if self.how == "in a list":
            kept.append(x)
        elif self.how == "on self":
            object.__setattr__(self, "cache", x)
            kept.append(self)
        elif self.how == "on a plan":
            self.holder.x = x
        elif self.how == "a slice":
            kept.append(x[5:-5])
        elif self.how == "a slice in a tuple in a closure":
            part = (1, x[5:-5])
            kept.append(lambda: part)
        elif self.how == "another type":
            kept.append(x.view(np.int32).reshape(-1, 2))
        elif self.how == "through a memoryview":
            kept.append(np.asarray(memoryview(x)[5:]))
        elif self.how == "in a closure":
            kept.append(lambda: x)
        elif self.how == "the output":
            kept.append(out)
        elif self.how == "in a generator":
            generator = (x[i] for i in range(3))
            next(generator)
            kept.append(generator)
        elif self.how == "in an exception":
            error = RuntimeError("a message")
            error.data = x
            kept.append(error)
            raise error
        elif self.how == "a slice in an exception":
            error = RuntimeError("a message", x[5:-5])
            kept.append(error)
            raise error

    def infer_shape(self, x):
        return x

def arrays():
    """Every array that was kept."""
    for item in kept:
        if isinstance(item, np.ndarray):
            yield item
        elif isinstance(item, Keeper):
            yield item.cache
        elif isinstance(item, BaseException):
            yield item.data if hasattr(item, "data") else item.args[1]
        elif hasattr(item, "gi_frame"):
            yield np.array(next(item))
        else:
            value = item()
            yield value[1] if isinstance(value, tuple) else value

for how in sys.argv[1:]:
    for jitted in (False, True) if how in ("in a list", "a slice", "in an exception") else (True,):
        holder = Holder()
        op = Keeper(how, holder)
        # 64 MiB that XLA maps for this program and unmaps after it
        program = lambda x: op(jnp.full((2**24,), x)).sum()
        kept.clear()
        try:
            jax.block_until_ready((jax.jit(program) if jitted else program)(1.0))
        except Exception as error:
            text = "".join([str(error), *getattr(error, "__notes__", ())])
            assert "Keeper.apply" in text, text
            expected = "a message" if "exception" in how else "kept a reference to one of its arrays"
            assert expected in text, text
            assert "exception" in how or "x.copy()" in text, text
            del error
        else:
            raise AssertionError(f"{how}: no error")
        gc.collect()
        if hasattr(holder, "x"):
            kept.append(holder.x)
        found = list(arrays())
        assert found, how
        for array in found:
            assert array.size > 0
            assert np.isfinite(array.sum())
        del found
        print("ok", how, jitted, flush=True)
op = Keeper("not at all", Holder())
assert op(jnp.ones(3)).sum() == 3
'''

WHOLE = ["in a list", "on self", "on a plan", "in a closure", "the output", "in an exception", "in a generator"]
PARTS = [
    "a slice",
    "another type",
    "through a memoryview",
    "a slice in a tuple in a closure",
    "a slice in an exception",
]


@pytest.mark.parametrize("hows", [WHOLE, PARTS], ids=["whole", "parts"])
def test_a_view_that_is_kept_and_read_later(run_child, hows):
    child = run_child(KEEPERS, *hows)
    assert child.stdout.count("ok") == len(hows) + len({"in a list", "a slice", "in an exception"} & set(hows))


def test_kept_views_are_seen_in_every_element_of_a_batch():
    kept = []

    def hook(self, x):
        if x[0] == 2:
            kept.append(x)
        return x

    with pytest.raises(RuntimeError, match="kept a reference"):
        jax.vmap(faulty(hook))(jnp.arange(12.0).reshape(6, 2))


def test_kept_views_of_fields():
    kept = []

    class Scale(lo.LinearOperator):
        d: jax.Array
        adjoint = None

        def apply(self, x):
            kept.append(self)
            return x

        def infer_shape(self, x):
            return x

    with pytest.raises(RuntimeError, match=r"(?s)kept a reference.*Scale\.apply"):
        Scale(jnp.ones(8))(X)


# ---- no false alarm -------------------------------------------------------------------------------------------------


def recursive_closure(self, x):
    def total(i):
        return 0 if i == len(x) else x[i] + total(i + 1)

    return total(0) * x


def cycle(self, x):
    node = {"x": x}
    node["self"] = node
    return node["x"].sum() * x


def generator(self, x):
    squares = (value for value in x)
    return next(squares) + x.sum() * x


def handled_exception(self, x):
    error = None
    try:
        x[100]
    except IndexError as caught:
        error = caught  # a cycle: this frame, the exception, its traceback
    return x * (error is not None) * x.sum()


def self_made_cycle(self, x):
    class Local:
        data = x

    return Local.data.sum() * x


def old_cycle(self, x):
    node = {"x": x}
    node["self"] = node
    gc.collect(1)  # what lives is old from here on
    return node["x"].sum() * x


def weakly_cached(self, x):
    return weakref.ref(x)().sum() * x


INNOCENT = [recursive_closure, cycle, generator, handled_exception, self_made_cycle, old_cycle, weakly_cached]


@both
@pytest.mark.parametrize("hook", INNOCENT, ids=lambda hook: hook.__name__)
def test_no_false_alarm(hook, run):
    op = faulty(hook)
    expected = hook(None, X)
    for _ in range(3):
        np.testing.assert_array_equal(run(op, X), expected)


@pytest.mark.parametrize("garbage_collector", [True, False])
def test_no_false_alarm_whatever_the_garbage_collector_does(garbage_collector):
    if not garbage_collector:
        gc.disable()
    op = faulty(cycle)
    try:
        for _ in range(30):
            op(X)
    finally:
        gc.enable()


def test_a_young_cycle_needs_no_collection_of_all_garbage():
    """In a process with JAX that takes a tenth of a second. Solvers of SciPy are such cycles."""
    op, generations = faulty(cycle), []
    op(X)
    listener = lambda phase, about: generations.append(about["generation"])  # noqa: E731
    gc.collect()
    gc.callbacks.append(listener)
    try:
        op(X)
    finally:
        gc.callbacks.remove(listener)
    assert 1 in generations
    assert 2 not in generations


@pytest.mark.parametrize("shared", [False, True], ids=["own pool", "shared pool"])
def test_no_false_alarm_with_threads(shared):
    common = concurrent.futures.ThreadPoolExecutor(4)

    def hook(self, x, *, out):
        def work(part):
            np.multiply(x[part], 2, out=out[part])

        parts = [slice(i, i + 64) for i in range(0, 1024, 64)]
        if shared:
            list(common.map(work, parts))
        else:
            with concurrent.futures.ThreadPoolExecutor(4) as own:
                list(own.map(work, parts))

    op = faulty(hook)
    x = jnp.arange(1024.0)
    with common:
        for _ in range(20):
            np.testing.assert_array_equal(op(x), 2 * x)
        loop = jax.jit(lambda x: jax.lax.fori_loop(0, 200, lambda i, v: op(v) / 2, x))
        np.testing.assert_array_equal(loop(x), x)


def test_no_false_alarm_with_work_that_was_submitted_and_not_joined():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:

        def hook(self, x):
            futures = [pool.submit(np.sum, x[i:]) for i in range(8)]
            return np.array([future.result() for future in futures])

        op = faulty(hook)
        for _ in range(100):
            np.testing.assert_array_equal(op(X), np.cumsum(X[::-1])[::-1])


def test_messages_end_with_what_to_do():
    with pytest.raises(RuntimeError, match=re.escape("Fill it in place (out[...] = ..., not out = ...)")):
        faulty(nothing)(X)
    with pytest.raises(ValueError, match="Fix whichever is wrong"):
        faulty(lambda self, x: x[1:])(X)
    with pytest.raises(TypeError, match="drop the parameter and return the result"):
        faulty(lambda self, x, *, out: x)(X)


@both
def test_hooks_compute_as_they_do_on_their_own(run):
    """XLA flushes subnormal numbers on its threads; Python's and NumPy's arithmetic must not change with it."""
    seen = []

    def hook(self, x):
        seen.append((np.float64(1e-320) * 1, 1e-320 / 1, (np.float32(1e-40) * np.ones(3, np.float32))[0] > 0))
        return x

    run(faulty(hook), X)
    assert seen[-1] == (1e-320, 1e-320, True)


def test_a_result_that_nobody_looks_at_is_zero_in_a_batch_with_gaps():
    seen = []

    class WithSign(lo.NonlinearOperator, batched=True):
        d: jax.Array
        jacobian_adjoint = None

        def apply(self, x):
            return self.d * x, np.sign(x).astype(np.int32)

        def jacobian_apply(self, x, dx, *, out):
            seen.append((out[1].flags.c_contiguous, out[1].copy()))
            np.multiply(self.d, dx, out=out[0])
            out[1][...] = 7  # where the next call may have its memory

        def infer_shape(self, x):
            return x, jax.ShapeDtypeStruct(x.shape, np.int32)

    d, x = jnp.ones((3, 64)), jnp.ones((5, 3, 64))
    slope = lambda d, x: jax.jvp(lambda x: WithSign(d)(x)[0], (x,), (x,))[1]  # noqa: E731
    run = jax.jit(jax.vmap(jax.vmap(slope), (None, 0)))
    for _ in range(4):
        np.testing.assert_array_equal(run(d, x), x)
    assert len(seen) == 12
    for contiguous, found in seen:
        assert not contiguous
        np.testing.assert_array_equal(found, 0)
