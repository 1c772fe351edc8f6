"""Halo: the part of a device with rows of its neighbours, for operators on pictures that are split between devices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments

BOUNDARIES = ("zero", "periodic", "edge", "reflect")


class Halo(lo.LinearOperator):
    """The part of an array that a device has, with rows of its neighbours at both ends.

    It is used inside ``jax.shard_map`` or ``lo.sharded``, where an array is split into equal parts along one of its axes.

    Parameters
    ----------
    width : int or tuple of int
        How many rows of the neighbours are added, at both ends; or a pair: before and after. A halo may be wider than the part
        of a device.
    axis_name : str
        The axis of the mesh along which the array is split.
    axis : int, optional
        The axis of the array that is split, 0 by default. Negative ones count from the end.
    boundary : str, optional
        What is beyond the ends of the whole array: ``"zero"``, the default; ``"periodic"``, the other end; ``"edge"``, the last
        row again; ``"reflect"``, the rows in reverse order, without the last one. As ``np.pad`` with the modes ``"constant"``,
        ``"wrap"``, ``"edge"`` and ``"reflect"``.

    Raises
    ------
    ValueError
        If an argument has another value. When the operator is applied, if there is no such mesh axis, if the array has no such
        axis, or if the halo is wider than the whole array.

    Notes
    -----
    Each device sends rows to its neighbours: one collective permutation for each end, more if the halo is wider than the part.
    The adjoint adds what the devices got back to the rows where it came from, by the same number of permutations.

    Examples
    --------
    >>> mesh = jax.make_mesh((1,), ("rows",))
    >>> A = lo.sharded(lo.Halo(1, "rows", boundary="edge"), mesh, jax.P("rows"), jax.P("rows"))
    >>> A(jnp.arange(3.0)).tolist()
    [0.0, 0.0, 1.0, 2.0, 2.0]
    """

    width: tuple[int, int] = lo.static()
    axis_name: str = lo.static()
    axis: int = lo.static(default=0)
    boundary: str = lo.static(default="zero")

    def __init__(self, width: int | tuple[int, int], axis_name: str, axis: int = 0, boundary: str = "zero"):
        rows = width if isinstance(width, tuple) else (width, width)
        if len(rows) != 2 or not all(isinstance(n, int | np.integer) and n >= 0 for n in rows):
            message = f"Halo.width is {width!r}; expected a number of rows, or a pair of them, not negative."
            raise ValueError(message)
        self.width, self.axis = (int(rows[0]), int(rows[1])), int(axis)
        self.axis_name, self.boundary = axis_name, _arguments.one_of(boundary, BOUNDARIES, "Halo.boundary")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jnp.moveaxis(self._extended(jnp.moveaxis(x, self.axis, 0)), 0, self.axis)

    def infer_shape(self, x: Any) -> Any:
        _arguments.require_array(x, "Halo")
        self._check(x)
        return self._resized(x, sum(self.width))

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self._resized(y, -sum(self.width))

    def _resized(self, x: Any, rows: int) -> Any:
        return _arguments.resized(x, (self.axis,), (x.shape[self.axis] + rows,))

    def _check(self, x: Any) -> None:
        _arguments.axis_of(x, self.axis, "Halo.axis")
        whole, widest = x.shape[self.axis] * self._devices(), max(self.width)
        if widest > whole - (self.boundary == "reflect"):
            message = (
                f"Halo.width {self.width} is too wide: the whole array has {whole} rows along axis {self.axis}"
                f"{', of which all but one can be reflected' if self.boundary == 'reflect' else ''}. Use a narrower one."
            )
            raise ValueError(message)

    def _devices(self) -> int:
        try:
            return jax.lax.axis_size(self.axis_name)
        except NameError:
            known = ", ".join(map(repr, jax.sharding.get_abstract_mesh().manual_axes)) or "none"
            message = (
                f"Halo.axis_name is {self.axis_name!r}, and there is no such mesh axis here (found {known}). Apply it inside "
                "jax.shard_map, or as lo.sharded(A, mesh, in_specs, out_specs)."
            )
            raise ValueError(message) from None

    # ---- along the first axis ------------------------------------------------------------------------------------------

    def _extended(self, x: Any) -> Any:
        before, after = self.width
        # What a reflection shows at one end may lie as far on the other side.
        l, r = (max(self.width),) * 2 if self.boundary == "reflect" else self.width  # noqa: E741
        y = jnp.concatenate([self._received(x, l, forward=True), x, self._received(x, r, forward=False)])
        if self.boundary in ("edge", "reflect"):
            y = self._filled(y, l, len(x))
        return y[l - before : len(y) - (r - after)]

    def _received(self, x: Any, rows: int, *, forward: bool) -> Any:
        """The rows in front of this part, which the parts there send forward; or those behind it. Zero beyond the ends."""
        parts, devices = [], self._devices()
        for hop in range(1, -(-rows // len(x)) + 1):
            shift = hop if forward else -hop
            targets = ((i, i + shift) for i in range(devices))
            is_open = self.boundary != "periodic"
            pairs = [(i, to % devices) for i, to in targets if 0 <= to < devices or not is_open]
            some = min(len(x), rows - (hop - 1) * len(x))
            parts.append(jax.lax.ppermute(x[len(x) - some :] if forward else x[:some], self.axis_name, pairs))
        return jnp.concatenate(parts[::-1] if forward else parts) if parts else x[:0]

    def _filled(self, y: Any, before: int, rows: int) -> Any:
        """The part with its halo, where rows beyond the ends of the whole array are copies of those inside."""
        first = jax.lax.axis_index(self.axis_name) * rows - before
        last = rows * self._devices() - 1
        at = first + jnp.arange(len(y))
        inside = jnp.clip(at, 0, last) if self.boundary == "edge" else last - jnp.abs(last - jnp.abs(at))
        return jnp.take(y, inside - first, axis=0, mode="clip")

    @classmethod
    def examples(cls) -> Any:
        auto = (jax.sharding.AxisType.Auto,)
        mesh = jax.make_mesh((min(2, jax.device_count()),), ("rows",), axis_types=auto)
        for op in (cls(1, "rows"), cls((2, 0), "rows", boundary="periodic"), cls((1, 3), "rows", -2, "reflect")):
            yield lo.sharded(op, mesh, jax.P("rows"), jax.P("rows")), jax.ShapeDtypeStruct((4, 3), jnp.complex64)
