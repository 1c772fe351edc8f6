"""The contents of the key of a binding, and the binding for a key from a program of another process.

Such a key is not trusted: every part of it may be wrong.
"""

from __future__ import annotations

from typing import Any

import jax

from linops_jax._engine import keys
from linops_jax._engine.binding import Binding, bind
from linops_jax._engine.names import MalformedKeyError, class_name, require_class
from linops_jax._model.hooks import Hook
from linops_jax._model.kinds import HOST
from linops_jax._native import Native

_ENTRIES: dict[str, Any] = {"class": str, "hook": str, "arguments": list, "result": object, "ignored": list}
_LOWERED = ("layout", "signature")  # attributes of a binding that are set when a program is lowered
_OPTIONAL_ENTRIES: dict[str, Any] = {**dict.fromkeys(_LOWERED, list), "kind": str, "again": int}


def description(binding: Binding) -> dict[str, Any]:
    """The entries of the key of a binding. Raises keys.NotPlain for what another process could not find."""
    lowered = {name: value for name in _LOWERED if (value := getattr(binding, name)) is not None}
    return {
        "class": class_name(binding.hook.cls),
        "hook": binding.hook.name,
        "arguments": [keys.encode_tree(tree) for tree in binding.trees],
        "result": keys.encode_tree(binding.out_tree),
        "ignored": list(binding.ignored),
        **{name: keys.encode_value(value, f"its {name}") for name, value in lowered.items()},
        **({} if binding.hook.kind == HOST else {"kind": binding.hook.kind}),
    }


def find(key: str) -> Binding:
    """The binding for a key. Nothing is imported."""
    data = keys.load(key)
    _refuse_entries(data)
    arguments = [keys.decode_tree(tree) for tree in data["arguments"]]
    result = keys.decode_tree(data["result"])
    lowered = {name: keys.decode_value(data[name]) for name in _LOWERED if name in data}
    hook = _hook(data)
    _refuse_arguments(hook, arguments, result)
    trees, out_tree = tuple(map(jax.tree.structure, arguments)), jax.tree.structure(result)
    ignored = tuple(data["ignored"])
    _refuse_flags(hook, ignored, out_tree)
    binding = bind(hook, trees, out_tree, ignored, **lowered)
    binding.convention.refuse_misfit()  # first, because until then static values may be anything
    _refuse_other_types(binding)
    return binding


def too_deep(key: str) -> MalformedKeyError:
    """The error for a key that exceeds Python's recursion limit."""
    message = f"this program has a malformed key: its structures are nested too deeply. It begins with {key!r:.80}"
    return MalformedKeyError(message)


def _hook(data: dict[str, Any]) -> Hook:
    hook = require_class(data["class"])._hooks.get(data["hook"])
    hook = None if hook is None else hook.on("cpu")
    kind = data.get("kind", HOST)
    if hook is None or hook.kind != kind:
        message = f"this program calls {data['class']}.{data['hook']}, which is not a {kind} hook any more."
        raise LookupError(message)
    return hook


def _refuse_entries(data: dict[str, Any]) -> None:
    if "nonce" in data:
        message = (
            "this program calls an operator with a live object in a static field, which only the process that made it "
            "can run (or an operator whose class has no importable name)."
        )
        raise LookupError(message)
    known = {**_ENTRIES, **_OPTIONAL_ENTRIES}
    for name in (*_ENTRIES, *data):
        if name not in data or name not in known or not isinstance(data[name], known[name]):
            message = (
                f"this program has a malformed key: its entry {name!r:.80} is {data.get(name, 'missing')!r:.80}; expected "
                f"the entries {', '.join(_ENTRIES)}, and optionally {', '.join(_OPTIONAL_ENTRIES)}. Update linops_jax, or "
                "export the program again."
            )
            raise MalformedKeyError(message)


def _refuse_arguments(hook: Hook, arguments: list[Any], result: Any) -> None:
    """Raises ValueError for a wrong number of arguments, or if one that must be an operator of the class is not."""
    cls: Any = hook.cls
    operators = hook.rule.operators
    given = {**dict(zip(hook.rule.arguments, arguments, strict=False)), "result": result}
    if len(arguments) != len(hook.rule.arguments) or any(type(given[name]) is not cls for name in operators):
        message = (
            f"this program calls {hook.label} with {len(arguments)} arguments; expected {', '.join(hook.rule.arguments)}, "
            f"where {', '.join(sorted(operators))} must be of class {cls._label}. Export the program again."
        )
        raise ValueError(message)


def _refuse_flags(hook: Hook, ignored: tuple[Any, ...], out_tree: Any) -> None:
    if len(ignored) != out_tree.num_leaves or not all(type(flag) is bool for flag in ignored):
        message = (
            f"this program has a malformed key for {hook.label}: found ignored={ignored!r:.80}, expected true or false for "
            f"each of {out_tree.num_leaves} results."
        )
        raise MalformedKeyError(message)


def _refuse_other_types(binding: Binding) -> None:
    """Raises ValueError if the key has a signature that the native code does not have."""
    native = binding.hook.function if isinstance(binding.hook.function, Native) else Native()
    inputs = sum(tree.num_leaves for tree in binding.trees)
    native.refuse_misfit(binding.label, binding.signature, inputs, binding.out_tree.num_leaves)
