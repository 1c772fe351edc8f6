"""lo.Function: a linear map from a function, or from a pair of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from linops_jax._model import shapes
from linops_jax._model.declarations import static
from linops_jax._model.marks import traced
from linops_jax._model.properties import Properties
from linops_jax._operators.linear import LinearOperator
from linops_jax.algebra._composite import LinearComposite, Wrapper


class JAXFunction(LinearOperator):
    """A linear function written in JAX; JAX derives its adjoint."""

    function: Callable[[Any], Any] = static()

    @traced
    def apply(self, x: Any) -> Any:
        return self.function(x)

    def _expression(self, show: Any) -> str:
        return _name(self.function)


class HostFunctions(LinearOperator):
    """A linear function and its adjoint, written in NumPy."""

    _hidden = ("codomain_leaves", "codomain_tree")
    function: Callable[[Any], Any] = static()
    adjoint_function: Callable[[Any], Any] = static()
    codomain_leaves: tuple[Any, ...] = static()
    codomain_tree: Any = static()

    def apply(self, x: Any) -> Any:
        return self.function(x)

    def adjoint(self, y: Any) -> Any:
        return self.adjoint_function(y)

    def infer_shape(self, x: Any) -> Any:
        leaves = [jax.ShapeDtypeStruct(*leaf) for leaf in self.codomain_leaves]
        return jax.tree.unflatten(self.codomain_tree, leaves)

    def _expression(self, show: Any) -> str:
        return _name(self.function)


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


class Function(Wrapper, LinearComposite):
    """A linear map from a JAX function, or from a pair of NumPy functions.

    function: JAX code, linear in its one argument, a pytree; its adjoint is derived. Or, with ``adjoint``, a NumPy function
    x: specs or example arrays of the input
    adjoint: a NumPy function for the conjugate transpose; both run on the host then, as hooks do
    codomain: specs of the result of a NumPy function; None: the function is called once on zeros to see

    ``real_linear=True`` and the other keywords are properties, see ``Properties``. The functions are compared by
    identity: making the operator anew in a loop compiles anew. Arrays that they close over are constants; tracers that JAX
    code closes over are operands, and derivatives with respect to them work.
    Raises TypeError for what is not callable or not a known property.
    """

    _hidden = ("known",)
    op: LinearOperator
    known: Properties = static()

    def __init__(self, function: Any, x: Any, *, adjoint: Any = None, codomain: Any = None, **properties: Any):
        for name, value in (("function", function), ("adjoint", adjoint)):
            if not callable(value) and not (name == "adjoint" and value is None):
                message = f"Function: expected a function as {name}, found {type(value).__name__} {value!r:.80}."
                raise TypeError(message)
        domain = shapes.as_specs(x, "Function")
        if adjoint is None:
            op: LinearOperator = JAXFunction(function)
        else:
            spec = _call_on_zeros(function, domain) if codomain is None else codomain
            leaves, tree = jax.tree.flatten(shapes.as_specs(spec, "Function: codomain"))
            op = HostFunctions(function, adjoint, tuple((leaf.shape, np.dtype(leaf.dtype)) for leaf in leaves), tree)
        self.op = op.with_domain(domain)
        self.known = Properties(**properties)

    def apply(self, x: Any) -> Any:
        return self.op._forward(x)

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self.op._reverse(y, like)

    @property
    def properties(self) -> Properties:
        return self.known

    def _expression(self, show: Any) -> str:
        return f"Function({show(self.op)})"


def _call_on_zeros(function: Callable[[Any], Any], domain: Any) -> Any:
    result = function(jax.tree.map(lambda spec: np.zeros(spec.shape, spec.dtype), domain))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype), result)
