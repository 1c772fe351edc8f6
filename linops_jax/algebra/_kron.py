"""Kronecker products and sums, on arrays that have the axes of both factors."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._model import shapes
from linops_jax._model.properties import Properties, common
from linops_jax._operators import upstream
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.printing import exact
from linops_jax.algebra._along_axis import AlongAxis
from linops_jax.algebra._composite import LinearComposite
from linops_jax.algebra._composition import compose
from linops_jax.algebra._identity import Identity


class Kronecker(LinearComposite):
    """The Kronecker product A ⊗ B, ``lo.kron(A, B)``: A on the first axes of an array, B on the last ones.

    Parameters
    ----------
    a : LinearOperator
        The factor A.
    b : LinearOperator
        The factor B.
    """

    a: LinearOperator
    b: LinearOperator

    def apply(self, x: Any) -> Any:
        return self._on(x)(x)

    def _derive_shape(self, x: Any) -> Any:
        return self._on(x)._infer_shape(x)

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        """Aᴴ ⊗ Bᴴ, if no factor changes the dtype: each adjoint is applied to the result of the other one."""
        if not self._commutes:
            return None
        if domain is not None:
            spaces = (self.a.domain, self.b.domain, self.a.codomain, self.b.codomain)
            if any(spec is None or spec.dtype != domain.dtype for spec in spaces):
                return None
        return Kronecker(self.a.H, self.b.H)

    _is_recorded = True  # type: ignore[assignment]
    _is_looked_for = True  # type: ignore[assignment]

    def _infer_adjoint_shape(self, y: Any) -> Any:
        knows = self.a._says_adjoint_shape and self.b._says_adjoint_shape
        if not knows and (domain := upstream.domain_of(self, y)) is not None:
            return domain
        rank_a = self._split(y, _rank(self.a.codomain), _rank(self.b.codomain))
        x = self._product(y, rank_a, True)._infer_adjoint_shape(y)
        if self._is_possible(x, True):
            return x
        other = self._product(y, rank_a, False)._infer_adjoint_shape(y)
        return other if self._is_possible(other, False) else x

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self._on(like)._reverse(y, like)

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        product = self._on(x)
        passed = zip(product.factors, product._inputs_of_parts(x), strict=True)
        inputs = [part for factor, at in passed for part in factor._inputs_of_parts(at)]
        return inputs if self._has_a_last(x) else inputs[::-1]

    def _on(self, x: Any) -> Any:
        """The product of two operators along axes that equals this one for the input x."""
        return self._product(x, self._split(x, _rank(self.a.domain), _rank(self.b.domain)), self._has_a_last(x))

    def _has_a_last(self, x: Any) -> bool:
        """Whether A is applied after B. B comes last only if the other order is not possible.

        For a part of the domain, the order is that of the domain: it matters if a factor is linear over the reals only.
        """
        space = x if self.domain is None else self.domain
        return self._is_possible(space, True) or not self._is_possible(space, False)

    def _product(self, x: Any, rank_a: int, a_last: bool) -> Any:
        """The product in the given order, for an array of which the first ``rank_a`` axes are those of A."""
        a, b = AlongAxis(self.a, tuple(range(rank_a))), AlongAxis(self.b, tuple(range(rank_a - x.ndim, 0)))
        return compose(a, b) if a_last else compose(b, a)

    def _split(self, x: Any, rank_a: int | None, rank_b: int | None) -> int:
        """How many axes of x are those of A, by the numbers of axes that the factors take; None where these are not known."""
        if not shapes.is_spec(x):
            message = f"{exact(self)} cannot be applied: found {shapes.describe_tree(x)}, expected one array."
            raise TypeError(message)
        if rank_a is None and rank_b is None:
            rank_a = rank_b = 1
        first = x.ndim - rank_b if rank_a is None else rank_a  # type: ignore[operator]
        last = x.ndim - first if rank_b is None else rank_b
        if first < 1 or last < 1 or first + last != x.ndim:
            message = (
                f"{exact(self)} cannot be applied: {shapes.describe(x)} does not have {first} axes for the first factor and "
                f"{last} for the second. Fix the domain of one of them with with_domain(spec); otherwise each takes one axis."
            )
            raise ValueError(message)
        return first

    def _is_possible(self, x: Any, a_last: bool) -> bool:
        """Whether the last factor takes the dtype that the first one returns: a real domain takes no complex numbers."""
        first, last = (self.b, self.a) if a_last else (self.a, self.b)
        if not _takes(first, x.dtype):
            return False
        if last.domain is None:
            return True
        if first.domain is not None:
            return _takes(last, first.codomain.dtype)
        rank_last = len(last.domain.shape)
        part = x.shape[rank_last:] if first is self.b else x.shape[: x.ndim - rank_last]
        with upstream.product():  # its record is dropped, since this order may not be the right one
            return _takes(last, first._infer_shape(jax.ShapeDtypeStruct(part, x.dtype)).dtype)

    @functools.cached_property
    def domain(self) -> Any:
        """The domain, in the largest dtype of the factors for which some order is possible."""
        a, b = self.a.domain, self.b.domain
        if a is None or b is None:
            return None
        largest = jnp.promote_types(a.dtype, b.dtype)
        spaces = [jax.ShapeDtypeStruct(a.shape + b.shape, dtype) for dtype in (largest, a.dtype, b.dtype)]
        return next((x for x in spaces if self._is_possible(x, True) or self._is_possible(x, False)), spaces[0])

    @functools.cached_property
    def _commutes(self) -> bool:
        """Whether the order of the factors makes no difference.

        It makes none on real numbers, or if both factors are linear over the complex numbers. Otherwise the adjoint and the
        inverse have the factors in the other order.
        """
        if self.a.domain is not None and self.b.domain is not None:
            spaces = (self.a.domain, self.a.codomain, self.b.domain, self.b.codomain)
            if not any(shapes.is_complex(spec.dtype) for spec in spaces):
                return True
        return self.a._is_complex_linear() and self.b._is_complex_linear()

    @property
    def properties(self) -> Properties:
        kept = ("symmetric", "positive", "unitary", "diagonal")
        return common([self.a, self.b], *(kept if self._commutes else kept[2:]))

    def _inverse(self) -> LinearOperator | None:
        if not self._commutes:
            return None
        a, b = self.a._inverse(), self.b._inverse()
        return None if a is None or b is None else Kronecker(a, b)

    def _expression(self, show: Any) -> str:
        return f"kron({show(self.a)}, {show(self.b)})"


def _takes(op: Any, dtype: Any) -> bool:
    """Whether arrays of this dtype can be cast to the domain of an operator."""
    return op.domain is None or shapes.castable(np.dtype(dtype), np.dtype(op.domain.dtype))


def _rank(spec: Any) -> int | None:
    """The number of axes; None if the spec is not known."""
    return None if spec is None else len(spec.shape)


def kron(a: LinearOperator, b: LinearOperator) -> LinearOperator:
    r"""The Kronecker product A ⊗ B, from arrays of shape ``(*in_a, *in_b)`` to arrays of shape ``(*out_a, *out_b)``.

    Parameters
    ----------
    a, b : LinearOperator
        The factors, each from one array to one array. Each takes one axis, unless the domain of one of them is fixed.

    Returns
    -------
    LinearOperator
        The product.

    Raises
    ------
    TypeError
        If a factor is not a linear operator from one array to one array.
    ValueError
        If neither factor takes what the other one returns.

    Notes
    -----
    With matrices A, B and X, and vec in C order, which is also the order of ``numpy.kron``:

    .. math:: (A \otimes B)\, \mathrm{vec}(X) = \mathrm{vec}(A X B^T) .

    Each factor is mapped over the axes of the other one by ``vmap``. The factors are applied one after the other, in an
    order that their domains allow. If the domain of one is real and the other one is complex, the complex one comes last,
    and the domain of the product is real.

    References
    ----------
    * Van Loan, C. F. (2000). The ubiquitous Kronecker product. J. Comput. Appl. Math. 123, 85-100.

    Examples
    --------
    >>> A = lo.kron(lo.Matrix([[1.0, 1.0]]), lo.Diagonal([1.0, 2.0]))
    >>> A(jnp.ones((2, 2))).tolist()
    [[2.0, 4.0]]
    """
    for op in (a, b):
        _require_array_operator(op, "kron")
    both = Kronecker(a, b)
    if (x := both.domain) is not None and not (both._is_possible(x, True) or both._is_possible(x, False)):
        message = (
            f"cannot build {exact(both)}: found the factors {a!r} and {b!r}, neither of which takes what the other one "
            "returns. Leave out the domain of one of them, or make one complex."
        )
        raise ValueError(message)
    return both


def kron_sum(a: LinearOperator, b: LinearOperator) -> LinearOperator:
    """The Kronecker sum A ⊗ I + I ⊗ B.

    Parameters
    ----------
    a, b : LinearOperator
        Operators from a space of one array to itself, as for ``kron``.

    Returns
    -------
    LinearOperator
        The sum.

    Raises
    ------
    TypeError
        As ``kron``.
    ValueError
        As ``kron``.

    Examples
    --------
    >>> A = lo.kron_sum(lo.Diagonal([1.0, 2.0]), lo.Diagonal([10.0, 20.0]))
    >>> A(jnp.ones((2, 2))).tolist()
    [[11.0, 21.0], [12.0, 22.0]]
    """
    of_a, of_b = (Identity() if op.domain is None else Identity().with_domain(op.domain) for op in (a, b))
    return kron(a, of_b) + kron(of_a, b)


def _require_array_operator(op: Any, where: str) -> None:
    """Raises TypeError if ``op`` is not a linear operator from one array to one array."""
    if not isinstance(op, LinearOperator):
        message = f"{where}: expected a linear operator, found {type(op).__name__} {op!r:.80}."
        raise TypeError(message)
    for spec in (op.domain, op.codomain):
        if spec is not None and not shapes.is_spec(spec):
            message = f"{where}: {exact(op)} maps {shapes.describe_tree(spec)}; expected one array."
            raise TypeError(message)
