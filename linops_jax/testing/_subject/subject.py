"""The subject of a check: an operator with its input, its hooks, and how often they ran."""

from __future__ import annotations

import collections
import functools
from typing import Any

from linops_jax._engine import trampoline
from linops_jax._model.hooks import Hook
from linops_jax._model.kinds import DEVICE, Kind
from linops_jax.testing._subject import adjoint_shape, twins
from linops_jax.testing._subject.abilities import nested
from linops_jax.testing._subject.device_hands import DeviceHand
from linops_jax.testing._subject.evaluations import Evaluations
from linops_jax.testing._subject.hands import Hand


class Subject(Evaluations):
    """An operator with specs of its input, and where vectors for it come from.

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        The operator.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        Specs or example arrays of the input; may be left out where ``op.domain`` is known. Linear operators are probed
        with Gaussian vectors. Nonlinear ones at the arrays themselves, where arrays are given: they have a domain.
    seed : int
        That of all random vectors.
    where : str
        What errors begin with.
    """

    def __init__(self, op: Any, x: Any = None, *, seed: int = 0, where: str = "check"):
        super().__init__(op, x, seed=seed, where=where)
        self._by_hand: collections.Counter[str] = collections.Counter()  # calls of hooks, by label
        self._twins: list[Any] = []  # classes

    @property
    def says_adjoint_shape(self) -> bool:
        """Whether the class has ``infer_adjoint_shape``."""
        return self.is_linear and not self.is_composite and getattr(self.op, "infer_adjoint_shape", None) is not None

    def wrong_adjoint_shape(self) -> str | None:
        """What is wrong with the answer of ``infer_adjoint_shape`` to the specs of A x; None where nothing is."""
        return adjoint_shape.wrong_adjoint_shape(self.op, self.spec, self.out)

    def host_hooks(self) -> list[Hand]:
        """Every host hook of the class, and every device hook."""
        found = [(_hand_of(hook.kind), hook) for hook in type(self.op)._hooks.values()]
        return [
            hand(self, hook, self._by_hand) for hand, hook in found if hand is not None and self._can_be_called(hook)
        ]

    def _can_be_called(self, hook: Hook) -> bool:
        """Whether there are vectors for it: floating numbers do not lead back to integers."""
        return self.has_adjoint or not (self.is_linear and hook.rule.reverses)

    def counting(self, calls: dict[str, int]) -> Any:
        """The same operator, which counts the calls of its host hooks in ``calls``."""
        twin = twins.counting(self.op, self.host_hooks(), calls)
        self._twins.append(type(twin))
        return twin

    def calls(self) -> dict[str, int] | None:
        """How often the host and native hooks have run until now, ``{"Blur.apply": 7}``; None if they are not counted.

        Counted are those of all operators with the same classes, also calls by hand. A traced hook is no call: it
        becomes a part of programs. FFI handlers outside of a batch are called by XLA.
        """
        found = collections.Counter(self._by_hand)
        counted = False
        for cls in (*self._classes, *self._twins):
            for name, count in trampoline.calls_of(cls).items():
                counted = True
                found[f"{cls._label}.{name}"] += count
        return dict(found) if counted else None

    @property
    def simulates(self) -> bool:
        """Whether a class with ``linearize`` is in it whose hooks are counted."""
        return any("linearize" in trampoline.calls_of(cls) for cls in self._models)

    def simulations(self) -> int:
        """How often the models with ``linearize`` were simulated until now: calls of ``apply`` and of ``linearize``."""
        counts = map(trampoline.calls_of, self._models)
        return sum(count.get(name, 0) for count in counts for name in ("apply", "linearize"))

    @property
    def _models(self) -> list[Any]:
        """The classes with ``linearize``."""
        return [cls for cls in self._classes if "linearize" in cls._hooks]

    @functools.cached_property
    def _classes(self) -> list[Any]:
        """The classes of the operator and of all that it is made of."""
        return list(dict.fromkeys(map(type, nested(self.op))))


def _hand_of(kind: Kind) -> type[Hand] | None:
    """How hooks of a kind are called one by one; None if they are not Python functions of arrays."""
    if kind == DEVICE:
        return DeviceHand
    return Hand if kind.is_numpy else None
