"""Who owns what: programs own what they call, nothing outlives the last of them, nothing grows."""

import gc
import sys
import time
import types
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linops_jax as lo
from linops_jax._trampoline_ext import count_targets

pytestmark = pytest.mark.versions


class Plan:
    """A live object, without a value of its own."""

    def __init__(self, factor):
        self.factor = factor


class Planned(lo.LinearOperator):
    plan: Plan = lo.static()

    def apply(self, x):
        return self.plan.factor * x

    def adjoint(self, y):
        return self.plan.factor * y

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class Scaled(lo.LinearOperator):
    factor: float = lo.static()

    def apply(self, x):
        return self.factor * x

    def adjoint(self, y):
        return self.factor * y

    def infer_shape(self, x):
        return x


class Parametric(lo.LinearOperator):
    """Not a direct call: an array field, pytrees, and a live object."""

    plan: Plan = lo.static()
    d: jax.Array

    def apply(self, x):
        return {"y": self.plan.factor * self.d * x["x"]}

    def adjoint(self, y):
        return {"x": self.plan.factor * np.conj(self.d) * y["y"]}

    def infer_shape(self, x):
        return {"y": x["x"]}


X = np.arange(4, dtype=np.float32)


def settle(done=lambda: True):
    """Waits until it is done: XLA destroys programs on its own threads, which leave our references to this one."""
    jax.clear_caches()
    for _ in range(20):
        gc.collect()
        if done():
            return True
        time.sleep(0.05)
    return False


def gone(alive):
    return settle(lambda: alive() is None)


def compile_with(plan):
    op = Planned(plan)
    return jax.jit(lambda x: op(x)).lower(X).compile()


def compile_parametric(plan):
    op = Parametric(plan, jnp.ones(4))
    return jax.jit(lambda x: op({"x": x})["y"]).lower(X).compile()


def compile_gradient(plan):
    op = Planned(plan)
    return jax.jit(lambda x: jax.grad(lambda x: jnp.vdot(op(x), op(x)) / 2 / plan.factor)(x)).lower(X).compile()


def compile_batch(plan):
    op = Planned(plan)
    return jax.jit(lambda x: jax.vmap(op)(x[:, None])[:, 0]).lower(X).compile()


@pytest.mark.parametrize("make", [compile_with, compile_parametric, compile_gradient, compile_batch])
def test_a_compiled_program_owns_what_it_calls(make):
    plan = Plan(3)
    alive = weakref.ref(plan)
    compiled = make(plan)
    del plan
    settle()
    noise = [Planned(Plan(i))(X) for i in range(20)]  # takes the place of what was freed
    assert alive() is not None
    for _ in range(3):
        np.testing.assert_allclose(compiled(X), 3 * X)
    del compiled, noise
    assert gone(alive)


def test_many_compiled_programs_keep_to_their_own_objects():
    programs = [compile_with(Plan(i)) for i in range(20)]
    settle()
    for i, program in enumerate(programs):
        np.testing.assert_array_equal(program(X), i * X)
    del programs[::2], program
    settle()
    for i, program in enumerate(programs):
        np.testing.assert_array_equal(program(X), (2 * i + 1) * X)


@pytest.mark.parametrize("keep", [True, False], ids=["operator kept", "operator dropped"])
def test_a_lowered_program_owns_what_it_calls(keep):
    plan = Plan(3)
    alive = weakref.ref(plan)
    op = Planned(plan)
    lowered = jax.jit(lambda x: op(x)).lower(X)
    del plan
    if not keep:
        del op
    settle()
    compiled = lowered.compile()
    np.testing.assert_array_equal(compiled(X), 3 * X)
    op = None
    del lowered, compiled
    assert gone(alive)


def run_eagerly(op):
    return op(X)


def run_jitted(op):
    return jax.jit(lambda x: op(x))(X)


def run_as_argument(op):
    return jax.jit(lambda op, x: op(x))(op, X)


def run_gradient(op):
    return jax.grad(lambda x: jnp.sum(op(x)))(X)


def run_vmap(op):
    return jax.vmap(op)(X[None])


def run_jaxpr(op):
    return jax.make_jaxpr(op)(X)


def run_linear_transpose(op):
    return jax.jit(jax.linear_transpose(op, X))(X)


def run_composite(op):
    return jax.jit(op.H @ op + 2 * op)(X)


@pytest.mark.parametrize(
    "run",
    [run_eagerly, run_jitted, run_as_argument, run_gradient, run_vmap, run_jaxpr, run_linear_transpose, run_composite],
)
def test_a_live_object_goes_with_the_last_program(run):
    plan = Plan(2)
    alive = weakref.ref(plan)
    result = run(Planned(plan))
    jax.block_until_ready(result) if run is not run_jaxpr else None
    del plan, result
    assert gone(alive)


WITHOUT_CLEARING = """
import gc, sys, time, weakref
import jax, jax.numpy as jnp, numpy as np
import linops_jax as lo

class Plan:
    factor = 2

class Planned(lo.LinearOperator):
    plan: Plan = lo.static()
    def apply(self, x): return self.plan.factor * x
    def adjoint(self, y): return self.plan.factor * y
    def infer_shape(self, x): return x
    def infer_adjoint_shape(self, y): return y

class Square(lo.NonlinearOperator):
    plan: Plan = lo.static()
    def apply(self, x): return self.plan.factor * x**2
    def jacobian_apply(self, x, dx): return 2 * self.plan.factor * x * dx
    def jacobian_adjoint(self, x, dy): return 2 * self.plan.factor * x * dy
    def infer_shape(self, x): return x

x = jnp.arange(1.0, 4.0)

def jitted(plan):
    op = Planned(plan)
    np.testing.assert_array_equal(jax.jit(lambda x: op(x))(x), 2 * x)

def jitted_gradient(plan):
    op = Planned(plan)
    np.testing.assert_array_equal(jax.jit(jax.grad(lambda x: jnp.vdot(op(x), op(x)) / 2))(x), 4 * x)

def jitted_batch_in_a_loop(plan):
    op = Planned(plan)
    run = jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda i, v: jax.vmap(op)(v), x[:, None]))
    np.testing.assert_array_equal(run(x)[:, 0], 8 * x)

def jitted_composite(plan):
    op = Planned(plan)
    np.testing.assert_array_equal(jax.jit(lambda x: (op.H @ op + 2 * op)(x))(x), 8 * x)

def jitted_as_argument(plan):
    np.testing.assert_array_equal(jax.jit(lambda op, x: op(x))(Planned(plan), x), 2 * x)

def jitted_nonlinear(plan):
    op = Square(plan)
    np.testing.assert_allclose(jax.jit(jax.grad(lambda x: jnp.sum(op(x))))(x), 4 * x)

def traced(plan):
    jax.make_jaxpr(Planned(plan))(x)

def eager(plan):
    np.testing.assert_array_equal(Planned(plan)(x), 2 * x)

def solved(plan):
    np.testing.assert_allclose(lo.solve(Planned(plan).with_domain(x), 2 * x).value, x, rtol=1e-5)

def solved_in_a_jit(plan):
    op = Planned(plan).with_domain(x)
    for solver in ("cg", "cgls", "bicgstab"):
        run = jax.jit(jax.grad(lambda y: jnp.sum(lo.solve(op, y, solver=solver).value)))
        np.testing.assert_allclose(run(2 * x), np.full(len(x), 0.5), rtol=1e-5)

def measured_in_a_jit(plan):
    op = Planned(plan).with_domain(x)
    np.testing.assert_allclose(jax.jit(lambda: lo.norm(op) + lo.trace(op) + op.inv(x)[0])(), 2 + 2 * len(x) + x[0] / 2)

def solved_by_lineax_in_a_jit(plan):
    op = Planned(plan).with_domain(x)
    np.testing.assert_allclose(jax.jit(lambda y: lo.solve(op, y, solver="gmres").value)(2 * x), x, rtol=1e-5)

class SquareTwice(Square):
    def hessian_apply(self, x, dx1, dx2): return 2 * self.plan.factor * dx1 * dx2
    def hessian_adjoint(self, x, dx, dy): return 2 * self.plan.factor * dx * dy

def solved_nonlinear(plan, cls=Square):
    for solver in ("gauss_newton", "dogleg"):
        found = lo.solve(cls(plan), 2 * x**2, x0=jnp.full(3, 2.0), solver=solver, max_steps=2, throw=False)
        assert np.all(np.isfinite(found.value))

def solved_nonlinear_by_products(plan):
    z = jnp.linspace(1, 2, 100)
    for solver in ("levenberg_marquardt", "dogleg"):
        found = lo.solve(Square(plan), 2 * z**2, x0=z + 0.1, solver=solver, max_steps=2, throw=False)
        assert np.all(np.isfinite(found.value))

def gradient_of_solved_nonlinear(plan):
    energy = lambda y: jnp.sum(lo.solve(SquareTwice(plan), y, x0=x).value)
    np.testing.assert_allclose(jax.grad(energy)(2 * x**2), 1 / (4 * x), rtol=1e-3)

def jitted_gradient_of_solved_nonlinear(plan):
    energy = jax.jit(lambda y: jnp.sum(lo.solve(SquareTwice(plan), y, x0=x).value))
    np.testing.assert_allclose(jax.grad(energy)(2 * x**2), 1 / (4 * x), rtol=1e-3)

def alive(references):
    for _ in range(40):  # XLA destroys programs on its own threads
        gc.collect()
        count = sum(reference() is not None for reference in references)
        if not count:
            break
        time.sleep(0.05)
    return count

def used(work):
    references = []
    for _ in range(2 if "nonlinear" in work else 5):  # these take long to compile
        plan = Plan()
        references.append(weakref.ref(plan))
        globals()[work](plan)
        del plan
    return references

clear, works = sys.argv[1] == "True", sys.argv[2:]
if clear:
    references = {work: used(work) for work in works}
    jax.clear_caches()
    left = {work: alive(references[work]) for work in works}
else:
    left = {work: alive(used(work)) for work in works}
assert not any(left.values()), left
"""


@pytest.mark.parametrize(
    ("clear", "works"),
    [
        (False, ["jitted", "jitted_gradient", "jitted_batch_in_a_loop", "jitted_composite", "jitted_nonlinear", "traced",
                 "solved_in_a_jit", "measured_in_a_jit"]),
        (True, ["jitted_as_argument", "eager", "solved", "solved_by_lineax_in_a_jit", "solved_nonlinear",
                "solved_nonlinear_by_products", "gradient_of_solved_nonlinear", "jitted_gradient_of_solved_nonlinear"]),
    ],
    ids=["by itself", "with the caches"],
)  # fmt: skip
def test_a_live_object_goes_with_the_last_program_of_all(run_child, clear, works):
    """As with jax.pure_callback, nobody has to empty JAX's caches, unless the operator was an argument of what is compiled."""
    run_child(WITHOUT_CLEARING, clear, *works, timeout=280)


class AlwaysError(RuntimeError):
    pass


def test_a_live_object_goes_with_the_error_that_shows_it():
    """lo.last_error() and the few before it hold tracebacks, and through them their callers' variables."""

    class Failing(lo.LinearOperator):
        plan: Plan = lo.static()
        adjoint = None

        def apply(self, x):
            raise AlwaysError

        def infer_shape(self, x):
            return x

    plan = Plan(2)
    alive = weakref.ref(plan)
    with pytest.raises(RuntimeError, match=r"Failing\.apply"):
        Failing(plan)(X)
    with pytest.raises((ValueError, RuntimeError), match=r"Failing\.apply"):
        jax.block_until_ready(jax.jit(Failing(plan))(X))
    del plan
    other = Failing(Plan(3))
    for _ in range(20):
        with pytest.raises(RuntimeError, match=r"Failing\.apply"):
            other(X)
    assert gone(alive)


def test_an_unused_operator_leaves_nothing():
    plan = Plan(2)
    alive = weakref.ref(plan)
    op = Planned(plan)
    assert op.H.H is op
    del plan, op
    assert alive() is None


def test_programs_freed_on_other_threads(run_child):
    run_child(
        """
        import gc, threading, time, weakref
        import jax, jax.numpy as jnp, numpy as np
        import linops_jax as lo

        class Plan:
            pass

        class Planned(lo.LinearOperator):
            plan: Plan = lo.static()
            adjoint = None
            def apply(self, x): return x
            def infer_shape(self, x): return x

        seen = []
        def work():
            for _ in range(20):
                plan = Plan()
                seen.append(weakref.ref(plan))
                op = Planned(plan)
                compiled = jax.jit(lambda x: jnp.sin(op(x))).lower(np.ones(3)).compile()
                compiled(np.ones(3))
                del compiled, op, plan

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        jax.clear_caches()
        for _ in range(20):
            gc.collect()
            time.sleep(0.02)
        assert len(seen) == 80
        assert not any(reference() is not None for reference in seen)
        """
    )


# ---- nothing grows --------------------------------------------------------------------------------------------------

GROWTH = """
import gc, os, sys
import jax, jax.numpy as jnp, numpy as np
import linops_jax as lo
from linops_jax._trampoline_ext import count_targets

class Plan:
    pass

class Scaled(lo.LinearOperator):
    factor: float = lo.static()
    size: int = lo.static(default=4)
    def apply(self, x): return self.factor * x
    def adjoint(self, y): return self.factor * y
    def infer_shape(self, x): return x
    def infer_adjoint_shape(self, y): return y

class Filled(lo.LinearOperator):
    d: jax.Array
    mode: tuple = lo.static(default=("a", None, 1.5))
    def apply(self, x, *, out): out["y"][...] = self.d * x["x"]
    def adjoint(self, y): return {"x": self.d * y["y"]}
    def infer_shape(self, x): return {"y": x["x"]}

class Failing(lo.LinearOperator):
    adjoint = None
    def apply(self, x): raise RuntimeError("as always")
    def infer_shape(self, x): return x

class Planned(lo.LinearOperator):
    plan: object = lo.static()
    adjoint = None
    def apply(self, x): return x
    def infer_shape(self, x): return x

x = jnp.arange(4.0)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def growth(work, repetitions):
    for _ in range(max(repetitions // 20, 5)):
        work()
    gc.collect()
    targets, memory = count_targets(), resident()
    for _ in range(repetitions):
        work()
    gc.collect()
    grown = resident() - memory
    print(work.__name__, repetitions, grown, count_targets() - targets, flush=True)
    assert count_targets() == targets, work.__name__
    assert grown < 12e6, work.__name__

op, filled = Scaled(2.0), Filled(jnp.ones(4))
jitted, jitted_filled = jax.jit(lambda x: op(x)), jax.jit(lambda x: filled({"x": x}))

def compiled_calls():
    jitted(x).block_until_ready()

def compiled_calls_with_fields():
    jitted_filled(x)["y"].block_until_ready()

def eager_calls():
    op(x)

def eager_vmaps():
    jax.vmap(op)(x[:, None])

def recreated():
    Scaled(2.0)(x)

def recreated_and_batched():
    jax.vmap(Scaled(2.0).H @ Scaled(2.0))(x[:, None])

def recreated_with_fields():
    Filled(jnp.ones(4))({"x": x})

def recreated_as_argument(run=jax.jit(lambda op, x: op(x))):
    run(Scaled(2.0), x)

def errors():
    try:
        Failing()(x)
    except RuntimeError:
        pass

def compiled_errors(run=jax.jit(lambda x: Failing()(x))):
    try:
        run(x).block_until_ready()
    except (RuntimeError, ValueError):
        pass

def programs():
    plan = Plan()
    jax.jit(lambda x: Planned(plan)(x)).lower(x).compile()(x)
    jax.clear_caches()

if sys.argv[1] == "calls":
    growth(compiled_calls, 20_000)
    growth(compiled_calls_with_fields, 20_000)
    growth(eager_calls, 5_000)
    growth(eager_vmaps, 1_000)
    growth(errors, 1_000)
    growth(compiled_errors, 1_000)
else:
    growth(recreated, 300)
    growth(recreated_and_batched, 300)
    growth(recreated_with_fields, 300)
    growth(recreated_as_argument, 300)
    growth(programs, 60)
"""


@pytest.mark.parametrize("what", ["calls", "operators"])
def test_nothing_grows(run_child, what):
    run_child(GROWTH, what)


def test_operators_of_equal_static_values_share_one_program():
    before = count_targets()
    ops = [Scaled(2.5) for _ in range(10)]
    for op in ops:
        op(X)
    assert count_targets() == before + 1


def test_targets_go_with_their_programs():
    settle()
    before = count_targets()
    Scaled(7.5)(X)
    jax.grad(lambda x: jnp.sum(Scaled(7.5)(x)))(X)
    assert count_targets() == before + 2
    assert settle(lambda: count_targets() == before)


def test_values_that_compare_equal_are_different_programs():
    class Kind(lo.LinearOperator):
        value: object = lo.static()
        adjoint = None

        def apply(self, x):
            return np.full_like(x, {int: 1, bool: 2, float: 3 if str(self.value)[0] != "-" else 4}[type(self.value)])

        def infer_shape(self, x):
            return x

    for run in (run_eagerly, run_jitted, run_as_argument):
        for value, expected in [(1, 1), (True, 2), (1.0, 3), (0.0, 3), (-0.0, 4), (0, 1), (False, 2)]:
            assert run(Kind(value))[0] == expected


# ---- class statements -----------------------------------------------------------------------------------------------

CELL = """
class Cell(lo.LinearOperator):
    def apply(self, x):
        return {factor} * x

    def adjoint(self, y):
        return {factor} * y

    def infer_shape(self, x):
        return x
"""


def test_running_a_cell_again(monkeypatch):
    notebook = types.ModuleType("a_notebook")
    notebook.lo = lo
    monkeypatch.setitem(sys.modules, "a_notebook", notebook)
    exec(CELL.format(factor=2), vars(notebook))
    old = notebook.Cell()
    compiled = jax.jit(lambda x: old(x)).lower(X).compile()
    jitted = jax.jit(lambda x: old(x))
    jitted(X)

    exec(CELL.format(factor=3), vars(notebook))
    new = notebook.Cell()
    assert type(new).__qualname__ == type(old).__qualname__
    for run in (run_eagerly, run_jitted, run_as_argument):
        np.testing.assert_array_equal(run(new), 3 * X)
        np.testing.assert_array_equal(run(old), 2 * X)
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(new(x)))(X), np.full(4, 3))
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(old(x)))(X), np.full(4, 2))
    np.testing.assert_array_equal(compiled(X), 2 * X)
    np.testing.assert_array_equal(jitted(X), 2 * X)
    np.testing.assert_array_equal(jitted(X[:2]), 2 * X[:2])  # traced anew
    np.testing.assert_array_equal((new @ old)(X), 6 * X)
    settle()
    np.testing.assert_array_equal(run_jitted(new), 3 * X)
    np.testing.assert_array_equal(compiled(X), 2 * X)
    np.testing.assert_array_equal(jitted(X), 2 * X)


def test_a_lowered_program_keeps_to_the_class_it_was_made_from(monkeypatch):
    notebook = types.ModuleType("a_notebook")
    notebook.lo = lo
    monkeypatch.setitem(sys.modules, "a_notebook", notebook)
    exec(CELL.format(factor=2), vars(notebook))
    lowered = jax.jit(notebook.Cell()).lower(X)
    exec(CELL.format(factor=3), vars(notebook))
    np.testing.assert_array_equal(notebook.Cell()(X), 3 * X)
    np.testing.assert_array_equal(lowered.compile()(X), 2 * X)


def tables():
    from jax.interpreters import ad

    return set(ad.primitive_jvps), set(ad.primitive_transposes)


def wrong_signature():
    class Failed(lo.LinearOperator):
        def apply(self, x, y):
            return x

        def adjoint(self, y):
            return y

        def infer_shape(self, x):
            return x


def wrong_last_hook():
    class Failed(lo.LinearOperator):
        def apply(self, x):
            return x

        def adjoint(self, y):
            return y

        infer_shape = property(lambda self: None)


def unknown_keyword():
    class Failed(lo.LinearOperator, batchd=True):
        pass


def reserved_field():
    class Failed(lo.LinearOperator):
        domain: int = lo.static()


def wrong_order_of_defaults():
    class Failed(lo.LinearOperator):
        a: int = lo.static(default=1)
        b: int = lo.static()


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (wrong_signature, r"Failed\.apply must accept \(self, x\)"),
        (wrong_last_hook, r"Failed\.infer_shape must be a plain method"),
        (unknown_keyword, r"unknown keyword batchd"),
        (reserved_field, r"Failed\.domain: operators use this name"),
        (wrong_order_of_defaults, r"non-default argument 'b' follows default argument"),
    ],
)
def test_a_failed_class_statement_leaves_nothing_registered(statement, text):
    before, targets = tables(), count_targets()
    with pytest.raises(TypeError, match=text) as caught:
        statement()
    assert tables() == before
    assert count_targets() == targets
    del caught
    gc.collect()
    assert not [cls for cls in lo.LinearOperator.__subclasses__() if cls.__name__ == "Failed"]


def test_a_class_statement_registers_one_primitive_per_hook():
    before = tables()

    class Fine(lo.LinearOperator):
        def apply(self, x):
            return x

        def adjoint(self, y):
            return y

        def infer_shape(self, x):
            return x

    names = sorted(str(primitive).rpartition(".")[2] for primitive in tables()[0] - before[0])
    assert names == ["adjoint", "apply"]
