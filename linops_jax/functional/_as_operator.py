"""A bound call as an operator, for checks and for the algebra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from linops_jax._engine import calling
from linops_jax._model import shapes
from linops_jax._model.declarations import static
from linops_jax._model.fields import Statics
from linops_jax._model.marks import traced
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax.functional._promises import promise, promised_state


class _AsOperator:
    """What both kinds share: one array or a tuple of arrays goes in, one or a tuple comes out."""

    call: Any
    keywords: Statics
    fixed: Any

    @traced
    def apply(self, x: Any) -> Any:
        return _alone(self.call._evaluate(self.keywords, *self._arguments(x)))

    def _arguments(self, x: Any) -> list[Any]:
        """All arguments of the function, fixed ones among them."""
        return self.call._op.in_place(self.fixed, _several(x))

    @property
    def _given(self) -> Any:
        return self.call._op.with_keywords(self.keywords)

    def __repr__(self) -> str:
        return self.call._op.name


class _AsLinear(_AsOperator, LinearOperator):
    call: Any = static()
    keywords: Statics = static()
    fixed: Any

    def infer_adjoint_shape(self, y: Any) -> Any:
        return _alone([spec for spec, _ in promise(self._given, "transpose", [*self.fixed, *_several(y)])])


class _AsNonlinear(_AsOperator, NonlinearOperator):
    call: Any = static()
    keywords: Statics = static()
    fixed: Any


class _AsLinearized(_AsNonlinear):
    """A function with a state: its derivatives at a point share one evaluation."""

    def infer_state_shape(self, x: Any) -> Any:
        return self._given._infer_state_shape(self.fixed, _several(x))

    @traced
    def linearize(self, x: Any) -> Any:
        results, state = self._call("linearize", x)
        return _alone(results), state

    @traced
    def jacobian_apply(self, x: Any, dx: Any, *, state: Any) -> Any:
        return _alone(self._call("jvp", x, state, _several(dx)))

    def _call(self, name: str, x: Any, *others: Any) -> Any:
        given = self._given
        specs = shapes.specs(self._arguments(x))
        out = [spec for spec, _ in promise(given, "apply", specs)]
        hook = type(given)._hooks[name]
        result = (out, promised_state(given, specs)) if hook.rule.with_state else out
        return calling.call(hook, (given, self.fixed, _several(x), *others), result)


def _several(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def _alone(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


linear, nonlinear, linearized = _AsLinear, _AsNonlinear, _AsLinearized  # messages about hooks name the classes
