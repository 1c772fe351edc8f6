"""`lo.checking()`: the first call of each operator and shape checks its adjoint, and outside nothing is checked."""

import gc
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import linops_jax as lo
from linops_jax.testing import CheckError

X = np.arange(1.0, 4.0, dtype=np.float32)
CALLS = []  # of host hooks


class Right(lo.LinearOperator):
    """x -> k x for numbers and d x for arrays; notes every call."""

    k: float = lo.static(default=2.0)

    def apply(self, x):
        CALLS.append("apply")
        return (self.k * x).astype(x.dtype)

    def adjoint(self, y):
        CALLS.append("adjoint")
        return (self.k * y).astype(y.dtype)

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class Wrong(Right):
    def adjoint(self, y):
        CALLS.append("adjoint")
        return (-self.k * y).astype(y.dtype)


class Pair(Right):
    """A matrix for each direction: what is right depends on the arrays."""

    forward: jax.Array = None
    backward: jax.Array = None

    def apply(self, x):
        CALLS.append("apply")
        return self.forward * x

    def adjoint(self, y):
        CALLS.append("adjoint")
        return self.backward * y


class Root(lo.NonlinearOperator):
    """The root, which negative numbers do not have."""

    factor: float = lo.static(default=0.5)

    def apply(self, x):
        CALLS.append("apply")
        if np.any(x < 0):
            message = "a negative number has no root"
            raise ValueError(message)
        return np.sqrt(x)

    def jacobian_apply(self, x, dx):
        CALLS.append("jacobian_apply")
        return (0.5 / self.apply(x) * dx).astype(x.dtype)

    def jacobian_adjoint(self, x, dy):
        CALLS.append("jacobian_adjoint")
        return (self.factor / self.apply(x) * dy).astype(x.dtype)

    def infer_shape(self, x):
        return x


class Square(lo.NonlinearOperator):
    factor: float = lo.static(default=2.0)

    def apply(self, x):
        return x**2

    def jacobian_apply(self, x, dx):
        return 2 * x * dx

    def jacobian_adjoint(self, x, dy):
        return (self.factor * x * dy).astype(x.dtype)

    def infer_shape(self, x):
        return x


@pytest.fixture(autouse=True)
def calls():
    CALLS.clear()
    return CALLS


def count(function, *arguments):
    CALLS.clear()
    jax.block_until_ready(function(*arguments))
    return len(CALLS)


# ---- a wrong adjoint is an error at the call ----------------------------------------------------------------------------


def on_two_devices(function):
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(function, mesh=mesh, in_specs=P("i"), out_specs=P("i"))


PROGRAMS = {
    "apply": lambda A, x: A(x),
    "adjoint": lambda A, x: A.H(x),
    "transpose": lambda A, x: A.T(x),
    "jit": lambda A, x: jax.jit(lambda x: A(x))(x),
    "grad": lambda A, x: jax.grad(lambda x: jnp.sum(A(x)))(x),
    "jit of grad": lambda A, x: jax.jit(jax.grad(lambda x: jnp.sum(A(x))))(x),
    "vmap": lambda A, x: jax.vmap(A)(jnp.stack([x, x])),
    "scan": lambda A, x: jax.lax.scan(lambda c, _: (A(c), None), x, None, length=3)[0],
    "cond": lambda A, x: jax.lax.cond(x[0] > 0, A, lambda x: x, x),
    "shard_map": lambda A, x: on_two_devices(A)(jnp.concatenate([x, x])),
    "checkpoint": lambda A, x: jax.checkpoint(A)(x),
    "linear_transpose": lambda A, x: jax.linear_transpose(A, x)(x)[0],
    "eval_shape": lambda A, x: jax.eval_shape(A, x),
    "sum": lambda A, x: (lo.Identity() + A)(x),
    "composition": lambda A, x: (0.5 * A @ lo.Identity())(x),
    "normal operator": lambda A, x: (A.H @ A)(x),
    "conjugate": lambda A, x: A.conj()(x),
    "domain": lambda A, x: A.with_domain(jax.ShapeDtypeStruct(x.shape, x.dtype)).H(x),
    "matmul": lambda A, x: A @ x,
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_wrong_adjoint_is_an_error_at_every_kind_of_call(program):
    jax.block_until_ready(program(Right(), X))
    with lo.checking():
        jax.block_until_ready(program(Right(), X))
        with pytest.raises(
            CheckError, match=r"Wrong\(k=2\.0\) was called, and its adjoint is wrong: .* -1 \(the sign\)"
        ):
            program(Wrong(), X)
    jax.block_until_ready(program(Wrong(), X))


class SkipsOneOfMany(Right):
    """One element of out keeps what was in memory. No canary guards it: it is neither the first nor the last one."""

    hook: str = lo.static(default="apply")

    def _fill(self, hook, x, out):
        keep = out[1].copy()
        out[:] = self.k * x
        if hook == self.hook:
            out[1] = keep

    def apply(self, x, *, out):
        self._fill("apply", x, out)

    def adjoint(self, y, *, out):
        self._fill("adjoint", y, out)


@pytest.mark.parametrize("hook", ["apply", "adjoint"])
def test_an_unwritten_element_is_an_error_at_the_call(hook):
    with lo.checking():
        with pytest.raises(
            CheckError,
            match=rf"was called, and a hook leaves its out unwritten: SkipsOneOfMany\.{hook} leaves 1 of 3 elements of out",
        ):
            SkipsOneOfMany(2.0, hook)(X)
        SkipsOneOfMany(2.0, "none")(X)


def test_the_error_comes_at_every_call_not_only_at_the_first():
    A = Wrong()
    with lo.checking():
        for _ in range(2):
            with pytest.raises(CheckError, match=r"lo\.check_operator\(op, x\) says more"):
                A(X)


@pytest.mark.parametrize("F", [Square(3.0), Root(0.7)], ids=repr)
def test_nonlinear_operators(F):
    right, x = type(F)(), X
    with lo.checking():
        right(x)
        right.jacobian(x).H(x)
        with pytest.raises(CheckError, match=r"its adjoint is wrong: A is the Jacobian"):
            F(x)
        with pytest.raises(CheckError, match="its adjoint is wrong"):
            F.jacobian(x)(x)


def test_nonlinear_operators_under_jit_are_checked_at_a_random_point():
    with lo.checking():
        with pytest.raises(CheckError, match="its adjoint is wrong"):
            jax.jit(lambda x: Square(3.0)(x))(X)
        np.testing.assert_allclose(jax.jit(lambda x: Root()(x))(X), np.sqrt(X))  # where Root raises


def test_what_a_hook_raises_keeps_its_type_and_says_that_it_was_checked():
    class NoAdjoint(Right):
        def adjoint(self, y):
            message = "not written yet"
            raise NotImplementedError(message)

    class Declared(Right):
        adjoint = None

    NoAdjoint()(X)
    with lo.checking():
        Declared()(X)
        with pytest.raises(NotImplementedError, match="not written yet") as caught:
            NoAdjoint()(X)
    assert f"while lo.checking() checked the adjoint of {NoAdjoint()!r}" in caught.value.__notes__


def test_an_inexact_adjoint_that_says_so_is_right():
    class Inexact(Right, adjoint_rtol=1e-2):
        def adjoint(self, y):
            return np.float32(1.005 * self.k) * y

    with lo.checking():
        Inexact()(X)


# ---- how often ----------------------------------------------------------------------------------------------------------


def test_each_operator_and_shape_is_checked_once():
    A = Right()
    alone = count(A, X)
    assert alone == 1
    with lo.checking():
        assert count(A, X) > 2
        assert count(A, X) == 1
        assert count(Right(), X) == 1  # an equal operator
        assert count(A.H, X) == 1  # the same adjoint
        assert count((A @ A), X) <= 2
        assert count(Right(3.0), X) > 2
        assert count(A, X[:2]) > 2
        assert count(A, X[:2]) == 1
        assert count(A, X.astype(np.complex64)) > 2


def test_a_compiled_program_is_checked_when_it_is_traced():
    function = jax.jit(lambda x: Right()(x))
    with lo.checking():
        assert count(function, X) > 2
        assert count(function, X) == 1
    with lo.checking():
        assert count(function, X) == 1


def test_other_arrays_are_another_operator():
    d = jnp.asarray(X)
    with lo.checking():
        assert count(Pair(2.0, d, d), X) > 2
        assert count(Pair(2.0, d, d), X) == 1
        with pytest.raises(CheckError, match="its adjoint is wrong"):
            Pair(2.0, d, d + 1)(X)
        with pytest.raises(CheckError, match="its adjoint is wrong"):
            Pair(2.0, np.array(d), np.array(d + 1))(X)


def test_arrays_are_not_kept_alive():
    with lo.checking():
        d = X.copy()
        gone = weakref.ref(d)
        Pair(2.0, d, d)(X)
        del d
        gc.collect()
        assert gone() is None


def test_the_address_of_an_array_that_is_gone_is_not_mistaken():
    """An operator that passed is dropped, and a wrong one gets its memory."""
    with lo.checking():
        first, second = X.copy(), X.copy()
        addresses = id(first), id(second)
        Pair(2.0, first, second)(X)
        del first, second
        gc.collect()
        at = {id(array): array for array in [X.copy() for _ in range(10_000)]}
        first, second = (at[address] for address in addresses)
        second += 1
        with pytest.raises(CheckError, match="its adjoint is wrong"):
            Pair(2.0, first, second)(X)


def test_operators_that_are_traced_are_skipped():
    d = jnp.asarray(X)
    with lo.checking():
        np.testing.assert_allclose(jax.jit(lambda A, x: A(x))(Pair(2.0, d, d + 1), X), X * X)
        np.testing.assert_allclose(
            jax.vmap(lambda A: A(X))(Pair(2.0, jnp.stack([d, d]), jnp.stack([d, d + 1]))), [X * X, X * X]
        )


def test_nothing_of_the_checks_runs_outside():
    ran = []

    def profile(frame, event, argument):
        if event == "call" and "linops_jax/testing/" in frame.f_code.co_filename:
            ran.append(frame.f_code.co_name)

    def calls_inside(function):
        ran.clear()
        sys.setprofile(profile)
        try:
            jax.block_until_ready(function(X))
        finally:
            sys.setprofile(None)
        return list(ran)

    A = Right(5.0)
    assert calls_inside(A) == []
    with lo.checking():
        assert "__call__" in calls_inside(A)
    assert calls_inside(A) == []
    assert calls_inside(jax.jit(lambda x: (A.H @ A)(x))) == []


def test_nested_contexts_and_errors_inside_leave_nothing():
    with lo.checking():
        with lo.checking(), pytest.raises(CheckError, match="its adjoint is wrong"):
            Wrong()(X)
        with pytest.raises(CheckError, match="its adjoint is wrong"):
            Wrong()(X)
    with pytest.raises(ZeroDivisionError, match="by zero"), lo.checking():
        divmod(1, 0)
    assert count(Wrong(), X) == 1


def test_all_threads():
    results = []

    def call():
        try:
            Wrong()(X)
        except CheckError as error:
            results.append(error)

    with lo.checking():
        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    assert results
    results.clear()
    outside = threading.Thread(target=call)
    outside.start()
    outside.join(timeout=60)
    assert results == []


# ---- settings and inputs ------------------------------------------------------------------------------------------------


def test_x64_is_that_of_the_call():
    seen = []

    class Notes(Right):
        def adjoint(self, y):
            seen.append(y.dtype)
            return self.k * y

    with lo.checking():
        with jax.enable_x64(True):
            Notes()(np.ones(3))
        assert set(seen) == {np.dtype(np.float64)}
        seen.clear()
        Notes()(np.ones(3))
        assert set(seen) == {np.dtype(np.float32)}


class Scaled(lo.NonlinearOperator):
    """(values, place) -> values**2 values[place], for the one place that there is."""

    factor: float = lo.static(default=1.0)

    def apply(self, x):
        values, place = x
        assert place == 2
        return values**2 * values[place]

    def jacobian_apply(self, x, dx):
        (values, place), (dvalues, _) = x, dx
        return 2 * values * dvalues * values[place] + values**2 * dvalues[place]

    def jacobian_adjoint(self, x, dy):
        values, place = x
        result = 2 * values * dy * values[place]
        result[place] += np.sum(values**2 * dy)
        return (self.factor * result).astype(values.dtype), np.zeros_like(place)

    def infer_shape(self, x):
        return x[0]


def test_integers_are_not_invented():
    x = X, np.int32(2)
    with lo.checking():
        np.testing.assert_allclose(jax.jit(Scaled())(x), 3 * X**2)
        np.testing.assert_allclose(Scaled()(x), 3 * X**2)
        with pytest.raises(CheckError, match="its adjoint is wrong"):
            Scaled(1.5)(x)


@pytest.mark.parametrize("A", [lo.FFT(), lo.Matrix(np.ones((2, 3), np.float32)), Wrong()], ids=repr)
def test_integers_have_no_adjoint(A):
    x = np.arange(3, dtype=np.int32)
    expected = A(x)
    with lo.checking():
        np.testing.assert_array_equal(A(x), expected)


def test_symbolic_shapes_are_not_drawn():
    class Twice(lo.LinearOperator):
        @lo.traced
        def apply(self, x):
            return 2 * x

    (n,) = jax.export.symbolic_shape("n")
    with lo.checking():
        exported = jax.export.export(jax.jit(Twice()))(jax.ShapeDtypeStruct((n,), np.float32))
    np.testing.assert_allclose(exported.call(X), 2 * X)


def test_inside_traced_hooks():
    class Outer(lo.LinearOperator):
        inner: lo.LinearOperator

        @lo.traced
        def apply(self, x):
            return 3 * self.inner(x)

        def infer_adjoint_shape(self, y):
            return y

    with lo.checking():
        np.testing.assert_allclose(Outer(Right())(X), 6 * X)
        np.testing.assert_allclose(jax.jit(Outer(Right()).H)(X), 6 * X)
        with pytest.raises(CheckError, match="its adjoint is wrong"):
            Outer(Wrong())(X)


# ---- processes ----------------------------------------------------------------------------------------------------------

CHILD = """
import threading
import jax, jax.numpy as jnp, numpy as np, linops_jax as lo
from linops_jax.testing import CheckError

class Right(lo.LinearOperator):
    def apply(self, x): return 2 * x
    def adjoint(self, y): return 2 * y
    def infer_shape(self, x): return x

class Wrong(Right):
    def adjoint(self, y): return 3 * y

class Inner(Right):
    def apply(self, x): raise AssertionError("JAX runs inside a hook")

class CallsJax(Right):
    def apply(self, x): return np.asarray(Inner()(y))

x = np.ones(3, np.float32)
y = jnp.asarray(x)
"""


def child(source, **environment):
    """Runs Python code after CHILD in a fresh process that may hang, outside of the checkout."""
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", CHILD + textwrap.dedent(source)], cwd=tempfile.gettempdir(),
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def test_the_environment_variable():
    source = """
    try:
        print(Wrong()(x))
    except CheckError as error:
        print("CheckError", error)
    print(Right()(x))
    """
    on, off = (child(source, LINOPS_JAX_CHECK=value) for value in ("1", "0"))
    assert (on.returncode, off.returncode) == (0, 0), on.stderr + off.stderr
    assert on.stdout.startswith("CheckError Wrong() was called, and its adjoint is wrong")
    assert on.stdout.endswith("[2. 2. 2.]\n")
    assert off.stdout == "[2. 2. 2.]\n[2. 2. 2.]\n"


def test_no_deadlock():
    """Calls from several threads, in compiled programs, in callbacks, and by mistake inside a host hook."""
    done = child(
        """
        with lo.checking():
            try:
                CallsJax()(x)
            except RuntimeError as error:
                print("refused", error.__notes__)
            def work(i):
                z = np.ones(i + 1, np.float32)
                for _ in range(3):
                    jax.jit(lambda z: jnp.sum((Right() @ Right())(z)))(z).block_until_ready()
                    jax.vmap(Right())(np.stack([z, z])).block_until_ready()
            threads = [threading.Thread(target=work, args=(i % 3,)) for i in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            print("threads")
            value = jax.jit(lambda z: jax.lax.fori_loop(0, 5, lambda i, z: Right()(z), z))(x)
            jax.jit(lambda z: jax.debug.callback(lambda z: None, Right()(z)))(x)
            jax.effects_barrier()
            print(value)
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(
        "refused ['CallsJax.apply failed', 'JAX was called inside a host hook"
    )
    assert done.stdout.splitlines()[1:] == ["threads", "[32. 32. 32.]"]
