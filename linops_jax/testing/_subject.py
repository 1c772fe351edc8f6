"""An operator and its input, as the checks see them. The one file here that looks behind the public names."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from linops_jax import _compat
from linops_jax._engine import errors, returned, trampoline
from linops_jax._model import fields, hooks, shapes
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import Operator as Operator
from linops_jax._operators.printing import exact
from linops_jax.testing import _probes

describe = shapes.describe
describe_tree = shapes.describe_tree
misfit = shapes.misfit
mismatch = shapes.mismatch
_USUAL = 10.0  # eps by which a result changes where nothing cancels
_TANGENTS = frozenset({"dx", "dx1", "dx2", "dself"})
WITH_ZEROS = " at a point with exact zeros and equal numbers"


_thread = threading.local()


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Inside, in this thread, calls are a check's own: ``lo.checking()`` leaves them alone."""
    before, _thread.unwatched = is_unwatched(), True
    try:
        yield
    finally:
        _thread.unwatched = before


def is_unwatched() -> bool:
    return getattr(_thread, "unwatched", False)


class Subject:
    """An operator with specs of its input, and where vectors for it come from.

    op: the operator
    x: specs or example arrays of the input; may be left out where ``op.domain`` is known. Linear operators are probed
       with Gaussian vectors. Nonlinear ones at the arrays themselves, where arrays are given: they have a domain.
    seed: of all random vectors
    """

    def __init__(self, op: Any, x: Any = None, *, seed: int = 0, where: str = "check"):
        if not isinstance(op, Operator):
            message = f"{where}: expected an operator, found {type(op).__name__} {op!r:.80}."
            raise TypeError(message)
        _refuse_tracing(op, x, where)
        if x is None and op.domain is None:
            message = (
                f"{where}({exact(op)}) needs to know the input: pass specs or example arrays, or fix the domain with "
                "with_domain(spec)."
            )
            raise TypeError(message)
        self.op: Any = op
        self.seed = seed
        shapes.refuse_shapes(x, where, "Pass jax.ShapeDtypeStruct({}, dtype), or an array")
        given = op.domain if x is None else shapes.lists_as_arrays(x)
        self.spec = jax.tree.map(lambda leaf: leaf if _is_index(leaf) else _placed_spec(leaf), given)
        self._given = given
        self._by_hand: collections.Counter[str] = collections.Counter()  # calls of hooks, by label
        self._twins: list[Any] = []  # classes

    def __repr__(self) -> str:
        return f"{exact(self.op)} on {describe_tree(self.spec)}"

    # ---- what the operator says of itself ---------------------------------------------------------------------------

    @property
    def is_linear(self) -> bool:
        return isinstance(self.op, LinearOperator)

    @functools.cached_property
    def out(self) -> Any:
        """Specs of the result, on the mesh of the arrays that were given. Raises TypeError where nobody says them."""
        specs = shapes.specs(self.spec)
        is_typed = any(spec.sharding is not None for spec in jax.tree.leaves(specs))
        out = _compat.eval_shape(self.op._forward, specs) if is_typed else self.op._infer_shape(self.spec)
        if out is None:
            message = f"{type(self.op)._label}.infer_shape returned None. Return the specs of the result: is a return missing?"
            raise TypeError(message)
        if self._mesh is None:
            return out

        def placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            partition = jax.sharding.PartitionSpec() if leaf.sharding is None else leaf.sharding.spec
            return leaf.update(sharding=jax.sharding.NamedSharding(self._mesh, partition))

        return jax.tree.map(placed, out)

    @functools.cached_property
    def _mesh(self) -> Any:
        """The mesh of the arrays that were given, or None."""
        shardings = (getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(self.spec))
        meshes = (sharding.mesh for sharding in shardings if isinstance(sharding, jax.sharding.NamedSharding))
        return next((mesh for mesh in meshes if isinstance(mesh, jax.sharding.Mesh)), None)

    def replicated(self, leaf: Any) -> jax.Array:
        """An array for the operator, the same on all devices of the mesh."""
        array = jnp.asarray(leaf)
        if self._mesh is None:
            return array
        return jax.device_put(np.asarray(array), jax.sharding.NamedSharding(self._mesh, jax.sharding.PartitionSpec()))

    @property
    def is_explicit(self) -> bool:
        """Whether arrays on an explicit mesh were given."""
        return self._mesh is not None and jax.sharding.AxisType.Explicit in self._mesh.axis_types

    def on_its_mesh(self) -> Any:
        """The context in which JAX computes with arrays that are explicitly sharded."""
        if self.is_explicit and jax.sharding.get_abstract_mesh().empty:
            return jax.set_mesh(self._mesh)
        return contextlib.nullcontext()

    @property
    def is_local(self) -> bool:
        """Whether this process has all of the operator's arrays and of those that were given."""
        return _probes.is_local((self.op, self._given))

    @property
    def is_composite(self) -> bool:
        return type(self.op)._composite

    @functools.cached_property
    def parts(self) -> list[Any]:
        """The operators with hooks of their own, of which a composite is made."""
        return list(_parts(self.op))

    @functools.cached_property
    def is_real_linear(self) -> bool:
        """By declaration, or because real numbers stand between complex ones in it."""
        is_complex = shapes.all_complex((self.spec, self.out))
        return self.declares_real_linear or (is_complex and not self.op._is_complex_linear(self.spec))

    @property
    def declares_real_linear(self) -> bool:
        return self.op.properties.real_linear

    @property
    def real(self) -> bool:
        """Whether only real parts of inner products count."""
        return self.is_real_linear or _probes.has_real(self.spec)

    @property
    def adjoint_rtol(self) -> float | None:
        """How inexact the adjoint is declared to be; the errors of parts add up."""
        return self.op.properties.adjoint_rtol

    @property
    def jacobian_rtol(self) -> float | None:
        """How inexact the Jacobian is declared to be; the errors of parts add up."""
        return self.op.properties.jacobian_rtol

    @property
    def is_deterministic(self) -> bool:
        return bool(self.parts) and all(type(part)._traits.deterministic for part in self.parts)

    @property
    def has_forward(self) -> bool:
        """Whether the derivative can be evaluated."""
        return _can(self.op, _has_forward, "jacobian_apply")

    @property
    def has_reverse(self) -> bool:
        return _can(self.op, _has_reverse, "adjoint", "jacobian_adjoint")

    @property
    def has_adjoint(self) -> bool:
        """Whether it is linear with an adjoint that leads back to its input: floating numbers do not lead to integers."""
        integers = not _probes.all_inexact(self.spec) and any(map(_probes.is_inexact, jax.tree.leaves(self.out)))
        return self.is_linear and self.has_reverse and not integers

    @property
    def has_second_order(self) -> bool:
        """Whether second derivatives in the input exist."""
        return _can(self.op, _has_second_order, "jacobian_apply", "jacobian_adjoint")

    def has_hook(self, name: str) -> bool:
        """Whether the class itself writes this hook, on the host or traced."""
        hook = type(self.op)._hooks.get(name)
        return hook is not None and not hook.derived and hook.kind != hooks.MISSING

    # ---- evaluation -------------------------------------------------------------------------------------------------

    def forward(self, u: Any) -> Any:
        return self.op._forward(u)

    def reverse(self, v: Any) -> Any:
        return self.op._reverse(v, shapes.specs(self.spec))

    def hook(self, name: str, argument: Any) -> Any:
        """One of the optional hooks ``gram``, ``inverse`` and ``inverse_adjoint``, through JAX."""
        out = self.out if name == "inverse_adjoint" else shapes.specs(self.spec)
        return self.op._evaluate(name, (argument,), out)

    def evaluations(self, rng: np.random.Generator) -> Iterator[tuple[str, Callable[[], Any]]]:
        """What there is to evaluate, at random vectors: the operator and its adjoint, or its derivative."""
        x = self.first(rng)
        yield "A(x)" if self.is_linear else "F(x)", lambda: self.forward(x)
        if self.has_adjoint:
            y = self.cotangent(rng)
            yield "A^H(y)", lambda: self.reverse(y)
        if not self.is_linear and self.has_forward:
            dx = self.tangent(rng)
            yield "J(x) dx", lambda: self.op.jacobian(x)(dx)
        if not self.is_linear and self.has_reverse:
            dy = self.cotangent(rng)
            yield "J(x)^H dy", lambda: self.op.jacobian(x).H(dy)

    @property
    def says_adjoint_shape(self) -> bool:
        """Whether the class has ``infer_adjoint_shape``."""
        return self.is_linear and not self.is_composite and getattr(self.op, "infer_adjoint_shape", None) is not None

    def wrong_adjoint_shape(self) -> str | None:
        """What is wrong with the answer of ``infer_adjoint_shape`` to the specs of A x; None where nothing is."""
        where = f"{type(self.op)._label}.infer_adjoint_shape({describe_tree(self.out)})"
        try:
            answer = shapes.specs(self.op).infer_adjoint_shape(shapes.specs(self.out))
        except Exception as error:
            errors.annotate(error, f"{type(self.op)._label}.infer_adjoint_shape")
            raise
        if answer is None:
            return f"{where} returned None, expected {describe_tree(self.spec)}: is a return missing?"
        answer = shapes.promised(answer, f"{type(self.op)._label}.infer_adjoint_shape")
        if difference := mismatch(answer, self.spec):
            return f"{where}: {difference}"
        for (path, a), x in zip(
            jax.tree_util.tree_leaves_with_path(answer), jax.tree.leaves(shapes.specs(self.spec)), strict=True
        ):
            coarse = _probes.is_inexact(x) and _probes.eps(a) > _probes.eps(x, self.out)
            if coarse or not shapes.castable(np.dtype(x.dtype), np.dtype(a.dtype)):
                at = f" at {jax.tree_util.keystr(path)}" if path else ""
                return f"{where}: found {describe(a)}{at}, which cannot hold x, {describe(x)}"
        return None

    def rounding(self, direction: str, x: Any) -> float:
        """How large the rounding errors are in ``forward(x)`` or ``reverse(x)``, those inside included; 0 where it cannot
        be told.

        A linear map is evaluated on two parts of x and on their sum.
        """
        function, rng = getattr(self, direction), self.rng("rounding")
        return max(_split(function, x, rng) for _ in range(3)) if self.is_linear else 0.0

    def sensitivity(self, direction: str, x: Any) -> float:
        """By how much the result changes with the last digits of the point at which a nonlinear operator is evaluated."""
        function = getattr(self, direction)
        return 0.0 if self.is_linear else change(function, x, function(x), self.rng("sensitivity"))

    @functools.cached_property
    def amplification(self) -> float:
        """How many times larger than usual the rounding errors are, because large numbers cancel inside the operator.

        1 where nothing cancels, and where the errors are too large to be put down to that. What the last digits of x do
        to F(x) is never too large.
        """
        rng = self.rng("amplification")
        maps: list[tuple[str, Any]] = [("forward", self.point)]
        if self.has_adjoint:
            maps.append(("reverse", self.cotangent))
        rounding = sensitivity = 1.0
        for direction, draw in (*maps, *maps):
            x = draw(rng)
            size = _probes.norm(getattr(self, direction)(x)) * _probes.eps(self.spec, self.out)
            if 0 < size < np.inf:
                rounding = max(rounding, self.rounding(direction, x) / size)
                sensitivity = max(sensitivity, self.sensitivity(direction, x) / size)
        found = max(rounding if rounding <= _probes.CANCELLATION else 1.0, sensitivity)
        return found if found > _USUAL else 1.0

    # ---- counting ---------------------------------------------------------------------------------------------------

    def calls(self) -> dict[str, int] | None:
        """How often the host and native hooks have run until now, ``{"Blur.apply": 7}``; None where nobody counts.

        Those of all operators with the same classes, and those by hand. A traced hook is no call: it becomes a part of
        programs. FFI handlers outside of a batch are called by XLA.
        """
        found = collections.Counter(self._by_hand)
        counted = False
        for cls in (*self._classes, *self._twins):
            for name, count in trampoline.calls_of(cls).items():
                counted = True
                found[f"{cls._label}.{name}"] += count
        return dict(found) if counted else None

    @functools.cached_property
    def _classes(self) -> list[Any]:
        """Of the operator and of all that it is made of."""
        return list(dict.fromkeys(map(type, _nested(self.op))))

    # ---- vectors ----------------------------------------------------------------------------------------------------

    def rng(self, purpose: str) -> np.random.Generator:
        """Independent of all other purposes, so that a check gives the same answer alone and among others."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

    def point(self, rng: np.random.Generator) -> Any:
        """An input."""
        if self.is_linear or not _is_arrays(self._given):
            return _probes.draw(rng, self.spec)
        return _probes.near(rng, jax.tree.map(jnp.asarray, self._given))

    def points(self, rng: np.random.Generator, count: int) -> list[Any]:
        return [self.point(rng) for _ in range(count)]

    @functools.cached_property
    def given(self) -> Any:
        """The arrays that were given, as they are; None where specs were, or numbers that are not finite."""
        if not _is_arrays(self._given):
            return None
        arrays = jax.tree.map(jnp.asarray, self._given)
        return arrays if np.isfinite(_probes.norm(arrays)) else None

    def first(self, rng: np.random.Generator) -> Any:
        """The input to begin with: what was given, as it is."""
        return self.point(rng) if self.given is None else self.given

    def special_points(self, rng: np.random.Generator) -> Iterator[tuple[str, Any]]:
        """Points at which mistakes hide that random ones do not show, and what to call them."""
        if self.given is not None:
            yield " at the arrays as given", self.given
        point = self.point(rng)
        zeros = _probes.with_ties(rng, _probes.with_zeros(rng, point))
        if any(map(np.any, jax.tree.leaves(jax.tree.map(lambda a, b: np.asarray(a) != b, zeros, point)))):
            yield WITH_ZEROS, zeros

    def tangent(self, rng: np.random.Generator) -> Any:
        return _probes.draw_tangent(rng, self.spec)

    def cotangent(self, rng: np.random.Generator) -> Any:
        """A vector for the adjoint."""
        return _probes.draw(rng, self.out) if self.is_linear else _probes.draw_tangent(rng, self.out)

    # ---- hooks by hand ----------------------------------------------------------------------------------------------

    def host_hooks(self) -> list[Hand]:
        """Every host hook of the class."""
        found = [hook for hook in type(self.op)._hooks.values() if hook.kind == hooks.HOST]
        return [Hand(self, hook) for hook in found if self.has_adjoint or not (self.is_linear and hook.rule.reverses)]

    def counting(self, calls: dict[str, int]) -> Any:
        """The same operator, which counts the calls of its host hooks in ``calls``."""
        cls: Any = type(self.op)
        inside = threading.local()
        namespace = {hand.name: _counted(hand.function, hand.name, calls, inside) for hand in self.host_hooks()}
        own: Any = type(cls)(cls.__name__, (cls,), {**namespace, "__module__": cls.__module__})
        self._twins.append(own)
        twin = object.__new__(own)
        twin.__dict__.update(self.op.__dict__)
        return twin


class Hand:
    """A host hook, to be called with NumPy alone."""

    def __init__(self, subject: Subject, hook: Any):
        self.subject, self._hook = subject, hook
        self.name: str = hook.name
        self.label: str = hook.label
        self.function: Callable[..., Any] = hook.function
        self.takes_out: bool = hook.takes_out

    @functools.cached_property
    def promise(self) -> Any:
        """Specs of the result."""
        if self.name == "parameter_vjp":
            return shapes.specs(self.subject.op)
        return shapes.specs(self.subject.spec) if self._hook.rule.reverses else self.subject.out

    def arguments(self) -> list[Any]:
        """Read-only arrays, the operator's own among them."""
        rng = self.subject.rng(f"arguments of {self.name}")
        return [jax.tree.map(_readonly, self._argument(name, rng)) for name in self._hook.rule.arguments]

    def _argument(self, name: str, rng: np.random.Generator) -> Any:
        if name == "self":
            return shapes.as_arrays(self.subject.op, self.label)
        if name == "dself":
            return _probes.draw_tangent(rng, self.subject.op)
        if name == "x":
            return self.subject.first(rng)
        return self.subject.tangent(rng) if name in _TANGENTS else self.subject.cotangent(rng)

    def call(self, arguments: list[Any], out: Any = None) -> list[np.ndarray | None]:
        """The leaves of the result, of the promised structure; None where the hook says that nobody needs it."""
        self.subject._by_hand[self.label] += 1
        try:
            result = self.function(*arguments, out=out) if self.takes_out else self.function(*arguments)
        except Exception as error:
            errors.annotate(error, self.label)
            raise
        if self.takes_out:
            result = out
        leaves = returned.result_leaves(self._hook, jax.tree.structure(self.promise), result)
        return [leaf if leaf is None else np.asarray(leaf) for leaf in leaves]

    def poisoned(self, which: int = 0) -> Any:
        """Arrays for ``out``, full of one of two values that no two calls leave behind by chance."""
        return jax.tree.map(lambda s: np.full(s.shape, _poisons(s.dtype)[which], s.dtype), self.promise)

    def broken_promises(self, leaves: list[Any]) -> Iterator[str]:
        """How the result differs from what was promised."""
        reverses = self._hook.rule.reverses
        for (path, promised), found in zip(jax.tree_util.tree_leaves_with_path(self.promise), leaves, strict=True):
            if found is None or not (_probes.is_inexact(promised) or self.name in ("apply", "adjoint")):
                continue
            dtype = found.dtype
            if reverses and not _probes.is_complex(promised) and dtype.kind == "c":
                dtype = found.real.dtype  # the adjoint on a real domain is the real part
            if found.shape != promised.shape or not shapes.castable(dtype, np.dtype(promised.dtype)):
                at = jax.tree_util.keystr(path)
                who = "expected" if reverses else "infer_shape promised"
                yield f"{self.label}{at} returned {shapes.describe(found)}; {who} {shapes.describe(promised)}"

    def finer_than_promised(self, leaves: list[Any]) -> Iterator[str]:
        """What was computed in double precision and is cast to single."""
        for promised, found in zip(jax.tree.leaves(self.promise), leaves, strict=True):
            if found is None or found.dtype.kind not in "fc" or not _probes.is_inexact(promised):
                continue
            if jnp.finfo(found.dtype).bits > jnp.finfo(promised.dtype).bits:
                yield f"{self.label} computes in {found.dtype}, and its result is cast to {np.dtype(promised.dtype)}"
                return


def _poisons(dtype: Any) -> tuple[Any, Any]:
    if dtype == np.bool_:
        return False, True
    return (np.nan, 7) if jnp.issubdtype(dtype, np.inexact) else (1, 7)


def _split(function: Callable[[Any], Any], x: Any, rng: np.random.Generator) -> float:
    """|A a + A b - A(a + b)|, with a and b random parts of x. Rounding scales with powers of two, an offset does not."""
    masks = jax.tree.map(lambda leaf: rng.permutation(leaf.size).reshape(leaf.shape) % 2 == 0, x)

    def residual(scale: float) -> float:
        whole = jax.tree.map(lambda leaf: (leaf * scale).astype(leaf.dtype), x)
        parts = [
            jax.tree.map(
                lambda leaf, mask, keep=keep: jnp.where(mask == keep, leaf, 0).astype(leaf.dtype), whole, masks
            )
            for keep in (True, False)
        ]
        first, second, both = (function(vector) for vector in (*parts, whole))
        total = jax.tree.map(lambda a, b: _probes.double(a) + _probes.double(b), first, second)
        return _probes.norm(_probes.subtract(total, both)) / scale

    found, again = residual(1.0), residual(2.0**-6)
    return found if np.isfinite(found) and found / 3 <= again <= 3 * found else 0.0


def change(function: Callable[[Any], Any], x: Any, y: Any, rng: np.random.Generator) -> float:
    """By how much y = function(x) changes where x changes in its last digits; 0 where it cannot be told."""
    changes = [_probes.norm(_probes.subtract(function(moved), y)) for moved in _probes.nudged(rng, x)]
    return max(filter(np.isfinite, changes), default=0.0)


def _parts(op: Any) -> Iterator[Any]:
    if not type(op)._composite:
        yield op
        return
    for field in dataclasses.fields(op):
        for leaf in jax.tree.leaves(getattr(op, field.name), is_leaf=fields.is_operator):
            if fields.is_operator(leaf):
                yield from _parts(leaf)


def _refuse_tracing(op: Any, x: Any, where: str) -> None:
    """Checks compare numbers: they cannot be a part of a program, where new arrays have none."""
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((op, x, jnp.zeros(())))):
        return
    manual = jax.sharding.get_abstract_mesh().manual_axes
    what = f"inside of shard_map, over {', '.join(map(repr, manual))}," if manual else "while JAX traces a function,"
    instead = (
        "with specs or arrays of the part that one device has; or over the whole mesh, with whole arrays, on an operator "
        "whose traced apply opens the shard_map"
        if manual
        else "with specs or arrays that have values"
    )
    message = f"{where}({type(op)._label}) is called {what} and a check needs numbers. Call it outside, {instead}."
    raise TypeError(message)


def _nested(op: Any) -> Iterator[Any]:
    yield op
    names = [getattr(op, name) for name in fields.array_fields(type(op))]
    for leaf in jax.tree.leaves(names, is_leaf=fields.is_operator):
        if fields.is_operator(leaf):
            yield from _nested(leaf)


def _can(op: Any, has: Callable[[Any], bool], *found: str) -> bool:
    """Whether all parts have what is asked for; and where JAX derives these hooks, the operators that they may call too."""
    for part in _parts(op):
        written = type(part)._hooks
        derived = any(name in written and written[name].is_jax for name in found)
        nested = [inner for inner in _nested(part) if inner is not part] if derived else []
        if not (has(part) and all(_can(inner, has, *found) for inner in nested)):
            return False
    return True


def _has_forward(op: Any) -> bool:
    return not _is_missing(op, "jacobian_apply")


def _has_reverse(op: Any) -> bool:
    return bool({"adjoint", "jacobian_adjoint"} & set(type(op)._hooks))


def _has_second_order(op: Any) -> bool:
    return isinstance(op, LinearOperator) or _has_hessian(op)


def _is_missing(op: Any, name: str) -> bool:
    hook = type(op)._hooks.get(name)
    return name in type(op)._rules and (hook is None or hook.kind == hooks.MISSING)


def _has_hessian(op: Any) -> bool:
    found = type(op)._hooks
    if {"hessian_apply", "hessian_adjoint"} & set(found):
        if "hessian_adjoint" not in found:
            return False
        return not any(found[name].kind == hooks.MISSING for name in ("hessian_apply", "hessian_adjoint"))
    return all(name in found and found[name].is_jax for name in ("jacobian_apply", "jacobian_adjoint"))


def _placed_spec(leaf: Any) -> jax.ShapeDtypeStruct:
    """The spec of an array, with its place on a mesh: vectors are drawn there."""
    spec = shapes.specs(leaf)
    if isinstance(leaf, jax.Array) and isinstance(leaf.sharding, jax.sharding.NamedSharding):
        return spec.update(sharding=leaf.sharding)
    return spec


def _is_index(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | jax.Array) and not shapes.is_inexact(leaf.dtype)


def _is_arrays(tree: Any) -> bool:
    return not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree))


def _readonly(leaf: Any) -> np.ndarray:
    array = np.array(_probes.fetch(leaf))
    array.flags.writeable = False
    return array


def _counted(function: Callable[..., Any], name: str, calls: dict[str, int], inside: threading.local) -> Any:
    """Counts the calls from outside: hooks may call each other."""

    @functools.wraps(function)
    def counted(*arguments: Any, **keywords: Any) -> Any:
        if getattr(inside, "hook", False):
            return function(*arguments, **keywords)
        calls[name] = calls.get(name, 0) + 1
        inside.hook = True
        try:
            return function(*arguments, **keywords)
        finally:
            inside.hook = False

    return counted
