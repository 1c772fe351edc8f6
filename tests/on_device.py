"""Operators with device hooks, from operators with host hooks. Nothing here needs a GPU: the hooks use NumPy."""

import functools
import inspect

import jax
import numpy as np

import linops_jax as lo


def on_device(op):
    """The operator with all its host hooks as device hooks, of the same fields."""
    new = object.__new__(class_on_device(type(op)))
    new.__dict__.update(op.__dict__)
    return new


@functools.cache
def class_on_device(cls):
    hooks = {name: as_device(hook.function, name) for name, hook in cls._hooks.items() if hook.kind == "host"}
    keywords = {"batched": cls._traits.batched, "real_linear": cls._traits.properties.real_linear}
    return type(cls)(f"{cls.__name__}OnDevice", (cls,), {**hooks, "__module__": __name__}, **keywords)


def as_device(function, name):
    """A hook that sees its arrays through NumPy, and fills ``out`` with what the function returns."""
    takes_out = "out" in inspect.signature(function).parameters
    number = len([p for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD])

    def hook(*arguments, out):
        assert len(arguments) == number
        arguments = jax.tree.map(np.asarray, arguments)
        filled = jax.tree.map(np.asarray, out)
        if takes_out:
            function(*arguments, out=filled)
            return
        result = function(*arguments)
        if isinstance(result, dict) and not isinstance(out, dict):  # some of the fields
            result = jax.tree.unflatten(jax.tree.structure(out), [result[name] for name in fields_of(out)])
        for target, values in zip(jax.tree.leaves(filled), jax.tree.leaves(result), strict=True):
            target[...] = values if np.iscomplexobj(target) else np.real(values)

    hook.__name__ = hook.__qualname__ = name
    return lo.device(hook)


def fields_of(op):
    return [path[0].name for path, _ in jax.tree_util.tree_leaves_with_path(op)]
