"""Device hooks called one by one, in programs of their own: their arrays are in the memory of the device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._engine import binding, device, eager
from linops_jax._model import shapes
from linops_jax.testing._subject.hands import Hand


class DeviceHand(Hand):
    """A device hook. In its program, ``out`` has the memory of an array that has been filled before."""

    def arguments(self) -> list[Any]:
        """Arrays of JAX, which the hook sees without a copy."""
        return jax.tree.map(jnp.array, super().arguments())

    def values(self, arguments: list[Any]) -> list[Any]:
        return jax.tree.map(lambda leaf: np.asarray(jnp.copy(leaf)), arguments)  # not what JAX has read before

    @functools.cached_property
    def _program(self) -> Callable[..., list[Any]]:
        """The hook as a function of the leaves of its arguments, and those of ``out``."""
        arguments = [shapes.specs(argument) for argument in self.arguments()]
        out, out_tree = jax.tree.flatten(self.promise)
        bound = binding.bind_hook(self._hook, tuple(map(jax.tree.structure, arguments)), out_tree, out)
        return eager.as_raised(device.filled(bound, jax.tree.leaves(arguments), out))

    def call(self, arguments: list[Any], out: Any = None) -> list[np.ndarray | None]:
        self._calls[self.label] += 1
        return [np.asarray(leaf) for leaf in self._program(*jax.tree.leaves(arguments), *jax.tree.leaves(out))]
