"""What a problem is to the solver loops, and what goes into all of them."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Problem:
    """A problem A x = y. Everything is made when it is called: it may need a package that is not here.

    Parameters
    ----------
    ours : dict of callables
        Our operators, by what they are.
    y : callable
        The data.
    shape : tuple of int
        The shape of x.
    pylops : callable
        The operator of PyLops.
    function : callable, optional
        The same in JAX, as parameters and a function of them and x.
    scico : callable, optional
        The operator of SCICO.
    why_not : dict of str
        From a library to the reason why it does not take part.
    """

    ours: dict[str, Callable[[], Any]]
    y: Callable[[], np.ndarray]
    shape: tuple[int, ...]
    pylops: Callable[[], Any]
    function: Callable[[], Any] | None = None
    scico: Callable[[], Any] | None = None
    why_not: dict[str, str] = field(default_factory=dict)


def noise(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def needs(module: str, make: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    def build() -> Any:
        importlib.import_module(module)
        return make(*arguments)

    return build
