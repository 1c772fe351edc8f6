"""LinearOperator: the class to subclass for a linear map, and its adjoint."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, overload

import jax
import numpy as np

from linops_jax._model import advice, lookup, marks, rules, shapes
from linops_jax._operators import constructors, printing, upstream
from linops_jax._operators.arithmetic import Operand
from linops_jax._operators.expansion import Expansion
from linops_jax._operators.operator import Operator, UnknownShapeError, required
from linops_jax._types import Scalar

LINEAX_METHODS = ("mv", "as_matrix", "transpose", "in_structure", "out_structure", "in_size", "out_size")


class LinearOperator(Operator, rules=rules.LINEAR):
    """A linear map A and its adjoint A^H between pytrees of arrays.

    Subclass it and write the hooks ``apply(self, x)``, ``adjoint(self, y)`` and ``infer_shape(self, x)`` on NumPy arrays.
    Inputs are read-only views, valid during the call; a hook that takes a keyword-only ``out`` fills it. ``adjoint`` is
    the conjugate transpose, <A x, y> = <x, A^H y> with <u, v> = sum(conj(u) v) (the real part of it for
    ``real_linear=True``); ``adjoint = None`` says that there is none. Optional: ``infer_adjoint_shape(self, y)``,
    ``parameter_jvp(self, x, dself)`` and ``parameter_vjp(self, x, dy)``; ``gram(self, x)``, a faster A^H A x, used by
    ``A.gram`` and ``A.H @ A``; ``inverse(self, y)`` and ``inverse_adjoint(self, x)``, used by ``A.inv``.

    Class keywords:

    - ``batched=True``: the hooks accept extra leading batch axes, so that ``vmap`` costs one call. All input leaves carry
      the same number of them, an unmapped one of size 1; axes mapped over fields are looped over, as are all axes of
      ``parameter_vjp``. Count axes from the end.
    - ``real_linear=True``: linear over the reals only (real part, conjugate, real FFT); checks compare real parts.
    - ``symmetric=True``, ``positive=True``, ``unitary=True``, ``diagonal=True``: known properties, see ``Properties``.
      Of a symmetric operator, ``apply`` serves as ``adjoint`` and ``inverse`` as ``inverse_adjoint``.
    - ``adjoint_rtol=1e-3``: the adjoint is declared inexact, up to this relative error.
    - ``deterministic=True``: two calls agree bit for bit.
    """

    @required
    def apply(self, x: Any) -> Any:
        """A x."""

    @required
    def adjoint(self, y: Any) -> Any:
        """A^H y, the conjugate transpose."""
        if not type(self)._traits.properties.symmetric:
            raise NotImplementedError
        return self.apply(y)

    @required
    def infer_shape(self, x: Any) -> Any:
        """Specs of A x from specs of x: pytrees of jax.ShapeDtypeStruct."""

    if TYPE_CHECKING:

        @required
        def gram(self) -> Any:
            """A^H A as an operator, by the hook where there is one."""

        def with_domain(self, spec: Any) -> LinearOperator: ...
        def __neg__(self) -> LinearOperator: ...
        def __mul__(self, other: Scalar) -> LinearOperator: ...
        def __rmul__(self, other: Scalar) -> LinearOperator: ...
        def __truediv__(self, other: Scalar) -> LinearOperator: ...
        def __pow__(self, exponent: int | np.integer) -> LinearOperator: ...
        def __add__(self, other: LinearOperator) -> LinearOperator: ...
        def __radd__(self, other: int) -> LinearOperator: ...
        def __sub__(self, other: LinearOperator) -> LinearOperator: ...
        def __rsub__(self, other: LinearOperator) -> LinearOperator: ...
        @overload
        def __matmul__(self, other: LinearOperator) -> LinearOperator: ...
        @overload
        def __matmul__(self, other: Operand) -> Any: ...
        def __matmul__(self, other: Any) -> Any: ...
        def __rmatmul__(self, other: LinearOperator) -> LinearOperator: ...
    else:
        gram = lookup.AlsoOperator("gram", lambda op: op.H @ op)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if marks.is_hook(hook := cls.__dict__.get("gram")):
            cls.gram = lookup.AlsoOperator("gram", LinearOperator.gram.make, hook)

    @property
    def inv(self) -> LinearOperator:
        """The inverse A^-1 as an operator.

        By the hook ``inverse`` where there is one, by the adjoint where A is unitary, part by part where A is made of
        such operators; otherwise by an iterative solver, see ``lo.solve``: then it is inexact.
        """
        inverse = self._inverse()
        return constructors.solver_inverse(self) if inverse is None else inverse

    def _inverse(self) -> LinearOperator | None:
        """The inverse, where no solver is needed."""
        if self.properties.unitary:
            return self.H
        return constructors.inverse(self) if "inverse" in type(self)._hooks else None

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        """A^H as made of the adjoints of its parts, for ``lo.simplify``; None where that would not be the same map.

        domain: specs of the input; None: whatever it is, for parts that are linear over all numbers and say their adjoints'
        shapes
        """
        return None

    @property
    def _says_adjoint_shape(self) -> bool:
        """Whether A.H(y) needs nobody else to know the shape of its result."""
        if self.domain is not None:
            return True
        if type(self)._composite:
            return all(part._says_adjoint_shape for part in self._parts())  # type: ignore[attr-defined]
        return getattr(self, "infer_adjoint_shape", None) is not None or self.properties.symmetric

    def _gram(self, x: Any, domain: Any = None) -> Any:
        """A^H A x by the hook ``gram``; None without one, and where A x of a real x is complex: only ``domain`` can say
        that the real part of A^H A x is wanted."""
        if "gram" not in type(self)._hooks:
            return None
        if domain is None and shapes.has_complex(self._infer_shape(x)) and not shapes.has_complex(x):
            return None
        return self._evaluate("gram", (x,), shapes.specs(x))

    @property
    def H(self) -> LinearOperator:
        """The adjoint A^H as an operator: the conjugate transpose."""
        return constructors.adjoint(self)

    @property
    def T(self) -> LinearOperator:
        """The transpose A^T = conj A^H conj, what jax.linear_transpose gives."""
        return self.H.conj()

    def conj(self) -> LinearOperator:
        """The operator x -> conj(A conj(x))."""
        return constructors.conj(self)

    if not TYPE_CHECKING:  # to type checkers these attributes are missing

        def __getattr__(self, name):
            """lineax's names for what we have, so that its solvers take operators as they are; no field name is lost."""
            if name in LINEAX_METHODS:
                return constructors.lineax_method(self, name)
            if message := advice.for_name(type(self)._label, name):
                raise AttributeError(message, name=name, obj=self)
            return object.__getattribute__(self, name)

    def jacobian(self, x: Any) -> LinearOperator:
        """A linear operator is its own derivative; here with the domain of ``x``."""
        return self.with_domain(shapes.as_specs(x, f"{type(self)._label}.jacobian"))

    def _expand(self, x: Any) -> Expansion:
        return Expansion(self.jacobian(x), lambda: self(x))

    def _reverse(self, y: Any, like: Any) -> Any:
        """A^H y; ``like`` holds specs of the result, or None where nobody knows them.

        The one place that brings y to the codomain, and the result to the domain: in precision, and on a real space in
        its real part. Each part of a composite is so given what its own codomain says.
        """
        domain, codomain = self._spaces_of(y) if like is None else (like, self._infer_shape(like))

        def where() -> str:
            return f"{printing.exact(self)}.H"

        return shapes.onto(self._pull_back(shapes.onto(y, codomain, where), domain), domain, where)

    def _pull_back(self, y: Any, like: Any) -> Any:
        """A^H y for a y of the codomain. Composites write this one, by ``_reverse`` of their parts."""
        return self._evaluate("adjoint", (y,), like)

    def _spaces_of(self, y: Any) -> tuple[Any, Any]:
        """Specs of domain and codomain, where y, or what y promotes to, is in the codomain."""
        if self.domain is not None:
            return self.domain, self.codomain
        y = shapes.specs(y)
        domain = self._infer_adjoint_shape(y)
        codomain = self._infer_shape(domain)
        if not shapes.same(codomain, y) and shapes.shape_difference(codomain, y) is None:
            domain = self._infer_adjoint_shape(codomain)  # a complex operator, say, has been asked for a real y
            codomain = self._infer_shape(domain)
        return domain, codomain

    @functools.cached_property
    def _is_looked_for(self) -> bool:
        if type(self)._composite:
            return any(part._is_looked_for for part in self._parts())
        return getattr(self, "infer_adjoint_shape", None) is None and not self.properties.symmetric

    def _infer_adjoint_shape(self, y: Any) -> Any:
        """Specs of A^H y from specs of y. Composites say it by their parts."""
        where = type(self)._label
        if getattr(self, "infer_adjoint_shape", None) is not None:
            return self._leading_back(self._placed(self._infer("infer_adjoint_shape", "", y), y), y)
        if self.properties.symmetric:
            return self._infer_shape(y)
        if (domain := upstream.domain_of(self, y)) is not None:
            return domain
        message = (
            f"{where}.H(y) needs to know the shape of its result. Define {where}.infer_adjoint_shape, or fix the domain "
            "with with_domain(spec)."
        )
        raise UnknownShapeError(message)

    def _placed(self, x: Any, y: Any) -> Any:
        """Specs that ``infer_adjoint_shape`` answers rarely say where on a mesh the result lies: as the input of A did on the
        way through a product, otherwise as y does where it has the same shape."""
        if shapes.have_places(x) or not shapes.have_places((self, y)):
            return x
        passed = upstream.domain_of(self, y)
        return shapes.in_places_of(x, shapes.specs(y) if passed is None else passed)

    def _leading_back(self, x: Any, y: Any) -> Any:
        """Specs that ``infer_adjoint_shape`` answers for those of y: ``infer_shape`` must lead from them to y."""
        y = shapes.specs(y)
        says = f"{type(self)._label}.infer_adjoint_shape says {shapes.describe_tree(x)} for {shapes.describe_tree(y)}"
        found, given = ({shapes.is_inexact(leaf.dtype) for leaf in jax.tree.leaves(tree)} for tree in (x, y))
        if found == {False} and given == {True}:
            message = f"{says}: the adjoint of floating point numbers is floating point numbers. Return such a dtype."
            raise TypeError(message)
        try:
            back = self._infer_shape(x)
        except Exception as error:
            message = (
                f"{says}, which infer_shape does not take: {type(error).__name__}: {error}. Fix whichever is wrong."
            )
            raise TypeError(message) from error
        if shapes.shape_difference(back, y):
            message = (
                f"{says}, but infer_shape leads from there to {shapes.describe_tree(back)}. Fix the wrong one of these "
                "hooks, or pass what they say."
            )
            raise ValueError(message)
        return x

    @functools.cached_property
    def _has_checked_domain(self) -> bool:
        """True, or an error: found out once for each operator."""
        self._check_domain(self.domain, self.codomain)
        return True

    def _check_domain(self, domain: Any, codomain: Any) -> None:
        """Raises ValueError where ``infer_adjoint_shape`` contradicts a domain that is known."""
        if type(self)._composite or getattr(self, "infer_adjoint_shape", None) is None:
            return
        try:
            answer = shapes.specs(self).infer_adjoint_shape(codomain)
        except Exception:  # it does not know, but with_domain does
            return
        where = f"{type(self)._label}.infer_adjoint_shape"
        if difference := shapes.shape_difference(shapes.promised(answer, where), domain):
            message = (
                f"{where}({shapes.describe_tree(codomain)}) contradicts the domain of {self!r}, which leads there: "
                f"{difference}. Fix it, or leave it out."
            )
            raise ValueError(message)
