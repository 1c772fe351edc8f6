"""A^+, the pseudoinverse, as an operator: what every solver computes, and how it is differentiated, to any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from linops_jax import _compat
from linops_jax._model import shapes
from linops_jax._model.marks import traced
from linops_jax._operators.linear import LinearOperator
from linops_jax._vectors import Axes, exponent, shift, varied
from linops_jax.solvers._opened import opened
from linops_jax.solvers._watch import SILENT, Watch


class PseudoInverse(LinearOperator):
    """A^+: from y to the smallest x that minimises |A x - y|, as a solver finds it.

    Parameters
    ----------
    op : LinearOperator
        A, which knows its domain; linear over the numbers that it acts on.
    method : object
        The solver, of ``_methods`` or ``_lineax``: ``method.solve(op, y, preconditioner, watch)``.
    preconditioner : LinearOperator, optional
        That of "cg".
    """

    op: LinearOperator
    method: Any
    preconditioner: Any = None

    @traced
    def apply(self, y: Any) -> Any:
        return solve(self, y)[0]

    @traced
    def adjoint(self, x: Any) -> Any:
        return solve(self._of_adjoint(), x)[0]

    def infer_shape(self, y: Any) -> Any:
        return shapes.specs(self.op.domain)

    def infer_adjoint_shape(self, x: Any) -> Any:
        return shapes.specs(self.op.codomain)

    def _of_adjoint(self) -> PseudoInverse:
        return PseudoInverse(self.op.H, self.method.of_adjoint, self.preconditioner)


def solve(inverse: PseudoInverse, y: Any, watch: Watch = SILENT) -> tuple[Any, dict[str, Any]]:
    """A^+ y, with ``num_steps``, ``converged`` and what was watched. It has derivatives of every order, in A too."""
    if inverse.method.axes:
        y = varied(y, inverse.method.sides[0])  # of a cotangent, parts may be zeros that do not vary
    op, preconditioner, y = opened([inverse.op, inverse.preconditioner], y, inverse.method.axes)
    return _solved(PseudoInverse(op, inverse.method, preconditioner), y, watch)


@jax.custom_jvp
def _solved(inverse: PseudoInverse, y: Any, watch: Watch) -> tuple[Any, dict[str, Any]]:
    return inverse.method.solve(inverse.op, y, inverse.preconditioner, watch)


def _differentiate(primals: Any, tangents: Any) -> Any:
    """The derivative of the pseudoinverse, for changes of A that keep its rank (Golub and Pereyra, 1973).

    With r = y - A x, it is dx = A^+ (dy - dA x + A^+H dA^H r) + (1 - A^+ A) dA^H A^+H x; where A is invertible,
    dx = A^+ (dy - dA x).
    """
    inverse, y, watch = primals
    change, dy, _ = tangents
    x, stats = _solved(inverse, y, watch)
    op, reverse = inverse.op, inverse._of_adjoint()
    along = _change_of(op, change.op)
    rest = jax.tree.map(_instantiate, dy, y)
    kernel = None
    if along is not None:
        rest = _subtract(rest, along(lambda A: A(x)))
        if not inverse.method.full_rank:
            r = _subtract(y, op(x))
            axes = inverse.method.axes
            rest = _add(rest, _in_units(lambda r: reverse(_reversed(along, r)), r, axes))
            kernel = _in_units(lambda x: _reversed(along, reverse(x)), x, axes)
            rest = _subtract(rest, op(kernel))
    dx = inverse(rest)
    dx = dx if kernel is None else _add(dx, kernel)
    return (x, stats), (jax.tree.map(_compat.placed, dx, x), jax.tree.map(_compat.no_tangent, stats))


_solved.defjvp(_differentiate, symbolic_zeros=True)


def _reversed(along: Any, y: Any) -> Any:
    """dA^H y."""
    return along(lambda A: A.H(y))


def _change_of(op: Any, change: Any) -> Callable[[Callable[[Any], Any]], Any] | None:
    """The derivative of functions of A where some of its arrays change, or None."""
    leaves, tree = jax.tree.flatten(op)
    changes = tree.flatten_up_to(change)
    moving = [i for i, d in enumerate(changes) if not _is_zero(d)]
    if not moving:
        return None

    def along(function: Callable[[Any], Any]) -> Any:
        def of_moving(values: list[Any]) -> Any:
            new = dict(zip(moving, values, strict=True))
            return function(jax.tree.unflatten(tree, [new.get(i, leaf) for i, leaf in enumerate(leaves)]))

        return jax.jvp(of_moving, ([leaves[i] for i in moving],), ([changes[i] for i in moving],))[1]

    return along


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero) or tangent.dtype == jax.dtypes.float0


def _instantiate(tangent: Any, primal: Any) -> Any:
    return jnp.zeros_like(primal) if _is_zero(tangent) else tangent


def _in_units(linear: Callable[[Any], Any], tree: Any, axes: Axes) -> Any:
    """Applies a linear function to arrays of the size of one: what is between may not exist in their units."""
    power = exponent(tree, axes)
    return shift(linear(shift(tree, -power)), power)


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(lambda u, v: u + _compat.placed(v, u), a, b)


def _subtract(a: Any, b: Any) -> Any:
    return jax.tree.map(lambda u, v: u - _compat.placed(v, u), a, b)
