"""The report says how often hooks have run, as operators that count their own calls do."""

import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal
from operators import Dense

import linops_jax as lo
from linops_jax.testing import Checkup

CALLS = collections.Counter()
X = jax.ShapeDtypeStruct((4,), np.float32)


class Counted(Dense):
    def apply(self, x):
        CALLS["apply"] += 1
        return super().apply(x)

    def adjoint(self, y):
        CALLS["adjoint"] += 1
        return super().adjoint(y)


class FillsOut(Counted):
    def apply(self, x, *, out):
        out[:] = Counted.apply(self, x)


class Cube(lo.NonlinearOperator):
    def apply(self, x):
        CALLS["apply"] += 1
        return x**3

    def jacobian_apply(self, x, dx):
        CALLS["jacobian_apply"] += 1
        return 3 * x**2 * dx

    def jacobian_adjoint(self, x, dy):
        CALLS["jacobian_adjoint"] += 1
        return 3 * x**2 * dy

    def infer_shape(self, x):
        return x


class Batched(lo.LinearOperator, batched=True):
    def apply(self, x):
        CALLS["apply"] += 1
        return 2 * x

    def adjoint(self, y):
        CALLS["adjoint"] += 1
        return 2 * y

    def infer_shape(self, x):
        return x


class Around(lo.NonlinearOperator):
    """JAX code around an operator of the host."""

    inner: lo.NonlinearOperator

    @lo.traced
    def apply(self, x):
        return jnp.sin(self.inner(x))


M = normal((4, 4), np.float32)


@pytest.mark.parametrize(
    "op",
    [Counted(M), FillsOut(M), Cube(), Batched(), Counted(M) @ Counted(M).H, Cube() @ Counted(M), Around(Cube())],
    ids=repr,
)
def test_calls_are_counted_where_they_run(op):
    CALLS.clear()
    report = Checkup(op, X).report()
    assert report.passed, report.summary
    found = collections.Counter()
    for outcome in report.outcomes:
        for label, count in outcome.calls.items():
            found[label.split(".")[-1]] += count
    assert +found == CALLS
    assert sum(outcome.simulations for outcome in report.outcomes) == CALLS.total()
    assert CALLS.total() > 20


def test_one_check_alone():
    CALLS.clear()
    outcome = Checkup(Counted(M), X, seed=1).outcome("adjoint")
    assert outcome.calls == {"Counted.apply": 5, "Counted.adjoint": 5}
    assert outcome.seconds > 0
    assert outcome.simulations == 10


def test_what_is_not_run_has_no_calls():
    class Wrong(Counted):
        def adjoint(self, y):
            return -super().adjoint(y)

    report = Checkup(Wrong(M), X).report()
    blocked = [outcome for outcome in report.outcomes if outcome.status == "blocked"]
    assert blocked
    assert not any(outcome.simulations for outcome in blocked)


def test_the_table_says_it():
    text = str(lo.check_operator(Counted(M), X))
    assert "calls ┃ seconds" in text
    assert f"calls: Counted.apply {text.split('Counted.apply ')[1].split(',')[0]}, Counted.adjoint " in text


def test_nobody_counts_traced_hooks():
    report = lo.check_operator(lo.Identity(), X)
    assert all(outcome.calls is None and outcome.simulations is None for outcome in report.outcomes)
    assert "–" in str(report)
    assert "calls:" not in str(report)


class Remembers(Cube):
    """One simulation for a value and its derivatives."""

    def linearize(self, x):
        CALLS["linearize"] += 1
        return x**3, 3 * x**2

    def infer_state_shape(self, x):
        return x

    def jacobian_apply(self, x, dx, *, state):
        return state * dx

    def jacobian_adjoint(self, x, dy, *, state):
        return state * dy


class ReverseOnly(Remembers):
    jacobian_apply = None


class Recomputes(lo.algebra.NonlinearCombinator):
    """Simulates again in derivatives, on purpose: the state is not stored."""

    op: lo.NonlinearOperator

    def apply(self, x):
        return jax.checkpoint(lambda x: self.op(x) * x)(x)


@pytest.mark.parametrize(
    ("op", "found"),
    [
        (Remembers(), {"F(x)": 1, "jax.vjp": 1, "jax.linearize": 1, "F.jacobian(x)": 1}),
        (ReverseOnly(), {"F(x)": 1, "jax.vjp": 1, "F.jacobian(x)": 1}),
        (2 * Remembers() @ Dense(M), {"F(x)": 1, "jax.vjp": 1, "jax.linearize": 1, "F.jacobian(x)": 1}),
        (Remembers() @ Remembers(), {"F(x)": 2, "jax.vjp": 2, "jax.linearize": 2, "F.jacobian(x)": 2}),
        (Around(Remembers()), {"F(x)": 1, "jax.vjp": 1, "jax.linearize": 1, "F.jacobian(x)": 1}),
        (Recomputes(Remembers()), {"F(x)": 1, "jax.vjp": 6, "jax.linearize": 6, "F.jacobian(x)": 6}),
    ],
    ids=str,
)
def test_the_report_says_how_many_simulations_each_evaluation_took(op, found):
    outcome = Checkup(op, X).outcome("simulations")
    assert outcome.status == "passed", outcome
    said = dict(re.match(r"(.*?)(?: and 5 products)? (\d+)$", part).groups() for part in outcome.message.split(", "))
    assert {name: int(count) for name, count in said.items()} == found


def test_models_that_do_not_remember_are_not_asked():
    assert "simulations" not in Checkup(Cube(), X).checks
    assert "simulations" not in Checkup(Counted(M), X).checks
