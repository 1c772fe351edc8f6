"""Host and native hooks on platforms where XLA cannot call the extension: JAX's own callback brings the arrays there.

The hook is then called by the extension as in any other program: with the same checks, the same loop over a batch and the
same errors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from linops_jax import _compat
from linops_jax._engine import errors, trampoline
from linops_jax._engine.batch import Batch
from linops_jax._engine.binding import Binding

ROUTE = "LINOPS_JAX_ROUTE"  # the name of the environment variable that says how hooks are called on the CPU
_ROUTES = ("trampoline", "callback")


def is_needed(context: Any) -> bool:
    """Whether a program calls hooks this way: if it is for another platform than the CPU, or the user asks for it.

    Raises ValueError if the environment asks for what there is not.
    """
    route = os.environ.get(ROUTE, "") or _ROUTES[0]
    if route not in _ROUTES:
        message = f"The environment variable {ROUTE} is {route!r}; expected one of {', '.join(map(repr, _ROUTES))}."
        raise ValueError(message)
    return route == "callback" or platforms_of(context) != ("cpu",)


def prepared(context: Any, binding: Binding, batch: Batch) -> Callable[..., tuple[np.ndarray, ...]]:
    """What JAX's callback is to call for a hook, in a program that is lowered in this context."""
    refuse_to_export(context, binding, "", "Export for the CPU, or give")
    _require_cpu(context, binding)
    binding.promises.keep(context.avals_in, context.avals_out, batch)
    _compat.keep_alive(context, binding)
    return _OnHost(binding, batch, context.avals_out)


def not_here(context: Any, binding: Binding, error: Exception) -> NotImplementedError:
    """The error for a process without the platform of the program, for which JAX makes no callbacks."""
    platforms, reason = ", ".join(platforms_of(context)), str(error).rstrip(".")
    return NotImplementedError(f"{binding.label} cannot be lowered for {platforms} here: {reason}.")


class HookError(RuntimeError):
    """Carries the text of a hook's exception through JAX's callback."""


class _OnHost:
    """A hook as JAX's callback calls it, with NumPy arrays. The executable owns it, and it owns the hook's target."""

    def __init__(self, binding: Binding, batch: Batch, avals_out: Sequence[Any]):
        self._run = trampoline.on_arrays(binding, batch)
        self._label = binding.label
        self._results = [(aval.shape, np.dtype(aval.dtype)) for aval in avals_out]

    def __call__(self, *operands: Any) -> tuple[np.ndarray, ...]:
        results = [np.empty(shape, dtype) for shape, dtype in self._results]
        try:
            error = self._evaluate(operands, results)
        except BaseException as raised:  # Ctrl-C, for example, arrives wherever Python code runs
            error = errors.report(self._label, raised)
        if not error:
            return tuple(results)
        del operands, results  # who keeps the exception keeps this frame
        raise HookError(error)

    def _evaluate(self, operands: Sequence[Any], results: list[np.ndarray]) -> str:
        for _, dtype in self._results:
            if jax.dtypes.canonicalize_dtype(dtype) != dtype:
                message = (
                    f"JAX has no {dtype} on this thread, in which the result of {self._label} is. This happens with "
                    "jax.enable_x64 as a context manager, which does not reach XLA's threads: use "
                    'jax.config.update("jax_enable_x64", True).'
                )
                raise TypeError(message)
        return self._run([np.asarray(x, order="C") for x in operands], results)


def platforms_of(context: Any) -> tuple[str, ...]:
    return tuple(context.platforms or context.module_context.platforms)


def refuse_to_export(context: Any, binding: Binding, reason: str, instead: str) -> None:
    """Raises TypeError if the program is lowered for export."""
    if _compat.is_lowering_for_export(context):
        message = (
            f"{binding.label} cannot be exported for {', '.join(platforms_of(context))}: {reason}JAX's callbacks do not leave "
            f"their process. {instead} it traced code or an FFI handler for this platform with lo.per_platform."
        )
        raise TypeError(message)


def _require_cpu(context: Any, binding: Binding) -> None:
    """Raises NotImplementedError if JAX was started without the CPU, from where it calls back."""
    try:
        jax.local_devices(backend="cpu")
    except RuntimeError as error:
        message = (
            f"{binding.label} runs on the host, and JAX was started for {', '.join(platforms_of(context))} only. Add the CPU: "
            f"JAX_PLATFORMS={','.join((*platforms_of(context), 'cpu'))}."
        )
        raise NotImplementedError(message) from error
