"""Advice in error messages: what to write instead of values, names and operations that only other libraries accept."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

_MATRIX = "lo.Matrix(a) makes an operator of a dense array"

# Attributes of operators in other libraries. A is the operator, x an input, y a result.
_NAMES = {
    "matvec": "A(x) or A @ x",
    "rmatvec": "A.H(y)",
    "matmat": "jax.vmap(A, 1, 1)(X)",
    "rmatmat": "jax.vmap(A.H, 1, 1)(Y)",
    "dot": "A @ x, and A @ B for a product of operators",
    "adj": "A.H(y)",
    "times": "A(x)",
    "adjoint_times": "A.H(y)",
    "shape": "A.domain and A.codomain, which with_domain(spec) fixes; lo.todense(A).shape is that of the matrix",
    "dtype": "A.domain and A.codomain, which with_domain(spec) fixes: every array has its own",
    "dims": "A.domain, which with_domain(spec) fixes",
    "dimsd": "A.codomain, which with_domain(spec) fixes",
    "input_shape": "A.domain, which with_domain(spec) fixes",
    "output_shape": "A.codomain, which with_domain(spec) fixes",
    "todense": "lo.todense(A)",
    "toarray": "lo.todense(A)",
    "tosparse": "lo.tosparse(A)",
    "diagonal": "lo.diagonal(A)",
    "trace": "lo.trace(A)",
    "norm": "lo.norm(A)",
    "cond": "lo.condition_number(A)",
    "eigs": "lo.svds(A, k), or lo.eigsh(A, k) where A is symmetric",
    "solve": "lo.solve(A, y)",
    "lstsq": "lo.solve(A, y)",
    "dottest": "lo.dot_test(A)",
    "gram_op": "A.gram",
    "jvp": "A.jacobian(x)(dx)",
    "vjp": "A.jacobian(x).H(dy)",
    "prox": "f.prox(x, step) of a functional f that is a part of it; sums and compositions have no formula for theirs",
}
_NUMPY = {
    **dict.fromkeys(["dot", "vdot", "inner", "tensordot", "einsum"], "A @ x"),
    **dict.fromkeys(["vstack", "hstack", "block", "kron"], "lo.{}"),
    **dict.fromkeys(["trace", "norm"], "lo.{}(A)"),
    **dict.fromkeys(["diag", "diagonal"], "lo.diagonal(A)"),
    **dict.fromkeys(["solve", "lstsq"], "lo.solve(A, y)"),
    **dict.fromkeys(["stack", "concatenate"], "lo.vstack([A, B])"),
    **dict.fromkeys(["inv", "pinv"], "A.inv, or lo.solve(A, y)"),
    "transpose": "A.T",
    "cond": "lo.condition_number(A)",
    "svd": "lo.svds(A, k)",
    "eigh": "lo.eigsh(A, k)",
    "shape": "A.domain and A.codomain",
}


def for_name(label: str, name: str) -> str | None:
    """The error message for an attribute that operators of other libraries have, or None for other attributes."""
    if name not in _NAMES:
        return None
    return f"{label} has no attribute {name!r}. Write {_NAMES[name]}."


def refuse_numpy(function: Any, label: str) -> NoReturn:
    """Raises TypeError for a NumPy function of an operator, which NumPy would treat as a number."""
    name = function.__name__
    instead = _NUMPY.get(name, "lo.todense(A) for the matrix").format(name)
    message = f"NumPy's {name} does not take operators, found {label}. Write {instead}."
    raise TypeError(message)


def for_value(value: Any) -> str:
    """Advice for a value that is not an array; empty if there is none."""
    if is_masked(value):
        return "JAX has no masked arrays: pass x.filled(0), with lo.Diagonal(weights) @ A if masked entries must not count."
    if is_sparse(value):
        return "lo.interop.from_scipy(S) makes an operator of a sparse matrix, S.toarray() an array."
    if is_key(value):
        return "Draw numbers with it, as jax.random.normal(key, shape), or keep jax.random.key_data(key)."
    if isinstance(value, jax.ShapeDtypeStruct):
        return (
            "A spec has no values: jnp.zeros(spec.shape, spec.dtype) is an array, A.with_domain(spec).codomain a spec."
        )
    if isinstance(value, _scipy_operator()):
        return f"lo.interop.{_converter(value)} makes an operator of it."
    return ""


def short(value: Any) -> str:
    """The beginning of a value's ``repr``, on one line, for messages."""
    return " ".join(repr(value).split())[:80]


def is_masked(value: Any) -> bool:
    return isinstance(value, np.ma.MaskedArray)


def is_key(value: Any) -> bool:
    return isinstance(value, jax.Array) and not isinstance(value.dtype, np.dtype)


def is_sparse(value: Any) -> bool:
    if type(value).__module__.startswith("jax.experimental.sparse"):
        return True
    scipy_sparse = sys.modules.get("scipy.sparse")  # if it is not imported, the value cannot be a sparse matrix
    return scipy_sparse is not None and scipy_sparse.issparse(value)


def is_operator(value: Any) -> bool:
    return hasattr(type(value), "_hooks")


def _scipy_operator() -> Any:
    linalg = sys.modules.get("scipy.sparse.linalg")
    return () if linalg is None else linalg.LinearOperator


def _converter(value: Any) -> str:
    is_pylops = any(cls.__module__.startswith("pylops") for cls in type(value).__mro__)
    return "from_pylops(L)" if is_pylops else "from_scipy(L)"


# ---- operations -----------------------------------------------------------------------------------------------------

_OPERATIONS: dict[tuple[str, ...], str] = {
    ("*", "operator", "operator"): "A @ B composes.",
    ("*", "operator", "array"): "A @ x applies; lo.Diagonal(d) @ A multiplies the results entry by entry.",
    ("*", "array", "operator"): "lo.Diagonal(d) @ A multiplies the results entry by entry; A @ x applies.",
    ("@", "array", "operator"): f"A.T @ x is what x @ A means for a matrix; {_MATRIX}.",
    ("@", "operator", "number"): "2 * A scales; A(x) applies to a number.",
    ("@", "number", "operator"): "2 * A scales.",
    ("@", "operator", "container"): "A(x) applies to any pytree of arrays.",
    ("@", "container", "operator"): f"A.T(x) is what x @ A means for a matrix; {_MATRIX}.",
    ("+", "operator", "number"): "A + a * lo.Identity(), or lo.Affine(A, b) for x -> A x + b.",
    ("+", "operator", "array"): f"lo.Affine(A, b) is x -> A x + b; {_MATRIX}, lo.Diagonal(d) one of a diagonal.",
    ("/", "operator", "operator"): "B.inv @ A, or lo.solve(B, y).",
    ("/", "operator", "array"): "lo.solve(A, y) solves A x = y; lo.Diagonal(1 / d) @ A divides entry by entry.",
    ("/", "number", "operator"): "A.inv is the inverse as an operator; lo.solve(A, y) solves A x = y.",
    ("/", "array", "operator"): "lo.solve(A, y) solves A x = y.",
    ("**", "operator", "number"): "Powers are integers.",
    ("**", "operator", "array"): "Powers are integers.",
}


def refuse_operation(symbol: str, left: Any, right: Any) -> Any:
    """Raises TypeError for an operation between an operator and an operand that is known not to support it.

    Returns NotImplemented for all other operands, so that Python asks the other operand.
    """
    kinds = _kind(left), _kind(right)
    in_order = sorted(kinds, reverse=True) if symbol in ("+", "-") else kinds  # operators first
    advice = _OPERATIONS.get(("+" if symbol == "-" else symbol, *in_order))
    if "foreign operator" in kinds:
        advice = for_value(right if kinds[0] == "operator" else left)
    if advice is None:
        return NotImplemented
    message = f"unsupported operands: {_show(left)} {symbol} {_show(right)}. {advice}"
    raise TypeError(message)


def _kind(value: Any) -> str:
    if is_operator(value):
        return "operator"
    if is_sparse(value) or isinstance(value, _scipy_operator()):
        return "foreign operator"
    if isinstance(value, np.ndarray | jax.Array):
        return "array"
    if isinstance(value, bool | int | float | complex | np.generic):
        return "number"
    return "container" if isinstance(value, list | tuple | dict) else ""


def _show(value: Any) -> str:
    if is_operator(value):
        return type(value)._label
    if isinstance(value, np.ndarray | jax.Array):
        return f"an array of shape {jnp.shape(value)}"
    kind = _kind(value)
    return f"{value!r:.40}" if kind == "number" else f"a {type(value).__name__}"
