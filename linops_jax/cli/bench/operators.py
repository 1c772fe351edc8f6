"""Ready-made operators, forward and adjoint, beside those of PyLops and SCICO and the functions of SciPy and NumPy."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ._measure import Case, Effort, Run
from ._operators import ENTRIES, Entry, Pair

TITLE = "Operators"
LARGE = 2048  # from where on few rounds are enough


def cases(effort: Effort) -> Iterator[Case]:
    for pixels in effort.pictures:
        for name, make in ENTRIES.items():
            entry, answers = make(pixels), []
            contestants = {who: partial(_checked, build, entry, answers) for who, build in entry.contestants.items()}
            yield Case(f"{name}, {pixels} x {pixels}", contestants, slow=pixels >= LARGE)


def _checked(build: Callable[[], Pair], entry: Entry, answers: list[list[np.ndarray]]) -> Run:
    """Forward and adjoint, after they were seen to come to the same as those before them."""
    forward, adjoint, place = build()
    x = place(entry.x)
    y = forward(x)
    answers.append([np.ravel(y), np.ravel(adjoint(y))])
    for found, expected in zip(answers[-1], answers[0], strict=True):
        _require_close(found, expected, entry.rtol)
    del answers[1:]  # large arrays
    return lambda: adjoint(forward(x))


def _require_close(found: np.ndarray, expected: np.ndarray, rtol: float) -> None:
    if found.shape != expected.shape:
        msg = f"a result has {found.size} numbers, that of the others has {expected.size}"
        raise AssertionError(msg)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    if not error <= rtol:
        msg = f"a result differs from that of the others by {error:.1e} of its norm, more than {rtol:.0e}"
        raise AssertionError(msg)
