"""The user's error is what the user sees: the object itself in eager code, its text and lo.last_error() in compiled code."""

import contextlib
import dataclasses
import re
import threading
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linops_jax as lo

pytestmark = [pytest.mark.versions, pytest.mark.route]

COMPILED = (ValueError, jax.errors.JaxRuntimeError)  # the second on the first call, the first on the fast path
X = np.arange(3, dtype=np.float32)


class Unlucky(Exception):
    def __init__(self, number, *, reason):
        super().__init__(f"number {number} because of {reason}")
        self.number, self.reason = number, reason


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    number: int


class Unprintable(Exception):
    def __str__(self):
        raise ZeroDivisionError


class Thrower(lo.LinearOperator):
    """Raises what it is told to where the first element of its input is 13."""

    error: object = lo.static()

    def apply(self, x):
        if x[0] == 13:
            raise self.error  # in apply
        return 2 * x

    def adjoint(self, y):
        if y[0] == 13:
            raise self.error  # in adjoint
        return 2 * y

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


BAD = X.copy()
BAD[0] = 13


def notes(error):
    return "\n".join(getattr(error, "__notes__", ()))


def jitted(op, x):
    return jax.block_until_ready(jax.jit(lambda x: op(x))(x))


# ---- eager ----------------------------------------------------------------------------------------------------------

ERRORS = {
    "builtin": ValueError("a bad value"),
    "subclass": Unlucky(13, reason="superstition"),
    "without arguments": KeyError(),
    "stop": StopIteration("enough"),
    "assertion": AssertionError("not so"),
    "exit": SystemExit(3),
    "group": ExceptionGroup("several", [ValueError("one"), TypeError("two")]),
    "frozen": Frozen(5),
    "not UTF-8": OSError("no such file: \udcff"),
    "NUL": ValueError("embedded \0 character"),
    "quotes another": RuntimeError("INTERNAL: earlier trouble [linops_jax error 1]"),
    "long": ValueError("x" * 1_000_000),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_eager_code_raises_the_users_own_exception(error):
    op = Thrower(error)
    for _ in range(2):
        with pytest.raises(BaseException, match=r"Thrower\.apply") as caught:
            op(BAD)
        assert caught.value is error
        text = "".join(traceback.format_tb(error.__traceback__))
        assert __file__ in text
        assert "raise self.error  # in apply" in text
        assert lo.last_error() is error
        error.with_traceback(None)
    np.testing.assert_array_equal(op(X), 2 * X)


def test_an_exception_that_cannot_be_printed():
    error = Unprintable()
    try:
        Thrower(error)(BAD)
        caught = None
    except Unprintable as raised:  # pytest.raises would print it
        caught = raised
    assert caught is error
    assert "Thrower.apply" in notes(error)


def test_message_and_arguments_are_unchanged():
    error = Unlucky(13, reason="superstition")
    with pytest.raises(Unlucky, match="number 13 because of superstition") as caught:
        Thrower(error)(BAD)
    assert str(caught.value) == "number 13 because of superstition"
    assert (caught.value.number, caught.value.reason) == (13, "superstition")


def test_the_note_is_added_once():
    error = ValueError("again")
    op = Thrower(error)
    for _ in range(3):
        with pytest.raises(ValueError, match="again"):
            op(BAD)
    assert notes(error).count("Thrower.apply") == 1


def test_the_hundredth_call():
    error = Unlucky(100, reason="patience")
    op = Thrower(error)
    for _ in range(99):
        op(X)
    with pytest.raises(Unlucky, match="number 100") as caught:
        op(BAD)
    assert caught.value is error
    for _ in range(100):
        with pytest.raises(Unlucky, match="number 100"):
            op(BAD)
    np.testing.assert_array_equal(op(X), 2 * X)


def test_chained_exceptions():
    class Chained(lo.LinearOperator):
        adjoint = None

        def apply(self, x):
            try:
                {}["lost"]
            except KeyError as error:
                raise Unlucky(1, reason="no such key") from error

        def infer_shape(self, x):
            return x

    with pytest.raises(Unlucky, match="no such key") as caught:
        Chained()(X)
    assert isinstance(caught.value.__cause__, KeyError)
    assert "Chained" in notes(caught.value)
    text = "".join(traceback.format_exception(caught.value))
    assert "KeyError: 'lost'" in text
    assert "JaxRuntimeError" not in text


def test_an_exception_of_the_library_that_the_hook_calls():
    class Solver(lo.LinearOperator):
        adjoint = None

        def apply(self, x):
            return np.linalg.solve(np.zeros((3, 3)), x)

        def infer_shape(self, x):
            return x

    with pytest.raises(np.linalg.LinAlgError, match=r"(?s)Singular matrix.*Solver\.apply") as caught:
        Solver()(X)
    assert "np.linalg.solve(np.zeros((3, 3)), x)" in "".join(traceback.format_tb(caught.value.__traceback__))
    with pytest.raises(COMPILED, match=r"LinAlgError: Singular matrix.*test_exceptions\.py:\d+.*np\.linalg\.solve"):
        jitted(Solver(), X)


@pytest.mark.parametrize(
    "run",
    [
        lambda op: op.H(BAD),
        lambda op: op.T(BAD),
        lambda op: jax.vmap(op.H)(np.stack([X, BAD])),
        lambda op: jax.grad(lambda x: 13 * jnp.sum(op(x)))(X),
        lambda op: jax.vjp(op, X)[1](BAD),
        lambda op: jax.linear_transpose(op, X)(BAD),
    ],
    ids=["H", "T", "vmap", "grad", "vjp", "linear_transpose"],
)
def test_an_exception_in_the_adjoint(run):
    error = Unlucky(13, reason="superstition")
    with pytest.raises(Unlucky, match=r"(?s)number 13.*Thrower\.adjoint") as caught:
        run(Thrower(error))
    assert caught.value is error
    assert "# in adjoint" in "".join(traceback.format_tb(error.__traceback__))


@pytest.mark.parametrize(
    "run",
    [
        lambda op: jax.vmap(op)(np.stack([X, X, BAD])),
        lambda op: jax.vmap(jax.vmap(op))(np.stack([X, X, BAD, X]).reshape(2, 2, 3)),
        lambda op: jax.jvp(op, (X,), (BAD,)),
        lambda op: (op @ op)(BAD),
        lambda op: (op + lo.Identity())(BAD),
    ],
    ids=["vmap", "vmap of vmap", "jvp", "composition", "sum"],
)
def test_an_exception_under_eager_transformations(run):
    error = Unlucky(13, reason="superstition")
    with pytest.raises(Unlucky, match=r"(?s)number 13.*Thrower\.apply") as caught:
        run(Thrower(error))
    assert caught.value is error


def test_the_note_tells_the_hook_of_a_nonlinear_operator():
    class Cube(lo.NonlinearOperator):
        def apply(self, x):
            return x**3

        def jacobian_apply(self, x, dx):
            raise Unlucky(1, reason="forward")

        def jacobian_adjoint(self, x, dy):
            raise Unlucky(2, reason="reverse")

        def infer_shape(self, x):
            return x

    with pytest.raises(Unlucky, match=r"(?s)forward.*Cube\.jacobian_apply"):
        jax.jvp(Cube(), (X,), (X,))
    with pytest.raises(Unlucky, match=r"(?s)reverse.*Cube\.jacobian_adjoint"):
        jax.grad(lambda x: jnp.sum(Cube()(x)))(X)


def test_an_exception_in_infer_shape():
    class Shapeless(lo.LinearOperator):
        adjoint = None

        def apply(self, x):
            return x

        def infer_shape(self, x):
            raise Unlucky(1, reason="shape")

    for run in (lambda op: op(X), lambda op: jax.jit(lambda x: op(x))(X)):
        with pytest.raises(Unlucky, match=r"(?s)number 1 .*Shapeless\.infer_shape"):
            run(Shapeless())


def test_an_exception_in_an_exception_handler_is_the_last_one():
    first, second = ValueError("first"), ValueError("second")

    def fail_twice():
        try:
            Thrower(first)(BAD)
        except ValueError:
            Thrower(second)(BAD)

    with pytest.raises(ValueError, match="second") as caught:
        fail_twice()
    assert caught.value is second
    assert second.__context__ is first


# ---- compiled -------------------------------------------------------------------------------------------------------

COMPILED_ERRORS = {key: ERRORS[key] for key in ("builtin", "subclass", "exit", "frozen", "quotes another", "long")}


@pytest.mark.parametrize("error", COMPILED_ERRORS.values(), ids=COMPILED_ERRORS)
def test_compiled_code_carries_the_text(error):
    op = Thrower(error)
    function = jax.jit(lambda x: op(x))
    for call in range(3):
        with pytest.raises(COMPILED, match=r"Thrower\.apply") as caught:
            jax.block_until_ready(function(BAD))
        text = str(caught.value)
        assert f"{type(error).__name__}: {error}" in text, call
        assert "test_exceptions.py" in text
        assert "raise self.error  # in apply" in text
        assert "linops_jax.last_error()" in text
        assert lo.last_error() is error
        assert "# in apply" in "".join(traceback.format_tb(error.__traceback__))
        np.testing.assert_array_equal(function(X), 2 * X)


@pytest.mark.parametrize(
    "error", [ERRORS["not UTF-8"], ERRORS["NUL"], Unprintable()], ids=["not UTF-8", "NUL", "unprintable"]
)
def test_compiled_code_carries_what_text_there_is(error):
    with pytest.raises(COMPILED, match=rf"(?s)^(?=.*Thrower\.apply)(?=.*{type(error).__name__}).*test_exceptions\.py"):
        jitted(Thrower(error), BAD)
    assert lo.last_error() is error


def test_the_first_and_the_hundredth_compiled_call():
    error = Unlucky(13, reason="superstition")
    op = Thrower(error)
    first = jax.jit(lambda x: op(x))
    with pytest.raises(COMPILED, match=r"Unlucky: number 13 because of superstition.*raise self\.error"):
        jax.block_until_ready(first(BAD))
    hundredth = jax.jit(lambda x: op(x) + 1)
    for _ in range(99):
        hundredth(X)
    for _ in range(3):
        with pytest.raises(COMPILED, match=r"Unlucky: number 13 because of superstition.*raise self\.error"):
            jax.block_until_ready(hundredth(BAD))
        assert lo.last_error() is error
    np.testing.assert_array_equal(hundredth(X), 2 * X + 1)


@pytest.mark.parametrize(
    ("run", "hook"),
    [
        (lambda op: lambda x: jax.lax.scan(lambda c, v: (c + 1, op(v)), 0, jnp.stack([X, x]))[1], "apply"),
        (lambda op: lambda x: jax.lax.cond(x[0] > 1, op, lambda v: v, x), "apply"),
        (lambda op: lambda x: jax.lax.while_loop(lambda v: v[1] < 9, op, x), "apply"),
        (lambda op: lambda x: jax.vmap(op)(jnp.stack([X, x])), "apply"),
        (lambda op: jax.checkpoint(op), "apply"),
        (lambda op: lambda x: jax.vjp(op, X)[1](x), "adjoint"),
        (lambda op: lambda x: jax.grad(lambda z: jnp.vdot(op(z), x))(jnp.asarray(X)), "adjoint"),
    ],
    ids=["scan", "cond", "while_loop", "vmap", "checkpoint", "vjp", "grad"],
)
def test_exceptions_inside_compiled_transformations(run, hook):
    error = Unlucky(13, reason="superstition")
    function = jax.jit(run(Thrower(error)))
    with pytest.raises(COMPILED, match=rf"Thrower\.{hook}.*Unlucky: number 13.*raise self\.error  # in {hook}"):
        jax.block_until_ready(function(BAD))
    assert lo.last_error() is error
    jax.block_until_ready(function(X))


def test_a_compiled_error_that_nobody_waits_for_does_no_harm():
    op = Thrower(ValueError("unseen"))
    function = jax.jit(lambda x: op(x))
    for _ in range(5):
        with contextlib.suppress(*COMPILED):
            function(BAD)
    np.testing.assert_array_equal(function(X), 2 * X)
    np.testing.assert_array_equal(op(X), 2 * X)


def test_last_error_in_a_fresh_process_and_after_many(run_child):
    run_child(
        """
        import gc, weakref
        import jax, numpy as np
        import linops_jax as lo

        assert lo.last_error() is None

        class Payload(list):
            pass

        class Thrower(lo.LinearOperator):
            adjoint = None
            def apply(self, x):
                error = RuntimeError("over and over")
                error.payload = payloads[-1]
                raise error
            def infer_shape(self, x):
                return x

        op = Thrower()
        function = jax.jit(lambda x: op(x))
        payloads, seen = [], []
        for i in range(200):
            payloads.append(Payload())
            seen.append(weakref.ref(payloads[-1]))
            try:
                jax.block_until_ready((op if i % 2 else function)(np.ones(3)))
            except Exception as error:
                assert "over and over" in str(error)
            assert lo.last_error().payload is payloads[-1]
            payloads.clear()
        gc.collect()
        alive = sum(reference() is not None for reference in seen)
        assert alive <= 32, alive
        """
    )


# ---- threads --------------------------------------------------------------------------------------------------------


def test_every_thread_gets_its_own_exception():
    class Signed(lo.LinearOperator):
        adjoint = None

        def apply(self, x):
            if x[0] % 3 == 0:
                raise Unlucky(int(x[0]), reason=threading.current_thread().name)
            return x

        def infer_shape(self, x):
            return x

    op = Signed()
    wrong = []

    def work(thread):
        for i in range(60):
            number = 1000 * thread + i
            try:
                result = op(np.array([number], np.int32))
            except Unlucky as error:
                if number % 3 or error.number != number:
                    wrong.append((number, error))
            except BaseException as error:
                wrong.append((number, error))
            else:
                if number % 3 == 0 or result[0] != number:
                    wrong.append((number, result))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- eager calls of the library itself ------------------------------------------------------------------------------


class NoForward(lo.LinearOperator):
    """Its hooks fail wherever they are called."""

    def apply(self, x):
        raise Unlucky(1, reason="apply")

    def adjoint(self, y):
        raise Unlucky(2, reason="adjoint")

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class NoForwardSymmetric(NoForward, symmetric=True):
    pass


class NoAdjoint(NoForward):
    def apply(self, x):
        return 2 * x


class NoJacobian(lo.NonlinearOperator):
    def apply(self, x):
        return 2 * x

    def jacobian_apply(self, x, dx):
        raise Unlucky(3, reason="jacobian")

    def jacobian_adjoint(self, x, dy):
        raise Unlucky(4, reason="jacobian")

    def infer_shape(self, x):
        return x


class Around(lo.LinearOperator):
    """Traced code that calls an operator with host hooks."""

    inner: lo.LinearOperator

    @lo.traced
    def apply(self, x):
        return self.inner(x) + x

    def infer_shape(self, x):
        return x


class HalfTraced(Around):
    def adjoint(self, y):
        raise Unlucky(1, reason="adjoint")

    def infer_adjoint_shape(self, y):
        return y


A, S, LARGE = NoForward(), jax.ShapeDtypeStruct((3,), np.float32), jax.ShapeDtypeStruct((300,), np.float32)


def by_nifty(op):
    ift = pytest.importorskip("nifty.cl")
    theirs = lo.interop.to_nifty(op, S)
    return theirs(ift.full(theirs.domain, 1.0))


EAGER = {
    "to_scipy": lambda: lo.interop.to_scipy(A, S) @ X,
    "to_scipy, reverse": lambda: lo.interop.to_scipy(A, S).H @ X,
    "to_scipy, columns": lambda: lo.interop.to_scipy(A, S) @ np.eye(3),
    "to_scipy, of JAX": lambda: lo.interop.to_scipy(A, S) @ jnp.asarray(X),
    "to_pylops": lambda: lo.interop.to_pylops(A, S) @ X,
    "to_nifty": lambda: by_nifty(A),
    "to_nifty_re": lambda: lo.interop.to_nifty_re(A, S)(X),
    "todense": lambda: lo.todense(A, S),
    "tosparse": lambda: lo.tosparse(A, S),
    "diagonal": lambda: lo.diagonal(A, S),
    "trace": lambda: lo.trace(A, S),
    "trace, estimated": lambda: lo.trace(A, S, samples=2),
    "norm": lambda: lo.norm(A, S),
    "norm of a large one": lambda: lo.norm(A, LARGE),
    "condition_number": lambda: lo.condition_number(A, S),
    "svds": lambda: lo.svds(A, 2, LARGE),
    "eigsh": lambda: lo.eigsh(NoForwardSymmetric(), 2, LARGE),
    **{name: lambda name=name: lo.solve(A, X, solver=name) for name in ("cg", "cgls", "lsmr", "gmres", "direct")},
    "adjoint in a solve": lambda: lo.solve(NoAdjoint(), X),
    "solve with damping": lambda: lo.solve(NoAdjoint(), X, damp=0.1),
    "preconditioner": lambda: lo.solve(lo.declare(lo.Identity(), positive=True), X, solver="cg", preconditioner=A),
    "nonlinear": lambda: lo.solve(NoJacobian(), X, x0=X),
    "inv": lambda: NoAdjoint().inv(X),
    "traced code around it": lambda: Around(A)(X),
    "traced code around traced code": lambda: Around(Around(A))(X),
    "traced code in a sum": lambda: (2 * Around(A) + lo.Identity())(X),
    "traced code around a solve": lambda: Around(NoAdjoint().with_domain(S).inv)(X),
    "the adjoint of traced code": lambda: Around(NoAdjoint()).with_domain(S).H(X),
    "an adjoint by hand beside traced code": lambda: HalfTraced(lo.Identity()).H(X),
    "lineax's method": lambda: A.with_domain(S).as_matrix(),
}


@pytest.mark.parametrize("name", EAGER)
def test_eager_calls_of_the_library_raise_the_hooks_own_exception(name):
    with pytest.raises(Unlucky, match=r"number \d because of (apply|adjoint|jacobian)") as caught:
        EAGER[name]()
    assert caught.value is lo.last_error()
    assert re.fullmatch(r"(No|Half)\w+\.\w+ failed", caught.value.__notes__[0])
