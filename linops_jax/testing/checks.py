"""One function per identity that an operator must satisfy. Each raises AssertionError saying what was found."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax import _hooks, _specs
from linops_jax.testing import _probes
from linops_jax.testing._dot_test import dot_test

_LOOSE = 100.0  # eps, where two ways of computing are compared: sums in another order
_DENSE = 4096  # entries up to which matrices are compared


def _close(found: Any, expected: Any, what: str, rtol: float | None = None) -> None:
    if jax.tree.structure(found) != jax.tree.structure(expected):
        message = f"{what}: structure {jax.tree.structure(found)}, expected {jax.tree.structure(expected)}"
        raise AssertionError(message)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        at = jax.tree_util.keystr(path)
        if a.shape != b.shape or a.dtype != b.dtype:
            message = f"{what}{at}: {_specs.describe(a)}, expected {_specs.describe(b)}"
            raise AssertionError(message)
    error = _probes.norm(_probes.subtract(found, expected))
    scale = max(_probes.norm(expected), _probes.norm(found))
    tolerance = (_LOOSE * _probes.eps(expected) if rtol is None else rtol) * scale
    if not error <= tolerance:
        message = f"{what}: they differ by {error:.2e}, which exceeds {tolerance:.2e}"
        raise AssertionError(message)


def _random(op: Any, spec: Any, seed: int) -> Any:
    return _probes.draw(np.random.default_rng(seed), spec)


# ---- the hooks themselves -------------------------------------------------------------------------------------------


def check_promises(op: Any, spec: Any) -> None:
    """Every host hook, called with NumPy alone on read-only inputs, returns the promised shapes, or fills all of its output."""
    x = _random(op, spec, 0)
    _compare_hook(op, "apply", (x,), op._infer_shape(spec), op._forward(x))
    if "adjoint" in type(op)._hooks:
        y = _random(op, op._infer_shape(spec), 1)
        _compare_hook(op, "adjoint", (y,), spec, op._reverse(y, spec))


def _compare_hook(op: Any, name: str, arguments: tuple[Any, ...], promise: Any, through_jax: Any) -> None:
    hook = type(op)._hooks.get(name)
    if hook is None or hook.kind != _hooks.HOST or type(op)._traits.batched:
        return
    own = jax.tree.map(_readonly, op)
    views = [jax.tree.map(_readonly, argument) for argument in arguments]
    if hook.takes_out:
        for poison in (np.nan, 7):
            out = jax.tree.map(lambda s, p=poison: _poisoned(s, p), promise)
            hook.function(own, *views, out=out)
            _close(jax.tree.map(jnp.asarray, out), through_jax, f"{hook.label} on poisoned output and through JAX")
    else:
        result = jax.tree.map(lambda s, r: np.asarray(r), promise, hook.function(own, *views))
        for (path, found), expected in zip(
            jax.tree_util.tree_leaves_with_path(result), jax.tree.leaves(promise), strict=True
        ):
            if found.shape != expected.shape:
                message = (
                    f"{hook.label}{jax.tree_util.keystr(path)} returned shape {found.shape}; promised {expected.shape}"
                )
                raise AssertionError(message)


def _readonly(leaf: Any) -> np.ndarray:
    array = np.array(leaf)
    array.flags.writeable = False
    return array


def _poisoned(spec: Any, poison: float) -> np.ndarray:
    out = np.zeros(spec.shape, spec.dtype)
    out[...] = poison if jnp.issubdtype(spec.dtype, np.inexact) else 1
    return out


# ---- linear ---------------------------------------------------------------------------------------------------------


def check_linear(op: Any, spec: Any) -> None:
    """A(a x + b z) = a A x + b A z, for complex a and b unless declared linear over the reals."""
    x, z = _random(op, spec, 0), _random(op, spec, 1)
    inexact = all(_specs.is_inexact(leaf.dtype) for leaf in jax.tree.leaves(spec))
    if not inexact:
        return
    complex_scalars = not op._is_real_linear and not _probes.has_real(spec)
    a, b = (0.7 - 0.4j, -0.2 + 1.1j) if complex_scalars else (0.7, -1.3)
    combine = lambda u, v: jax.tree.map(lambda p, q: (a * p + b * q).astype(p.dtype), u, v)  # noqa: E731
    found, expected = op(combine(x, z)), combine(op(x), op(z))
    error = _probes.norm(_probes.subtract(found, expected))
    scale = abs(a) * _probes.norm(op(x)) + abs(b) * _probes.norm(op(z))
    tolerance = _LOOSE * _probes.eps(spec, expected) * scale
    if not error <= tolerance:
        zero = _probes.norm(op(jax.tree.map(jnp.zeros_like, x)))
        offset = f"; A(0) has norm {zero:.2e} instead of 0" if zero > tolerance else ""
        field = "complex" if complex_scalars else "real"
        message = f"not linear: A(a x + b z) and a A x + b A z, {field} a and b, differ by {error:.2e} > {tolerance:.2e}{offset}"
        raise AssertionError(message)


def check_adjoint(op: Any, spec: Any) -> None:
    """<A u, v> = <u, A^H v> for random u and v."""
    result = dot_test(op, spec)
    if not result.passed:
        worst = max(result.probes, key=lambda probe: probe.error if np.isfinite(probe.error) else np.inf)
        message = (
            f"<A u, v> = {worst.forward:.6g} but <u, A^H v> = {worst.adjoint:.6g}: error {worst.error:.2e} exceeds "
            f"{result.tolerance:.2e} ({result.reason}); {result.diagnosis}"
        )
        raise AssertionError(message)


def check_dense_adjoint(op: Any, spec: Any) -> None:
    """The matrix of A^H is the conjugate transpose of the matrix of A, entry by entry (small sizes)."""
    out = op._infer_shape(spec)
    n, m = _real_size(spec), _real_size(out)
    if n * m == 0 or n * m > _DENSE or not _all_inexact(spec) or not _all_inexact(out):
        return
    a = _real_matrix(op._forward, spec, m)
    ah = _real_matrix(lambda y: op._reverse(y, spec), out, n)
    declared = type(op)._traits.adjoint_rtol
    tolerance = (_probes.MARGIN * _probes.eps(spec, out) if declared is None else declared) * max(
        np.abs(a).max(), 1e-300
    )
    tolerance *= np.sqrt(max(n, m))
    wrong = np.argwhere(~(np.abs(ah - a.T) <= tolerance))
    if len(wrong):
        i, j = wrong[0]
        message = (
            f"adjoint[{i},{j}] = {ah[i, j]:.6g}, expected {a[j, i]:.6g} = conj(A[{j},{i}]) ({len(wrong)} wrong of {ah.size} "
            "entries; complex entries count as pairs of reals)"
        )
        raise AssertionError(message)


def _all_inexact(spec: Any) -> bool:
    return all(_specs.is_inexact(leaf.dtype) for leaf in jax.tree.leaves(spec))


def _real_size(spec: Any) -> int:
    return sum(int(np.prod(leaf.shape)) * (2 if _specs.is_complex(leaf.dtype) else 1) for leaf in jax.tree.leaves(spec))


def _real_matrix(function: Callable[[Any], Any], spec: Any, rows: int) -> np.ndarray:
    """The matrix over the reals, complex numbers as (real, imaginary) pairs."""
    leaves, tree = jax.tree.flatten(spec)
    columns = []
    for index, leaf in enumerate(leaves):
        units = (1.0, 1j) if _specs.is_complex(leaf.dtype) else (1.0,)
        for position, unit in itertools.product(range(int(np.prod(leaf.shape))), units):
            vector = [np.zeros(s.shape, s.dtype) for s in leaves]
            vector[index].reshape(-1)[position] = unit
            result = jax.tree.leaves(function(jax.tree.unflatten(tree, list(map(jnp.asarray, vector)))))
            columns.append(np.concatenate([_pairs(r) for r in result]))
    return np.stack(columns, axis=1).reshape(rows, -1)


def _pairs(array: Any) -> np.ndarray:
    flat = _probes.double(array).reshape(-1)
    return np.stack([np.real(flat), np.imag(flat)], axis=-1).reshape(-1) if np.iscomplexobj(flat) else flat


def check_adjoint_of_adjoint(op: Any, spec: Any) -> None:
    """A.H.H = A."""
    x = _random(op, spec, 0)
    _close(op.H.H(x), op(x), "A.H.H(x) and A(x)")


def check_transpose(op: Any, spec: Any) -> None:
    """jax.linear_transpose gives A^T = conj A^H conj."""
    if not _all_inexact(spec):
        return
    y = _random(op, op._infer_shape(spec), 2)
    found = jax.linear_transpose(op, spec)(y)[0]
    _close(found, op.with_domain(spec).T(y), "jax.linear_transpose(A)(y) and A.T(y)")


# ---- JAX ------------------------------------------------------------------------------------------------------------


def check_jit(op: Any, spec: Any) -> None:
    """jit(A)(x) = A(x), with the operator as a closure and as an argument."""
    x = _random(op, spec, 0)
    expected = op(x)
    _close(jax.jit(lambda x: op(x))(x), expected, "jit(A)(x) and A(x)")
    _close(jax.jit(lambda op, x: op(x))(op, x), expected, "jit with the operator as an argument, and A(x)")


def check_vmap(op: Any, spec: Any) -> None:
    """vmap(A) = a loop over A, over leading and trailing axes, and under jit."""
    xs = [_random(op, spec, seed) for seed in range(3)]
    expected = jax.tree.map(lambda *ys: jnp.stack(ys), *map(op, xs))
    _close(jax.vmap(op)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *xs)), expected, "vmap(A) and a loop")
    trailing = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=-1), *xs)
    _close(jax.jit(jax.vmap(op, in_axes=-1))(trailing), expected, "vmap(A, in_axes=-1) and a loop")


def check_vmap_over_fields(op: Any, spec: Any) -> None:
    """vmap over the operator's array fields, with and without the input, = a loop."""
    if not jax.tree.leaves(op):
        return
    x = _random(op, spec, 0)
    expected = jax.tree.map(lambda *ys: jnp.stack(ys), op(x), op(x))
    ops = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * 2), op)
    xs = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), x)
    _close(jax.vmap(lambda op, x: op(x), in_axes=(0, None))(ops, x), expected, "vmap over fields and a loop")
    _close(jax.vmap(lambda op, x: op(x))(ops, xs), expected, "vmap over fields and input, and a loop")


def check_jvp(op: Any, spec: Any) -> None:
    """The derivative of A in direction dx is A dx; of F it is F.jacobian(x)(dx)."""
    if not _all_inexact(spec) or not _has_forward(op):
        return
    x, dx = _random(op, spec, 0), _random(op, spec, 1)
    y, dy = jax.jvp(op, (x,), (dx,))
    _close(y, op(x), "the value of jvp and A(x)")
    _close(dy, op.jacobian(x)(dx), "jvp and the jacobian")


def check_vjp(op: Any, spec: Any) -> None:
    """The pullback is the transpose J^T = conj J^H conj, and the pullback of the pullback is J again."""
    if not _all_inexact(spec) or not _has_reverse(op) or not _all_inexact(op._infer_shape(spec)):
        return
    x, y = _random(op, spec, 0), _random(op, op._infer_shape(spec), 1)
    conj = lambda tree: jax.tree.map(jnp.conj, tree)  # noqa: E731
    pullback = jax.vjp(op, x)[1]
    _close(pullback(y)[0], conj(op.jacobian(x).H(conj(y))), "vjp and the transposed jacobian")
    if _has_forward(op):
        again = jax.vjp(lambda ct: pullback(ct)[0], y)[1]
        dx = _random(op, spec, 2)
        _close(again(dx)[0], op.jacobian(x)(dx), "vjp of vjp and the jacobian")


def _has_forward(op: Any) -> bool:
    hook = type(op)._hooks.get("jacobian_apply")
    return hook is None or hook.kind != _hooks.MISSING


def _has_reverse(op: Any) -> bool:
    hooks = type(op)._hooks
    return type(op)._composite or "adjoint" in hooks or "jacobian_adjoint" in hooks


# ---- nonlinear ------------------------------------------------------------------------------------------------------


def check_jacobian(op: Any, spec: Any) -> None:
    """Taylor test: |F(x + h dx) - F(x) - h J dx| falls as h^2, down to rounding."""
    if not _all_inexact(spec):
        return
    x, dx = _random(op, spec, 0), _random(op, spec, 1)
    y, dy = op(x), op.jacobian(x)(dx)
    eps = _probes.eps(spec, y)
    steps = [eps ** (1 / 4) / 2**k for k in range(3)]
    floor = 10 * eps * _probes.norm(y)
    remainders = []
    for h in steps:
        moved = op(jax.tree.map(lambda p, d, h=h: (p + h * d).astype(p.dtype), x, dx))
        linear = jax.tree.map(lambda b, d, h=h: _probes.double(b) + h * _probes.double(d), y, dy)
        remainders.append(_probes.norm(_probes.subtract(moved, linear)))
    scale = _probes.norm(dy)
    for (h1, r1), (h2, r2) in itertools.pairwise(zip(steps, remainders, strict=True)):
        if r2 <= floor + 10 * eps * scale:
            continue
        order = np.log(r1 / r2) / np.log(h1 / h2)
        if not order > 1.5:
            message = (
                f"the remainder |F(x + h dx) - F(x) - h J dx| falls with order {order:.2f} instead of 2 "
                f"({r1:.2e} at h = {h1:.1e}, {r2:.2e} at h = {h2:.1e}): jacobian_apply is not the derivative of apply"
            )
            raise AssertionError(message)


def check_jacobian_linear(op: Any, spec: Any) -> None:
    """J(x) is linear in dx."""
    if _all_inexact(spec):
        check_linear(op.jacobian(_random(op, spec, 0)), spec)


def check_jacobian_adjoint(op: Any, spec: Any) -> None:
    """<J u, v> = <u, J^H v> for the derivative at a random point."""
    if _all_inexact(spec):
        check_adjoint(op.jacobian(_random(op, spec, 0)), spec)
