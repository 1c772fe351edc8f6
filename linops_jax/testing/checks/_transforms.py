"""Every transformation of JAX does to the operator what it does to mathematics."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from linops_jax.testing import _probes
from linops_jax.testing._check import check, close, conj, require, stack
from linops_jax.testing._subject import Subject
from linops_jax.testing.checks._linear import fixed, is_inexact, is_small

# What must hold of eager calls before it is worth asking what JAX makes of them.
_BASICS = ("repeatable", "linear")
_BATCH = 3
_FEW_SIMULATIONS = 32


def _has_fields(subject: Subject) -> bool:
    return bool(jax.tree.leaves(subject.op))


def _derivable(subject: Subject) -> bool:
    return is_inexact(subject) and subject.has_forward


def _pullable(subject: Subject) -> bool:
    return is_inexact(subject) and subject.has_reverse


@check(needs=_BASICS)
def check_jit(subject: Subject) -> None:
    """jit(A)(x) = A(x), with the operator as a closure and as an argument."""
    x = subject.point(subject.rng("jit"))
    expected = subject.op(x)
    close(_jit(subject.op)(x), expected, "jit(A)(x) and A(x)", subject)
    found = jax.jit(lambda op, x: op(x))(subject.op, x)
    close(found, expected, "jit with the operator as an argument, and A(x)", subject)


def _jit(op: Any, transform: Callable[[Any], Any] = lambda op: op) -> Callable[[Any], Any]:
    """The transformed operator under ``jit``, as a closure where JAX allows it: not over parts of other processes' arrays."""
    if _probes.is_local(op):
        return jax.jit(lambda x: transform(op)(x))
    return lambda x: jax.jit(lambda op, x: transform(op)(x))(op, x)


@check(needs=("jit",))
def check_vmap(subject: Subject) -> None:
    """vmap(A) = a loop over A: over leading and trailing axes, nested, and under jit."""
    xs = subject.points(subject.rng("vmap"), _BATCH)
    ys = [subject.op(x) for x in xs]
    close(jax.vmap(subject.op)(stack(xs)), stack(ys), "vmap(A) and a loop", subject)
    trailing = _jit(subject.op, lambda op: jax.vmap(op, in_axes=-1))(stack(xs, -1))
    close(trailing, stack(ys), "jit(vmap(A, in_axes=-1)) and a loop", subject)
    nested = jax.vmap(jax.vmap(subject.op), in_axes=1)(stack([stack(xs), stack(xs[::-1])]))
    expected = stack([stack([y, z]) for y, z in zip(ys, ys[::-1], strict=True)])
    close(nested, expected, "vmap(vmap(A), in_axes=1) and a loop", subject)


@check(needs=("vmap", "adjoint", "adjoint_shape"), when=lambda subject: subject.has_adjoint)
def check_vmap_of_adjoint(subject: Subject) -> None:
    """vmap(A.H) = a loop over A.H."""
    rng = subject.rng("vmap of adjoint")
    ys = [subject.cotangent(rng) for _ in range(_BATCH)]
    adjoint = fixed(subject).H
    close(jax.vmap(adjoint)(stack(ys)), stack([adjoint(y) for y in ys]), "vmap(A.H) and a loop", subject)


@check(needs=("vmap",), when=_has_fields)
def check_vmap_over_fields(subject: Subject) -> None:
    """vmap over the operator's array fields, with and without the input, = a loop."""
    rng = subject.rng("vmap over fields")
    xs = subject.points(rng, 2)
    first = jax.tree.map(jnp.asarray, subject.op)
    second = _with_other_fields(first, xs[1], rng)
    ops = stack([first, second])
    found = jax.vmap(lambda op, x: op(x), in_axes=(0, None))(ops, xs[0])
    close(found, stack([first(xs[0]), second(xs[0])]), "vmap over fields and a loop", subject)
    found = jax.vmap(lambda op, x: op(x))(ops, stack(xs))
    close(found, stack([first(xs[0]), second(xs[1])]), "vmap over fields and input, and a loop", subject)


def _with_other_fields(op: Any, x: Any, rng: Any) -> Any:
    """The same operator with every floating field a little smaller: positions and masks stay in their range."""
    other = jax.tree.map(
        lambda leaf: (leaf * rng.uniform(0.9, 0.99)).astype(leaf.dtype) if _probes.is_inexact(leaf) else leaf, op
    )
    try:
        other(x)
    except Exception:  # fields that must have just these values
        return op
    return other


@check(needs=("jit",), when=_derivable)
def check_jvp(subject: Subject) -> None:
    """jvp(A) = A; for a nonlinear F the derivative in direction dx is F.jacobian(x)(dx)."""
    rng = subject.rng("jvp")
    x, dx = subject.point(rng), subject.tangent(rng)
    y, dy = jax.jvp(subject.op, (x,), (dx,))
    close(y, subject.op(x), "the value of jvp and A(x)", subject)
    expected = subject.op(dx) if subject.is_linear else subject.op.jacobian(x)(dx)
    close(dy, expected, "jvp and the derivative", subject)


@check(needs=("jit", "adjoint", "adjoint_shape", "jacobian_adjoint", "pullback"), when=_pullable)
def check_vjp(subject: Subject) -> None:
    """vjp(A) = A^T = conj A^H conj, and the vjp of the vjp is A again; for a nonlinear F, with its Jacobian."""
    rng = subject.rng("vjp")
    x, y = subject.point(rng), subject.cotangent(rng)
    jacobian = subject.op.jacobian(x)
    _, pull = jax.vjp(subject.op, x)
    close(pull(y)[0], conj(jacobian.H(conj(y))), "vjp and the transposed derivative", subject)
    if subject.has_forward:
        dx = subject.tangent(rng)
        (again,) = jax.vjp(lambda ct: pull(ct)[0], y)[1](dx)
        close(again, jacobian(dx), "the vjp of the vjp and the derivative", subject)


@check(needs=("jvp", "vjp", "hessian", "hessian_adjoint"), when=lambda subject: _can_check_grads(subject))
def check_grads(subject: Subject) -> None:
    """jax.test_util.check_grads, forward and reverse: to order 2 where second derivatives exist."""
    from jax.test_util import check_grads as compare

    x = _away_from_zeros(subject)
    scale = _probes.norm(subject.op(x)) or 1.0
    coarse = _probes.eps(subject.spec, subject.out) > 1e-10
    # The differences of a linear map are exact at any step, and its values cannot be far from 1.
    step, tolerance = (0.5, 1e-3 if coarse else 1e-8) if subject.is_linear else (1e-5, 1e-4)
    if subject.is_linear:
        start, steps = x, None
    else:  # in steps relative to x
        start, steps = jax.tree.map(jnp.zeros_like, x), jax.tree.map(_sizes, x)

    def scaled(z: Any) -> Any:
        at = z if steps is None else jax.tree.map(lambda a, s, t: a + s * t, x, steps, z)
        return jax.tree.map(lambda leaf: leaf / jnp.asarray(scale, jnp.finfo(leaf.dtype).dtype), subject.op(at))

    modes = ["fwd"] * subject.has_forward + ["rev"] * (subject.has_reverse and subject.adjoint_rtol is None)
    order = 2 if subject.has_second_order and len(modes) == 2 else 1
    compare(scaled, (start,), order, modes=modes, atol=tolerance, rtol=tolerance, eps=step)


def _away_from_zeros(subject: Subject) -> Any:
    """A point without exact zeros, which may be kinks, where F is defined there as well."""
    rng = subject.rng("grads")
    x = subject.point(rng)
    if subject.is_linear or all(np.all(_probes.fetch(leaf)) for leaf in jax.tree.leaves(x)):
        return x
    small = jax.tree.map(lambda a: _sizes(a) * rng.uniform(0.01, 0.1, a.shape), x)
    moved = jax.tree.map(lambda a, b: jnp.where(a == 0, b, a).astype(a.dtype), x, small)
    try:
        return moved if np.isfinite(_probes.norm(subject.op(moved))) else x
    except Exception:
        return x


def _sizes(leaf: Any) -> Any:
    """|x|, and where that is zero the mean of the others."""
    sizes = jnp.abs(leaf)
    mean = jnp.mean(sizes, where=sizes > 0)
    return jnp.where(sizes > 0, sizes, jnp.where(mean > 0, mean, jnp.ones_like(mean)))


def _can_check_grads(subject: Subject) -> bool:
    """Differences of nonlinear functions with one fixed step need double precision, and an elementwise tolerance few elements."""
    eps = _probes.eps(subject.spec, subject.out)
    return (
        is_inexact(subject)
        and subject.is_local  # JAX's function fetches arrays, and draws its own, which are on no mesh
        and not subject.is_explicit
        and is_small(subject)
        and subject.has_forward
        and eps < (1e-5 if subject.is_linear else 1e-10)
        and subject.jacobian_rtol is None
    )


@check(
    needs=("vmap", "vmap_of_adjoint", "jvp", "vjp"),
    when=lambda subject: _derivable(subject) and _pullable(subject) and is_small(subject) and _is_tiny(subject),
)
def check_jacobians(subject: Subject) -> None:
    """jacfwd(A) = jacrev(A), over real and imaginary parts (small sizes)."""
    x = subject.point(subject.rng("jacobians"))
    forward, reverse = (_matrix(transform, subject.op, x) for transform in (jax.jacfwd, jax.jacrev))
    reverse = jax.tree.map(lambda a, b: a.astype(b.dtype), reverse, forward)  # they go by the result, and by the input
    close(forward, reverse, "jacfwd(A) and jacrev(A)", subject, rtol=subject.adjoint_rtol)


def _is_tiny(subject: Subject) -> bool:
    """A nonlinear operator's Jacobian is compared entry by entry already: this is to see the transformations at work."""
    return subject.is_linear or _probes.real_size((subject.spec, subject.out)) <= _FEW_SIMULATIONS


def _matrix(transform: Callable[..., Any], op: Any, x: Any) -> Any:
    """The Jacobian between vectors of reals."""
    leaves, tree = jax.tree.flatten(x)

    def function(parts: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        joined = [real + 1j * rest[0] if rest else real for real, *rest in parts]
        return _parts(op(jax.tree.unflatten(tree, [a.astype(b.dtype) for a, b in zip(joined, leaves, strict=True)])))

    return transform(function)(_parts(leaves))


def _parts(tree: Any) -> list[tuple[Any, ...]]:
    return [(a.real, a.imag) if _probes.is_complex(a) else (a,) for a in jax.tree.leaves(tree)]


@check(needs=("vmap", "vmap_of_adjoint", "threads"))
def check_shard_map(subject: Subject) -> str | None:
    """Under ``shard_map`` over all devices of this process: the values of a batch, and its gradient, = a loop."""
    count = jax.local_device_count()
    mesh = jax.make_mesh((count,), ("i",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.local_devices())
    rng = subject.rng("shard_map")
    xs = subject.points(rng, count)
    if "shard_map[" in str(jax.make_jaxpr(subject.op)(xs[0])):
        return "skipped: the operator opens a shard_map itself, and JAX allows none around it"
    ys = [subject.cotangent(rng) for _ in xs] if _pullable(subject) else []
    if jax.sharding.get_abstract_mesh().empty and subject.is_local:
        _compare_in_shard_map(subject.op, mesh, xs, ys, subject)
        return None
    arrays = jax.tree.map(_probes.fetch, (subject.op, xs, ys))  # which lie on another mesh
    with jax.set_mesh(mesh):
        op, xs, ys = jax.tree.map(jnp.asarray, arrays)
        _compare_in_shard_map(op, mesh, xs, ys, subject)
    return None


def _compare_in_shard_map(op: Any, mesh: Any, xs: list[Any], ys: list[Any], subject: Subject) -> None:
    split = PartitionSpec("i")
    mapped = jax.jit(jax.shard_map(jax.vmap(op), mesh=mesh, in_specs=split, out_specs=split))
    close(mapped(stack(xs)), stack([op(x) for x in xs]), "shard_map(vmap(A)) and a loop", subject)
    if not ys:
        return
    (found,) = jax.vjp(mapped, stack(xs))[1](stack(ys))
    pulls = [jax.vjp(op, x)[1](y)[0] for x, y in zip(xs, ys, strict=True)]
    close(found, stack(pulls), "the gradient of shard_map(vmap(A)) and a loop", subject)


@check(needs=_BASICS)
def check_flatten(subject: Subject) -> None:
    """Flattened and put together again, the operator is the same."""
    leaves, tree = jax.tree.flatten(subject.op)
    again = jax.tree.unflatten(tree, leaves)
    require(jax.tree.structure(again) == tree, "the pytree's structure changes when it is put together again")
    x = subject.point(subject.rng("flatten"))
    close(again(x), subject.op(x), "the operator from its leaves and A", subject)


@check(needs=_BASICS)
def check_pickle(subject: Subject) -> str | None:
    """Pickled and loaded again, the operator is the same."""
    try:
        data = pickle.dumps(subject.op)
    except Exception as error:  # a plan or a local class cannot be: no fault of the operator
        return f"cannot be pickled: {error}"
    x = subject.point(subject.rng("pickle"))
    close(pickle.loads(data)(x), subject.op(x), "the operator loaded from its pickle and A", subject)
    return None


@check(needs=("jit",), when=lambda subject: bool(subject.host_hooks()) and _is_not_empty(subject))
def check_calls(subject: Subject) -> None:
    """One host call per evaluation on each device: of ``apply`` for a value, of the adjoint for a gradient."""
    calls: dict[str, int] = {}
    twin = subject.counting(calls)
    names = {hand.name for hand in subject.host_hooks()}
    x = subject.point(subject.rng("calls"))
    value = jax.block_until_ready(jax.jit(twin)(x))
    times = len(jax.tree.leaves(value)[0].sharding.addressable_devices)  # under an ambient mesh each of them computes
    _expect(calls, {"apply": times} if "apply" in names else {}, "jit(A)(x)")
    if not _pullable(subject):
        return
    y = subject.cotangent(subject.rng("calls of adjoint"))
    reverse = "adjoint" if subject.is_linear else "jacobian_adjoint"

    def value_and_pullback(x: Any, y: Any) -> Any:
        value, pull = jax.vjp(twin, x)
        return value, pull(y)

    calls.clear()
    jax.block_until_ready(jax.jit(value_and_pullback)(x, y))
    _expect(calls, {name: times for name in ("apply", reverse) if name in names}, "a value and its gradient")


def _is_not_empty(subject: Subject) -> bool:
    """Calls without a result are not made."""
    return _probes.size(subject.spec) > 0 and _probes.size(subject.out) > 0


def _expect(calls: dict[str, int], expected: dict[str, int], what: str) -> None:
    found = {name: count for name, count in calls.items() if name in expected or count}
    require(found == expected, f"{what} called {found or 'nothing'}, expected {expected}")
