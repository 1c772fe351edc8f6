"""LinearOperator: the class to subclass for a linear map and its adjoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np

from linops_jax._model import advice, lookup, rules, shapes
from linops_jax._operators import constructors
from linops_jax._operators.arithmetic import Operand
from linops_jax._operators.backward import Backward
from linops_jax._operators.expansion import Expansion
from linops_jax._operators.operator import required
from linops_jax._types import Arrays, Scalar, Specs

LINEAX_METHODS = ("mv", "as_matrix", "transpose", "in_structure", "out_structure", "in_size", "out_size")


class LinearOperator(Backward, rules=rules.LINEAR):
    r"""A linear map A and its adjoint Aᴴ, between pytrees of arrays.

    Subclass it, annotate its fields and write its hooks. ``apply``, ``adjoint`` and ``infer_shape`` are needed, unless
    ``apply`` is traced: then JAX derives the others. The rest is optional. Users call the operator and not its hooks:
    ``A(x)``, ``A.H(y)``.

    Methods
    -------
    infer_adjoint_shape(y)
        Shapes and dtypes of Aᴴ y, from those of y, as ``jax.ShapeDtypeStruct``. Needed for ``A.H(y)`` if the domain is
        not fixed.
    gram(x)
        Aᴴ A x, by a faster way than ``apply`` and ``adjoint``. The operator ``A.gram``, which is Aᴴ A, and ``A.H @ A`` use it.
    inverse(y)
        A⁻¹ y. ``A.inv`` uses it.
    inverse_adjoint(x)
        (A⁻¹)ᴴ x. The adjoint of ``A.inv`` uses it.
    parameter_jvp(x, dself)
        The derivative of A x with respect to the array fields, in the direction ``dself``: an operator of the same class,
        whose array fields hold the changes.
    parameter_vjp(x, dy)
        The adjoint of this derivative, applied to dy: a dict with one entry for each array field, or an operator of the
        class.
    prepare(x)
        A plan: any Python object that the other hooks need for inputs with the shapes and dtypes of x, such as a factorisation or
        a table. Hooks that take a keyword-only argument ``plan`` get it. It is made once for all programs with such inputs and
        equal static fields. A keyword-only argument with the name of an array field, as in ``prepare(self, x, *, points)``, gets
        the values of the field; then it is made once for each of the last values.
    examples()
        A classmethod that yields pairs of an operator and an input for it (or its shapes and dtypes). The command line
        and the pytest plugin check these.

    Notes
    -----
    ``adjoint`` is the conjugate transpose:

    .. math:: \langle A x, y \rangle = \langle x, A^H y \rangle, \qquad \langle u, v \rangle = \sum_i \overline{u_i}\, v_i .

    **Hooks** are plain methods. They get NumPy arrays, unless they are marked with ``lo.traced``; ``lo.native`` makes a
    hook of compiled code. Their inputs are read-only views, valid during the call only. A hook that takes a keyword-only
    argument ``out`` writes its result there and returns nothing. ``adjoint = None`` says that there is no adjoint.

    **Fields** are the annotated attributes of the class. The constructor takes them as arguments, like that of a dataclass,
    unless the class has an ``__init__``. They hold arrays, operators or pytrees of these. ``lo.static`` declares a field
    as configuration, and ``lo.constant`` an array that is never differentiated. Operators are immutable:
    ``dataclasses.replace(A, d=...)`` makes another one.

    **Class keywords** declare what is known of all operators of a class, as in ``class Blur(lo.LinearOperator,
    symmetric=True)``:

    batched : bool
        The hooks take arrays with any number of additional leading axes, so ``vmap`` costs one call. All arrays of the
        input have the same number of them; where an array is not mapped over, they have size 1. Hooks must count their
        own axes from the end. ``vmap`` over fields, and that of ``parameter_vjp``, still calls the hook once for each
        element.
    real_linear : bool
        The map is linear over the real numbers only, as the real part, the conjugate and the FFT of real arrays are. The
        identity of the adjoint then holds for the real parts.
    symmetric, positive, unitary, diagonal : bool
        Properties of A, see ``Properties``. If A is symmetric, ``apply`` serves as ``adjoint`` as well, and ``inverse`` as
        ``inverse_adjoint``.
    adjoint_rtol : float
        ``adjoint`` is inexact, with at most this relative error.
    gram_rtol : float
        ``gram`` is inexact, with at most this relative error.
    deterministic : bool
        Two calls with the same input agree bit for bit; ``lo.check_operator`` then checks this.

    Examples
    --------
    >>> class CumulativeSum(lo.LinearOperator):
    ...     def apply(self, x):
    ...         return np.cumsum(x)
    ...
    ...     def adjoint(self, y):
    ...         return np.cumsum(y[::-1])[::-1]
    ...
    ...     def infer_shape(self, x):
    ...         return x
    ...
    ...     def infer_adjoint_shape(self, y):
    ...         return y
    >>> A = CumulativeSum()
    >>> A(jnp.ones(3)).tolist()
    [1.0, 2.0, 3.0]
    >>> A.H(jnp.ones(3)).tolist()
    [3.0, 2.0, 1.0]
    >>> print((2 * A.H @ A).with_domain(jnp.ones(3)))
    2 CumulativeSum.H @ CumulativeSum : f32[3] -> f32[3]
    """

    @required
    def apply(self, x: Arrays) -> Arrays:
        """A x, a hook that a class defines.

        Parameters
        ----------
        x : pytree of arrays
            An element of the domain.

        Returns
        -------
        pytree of arrays
            A x, in the shapes and dtypes that ``infer_shape`` says.
        """

    @required
    def adjoint(self, y: Arrays) -> Arrays:
        """Aᴴ y, the conjugate transpose of ``apply``; a hook that a class defines.

        Parameters
        ----------
        y : pytree of arrays
            An element of the codomain.

        Returns
        -------
        pytree of arrays
            Aᴴ y, in the shapes and dtypes of the domain.
        """
        if not type(self)._traits.properties.symmetric:
            raise NotImplementedError
        return self.apply(y)

    @required
    def infer_shape(self, x: Specs) -> Specs:
        """Shapes and dtypes of A x, a hook that a class defines.

        Parameters
        ----------
        x : pytree of jax.ShapeDtypeStruct
            Shapes and dtypes of the input. An input that the operator cannot take should be refused here, by an exception.

        Returns
        -------
        pytree of jax.ShapeDtypeStruct
            Those of the result. In this hook, the array fields have only shapes and dtypes, too.
        """

    if TYPE_CHECKING:

        @required
        def gram(self) -> Any:
            """A^H A as an operator, by the hook where there is one."""

        def with_domain(self, spec: Specs) -> LinearOperator: ...
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
        gram = lookup.AlsoAttribute(
            "gram", lambda op: op.H @ op, "Write self.adjoint(self.apply(x)), or what is faster."
        )

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        LinearOperator.gram.put_on(cls)

    @property
    def inv(self) -> LinearOperator:
        """The inverse A⁻¹ as an operator.

        It uses the hook ``inverse`` if the class has one, and the adjoint if A is unitary. The inverse of a composite is
        made of the inverses of its parts, where that is exact. Otherwise an iterative solver computes it, see
        ``lo.solve``, and it is not exact.
        """
        inverse = self._inverse()
        return constructors.solver_inverse(self) if inverse is None else inverse

    def _inverse(self) -> LinearOperator | None:
        """The inverse, or None where it needs a solver."""
        if self.properties.unitary:
            return self.H
        return constructors.inverse(self) if "inverse" in type(self)._hooks else None

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        """Aᴴ as a composite of the adjoints of the parts, for ``lo.simplify``; None where that would be another map.

        ``domain`` is the specs of the input of A. With None, the result must be right for all inputs: the parts are
        linear over the complex numbers then, and their adjoints know the shapes of their results.
        """
        return None

    @property
    def _says_adjoint_shape(self) -> bool:
        """Whether ``A.H(y)`` knows the shape of its result by itself."""
        if self.domain is not None:
            return True
        if type(self)._composite:
            return all(part._says_adjoint_shape for part in self._parts())  # type: ignore[attr-defined]
        return getattr(self, "infer_adjoint_shape", None) is not None or self.properties.symmetric

    def _gram(self, x: Any, domain: Any = None) -> Any:
        """Aᴴ A x by the hook ``gram``; None where the class has none, or where it may not be used.

        It may not be used where x is real, A x is complex and no ``domain`` is given: only with a real domain is the real
        part of Aᴴ A x the right result.
        """
        if "gram" not in type(self)._hooks:
            return None
        if domain is None and shapes.has_complex(self._infer_shape(x)) and not shapes.has_complex(x):
            return None
        return self._evaluate("gram", (x,), shapes.specs(x))

    @property
    def H(self) -> LinearOperator:
        """The adjoint Aᴴ, the conjugate transpose, as an operator."""
        return constructors.adjoint(self)

    @property
    def T(self) -> LinearOperator:
        """The transpose Aᵀ as an operator, which maps y to conj(Aᴴ conj(y)), as ``jax.linear_transpose`` does."""
        return self.H.conj()

    def conj(self) -> LinearOperator:
        """The complex conjugate of the operator.

        Returns
        -------
        LinearOperator
            The map x → conj(A conj(x)).
        """
        return constructors.conj(self)

    if not TYPE_CHECKING:  # for type checkers such attributes do not exist

        def __getattr__(self, name):
            """The methods that lineax calls, so that its solvers take operators as they are; advice for other names."""
            if name in LINEAX_METHODS:
                return constructors.lineax_method(self, name)
            if message := advice.for_name(type(self)._label, name):
                raise AttributeError(message, name=name, obj=self)
            return object.__getattribute__(self, name)

    def jacobian(self, x: Arrays) -> LinearOperator:
        """The derivative at a point, which is the operator itself, with the domain of the point.

        Parameters
        ----------
        x : pytree of arrays
            The point; its shapes and dtypes suffice.

        Returns
        -------
        LinearOperator
            ``A.with_domain(x)``.
        """
        return self.with_domain(shapes.as_specs(x, f"{type(self)._label}.jacobian"))

    def value_and_jacobian(self, x: Arrays) -> tuple[Arrays, LinearOperator]:
        """The value and the derivative at a point, as of a nonlinear operator.

        Parameters
        ----------
        x : pytree of arrays
            The point, as for ``A(x)``.

        Returns
        -------
        value : pytree of arrays
            A(x).
        jacobian : LinearOperator
            ``A.jacobian(x)``.
        """
        return self(x), self.jacobian(x)

    def _expand(self, x: Any) -> Expansion:
        """The operator to first order at a point."""
        return Expansion(self.jacobian(x), lambda: self(x))
