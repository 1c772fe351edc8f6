"""What a function in plain JAX gives, worked out in NumPy: nothing is compiled, and every step is rounded from double precision.

A program has dozens of small arrays of its own shapes. XLA takes 20 ms to compile each operation on them, NumPy 20 µs.
"""

import string

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np


def plan(function, x):
    """The function for arrays like x: a function that gives NumPy arrays."""
    closed, spec = jax.make_jaxpr(function, return_shape=True)(x)
    structure = jax.tree.structure(spec)
    return lambda x: jax.tree.unflatten(structure, _run(closed.jaxpr, closed.consts, jax.tree.leaves(x)))


def _run(jaxpr, consts, arguments):
    known = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
    known |= zip(jaxpr.invars, map(np.asarray, arguments), strict=True)
    read = lambda atom: np.asarray(atom.val) if isinstance(atom, jax.extend.core.Literal) else known[atom]  # noqa: E731
    with np.errstate(all="ignore"):
        for eqn in jaxpr.eqns:
            results = _evaluate(eqn, [read(atom) for atom in eqn.invars])
            known |= {var: _rounded(value, var.aval) for var, value in zip(eqn.outvars, results, strict=True)}
    return [_rounded(read(atom), atom.aval) for atom in jaxpr.outvars]


def _evaluate(eqn, arguments):
    name = eqn.primitive.name
    for inner in ("jaxpr", "call_jaxpr"):
        if inner in eqn.params and name in CALLS:
            closed = eqn.params[inner]
            return _run(closed.jaxpr, closed.consts, arguments)
    if name in ELEMENTWISE:
        return [ELEMENTWISE[name](*map(_wide, arguments))]
    if name in RULES and (value := RULES[name](*arguments, **eqn.params)) is not None:
        return value if isinstance(value, list) else [value]
    values = eqn.primitive.bind(*map(jnp.asarray, arguments), **eqn.params)  # whatever is rare
    return values if eqn.primitive.multiple_results else [values]


def _wide(x):
    if jnp.issubdtype(x.dtype, np.complexfloating):
        return x.astype(np.complex128)
    return x.astype(np.float64) if jnp.issubdtype(x.dtype, np.floating) else x


def _rounded(value, aval):
    value = np.asarray(value)
    if np.iscomplexobj(value) and not jnp.issubdtype(aval.dtype, np.complexfloating):
        value = value.real
    return value.astype(aval.dtype).reshape(aval.shape)


CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "core_call", "remat", "checkpoint"}

ELEMENTWISE = {
    "mul": np.multiply, "add": np.add, "add_any": np.add, "sub": np.subtract, "neg": np.negative, "sin": np.sin, "cos": np.cos,
    "conj": np.conj, "real": np.real, "imag": np.imag, "complex": lambda x, y: x + 1j * y, "square": np.square,
    "gt": np.greater, "lt": np.less, "ge": np.greater_equal, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal,
    "and": np.bitwise_and, "or": np.bitwise_or, "div": np.divide, "sqrt": np.sqrt, "copy": np.asarray,
}  # fmt: skip


def _broadcast_in_dim(x, *, shape, broadcast_dimensions, **_):
    aligned = [1] * len(shape)
    for size, axis in zip(x.shape, broadcast_dimensions, strict=True):
        aligned[axis] = size
    return np.broadcast_to(x.reshape(aligned), shape)


def _dot_general(a, b, *, dimension_numbers, **_):
    (of_a, of_b), (batch_a, batch_b) = dimension_numbers
    letters = iter(string.ascii_letters)
    left, right = [next(letters) for _ in a.shape], [next(letters) for _ in b.shape]
    for i, j in zip((*of_a, *batch_a), (*of_b, *batch_b), strict=True):
        right[j] = left[i]
    free_a = [left[i] for i in range(a.ndim) if i not in (*of_a, *batch_a)]
    free_b = [right[j] for j in range(b.ndim) if j not in (*of_b, *batch_b)]
    result = [left[i] for i in batch_a] + free_a + free_b
    return np.einsum(f"{''.join(left)},{''.join(right)}->{''.join(result)}", _wide(a), _wide(b))


def _cumsum(x, *, axis, reverse):
    x = _wide(x)
    return np.flip(np.cumsum(np.flip(x, axis), axis), axis) if reverse else np.cumsum(x, axis)


def _fft(x, *, fft_type, fft_lengths):
    functions = {"FFT": np.fft.fft, "IFFT": np.fft.ifft}
    if len(fft_lengths) != 1 or fft_type.name not in functions:
        return None
    return functions[fft_type.name](x.astype(np.complex128), axis=-1)


def _pad(x, value, *, padding_config):
    if any(low < 0 or high < 0 or inner for low, high, inner in padding_config):
        return None
    return np.pad(x, [(low, high) for low, high, _ in padding_config], constant_values=value)


def _slice(x, *, start_indices, limit_indices, strides):
    strides = strides or (1,) * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, strides))]


def _iota(*, dtype, shape, dimension, **_):
    along = np.arange(shape[dimension]).reshape([-1 if axis == dimension else 1 for axis in range(len(shape))])
    return np.broadcast_to(along, shape).astype(dtype)


def _select_n(which, *cases):
    return np.where(which, *cases[::-1]) if len(cases) == 2 else None


RULES = {
    "broadcast_in_dim": _broadcast_in_dim,
    "dot_general": _dot_general,
    "cumsum": _cumsum,
    "fft": _fft,
    "pad": _pad,
    "select_n": _select_n,
    "slice": _slice,
    "iota": _iota,
    "convert_element_type": lambda x, **_: x,
    "reshape": lambda x, *, new_sizes, **_: x.reshape(new_sizes),
    "squeeze": lambda x, *, dimensions: np.squeeze(x, dimensions),
    "transpose": lambda x, *, permutation: x.transpose(permutation),
    "rev": lambda x, *, dimensions: np.flip(x, dimensions),
    "concatenate": lambda *xs, dimension: np.concatenate(xs, dimension),
    "split": lambda x, *, sizes, axis: np.split(x, np.cumsum(sizes)[:-1], axis),
    "reduce_prod": lambda x, *, axes, **_: np.prod(_wide(x), axes),
    "reduce_sum": lambda x, *, axes, **_: np.sum(_wide(x), axes),
    "integer_pow": lambda x, *, y: np.power(_wide(x), y),
}
