"""Function: a linear map from a function, or from a pair of functions."""

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
from linops_jax._types import Arrays, Specs
from linops_jax.algebra._composite import LinearComposite, Wrapper


class JAXFunction(LinearOperator):
    """A linear function written in JAX, whose adjoint JAX derives."""

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
    """The name of a function, for printing."""
    return getattr(function, "__name__", type(function).__name__)


class Function(Wrapper, LinearComposite):
    """A linear map from a JAX function, or from a pair of NumPy functions.

    Parameters
    ----------
    function : callable
        A function of one argument, a pytree of arrays, in which it is linear. It is JAX code, and JAX derives its
        adjoint. If ``adjoint`` is given, it is a NumPy function, which runs on the host.
    x : pytree of jax.ShapeDtypeStruct or pytree of arrays
        Shapes and dtypes of the input.
    adjoint : callable, optional
        A NumPy function for the conjugate transpose.
    codomain : pytree of jax.ShapeDtypeStruct or pytree of arrays, optional
        Shapes and dtypes of the result of a NumPy function. By default, the function is called once on zeros to find them.
    **properties : bool or float
        Fields of ``Properties``, for example ``real_linear=True``.

    Attributes
    ----------
    op : LinearOperator
        The operator of the function, with its domain.
    known : Properties
        The properties.

    Raises
    ------
    TypeError
        If ``function`` or ``adjoint`` is not callable, or a property is not known.

    Notes
    -----
    Functions are compared by identity: an operator made in a loop from a new function is compiled each time. Arrays in the
    closure of a function are constants. Tracers in the closure of JAX code are operands, which can be differentiated.

    Examples
    --------
    >>> A = lo.Function(jnp.cumsum, jnp.zeros(3))
    >>> A.H(jnp.ones(3)).tolist()
    [3.0, 2.0, 1.0]
    """

    _hidden = ("known",)
    op: LinearOperator
    known: Properties = static()

    def __init__(
        self,
        function: Callable[[Arrays], Arrays],
        x: Specs,
        *,
        adjoint: Callable[[Arrays], Arrays] | None = None,
        codomain: Specs = None,
        **properties: Any,
    ):
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
    """Specs of the result of a NumPy function."""
    result = function(jax.tree.map(lambda spec: np.zeros(spec.shape, spec.dtype), domain))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype), result)
