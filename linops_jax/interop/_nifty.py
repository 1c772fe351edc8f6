"""NIFTy, its classical interface: to_nifty."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import nifty.cl as ift
import numpy as np

import linops_jax as lo
from linops_jax._types import Specs
from linops_jax.interop import _arguments
from linops_jax.interop._eager import as_raised


def to_nifty(op: Any, spec: Specs | None = None, *, domain: Any = None, target: Any = None) -> Any:
    """An operator of ``nifty.cl``.

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        The operator.
    spec : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``op`` does not know it.
    domain : nifty.cl.Domain, or what makes one, optional
        NIFTy's domain of inputs; by default an ``UnstructuredDomain`` for every array.
    target : nifty.cl.Domain, or what makes one, optional
        NIFTy's domain of results, likewise.

    Returns
    -------
    nifty.cl.LinearOperator or nifty.cl.Operator
        The former, with an adjoint, for a linear ``op``; the latter, with Jacobians, for a nonlinear one. An array is a
        Field. Any other pytree is a MultiField: a dict of arrays with its own keys, the leaves of others under their
        path, ``"0"`` and ``"1"`` for a pair.

    Raises
    ------
    TypeError
        If ``op`` is not an operator, its domain is unknown, or it is linear and has integers.
    ValueError
        If NIFTy's domains have other shapes.

    Warns
    -----
    UserWarning
        If the domain is in 64 bits and JAX is not.

    Notes
    -----
    Fields are converted to the dtypes of the spec, which NIFTy's domains do not have. NIFTy computes in float64 unless
    told otherwise, so switch ``jax_enable_x64`` on. ``to_nifty_re`` is for ``nifty.re``.
    """
    linear = isinstance(op, lo.LinearOperator)
    op = (_arguments.linear if linear else _arguments.operator)(op, spec, "to_nifty")
    sides = _Fields(op.domain, domain, "domain"), _Fields(op.codomain, target, "target")
    return (LinearOperatorForNifty if linear else OperatorForNifty)(op, *sides)


class _Fields:
    """One side of an operator: pytrees of arrays as fields on a domain, and back."""

    def __init__(self, spec: Any, domain: Any, name: str):
        paths, self._tree = jax.tree_util.tree_flatten_with_path(spec)
        self._specs = [leaf for _, leaf in paths]
        self._keys = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
        self._is_multi = self._tree != jax.tree.structure(0)
        self._x64 = jnp.result_type(float) == np.float64
        shapes = {key: tuple(leaf.shape) for key, leaf in zip(self._keys, self._specs, strict=True)}
        if domain is None:
            domains = {key: ift.UnstructuredDomain(shape) if shape else () for key, shape in shapes.items()}
            domain = domains if self._is_multi else domains[""]
        self.domain: Any = ift.makeDomain(domain)
        found = {key: d.shape for key, d in self.domain.items()} if self._is_multi_domain else {"": self.domain.shape}
        if found != shapes:
            message = f"to_nifty: the {name} given has the shapes {found}, but the operator's are {shapes}."
            raise ValueError(message)

    @property
    def _is_multi_domain(self) -> bool:
        return isinstance(self.domain, ift.MultiDomain)

    def arrays(self, field: Any) -> Any:
        """The pytree of a field, in the operator's dtypes."""
        values = field.asnumpy() if self._is_multi else {"": field.asnumpy()}
        for key, spec in zip(self._keys, self._specs, strict=True):
            if np.iscomplexobj(values[key]) and not jnp.issubdtype(spec.dtype, jnp.complexfloating):
                at = f" at {key!r}" if key else ""
                message = f"to_nifty: found a complex field{at}, expected {spec.dtype}. Give the spec a complex dtype."
                raise TypeError(message)
        leaves = [np.asarray(values[key]).astype(spec.dtype) for key, spec in zip(self._keys, self._specs, strict=True)]
        return jax.tree.unflatten(self._tree, leaves)

    def field(self, tree: Any) -> Any:
        arrays = map(np.array, jax.tree.leaves(tree))
        values = dict(zip(self._keys, arrays, strict=True))
        return ift.makeField(self.domain, values if self._is_multi else values[""])

    def call(self, function: Any, *arguments: Any) -> Any:
        """Calls the function in the precision that was switched on when the operator was made."""
        with jax.enable_x64(self._x64):
            return function(*arguments)


class LinearOperatorForNifty(ift.LinearOperator):
    """A linear operator in ``nifty.cl``; ``op`` is the operator with its domain."""

    def __init__(self, op: lo.LinearOperator, inputs: _Fields, results: _Fields):
        self.op, self._inputs, self._results = op, inputs, results
        self._domain, self._target = inputs.domain, results.domain
        self._capability = self.TIMES | self.ADJOINT_TIMES

    def apply(self, x: Any, mode: int) -> Any:
        self._check_input(x, mode)
        if mode == self.TIMES:
            return self._results.field(self._inputs.call(_forward, self.op, self._inputs.arrays(x)))
        return self._inputs.field(self._inputs.call(_reverse, self.op, self._results.arrays(x)))

    def __repr__(self) -> str:
        return repr(self.op)


class OperatorForNifty(ift.Operator):
    """A nonlinear operator in ``nifty.cl``; ``op`` is the operator with its domain."""

    def __init__(self, op: lo.NonlinearOperator, inputs: _Fields, results: _Fields):
        self.op, self._inputs, self._results = op, inputs, results
        self._domain, self._target = inputs.domain, results.domain

    def apply(self, x: Any) -> Any:
        self._check_input(x)
        arrays = self._inputs.arrays(x if x.jac is None else x.val)
        value = self._results.field(self._inputs.call(_forward, self.op, arrays))
        if x.jac is None:
            return value
        jacobian = self._inputs.call(self.op.jacobian, arrays)
        return x.new(value, LinearOperatorForNifty(jacobian, self._inputs, self._results))

    def __repr__(self) -> str:
        return repr(self.op)


@as_raised
@jax.jit
def _forward(op: Any, x: Any) -> Any:
    return op(x)


@as_raised
@jax.jit
def _reverse(op: Any, y: Any) -> Any:
    return op.H(y)
