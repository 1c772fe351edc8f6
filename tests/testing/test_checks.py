"""The dot test and the checks as people use them: what they take, what they answer, how that prints."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from operators import Dense

import linops_jax as lo
from linops_jax.testing import CheckError, Checkup

N = 6
DECLARED = re.compile(r"^def check_(\w+)\(subject: Subject\)", re.MULTILINE)
SPECS = {dtype: jax.ShapeDtypeStruct((N,), dtype) for dtype in (np.float32, np.complex64)}


def matrix(dtype, rows=N):
    rng = np.random.default_rng(7)
    values = rng.standard_normal((rows, N)) + 1j * rng.standard_normal((rows, N))
    return (values if np.issubdtype(dtype, np.complexfloating) else values.real).astype(dtype)


class MissingFactor(Dense):
    def adjoint(self, y):
        return 0.5 * super().adjoint(y)


@pytest.mark.parametrize(("dtype", "rows"), [(np.float32, N), (np.complex64, 3), (np.complex64, 1)])
def test_right_operators_pass(dtype, rows):
    op = Dense(matrix(dtype, rows))
    lo.check_operator(op, SPECS[dtype])
    lo.check_operator(op.H, jax.ShapeDtypeStruct((rows,), dtype))
    lo.check_operator(op.H @ op + 0.3 * lo.Identity(), SPECS[dtype])


def test_dot_test_never_cries_wolf_and_sees_a_doubled_entry():
    false_alarms = misses = 0
    for seed in range(100):
        values = np.random.default_rng(seed).standard_normal((40, 40)).astype(np.float32)
        spec = jax.ShapeDtypeStruct((40,), np.float32)
        false_alarms += not lo.dot_test(Dense(values), spec, seed=seed).passed

        class Doubled(Dense):
            def adjoint(self, y):
                wrong = self.matrix.copy()
                wrong[5, 5] *= 2
                return wrong.T @ y

        misses += lo.dot_test(Doubled(values), spec, seed=seed).passed if abs(values[5, 5]) > 0.1 else 0
    assert (false_alarms, misses) == (0, 0)


def test_dot_test_result():
    result = lo.dot_test(Dense(matrix(np.float32)), SPECS[np.float32], probes=3, seed=4)
    assert result.passed
    assert result.error <= result.tolerance == pytest.approx(10 * np.finfo(np.float32).eps)
    assert len(result.probes) == 3
    assert "passed" in str(result)
    assert "seed 4" in str(result)
    again = lo.dot_test(Dense(matrix(np.float32)), SPECS[np.float32], probes=3, seed=4)
    assert again.probes == result.probes


def test_declared_inexact_adjoint():
    class Inexact(MissingFactor, adjoint_rtol=0.6):
        pass

    result = lo.dot_test(Inexact(matrix(np.float32)), SPECS[np.float32])
    assert result.passed
    assert result.tolerance == 0.6
    assert not lo.dot_test(Inexact(matrix(np.float32)), SPECS[np.float32], rtol=1e-3).passed


def test_an_error_in_a_small_array_does_not_hide_behind_a_large_one():
    class Pair(lo.LinearOperator):
        def apply(self, x):
            large, small = x
            return 1e6 * large, small

        def adjoint(self, y):
            large, small = y
            return 1e6 * large, 1.01 * small

        def infer_shape(self, x):
            return x

    spec = (jax.ShapeDtypeStruct((1000,), np.float32), jax.ShapeDtypeStruct((2,), np.float32))
    assert not lo.dot_test(Pair(), spec).passed


def test_dot_test_needs_a_linear_operator_and_an_input():
    class Square(lo.NonlinearOperator):
        @lo.traced
        def apply(self, x):
            return x**2

    with pytest.raises(TypeError, match=r"only linear operators have an adjoint.*dot_test\(F\.jacobian\(x\)\)"):
        lo.dot_test(Square(), SPECS[np.float32])
    with pytest.raises(TypeError, match=r"needs to know the input: pass specs or example arrays"):
        lo.dot_test(lo.Identity())
    assert lo.dot_test(lo.Identity().with_domain(SPECS[np.float32])).passed


def test_dot_test_asks_infer_adjoint_shape():
    class Forgets(Dense):
        def infer_adjoint_shape(self, y):
            pass

    class Integers(Dense):
        def infer_adjoint_shape(self, y):
            return jax.ShapeDtypeStruct(y.shape, np.int32)

    for cls, message in ((Forgets, "None"), (Integers, r"found i32\[6\], which cannot hold x, f32\[6\]")):
        with pytest.raises(TypeError, match=rf"{cls.__name__}\.infer_adjoint_shape.*{message}"):
            lo.dot_test(cls(matrix(np.float32)), SPECS[np.float32])


def test_a_note_where_double_precision_is_cast():
    class InDouble(Dense):
        def apply(self, x):
            return self.matrix.astype(np.float64) @ x

    report = lo.check_operator(InDouble(matrix(np.float32)), SPECS[np.float32])
    assert "note promises: InDouble.apply computes in float64, and its result is cast to float32" in str(report)


def test_a_note_where_the_imaginary_part_is_always_zero():
    class RealPart(lo.LinearOperator, real_linear=True):
        def apply(self, x):
            return x.real.astype(x.dtype)

        adjoint = apply

        def infer_shape(self, x):
            return x

    report = lo.check_operator(RealPart(), SPECS[np.complex64])
    assert "the imaginary part of every result is zero" in str(report)


def test_operator_checks_have_names():
    names = [name for name, _ in lo.operator_checks(lo.Identity(), jnp.ones(3))]
    assert {"linear", "adjoint", "promises", "jit", "vmap", "jvp", "vjp"} <= set(names)


def test_the_diagnosis_is_found_when_asked_for():
    calls = []

    class Counted(MissingFactor):
        def adjoint(self, y):
            calls.append(1)
            return super().adjoint(y)

    result = lo.dot_test(Counted(matrix(np.float32)), SPECS[np.float32], probes=3)
    assert not result.passed
    before = len(calls)
    assert "0.5 times <A u, v>" in result.diagnosis
    assert len(calls) > before
    assert result.diagnosis in str(result)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_one_wrong_entry_of_a_large_operator_is_named(dtype, x64):
    class Large(lo.LinearOperator):
        def apply(self, x):
            return np.cumsum(x)

        def adjoint(self, y):
            x = np.cumsum(y[::-1])[::-1]
            x[1234] += 1e-3 * y[77]
            return x

        def infer_shape(self, x):
            return x

    result = lo.dot_test(Large(), jax.ShapeDtypeStruct((5000,), dtype))
    assert "one entry is wrong: from y[77] to x[1234] the adjoint has 0.001, apply says 0" in result.diagnosis


def test_a_nonlinear_operator_is_tested_at_example_arrays():
    class Log(lo.NonlinearOperator):
        def apply(self, x):
            if np.any(x <= 0):
                message = "log of what is not positive"
                raise ValueError(message)
            return np.log(x)

        def jacobian_apply(self, x, dx):
            return dx / x

        def jacobian_adjoint(self, x, dy):
            return dy / x

        def infer_shape(self, x):
            return x

    with pytest.raises(CheckError, match=r"promises: ValueError: log of what is not positive \[Log\.apply failed\]"):
        lo.check_operator(Log(), SPECS[np.float32])
    assert lo.check_operator(Log(), jnp.linspace(0.5, 3, 7)).passed


class CentredSquares(lo.NonlinearOperator):
    """(x - mean x)^2: the derivative knows nothing of a common offset."""

    def apply(self, x):
        return (x - x.mean()) ** 2

    def jacobian_apply(self, x, dx):
        return 2 * (x - x.mean()) * (dx - dx.mean())

    def jacobian_adjoint(self, x, dy):
        g = 2 * (x - x.mean()) * dy
        return g - g.mean()

    def infer_shape(self, x):
        return x


class TracedCentredSquares(lo.NonlinearOperator):
    @lo.traced
    def apply(self, x):
        return (x - x.mean()) ** 2


class Centre(lo.LinearOperator):
    def apply(self, x):
        return x - x.mean()

    adjoint = apply

    def infer_shape(self, x):
        return x


@pytest.mark.parametrize("op", [CentredSquares(), TracedCentredSquares(), Centre()], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_common_offset_that_cancels_is_no_false_alarm(op, dtype, x64):
    for seed in range(5):
        x = (1e4 + np.random.default_rng(seed).standard_normal(2 if seed == 0 else 20)).astype(dtype)
        for name, check in lo.operator_checks(op, x, seed=seed):
            if "jacobian" in name or name in ("linear", "adjoint"):
                check()


class Rectified(lo.NonlinearOperator):
    """M max(x, 0): many kinks at once where many elements are zero."""

    matrix: jax.Array

    def apply(self, x):
        return self.matrix @ np.maximum(x, 0)

    def jacobian_apply(self, x, dx):
        return self.matrix @ ((x > 0) * dx)

    def jacobian_adjoint(self, x, dy):
        return (x > 0) * (self.matrix.T @ dy)

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(self.matrix.shape[:1], x.dtype)


def test_kinks_at_the_arrays_as_given_are_no_false_alarm(x64):
    for seed in range(5):
        values = np.random.default_rng(seed).standard_normal((3, N))
        for x in (np.zeros(N), np.array([0, 0, 1, -2, 0, 3.0])):
            named = dict(lo.operator_checks(Rectified(values), x, seed=seed))
            for name in ("jacobian", "jacobian_adjoint"):
                named[name]()


def test_where_zeros_are_outside_of_the_domain_nothing_is_said(x64):
    class Guarded(lo.NonlinearOperator):
        """1 / x and the root of |x|, with what is usual at zero: neither has a slope there."""

        def apply(self, x):
            return np.where(x == 0, 0, 1 / np.where(x == 0, 1, x)), np.sqrt(np.abs(x))

        def jacobian_apply(self, x, dx):
            with np.errstate(all="ignore"):
                return np.where(x == 0, 0, -dx / x**2), 0.5 * np.sign(x) * dx / np.sqrt(np.abs(x))

        def jacobian_adjoint(self, x, dy):
            with np.errstate(all="ignore"):
                return np.where(x == 0, 0, -dy[0] / x**2) + 0.5 * np.sign(x) * dy[1] / np.sqrt(np.abs(x))

        def infer_shape(self, x):
            return x, x

    for seed in range(3):
        assert lo.check_operator(Guarded(), jax.ShapeDtypeStruct((9,), np.float64), seed=seed).passed


def test_a_jacobian_that_is_declared_inexact(x64):
    class Differences(lo.NonlinearOperator, jacobian_rtol=1e-3, adjoint_rtol=1e-12):
        """A Jacobian as a solver with a tolerance computes it."""

        def apply(self, x):
            return np.sin(x)

        def jacobian_apply(self, x, dx):
            return 1.0004 * np.cos(x) * dx

        def jacobian_adjoint(self, x, dy):
            return 1.0004 * np.cos(x) * dy

        def infer_shape(self, x):
            return x

    class Backwards(Differences):
        jacobian_apply = None

    spec = jax.ShapeDtypeStruct((N,), np.float64)
    assert Differences().properties.jacobian_rtol == 1e-3
    assert (Differences() + Differences()).properties.jacobian_rtol == 2e-3
    for op in (Differences(), Backwards(), 2 * Differences(), Differences() @ Differences()):
        assert lo.check_operator(op, spec).passed


def test_every_dtype_that_is_asked_for(x64):
    spec = SPECS[np.float32]
    names = [name for name, _ in lo.operator_checks(lo.Identity(), spec, dtypes=["float32", np.complex128])]
    assert {"adjoint[float32]", "adjoint[complex128]", "jit[complex128]"} <= set(names)

    class OnlySingle(lo.LinearOperator):
        def apply(self, x):
            return x.astype(np.float32)

        adjoint = apply

        def infer_shape(self, x):
            return x

    with pytest.raises(CheckError, match=r"linear\[float64\]: not linear.*a lost precision") as caught:
        lo.check_operator(OnlySingle(), spec, dtypes=["float32", "float64"])
    assert "[float32]" not in str(caught.value)


def test_a_dtype_of_64_bits_needs_x64():
    with pytest.raises(TypeError, match=r"dtype float64 needs jax\.enable_x64\(True\)"):
        list(lo.operator_checks(lo.Identity(), SPECS[np.float32], dtypes=["float64"]))


def test_what_is_no_operator():
    for function in (lo.dot_test, lo.check_operator):
        with pytest.raises(TypeError, match=rf"{function.__name__}: expected an operator, found function"):
            function(test_dot_test_result, SPECS[np.float32])


def test_the_report_prints_as_a_table():
    from rich.console import Console

    report = lo.check_operator(lo.Diagonal(jnp.ones(3)), SPECS[np.float32].update(shape=(3,)))
    assert report.passed
    text = str(report)
    assert "Diagonal(d=f32[3]) on f32[3]" in text
    assert all(outcome.name in text for outcome in report.outcomes)
    assert "\x1b" not in text == repr(report)
    coloured = Console(force_terminal=True, width=100)
    with coloured.capture() as capture:
        coloured.print(report)
    assert "\x1b[32mpassed" in capture.get()


def test_each_check_is_a_function_of_its_own():
    from linops_jax.testing import checks

    assert checks.check_adjoint(lo.Identity(), SPECS[np.complex64]) is None
    assert "conj A^H conj" in checks.check_transpose.__doc__
    with pytest.raises(AssertionError, match="in every probe: a constant factor"):
        checks.check_adjoint(MissingFactor(matrix(np.float32)), SPECS[np.float32])
    with pytest.raises(TypeError, match=r"check_adjoint\(Identity\(\)\) needs to know the input"):
        checks.check_adjoint(lo.Identity())


def test_the_checks_are_those_of_the_files_and_run_after_what_they_need():
    from linops_jax.testing import checks

    found = [
        name
        for path in pathlib.Path(checks.__file__).parent.glob("_*.py")
        for name in DECLARED.findall(path.read_text())
    ]
    assert sorted(found) == sorted(checks.CHECKS)
    assert all(getattr(checks, f"check_{name}") is check for name, check in checks.CHECKS.items())
    place = {name: i for i, name in enumerate(checks.CHECKS)}
    assert all(place[need] < place[name] for name, check in checks.CHECKS.items() for need in check.needs)
    with pytest.raises(ImportError, match=r"cannot import name 'check_adjiont'"):
        exec("from linops_jax.testing.checks import check_adjiont")


def test_a_note_where_more_could_be_checked():
    class ReallyComplexLinear(Dense, real_linear=True):
        pass

    report = lo.check_operator(ReallyComplexLinear(matrix(np.complex64)), SPECS[np.complex64])
    (note,) = [outcome.message for outcome in report.outcomes if outcome.name == "linear"]
    assert "declared real_linear, but it is linear over the complex numbers" in note
    assert "note linear" in str(report)


def test_the_check_of_grads_names_the_hooks_that_it_misses():
    class HalfHessian(lo.NonlinearOperator):
        def apply(self, x):
            return x**2

        def jacobian_apply(self, x, dx):
            return 2 * x * dx

        def jacobian_adjoint(self, x, dy):
            return 2 * x * dy

        def hessian_apply(self, x, dx1, dx2):
            return 2 * dx1 * dx2

        def infer_shape(self, x):
            return x

    with jax.enable_x64(True):
        for op in (HalfHessian(), 2 * HalfHessian() @ lo.Identity()):
            note = Checkup(op, jax.ShapeDtypeStruct((3,), np.float64)).outcome("grads").message
            assert note == "to order 1 only, because these hooks are missing: HalfHessian.hessian_adjoint"


def test_integers_among_the_inputs_are_no_false_alarm():
    class Power(lo.NonlinearOperator):
        """(x, n) -> x^n; what the adjoint says of n is nobody's business."""

        def apply(self, x):
            return x[0] ** x[1]

        def jacobian_apply(self, x, dx):
            return x[1] * x[0] ** (x[1] - 1) * dx[0]

        def jacobian_adjoint(self, x, dy):
            return x[1] * x[0] ** (x[1] - 1) * dy, np.int32(7)

        def infer_shape(self, x):
            return x[0]

    assert lo.check_operator(Power(), (jnp.linspace(0.5, 2, 5), jnp.int32(3))).passed
    assert lo.check_operator(lo.FFT(), np.arange(3)).passed


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0), (2, 1, 2)], ids=str)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, np.float32, np.int32], ids=str)
def test_every_shape_and_dtype(shape, dtype):
    class Twice(lo.LinearOperator):
        def apply(self, x):
            return x + x

        adjoint = apply

        def infer_shape(self, x):
            return x

        def infer_adjoint_shape(self, y):
            return y

    assert lo.check_operator(Twice(), jax.ShapeDtypeStruct(shape, dtype)).passed


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.bool_, jnp.bfloat16, np.complex64], ids=str)
def test_a_filled_output_of_any_dtype_is_no_false_alarm(dtype):
    class Copy(lo.LinearOperator):
        def apply(self, x, *, out):
            out[...] = x

        adjoint = None

        def infer_shape(self, x):
            return x

    assert lo.check_operator(Copy(), jax.ShapeDtypeStruct((5,), dtype)).passed


def test_the_tools_are_not_watched():
    """A wrong operator under lo.checking() gets the tool's own answer, not the watcher's error."""
    op, spec = MissingFactor(matrix(np.float32)), SPECS[np.float32]
    with lo.checking():
        assert not lo.dot_test(op, spec).passed
        with pytest.raises(CheckError, match=r"fails 1 of \d+ checks:\n  adjoint: "):
            lo.check_operator(op, spec)
        with pytest.raises(CheckError, match=r"was called, and its adjoint is wrong"):
            op(jnp.ones(N))


def test_notes_of_jax_on_its_tracebacks_are_left_out():
    class Raises(lo.NonlinearOperator):
        def apply(self, x):
            return x

        def jacobian_apply(self, x, dx):
            message = "in the derivative"
            raise ValueError(message)

        def jacobian_adjoint(self, x, dy):
            return dy

        def infer_shape(self, x):
            return x

    with pytest.raises(CheckError, match="in the derivative") as caught:
        lo.check_operator(Raises(), SPECS[np.float32])
    assert "For simplicity" not in str(caught.value)


# ---- where checks cannot be ---------------------------------------------------------------------------------------------


def on_one_device(function, axis_type):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(axis_type,), devices=jax.devices()[:1])
    return jax.shard_map(function, mesh=mesh, in_specs=P("i"), out_specs=P("i")), NamedSharding(mesh, P("i"))


@pytest.mark.parametrize("axis_type", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit])
@pytest.mark.parametrize("name", ["check_operator", "dot_test"])
@pytest.mark.parametrize("known", [False, True])
def test_inside_of_shard_map_they_say_where_to_go(axis_type, name, known):
    def body(x):
        getattr(lo, name)(lo.Identity(), SPECS[np.float32] if known else x)
        return x

    mapped, sharding = on_one_device(body, axis_type)
    x = jax.device_put(np.ones(N, np.float32), sharding)
    for function in (mapped, jax.jit(mapped)):
        with pytest.raises(
            TypeError,
            match=rf"{name}\(Identity\) is called inside of shard_map, over 'i', and a check needs numbers\. Call it outside, "
            r"with specs or arrays of the part that one device has; or over the whole mesh",
        ):
            function(x)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad])
def test_while_jax_traces_they_say_so(transform):
    def function(x):
        lo.check_operator(lo.Identity(), x)
        return jnp.sum(x)

    with pytest.raises(
        TypeError, match=r"check_operator\(Identity\) is called while JAX traces a function.*Call it outside"
    ):
        transform(function)(jnp.ones((2, 3)))


def test_of_the_part_of_one_device_and_of_the_whole_mesh():
    class OnTheMesh(lo.LinearOperator):
        """A shard_map inside."""

        @lo.traced
        def apply(self, x):
            mapped, _ = on_one_device(lambda part: 2 * part, jax.sharding.AxisType.Auto)
            return mapped(x)

    assert lo.check_operator(2 * lo.Identity(), jax.ShapeDtypeStruct((N,), np.float32)).passed
    assert lo.check_operator(OnTheMesh(), SPECS[np.float32]).passed
