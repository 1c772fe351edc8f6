"""Device hooks: JAX's buffer callback gives them the memory of the device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from linops_jax import _compat
from linops_jax._engine import errors, lent, plans, streams, written
from linops_jax._engine.binding import Binding
from linops_jax._engine.callback import HookError, platforms_of, refuse_to_export
from linops_jax._model.plan import PREPARE

Specs = Sequence[jax.ShapeDtypeStruct]


def prepared(context: Any, binding: Binding, operands: Specs, results: Specs) -> OnDevice:
    """What JAX's callback is to call for a hook, in a program that is lowered in this context.

    Parameters
    ----------
    context : lowering context
        The context of the lowering rule.
    binding : Binding
        The binding of the hook.
    operands, results : sequence of jax.ShapeDtypeStruct
        Those of one evaluation, for its plan.
    """
    refuse_to_export(context, binding, "it is a device hook, and ", "Give")
    _compat.keep_alive(context, binding)
    return OnDevice(binding, operands, results)


def called(hook: OnDevice, specs: Specs, *operands: Any, same: dict[int, int] | None = None) -> list[Any]:
    """The results of a device hook, whose specs are given; ``same`` are the operands that share memory with results."""
    from jax.experimental.buffer_callback import buffer_callback

    return buffer_callback(hook, list(specs), input_output_aliases=same)(*operands)


def filled(binding: Binding, operands: Specs, results: Specs) -> Callable[..., list[Any]]:
    """A device hook as a compiled function of its operands, followed by what ``out`` holds before the call."""
    hook, first = OnDevice(binding, operands, results), len(operands)
    same = {first + i: i for i in range(len(results))}
    return jax.jit(functools.partial(called, hook, results, same=same))


def not_here(context: Any, binding: Binding, error: Exception) -> NotImplementedError:
    """The error for a platform that has no device memory for Python."""
    platforms, reason = ", ".join(platforms_of(context)), str(error).rstrip(".")
    return NotImplementedError(
        f"{binding.label} is a device hook, which cannot be lowered for {platforms}: {reason}. Give other code for this "
        "platform, such as lo.per_platform(default=lo.traced(f), cuda=lo.device(g)), or run it under jax.default_device."
    )


class OnDevice:
    """A device hook as JAX's buffer callback calls it. The executable owns it, with the plan of the hook."""

    def __init__(self, binding: Binding, operands: Specs, results: Specs):
        hook = binding.hook
        # It must not refer to the binding, as the target of a host hook does not: JAX's caches may keep what it owns.
        self._call = written.write_call(hook, binding.trees, binding.out_tree)
        self._label, self._inputs = binding.label, len(operands)
        self._takes_stream = hook.takes_stream
        self._plan = _plan_of(binding, operands, results) if hook.takes_plan else None

    def __call__(self, context: Any, outputs: Any, *operands: Any) -> None:
        """Operands behind those of the hook share memory with results."""
        error = self._evaluate(context, operands[: self._inputs], outputs)
        if error:
            del context, outputs, operands  # who keeps the exception keeps this frame
            raise HookError(error)

    def _evaluate(self, context: Any, operands: Sequence[Any], outputs: Sequence[Any]) -> str:
        """Calls the hook. Returns the text of its exception, or an empty one."""
        on_cpu, number = lent.place_of(outputs[0])
        arrays = [lent.DeviceArray(buffer, self._label, on_cpu, False) for buffer in operands]
        arrays += [lent.DeviceArray(buffer, self._label, on_cpu, True) for buffer in outputs]
        error = ""
        try:
            self._call_hook(arrays, None if on_cpu else context.stream, number)
        except BaseException as raised:  # Ctrl-C, for example, arrives wherever Python code runs
            error = errors.report(self._label, raised)
        if lent.take_back(arrays) and not error:
            message = (
                f"{self._label} kept a reference to one of its arrays after it returned. Arrays given to a hook are XLA's "
                "memory, valid only during the call: keep a copy instead."
            )
            error = errors.report(self._label, RuntimeError(message))
        return error

    def _call_hook(self, arrays: list[lent.DeviceArray], stream: int | None, number: int) -> None:
        extra = [] if self._plan is None else [self._plan()]
        if self._takes_stream:
            extra.append(stream)
        before = _compat.swap_no_execution(True)
        try:
            if stream is None:
                self._call(*arrays, *extra)
            else:
                with streams.as_current(stream, number):
                    self._call(*arrays, *extra)
        finally:
            _compat.swap_no_execution(before)


def _plan_of(binding: Binding, operands: Specs, results: Specs) -> Callable[[], Any]:
    """A function that returns the plan, and makes it when it is first called.

    Raises NotImplementedError if the plan needs values of fields, which are in the memory of the device.
    """
    result = jax.tree.unflatten(binding.out_tree, results)
    name, leaves, find = plans.for_extension(binding.hook, binding.trees, operands, result)
    if leaves:
        cls: Any = binding.hook.cls
        message = (
            f"{name} asks for the values of {', '.join(plans.fields_of(cls))}, which for {binding.label}, a device hook, are in "
            f"the memory of the device. Let {PREPARE} use shapes and static fields only, or make the table in a host hook."
        )
        raise NotImplementedError(message)
    return lambda: find()[0]
