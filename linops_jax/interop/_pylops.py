"""PyLops: to_pylops and from_pylops."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pylops

import linops_jax as lo
from linops_jax._types import Specs
from linops_jax._vectors import MatrixForm
from linops_jax.interop import _arguments
from linops_jax.interop._vectors import Vectorized, VectorOperator


def to_pylops(op: lo.LinearOperator, spec: Specs | None = None) -> OperatorForPyLops:
    """A ``pylops.LinearOperator`` that applies a linear operator, for PyLops' own solvers and for pyproximal.

    Parameters
    ----------
    op : LinearOperator
        The operator.
    spec : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``op`` does not know it.

    Returns
    -------
    pylops.LinearOperator
        With ``op``, the operator with its domain. ``dims`` and ``dimsd`` are the shapes of input and result; a pytree
        is one vector, leaf after leaf in C order, in the common dtype, float32 at least.

    Raises
    ------
    TypeError
        If ``op`` is not a linear operator or has integers, or if its domain is unknown.

    Warns
    -----
    UserWarning
        If the domain is in 64 bits and JAX is not.

    Notes
    -----
    ``clinear`` is False for ``real_linear`` operators, and where real numbers meet complex ones: as in PyLops' own real
    FFT, a real model then sees only the real part of the adjoint.

    Several columns are one call, through ``vmap``. The operator is compiled once. 64 bits are used if they were
    switched on when this function was called.

    Examples
    --------
    >>> P = lo.interop.to_pylops(lo.FFT(), jax.ShapeDtypeStruct((4, 8), jnp.complex64))
    >>> P.dims, P.shape
    ((4, 8), (32, 32))
    """
    op = _arguments.linear(op, spec, "to_pylops")
    return OperatorForPyLops(MatrixForm(op, complex_linear=op._is_linear_in_its_numbers))


class OperatorForPyLops(pylops.LinearOperator):
    """What ``to_pylops`` returns.

    Attributes
    ----------
    op : LinearOperator
        The operator, with its domain.
    call : Vectorized
        What applies it to vectors.
    """

    def __init__(self, form: MatrixForm):
        op = form.op
        super().__init__(
            dtype=np.dtype(form.dtype),
            dims=_shape(op.domain, form.domain.size),
            dimsd=_shape(op.codomain, form.codomain.size),
            clinear=form.complex_linear,
            name=type(op).__name__,
        )
        self.op = op
        self.call = Vectorized(form)

    def _matvec(self, x: Any) -> Any:
        return self.call("forward", x.reshape(-1))

    def _rmatvec(self, x: Any) -> Any:
        return self.call("reverse", x.reshape(-1))

    def _matmat(self, X: Any) -> Any:
        return self.call("forward", X)

    def _rmatmat(self, X: Any) -> Any:
        return self.call("reverse", X)


def _is_array_of(spec: Any, shape: tuple[int, ...]) -> bool:
    return getattr(spec, "shape", None) == tuple(shape)


def _shape(spec: Any, size: int) -> tuple[int, ...]:
    """The shape of a bare array; that of anything else is its size, since PyLops knows no pytrees."""
    return tuple(spec.shape) if hasattr(spec, "shape") and spec.shape else (size,)


def from_pylops(P: Any, dtype: Any = None) -> lo.LinearOperator:
    """An operator from one of PyLops.

    Parameters
    ----------
    P : pylops.LinearOperator
        The operator of PyLops.
    dtype : dtype, optional
        Of the domain; by default ``P.dtype``, or its real or complex counterpart where ``P`` says so.

    Returns
    -------
    LinearOperator
        From arrays of shape ``P.dims`` to arrays of shape ``P.dimsd``, in the precision of ``P.dtype``, whatever that
        of the input. Where ``P.dtype`` is real, a complex input gives a complex result.

    Raises
    ------
    TypeError
        If ``P`` is not an operator of PyLops, or ``dtype`` is complex and its domain is real.

    Notes
    -----
    Where ``P.clinear`` is False the operator is ``real_linear``. Whether its two sides are real or complex is found out
    by applying ``P`` and its adjoint to zeros, once.

    What ``to_pylops`` made is taken apart again. PyLops' stacks and sums of such operators cannot come back, because
    JAX cannot be called from within its own programs.

    Examples
    --------
    >>> import pylops
    >>> A = lo.interop.from_pylops(pylops.FirstDerivative(4, kind="forward", dtype=np.float32))
    >>> print(A(jnp.array([0.0, 1.0, 4.0, 9.0])))
    [1. 3. 5. 0.]
    """
    if not isinstance(P, pylops.LinearOperator):
        advice = " from_scipy takes those of SciPy." if type(P).__module__.startswith("scipy") else ""
        message = f"from_pylops expects a pylops.LinearOperator, found {_arguments.describe(P)}.{advice}"
        raise TypeError(message)
    if isinstance(P, OperatorForPyLops):
        same = all(map(_is_array_of, (P.op.domain, P.op.codomain), (P.dims, P.dimsd)))
        return P.op if same else VectorOperator.of(P.call.form, dtype)
    op = PyLopsOperator(P, *_sides_are_complex(P))
    if dtype is None:
        dtype = op.dtype_of("domain")
    return op.with_domain(jax.ShapeDtypeStruct(tuple(map(int, P.dims)), dtype))


class PyLopsOperator(lo.LinearOperator):
    """An operator of PyLops, between arrays of its ``dims`` and ``dimsd``.

    Parameters
    ----------
    operator : pylops.LinearOperator
        The operator of PyLops.
    complex_domain : bool
        Whether the domain is complex. That of a complex-linear operator with a real dtype is not, and it takes complex
        arrays nevertheless.
    complex_codomain : bool
        Whether the codomain is, likewise.
    """

    operator: Any = lo.static()
    complex_domain: bool = lo.static()
    complex_codomain: bool = lo.static()

    def apply(self, x: Any) -> Any:
        return self._call(self.operator.matvec, x, "domain").reshape(self.operator.dimsd)

    def adjoint(self, y: Any) -> Any:
        return self._call(self.operator.rmatvec, y, "codomain").reshape(self.operator.dims)

    def infer_shape(self, x: Any) -> Any:
        return self._result(x, "domain", "codomain")

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self._result(y, "codomain", "domain")

    @property
    def properties(self) -> Any:
        return dataclasses.replace(super().properties, real_linear=not self.operator.clinear)

    def dtype_of(self, side: str) -> Any:
        """NumPy's dtype of the "domain" or the "codomain": in the precision of the operator, and complex where the side is."""
        complex_dtype = np.result_type(_floating(self.operator), np.complex64)
        return complex_dtype if getattr(self, f"complex_{side}") else np.finfo(complex_dtype).dtype

    def _call(self, function: Any, x: Any, side: str) -> Any:
        dtype = self.dtype_of(side)
        flat = x.reshape(-1)
        if flat.dtype.kind == "c" and dtype.kind != "c":  # many of their real operators drop an imaginary part
            return function(flat.real.astype(dtype)) + 1j * function(flat.imag.astype(dtype))
        return function(flat.astype(dtype, copy=False))

    def _result(self, x: Any, side: str, other: str) -> Any:
        shapes = {"domain": self.operator.dims, "codomain": self.operator.dimsd}
        found, expected = getattr(x, "shape", None), tuple(map(int, shapes[side]))
        if found != expected:
            message = (
                f"{self.operator!r} of PyLops: expected an array of shape {expected} in its {side}, found {found}."
            )
            raise ValueError(message)
        dtype, of_side = self.dtype_of(other), self.dtype_of(side)
        if x.dtype.kind == "c" and of_side.kind != "c":
            if not self.operator.clinear:
                message = f"{self.operator!r} of PyLops: its {side} is real (clinear is False), found {x.dtype}."
                raise TypeError(message)
            dtype = np.result_type(dtype, np.complex64)
        return jax.ShapeDtypeStruct(tuple(map(int, shapes[other])), dtype)

    @classmethod
    def examples(cls) -> Any:
        yield from_pylops(pylops.FirstDerivative((3, 4))), jax.ShapeDtypeStruct((3, 4), np.float64)
        yield from_pylops(pylops.signalprocessing.FFT(6, real=True)), jax.ShapeDtypeStruct((6,), np.float64)


def _floating(P: Any) -> Any:
    dtype = np.dtype(float if P.dtype is None else P.dtype)
    return dtype if dtype.kind in "fc" else np.dtype(float)


def _sides_are_complex(P: Any) -> tuple[bool, bool]:
    """Whether domain and codomain are complex.

    PyLops has one dtype for both sides: of an operator that is linear over the reals only, calling it says more.
    """
    dtype = _floating(P)
    if P.clinear:
        return dtype.kind == "c", dtype.kind == "c"
    wide = np.result_type(dtype, np.complex64)
    domain = P.rmatvec(np.zeros(P.shape[0], wide)).dtype if dtype.kind == "c" else dtype
    return domain.kind == "c", P.matvec(np.zeros(P.shape[1], domain)).dtype.kind == "c"
