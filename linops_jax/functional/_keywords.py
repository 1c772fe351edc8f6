"""The keywords of a call: static values on the way in, a new dict for the function."""

from __future__ import annotations

import pickle
import types
from typing import Any

import numpy as np

from linops_jax._model.fields import Statics

NONE = Statics(())


def static_keywords(name: str, keywords: dict[str, Any]) -> Statics:
    """The keywords of a call to the function of this name, as a static value."""
    try:
        return Statics(tuple(sorted(keywords.items())))
    except TypeError as error:
        unhashable = next((item for item in keywords.items() if not is_hashable(item[1])), None)
        if unhashable is None:  # its own __eq__ or __hash__ has raised
            raise
        keyword, value = unhashable
        message = (
            f"{name}: the keyword {keyword} must be hashable, but is {type(value).__name__} {value!r:.80}. Pass a "
            "tuple for a list and an array as a positional argument; under jax.jit, bind keywords with "
            "functools.partial."
        )
        raise TypeError(message) from error


def load_kwargs(kwargs_dump: Any, /) -> dict[str, Any]:
    """The keywords of a call, from what its functions get as ``kwargs_dump``.

    Parameters
    ----------
    kwargs_dump : mapping, or array of uint8
        What the function was called with; JAXbind's form of it, an array that holds a pickled dict, is understood, too.

    Returns
    -------
    dict
        A new one.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if isinstance(kwargs_dump, types.MappingProxyType):
        return kwargs_dump.copy()
    if isinstance(kwargs_dump, dict):
        return dict(kwargs_dump)
    if isinstance(kwargs_dump, np.ndarray) and kwargs_dump.dtype == np.uint8:
        return pickle.loads(kwargs_dump.tobytes())
    message = f"load_kwargs: expected the kwargs_dump that a function was called with, found {kwargs_dump!r:.80}."
    raise TypeError(message)


def is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
