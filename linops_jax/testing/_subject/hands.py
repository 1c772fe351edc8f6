"""Host hooks called by hand, with read-only NumPy arrays, and what they promise."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._engine import errors, plans, returned
from linops_jax._model import shapes
from linops_jax._model.plan import PLAN
from linops_jax._model.rules import STATE
from linops_jax.testing import _probes
from linops_jax.testing._subject.vectors import Vectors

_TANGENTS = frozenset({"dx", "dx1", "dx2", "dself"})


class Hand:
    """A host hook, to be called with NumPy alone. ``calls`` counts how often, by label."""

    def __init__(self, subject: Vectors, hook: Any, calls: collections.Counter[str]):
        self.subject, self._hook, self._calls = subject, hook, calls
        self.name: str = hook.name
        self.label: str = hook.label
        self.function: Callable[..., Any] = hook.function
        self.takes_out: bool = hook.takes_out

    @functools.cached_property
    def _keywords(self) -> dict[str, Any]:
        """The plan, if the hook takes one: the same for all calls, as in a program."""
        return {PLAN: plans.by_hand(self.subject.op, self.subject.spec)} if self._hook.takes_plan else {}

    @functools.cached_property
    def promise(self) -> Any:
        """Specs of the result."""
        if self._hook.rule.in_fields:
            return shapes.specs(self.subject.op)
        if self._hook.rule.with_state:
            return self.subject.out, self.subject.op._infer_state_shape(self.subject.spec)
        return shapes.specs(self.subject.spec) if self._hook.rule.ends_in_domain else self.subject.out

    def arguments(self) -> list[Any]:
        """Read-only arrays, the operator's own among them."""
        rng = self.subject.rng(f"arguments of {self.name}")
        drawn = {name: self._argument(name, rng) for name in self._hook.rule.arguments if name != STATE}
        if self._hook.takes_state:
            drawn[STATE] = self.subject.op._linearize(drawn["x"])[1]
        return [jax.tree.map(_readonly, drawn[name]) for name in self._hook.rule.arguments]

    def values(self, arguments: list[Any]) -> list[Any]:
        """Copies of what the arrays of the arguments hold now."""
        return jax.tree.map(np.copy, arguments)

    def inputs(self, arguments: list[Any]) -> list[Any]:
        """Those of the arguments that are neither the operator nor the state, which follow from the others."""
        names = self._hook.rule.arguments
        return [value for name, value in zip(names, arguments, strict=True) if name not in ("self", STATE)]

    def _argument(self, name: str, rng: np.random.Generator) -> Any:
        if name == "self":
            return shapes.as_arrays(self.subject.op, self.label)
        if name == "dself":
            return self.subject.field_tangent(rng)
        if name == "x":
            return self.subject.first(rng)
        if name == "step":
            return np.asarray(0.7, shapes.real_scalar(self.subject.spec).dtype)
        return self.subject.tangent(rng) if name in _TANGENTS else self.subject.cotangent(rng)

    def call(self, arguments: list[Any], out: Any = None) -> list[np.ndarray | None]:
        """The leaves of the result, of the promised structure; None where the hook returned None for zero."""
        self._calls[self.label] += 1
        keywords = {**self._keywords, **({"out": out} if self.takes_out else {})}
        try:
            result = self._hook.evaluate(arguments, **keywords)
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
                who = "expected" if self._hook.rule.ends_in_domain else "infer_shape promised"
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


def _readonly(leaf: Any) -> np.ndarray:
    array = np.array(leaf)
    array.flags.writeable = False
    return array
