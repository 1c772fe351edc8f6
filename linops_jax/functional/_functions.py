"""The operator behind a bound call, of one class for each kind of function.

It has static fields only: the functions, what they say about shapes, and the keywords of one call. So one primitive per
kind of function serves all of them, programs own the functions they call, and other processes find these by name.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import Any, ClassVar

from linops_jax._engine import primitives
from linops_jax._model import fields
from linops_jax._model.fields import Statics
from linops_jax._model.hooks import Hook
from linops_jax._model.kinds import HOST
from linops_jax._model.rules import Rule
from linops_jax._operators.meta import Traits
from linops_jax.functional import _calling, _promises, _rules
from linops_jax.functional._convention import FunctionConvention
from linops_jax.functional._given import Given


class CallOperator(Given):
    """The operator behind a bound call."""

    _label: ClassVar[str]
    _traits: ClassVar[Traits] = Traits()
    _hooks: ClassVar[dict[str, Hook]]
    _primitives: ClassVar[dict[str, Any]]
    _convention = FunctionConvention

    def __init_subclass__(cls, rules: Mapping[str, Rule]) -> None:
        cls._rules, cls._label = rules, cls.__qualname__
        cls._hooks = {
            name: Hook(cls, name, rule, HOST, _calling.caller, takes_out=True) for name, rule in rules.items()
        }
        cls._primitives = {name: primitives.make_primitive(hook) for name, hook in cls._hooks.items()}
        fields.register_pytree(cls)

    @classmethod
    def make(cls, *values: Any) -> Any:
        return fields.restore(cls, values, ())

    def with_keywords(self, keywords: Statics) -> Any:
        if self.can_batch and any(name == "batch_axes" for name, _ in keywords.values):
            message = f"{self.name}: the keyword batch_axes says which axes vmap has added. Give yours another name."
            raise TypeError(message)
        return self.make(self.functions, self.abstracts, self.fixed, self.can_batch, keywords.values)

    def _infer_state_shape(self, fixed: Any, x: Any) -> list[Any]:
        return _promises.promised_state(self, self.in_place(fixed, x))

    def _promised(self, rule: Rule, given: dict[str, Any], result: Any) -> dict[str, Any]:
        return _promises.promised(self, rule, given, result)


class LinearCall(CallOperator, rules=_rules.LINEAR):
    _given_as = {"transpose": "f_T"}.__getitem__


class NonlinearCall(CallOperator, rules=_rules.NONLINEAR):
    _given_as = {
        "linearize": "f_linearize (linearize[0])",
        "jvp": "jvp (f_derivative[0])",
        "vjp": "vjp (f_derivative[1])",
        "hessian_apply": "hessian_apply (hessian[0])",
        "hessian_transpose": "hessian_transpose (hessian[1])",
    }.__getitem__


class LinearizedCall(NonlinearCall, rules=_rules.LINEARIZED):
    """A function whose derivatives take a state."""


_MULTILINEAR = "MultilinearCall"


@functools.cache
def multilinear(n: int) -> type[CallOperator]:
    """The class of functions that are linear in each of n arguments."""
    given_as = {f"transpose{i}": f"transpose in its differentiable argument number {i} (f_T)" for i in range(n)}
    name = f"{_MULTILINEAR}{n}"
    namespace = {"__module__": __name__, "__qualname__": name, "_given_as": given_as.__getitem__}
    cls = types.new_class(name, (CallOperator,), {"rules": _rules.multilinear(n)}, lambda body: body.update(namespace))
    globals()[name] = cls  # where programs find it: one that calls a function of n arguments needs one that is bound
    return cls
