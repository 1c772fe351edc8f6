"""What an operator says of itself: which derivatives and hooks it has, and how exact they are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._model import fields, kinds, shapes
from linops_jax._operators.functional import Functional
from linops_jax._operators.linear import LinearOperator
from linops_jax.testing import _probes
from linops_jax.testing._subject.ends import Ends


class Abilities(Ends):
    """What can be asked of an operator, and how exact the answers are."""

    @property
    def is_composite(self) -> bool:
        return type(self.op)._composite

    @functools.cached_property
    def parts(self) -> list[Any]:
        """The operators with hooks of their own, of which a composite is made."""
        return list(_parts(self.op))

    @functools.cached_property
    def is_real_linear(self) -> bool:
        """Whether it is linear over the reals only: by declaration, or because real numbers stand between complex ones in it."""
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
    def is_functional(self) -> bool:
        """Whether it is a functional, with a prox or without one."""
        return isinstance(self.op, Functional)

    @property
    def is_indicator(self) -> bool:
        """Whether it is 0 in a set and infinite elsewhere, so that its derivative says nothing."""
        return isinstance(self.op, Functional) and self.op.indicator

    def overrides(self, name: str) -> bool:
        """Whether the class of a functional has a method of its own."""
        return self.is_functional and getattr(type(self.op), name) is not getattr(Functional, name)

    @property
    def adjoint_rtol(self) -> float | None:
        """How inexact the adjoint is declared to be; the errors of parts add up."""
        return self.op.properties.adjoint_rtol

    @property
    def gram_rtol(self) -> float | None:
        """How inexact the hook ``gram`` is declared to be, or the adjoint with which it is compared."""
        known = self.op.properties
        return max((rtol for rtol in (known.gram_rtol, known.adjoint_rtol) if rtol is not None), default=None)

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

    @property
    def missing_second_order(self) -> list[str]:
        """The hooks whose absence is why second derivatives in the input do not exist."""
        names = ("hessian_apply", "hessian_adjoint")
        found = dict.fromkeys(type(op) for op in nested(self.op) if not (type(op)._composite or _has_second_order(op)))
        return [f"{cls._label}.{name}" for cls in found for name in names if _lacks(cls, name)]

    def has_hook(self, name: str) -> bool:
        """Whether the class itself writes this hook, on the host or traced."""
        hook = type(self.op)._hooks.get(name)
        return hook is not None and not hook.derived and hook.kind != kinds.MISSING

    @property
    def has_parameters(self) -> bool:
        """Whether its array fields can be differentiated: some of them hold floating numbers and are not constant."""
        leaves, tree = jax.tree.flatten(self.op)
        return any(
            _probes.is_inexact(jnp.asarray(leaf)) and not constant
            for leaf, constant in zip(leaves, fields.constant_leaves(tree), strict=True)
        )


def _parts(op: Any) -> Iterator[Any]:
    """The operators with hooks of their own."""
    if not type(op)._composite:
        yield op
        return
    for field in dataclasses.fields(op):
        for leaf in jax.tree.leaves(getattr(op, field.name), is_leaf=fields.is_operator):
            if fields.is_operator(leaf):
                yield from _parts(leaf)


def nested(op: Any) -> Iterator[Any]:
    """The operator and all that it is made of."""
    yield op
    names = [getattr(op, name) for name in fields.array_fields(type(op))]
    for leaf in jax.tree.leaves(names, is_leaf=fields.is_operator):
        if fields.is_operator(leaf):
            yield from nested(leaf)


def _can(op: Any, has: Callable[[Any], bool], *found: str) -> bool:
    """Whether all parts have what is asked for; and where JAX derives these hooks, the operators that they may call too."""
    for part in _parts(op):
        written = type(part)._hooks
        derived = any(name in written and written[name].is_jax for name in found)
        within = [inner for inner in nested(part) if inner is not part] if derived else []
        if not (has(part) and all(_can(inner, has, *found) for inner in within)):
            return False
    return True


def _has_forward(op: Any) -> bool:
    return not _is_missing(op, "jacobian_apply")


def _has_reverse(op: Any) -> bool:
    return bool({"adjoint", "jacobian_adjoint"} & set(type(op)._hooks))


def _has_second_order(op: Any) -> bool:
    return isinstance(op, LinearOperator) or _has_hessian(op)


def _is_missing(op: Any, name: str) -> bool:
    return _lacks(type(op), name)


def _lacks(cls: Any, name: str) -> bool:
    hook = cls._hooks.get(name)
    return name in cls._rules and (hook is None or hook.kind == kinds.MISSING)


def _has_hessian(op: Any) -> bool:
    found = type(op)._hooks
    if {"hessian_apply", "hessian_adjoint"} & set(found):
        return not any(_is_missing(op, name) for name in ("hessian_apply", "hessian_adjoint"))
    return all(name in found and found[name].is_jax for name in ("jacobian_apply", "jacobian_adjoint"))
