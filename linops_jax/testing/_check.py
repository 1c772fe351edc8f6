"""What a check is: one identity as a function, with what must hold before it says anything."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._types import Specs
from linops_jax.testing import _probes, _spread
from linops_jax.testing._subject import Operator, Subject, describe, unwatched


@dataclasses.dataclass(frozen=True)
class Check:
    """One identity; called with an operator and its input, it raises AssertionError where the identity does not hold.

    Parameters
    ----------
    name : str
        What ``check_operator`` calls it.
    identity : str
        The identity, in one line.
    needs : tuple of str
        The checks whose failure makes this one say nothing new.
    applies : callable
        Whether it applies to a subject.
    function : callable
        What it does with a subject.
    whole : str
        Why it needs whole arrays; empty if it does not. It is skipped where other processes hold parts of the arrays.

    Notes
    -----
    ``check(op, x=None, *, seed=0)``: x holds specs or example arrays of the input and may be left out where
    ``op.domain`` is known; seed is that of all random vectors. It returns None, or a note on what the operator could
    say better.
    """

    name: str
    identity: str
    needs: tuple[str, ...]
    applies: Callable[[Subject], bool]
    function: Callable[[Subject], str | None]
    whole: str = ""

    def __call__(self, op: Operator, x: Specs | None = None, *, seed: int = 0) -> str | None:
        return self.run(Subject(op, x, seed=seed, where=f"check_{self.name}"))

    def run(self, subject: Subject) -> str | None:
        """The same for an operator and input that are one already."""
        with unwatched(), subject.on_its_mesh():
            if self.whole and subject.is_spread:
                return f"skipped: {self.whole}, and other processes hold parts of the arrays"
            return self.function(subject)


_declared: dict[str, Check] = {}


def check(
    *, needs: tuple[str, ...] = (), when: Callable[[Subject], bool] = lambda subject: True, whole: str = ""
) -> Any:
    """Makes a function of a ``Subject`` the check of the identity in the first line of its docstring."""

    def declare(function: Callable[[Subject], str | None]) -> Check:
        name = function.__name__.removeprefix("check_")
        text = inspect.cleandoc(function.__doc__ or "").replace("``", "")
        _declared[name] = Check(name, text.partition("\n")[0], needs, when, function, whole)
        object.__setattr__(_declared[name], "__doc__", text)
        return _declared[name]

    return declare


def in_order() -> dict[str, Check]:
    """All checks that are declared: in the order of their files and lines, but each after those that it needs."""
    ordered: dict[str, Check] = {}

    def add(check: Check) -> None:
        for need in check.needs:
            add(_declared[need])
        ordered.setdefault(check.name, check)

    for check in sorted(_declared.values(), key=lambda check: check.function.__module__):
        add(check)
    return ordered


def require(condition: bool, otherwise: str) -> None:
    """Raises AssertionError with the text, also under ``python -O``; a condition that is NaN does not hold."""
    if not condition:
        raise AssertionError(otherwise)


def close(
    found: Any, expected: Any, what: str, subject: Subject, *, rtol: float | None = None, amplified: bool = True
) -> None:
    """Raises AssertionError where two ways to compute the same differ by more than rounding.

    They agree up to 100 eps of each array's norm, or up to ``rtol``; up to more where numbers cancel, unless
    ``amplified`` is False.
    """
    same_structure = jax.tree.structure(found) == jax.tree.structure(expected)
    require(same_structure, f"{what}: structure {jax.tree.structure(found)}, expected {jax.tree.structure(expected)}")
    eps = _probes.eps(expected, subject.spec, subject.out)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        at = jax.tree_util.keystr(path)
        require((a.shape, a.dtype) == (b.shape, b.dtype), f"{what}{at}: {describe(a)}, expected {describe(b)}")
        if a.dtype == jax.dtypes.float0 or _probes.equal(a, b):
            continue
        error = _probes.norm(_probes.subtract(a, b))
        precision = (rtol or _probes.LOOSE * eps) if _probes.is_inexact(a) else 0.0
        tolerance = precision * max(_probes.norm(a), _probes.norm(b))
        if error <= tolerance or (amplified and error <= tolerance * subject.amplification):
            continue
        reason = f"rtol {rtol:g}" if rtol else f"{_probes.LOOSE:g} eps of the norm"
        message = f"{what}{at}: they differ by {error:.2e}, which exceeds {tolerance:.2e} ({reason}){_worst(a, b)}"
        raise AssertionError(message)


def _worst(a: Any, b: Any) -> str:
    """The element that differs most, if this process has all of them."""
    if _spread.any_spread((a, b)):
        return ""
    x, y = _probes.double(a), _probes.double(b)
    if x.ndim == 0:
        return f": {x:.6g} and {y:.6g}"
    difference = np.abs(x - y)
    at = np.unravel_index(np.argmax(np.where(np.isnan(difference), np.inf, difference)), x.shape)
    return f"; most at [{', '.join(map(str, at))}]: {x[at]:.6g} and {y[at]:.6g}"


def stack(trees: list[Any], axis: int = 0) -> Any:
    """Trees as one with a new axis; by NumPy where arrays are not on a mesh, since JAX compiles for each number and shape."""

    def one(*leaves: Any) -> Any:
        if any(isinstance(getattr(leaf, "sharding", None), jax.sharding.NamedSharding) for leaf in leaves):
            return jnp.stack(leaves, axis=axis)
        return jnp.asarray(np.stack([np.asarray(leaf) for leaf in leaves], axis=axis))

    return jax.tree.map(one, *trees)


def conj(tree: Any) -> Any:
    return jax.tree.map(jnp.conj, tree)
