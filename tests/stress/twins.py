"""Twins: the algebra of operators once more, on functions in plain JAX. Nothing here knows linops_jax.

A twin is a function and, where it is fixed, specs of its input. Adjoints are what the contract says: conj(vjp(conj y)).
"""

import contextlib
import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np


class ElsewhereError(TypeError):
    """A twin is applied to what is not in its space, or told of another one than its operator would find out."""


class Twin:
    __array_ufunc__ = None  # NumPy's scalars leave products to us

    def __init__(self, function, domain=None):
        self.function, self.domain = function, domain

    def __call__(self, x):
        return self.function(x if self.domain is None else onto(x, self.domain))

    def with_domain(self, spec):
        return Twin(self, spec)

    def only(self, spec):
        """What an adjoint that nobody told its domain is on inputs in one space."""

        def function(x):
            if specs(x) != spec:
                message = f"expected {spec}, found {specs(x)}"
                raise ElsewhereError(message)
            return self(x)

        return Twin(function)

    @property
    def H(self):
        assert self.domain is not None, "a twin's domain must be fixed before its adjoint is taken"
        zero = jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), self.domain)
        y, pull_back = jax.eval_shape(self, zero), lambda y: jax.vjp(self, zero)[1](y)[0]
        return Twin(lambda y: conj(pull_back(conj(y))), specs(y))

    @property
    def T(self):
        return self.H.conj()

    @property
    def gram(self):
        return self.H @ self

    def conj(self):
        return Twin(lambda x: conj(self(conj(x))), self.domain)

    def jacobian(self, x):
        return Twin(lambda dx: jax.jvp(self, (x,), (dx,))[1], specs(x))

    def __add__(self, other):
        return Twin(lambda x: add(self(x), other(x)), other.domain if self.domain is None else self.domain)

    def __neg__(self):
        return -1 * self

    def __sub__(self, other):
        return self + (-other)

    def __rmul__(self, scalar):
        return Twin(lambda x: strong(jax.tree.map(lambda y: scalar * y, self(x))), self.domain)

    def __truediv__(self, scalar):
        return (1 / scalar) * self

    def __matmul__(self, other):
        return Twin(lambda x: self(other(x)), other.domain)

    def __pow__(self, n):
        return functools.reduce(Twin.__matmul__, [self] * n)


def vstack(ops):
    domains = [op.domain for op in jax.tree.leaves(ops) if op.domain is not None]
    return Twin(lambda x: jax.tree.map(lambda op: op(x), ops), domains[0] if domains else None)


def hstack(ops):
    return Twin(
        lambda x: functools.reduce(add, jax.tree.leaves(_each(ops, x), is_leaf=_is_result)).value, _together(ops)
    )


def block_diag(ops):
    return Twin(lambda x: jax.tree.map(lambda r: r.value, _each(ops, x), is_leaf=_is_result), _together(ops))


def block(rows):
    """Rows are lists; None stands for zero."""

    def function(x):
        return [functools.reduce(add, [op(part) for op, part in zip(row, x, strict=True) if op]) for row in rows]

    columns = [[op.domain for op in column if op and op.domain is not None] for column in zip(*rows, strict=True)]
    return Twin(function, [column[0] for column in columns] if all(columns) else None)


def along_axis(op, axis):
    """Of a matrix."""
    return Twin(lambda x: jax.vmap(op, (1 + axis) % 2, (1 + axis) % 2)(x))


def Times(ops):
    return Twin(lambda x: strong(jax.tree.map(jnp.multiply, *(op(x) for op in ops))))


def kron(a, b):
    """One factor after the other, in an order in which no complex number meets a real domain."""

    def order(x):
        for pair in ((b, 1), (a, 0)), ((a, 0), (b, 1)):
            (first, i), (last, j) = pair
            result = jax.ShapeDtypeStruct(x.shape, x.dtype)
            if _takes(first, result) and _takes(last, jax.eval_shape(along_axis(first, i), result)):
                return Twin(along_axis(last, j) @ along_axis(first, i))
        message = "no order of these factors is possible"
        raise ElsewhereError(message)

    domain = None
    if a.domain is not None and b.domain is not None:
        largest = jnp.result_type(a.domain.dtype, b.domain.dtype)
        for dtype in (b.domain.dtype, a.domain.dtype, largest):  # the last one that is possible
            with contextlib.suppress(ElsewhereError):
                domain = order(jax.ShapeDtypeStruct((3, 3), dtype)) and jax.ShapeDtypeStruct((3, 3), dtype)
    return Twin(lambda x: order(x)(x), domain)


def _takes(op, spec):
    return op.domain is None or can_cast(spec.dtype, op.domain.dtype)


def Affine(op, b):
    return Twin(lambda x: strong(add(op(x), b)), op.domain)


def freeze(op, values):
    """Of an operator of two inputs, one of them fixed."""
    ((slot, value),) = values.items()
    return Twin(lambda x: op((value, x) if slot == 0 else (x, value)), op.domain and op.domain[1 - slot])


def declare(op, **properties):
    return op


def Function(function, x, real_linear=False):
    return Twin(lambda x: strong(function(x)), specs(x))


def strong(tree):
    """In dtypes that do not give way to others, as those of operators."""
    return jax.tree.map(lambda leaf: leaf.astype(leaf.dtype), tree)


class _Result:
    """Keeps a pytree from being looked into."""

    def __init__(self, value):
        self.value = value


def _is_result(value):
    return isinstance(value, _Result)


def _each(ops, x):
    leaves, structure = jax.tree.flatten(ops)
    return jax.tree.unflatten(
        structure, [_Result(op(y)) for op, y in zip(leaves, structure.flatten_up_to(x), strict=True)]
    )


def _together(ops):
    leaves, structure = jax.tree.flatten(ops)
    domains = [op.domain for op in leaves]
    return None if any(domain is None for domain in domains) else jax.tree.unflatten(structure, domains)


def specs(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), jnp.result_type(leaf)), tree)


def onto(x, spec):
    """x in the precision of a space; a real space holds no complex numbers."""

    def cast(leaf, s):
        if not can_cast(leaf.dtype, s.dtype):
            message = f"expected {s.dtype}, found {leaf.dtype}"
            raise ElsewhereError(message)
        return leaf.astype(s.dtype)

    return jax.tree.map(cast, x, spec)


def can_cast(found, wanted, rule="same_kind"):
    """NumPy's rule, with bfloat16, of which NumPy knows nothing, as the other half precision."""
    return np.can_cast(*(np.float16 if dtype == ml_dtypes.bfloat16 else dtype for dtype in (found, wanted)), rule)


def conj(tree):
    return jax.tree.map(jnp.conj, tree)


def add(a, b):
    if isinstance(a, _Result):
        return _Result(add(a.value, b.value))
    return jax.tree.map(jnp.add, a, b)
