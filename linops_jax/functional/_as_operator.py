"""A bound call as an operator, for checks and for the algebra."""

from __future__ import annotations

from typing import Any

from linops_jax._model.declarations import static
from linops_jax._model.fields import Statics
from linops_jax._model.marks import traced
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax.functional._promises import promise


class _AsOperator:
    """What both kinds share: one array or a tuple of arrays goes in, one or a tuple comes out."""

    call: Any
    keywords: Statics
    fixed: Any

    @traced
    def apply(self, x: Any) -> Any:
        free = iter(x if isinstance(x, tuple) else (x,))
        places = dict(zip(self.call._op.fixed, self.fixed, strict=True))
        count = len(places) + (len(x) if isinstance(x, tuple) else 1)
        results = self.call._evaluate(self.keywords, *(places[i] if i in places else next(free) for i in range(count)))
        return results[0] if len(results) == 1 else tuple(results)

    def __repr__(self) -> str:
        return self.call._op.name


class _AsLinear(_AsOperator, LinearOperator):
    call: Any = static()
    keywords: Statics = static()
    fixed: Any

    def infer_adjoint_shape(self, y: Any) -> Any:
        op = self.call._op.with_keywords(self.keywords)
        answer = promise(op, "transpose", [*self.fixed, *(y if isinstance(y, tuple) else (y,))])
        return answer[0][0] if len(answer) == 1 else tuple(spec for spec, _ in answer)


class _AsNonlinear(_AsOperator, NonlinearOperator):
    call: Any = static()
    keywords: Statics = static()
    fixed: Any


linear, nonlinear = _AsLinear, _AsNonlinear  # messages about hooks name the classes
