"""Convolution: one array with a kernel."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments, _convolving

BOUNDARIES = ("zero", "periodic", "valid", "full")


class Convolution(lo.LinearOperator):
    r"""The convolution of one array with a kernel, along some or all of its axes.

    Parameters
    ----------
    kernel : array or nested lists of numbers
        The kernel h, with one axis for each of ``axes``. It can be differentiated.
    axes : int or tuple of int, optional
        The axes of the input, in the order of those of ``kernel``; all by default. Negative ones count from the end.
    offset : int or tuple of int, optional
        The index c of the kernel's center, one number for all axes or one for each. Default: (K - 1) // 2 for K entries.
    boundary : str, optional
        What lies beyond the ends of the input: ``"zero"``, the default, or ``"periodic"``, the other end. The result then has the
        shape of the input. ``"valid"`` keeps only those entries that need nothing beyond the ends, and ``"full"`` all entries
        that are not zero everywhere.
    method : str, optional
        ``"direct"`` adds the input once for each entry of the kernel, ``"fft"`` multiplies Fourier transforms. ``"auto"``, the
        default, is ``"direct"`` for at most 128 entries.

    Raises
    ------
    TypeError
        If ``kernel`` holds operators, or if ``axes`` or ``offset`` are not integers.
    ValueError
        If an argument has another value: the kernel is empty or has not one axis for each of ``axes``, ``offset`` is not an index
        of it, or is given for ``"valid"`` or ``"full"``. When the operator is applied, if the array has no such axes, or is
        shorter than the kernel although ``boundary`` is ``"valid"``.

    Notes
    -----
    Along each axis of length N, with K entries of h:

    .. math::
        \text{zero, periodic: } y_n = \sum_k h_k\, x_{n - k + c}, \qquad
        \text{full: } y_n = \sum_k h_k\, x_{n - k}, \qquad
        \text{valid: } y_n = \sum_k h_k\, x_{n - k + K - 1},

    where n < N, n < N + K - 1 and n < N - K + 1. The adjoint is the convolution with the conjugate of the kernel in reverse
    order. Its center is K - 1 - c, and ``"full"`` and ``"valid"`` change places. Only for ``"valid"`` must the kernel not be
    longer than the array.

    References
    ----------
    * The documentation of ``scipy.signal.convolve``, whose modes ``"same"``, ``"valid"`` and ``"full"`` are the boundaries
      ``"zero"``, ``"valid"`` and ``"full"``.

    Examples
    --------
    >>> A = lo.ops.Convolution([1.0, 2.0, 0.0])
    >>> A(jnp.array([1.0, 0.0, 0.0, 1.0])).tolist()
    [2.0, 0.0, 1.0, 2.0]
    >>> A.H(jnp.array([0.0, 1.0, 0.0, 0.0])).tolist()
    [0.0, 2.0, 1.0, 0.0]
    >>> lo.ops.Convolution([1.0, 2.0, 0.0], boundary="full")(jnp.array([1.0, 1.0])).tolist()
    [1.0, 3.0, 2.0, 0.0]
    """

    kernel: jax.Array
    axes: tuple[int, ...] | None = lo.static(default=None)
    offset: tuple[int, ...] | None = lo.static(default=None)
    boundary: str = lo.static(default="zero")
    method: str = lo.static(default="auto")

    def __init__(
        self,
        kernel: Any,
        axes: int | tuple[int, ...] | None = None,
        offset: int | tuple[int, ...] | None = None,
        boundary: str = "zero",
        method: str = "auto",
    ):
        self.kernel = _arguments.as_field(kernel, "Convolution.kernel")
        self.axes = _arguments.as_axes(axes, "Convolution.axes")
        self.boundary = _arguments.one_of(boundary, BOUNDARIES, "Convolution.boundary")
        self.method = _arguments.one_of(method, _convolving.METHODS, "Convolution.method")
        self.offset = offset if offset is None else _arguments.as_integers(offset, "Convolution.offset", 0)
        if hasattr(self.kernel, "shape"):
            self._check_kernel()

    @lo.traced
    def apply(self, x: Any) -> Any:
        if self.boundary == "valid":
            self._require_room(x)
        return _convolving.convolved(x, *self._laid_out(x), self._beyond, self.method)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return _convolving.adjoint(y, *self._laid_out(y), self._beyond, self.method)

    def infer_adjoint_shape(self, y: Any) -> Any:
        longer = {"valid": 1, "full": -1}.get(self.boundary, 0)
        axes = self._axes_of(y)
        sizes = tuple(y.shape[axis] + longer * (k - 1) for axis, k in zip(axes, self.kernel.shape, strict=True))
        if any(size < 0 for size in sizes):
            message = (
                f"Convolution.H takes full convolutions with a kernel of shape {self.kernel.shape}, found an array of shape "
                f"{y.shape}, which is shorter."
            )
            raise ValueError(message)
        return _arguments.resized(y, axes, sizes)

    def _check_kernel(self) -> None:
        shape = self.kernel.shape
        if 0 in shape or not shape:
            message = f"Convolution.kernel has shape {shape}; expected at least one axis and one entry."
            raise ValueError(message)
        if self.axes is not None:
            _arguments.require_ndim(self.kernel, len(self.axes), "Convolution.kernel")
        if self.offset is None:
            return
        if self.boundary not in ("zero", "periodic"):
            message = f"Convolution.offset is {self.offset}, but there is none for boundary={self.boundary!r}. Drop it."
            raise ValueError(message)
        if any(c >= k for c, k in zip(self._centers, shape, strict=True)):
            message = f"Convolution.offset {self.offset} is not an index of the kernel, which has shape {shape}."
            raise ValueError(message)

    def _require_room(self, x: Any) -> None:
        sizes = [x.shape[axis] for axis in self._axes_of(x)]
        if any(n < k for n, k in zip(sizes, self.kernel.shape, strict=True)):
            message = (
                f"Convolution.kernel has shape {self.kernel.shape}, which does not fit into an input of shape {x.shape}, as "
                "boundary='valid' needs. Use another boundary, or a longer input."
            )
            raise ValueError(message)

    def _axes_of(self, x: Any) -> tuple[int, ...]:
        _arguments.require_array(x, "Convolution")
        if self.axes is None and len(self.kernel.shape) != len(x.shape):
            message = (
                f"Convolution.kernel of shape {self.kernel.shape} has not one axis for each of the input's, whose shape is "
                f"{x.shape}. Say along which axes, as in axes=-1."
            )
            raise ValueError(message)
        return _arguments.axes_of(x, self.axes, "Convolution.axes")

    def _laid_out(self, x: Any) -> tuple[Any, _convolving.Widths]:
        """The kernel with the axes of the array, and how far to extend each of these."""
        axes, shape = self._axes_of(x), self.kernel.shape
        widths = {
            "full": tuple((k - 1, k - 1) for k in shape),
            "valid": ((0, 0),) * len(shape),
        }.get(self.boundary, _convolving.centered(shape, self._centers))
        return _convolving.aligned(self.kernel, widths, axes, x.ndim)

    @property
    def _centers(self) -> tuple[int, ...]:
        shape = self.kernel.shape
        if self.offset is None:
            return tuple((k - 1) // 2 for k in shape)
        return _arguments.one_for_each(self.offset, tuple(range(len(shape))), "Convolution.offset")

    @property
    def _beyond(self) -> str:
        return "periodic" if self.boundary == "periodic" else "zero"

    @classmethod
    def examples(cls) -> Any:
        h = jnp.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])
        yield cls(h, offset=(1, 2)), jax.ShapeDtypeStruct((4, 5), jnp.float32)
        yield (
            cls((1 + 2j) * h, axes=(-1, 0), boundary="periodic", method="fft"),
            jax.ShapeDtypeStruct((3, 2, 4), jnp.float32),
        )
        yield cls(h[0], axes=0, boundary="valid"), jax.ShapeDtypeStruct((5, 2), jnp.complex64)
