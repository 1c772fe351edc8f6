"""What the operators that ducc0 computes have in common: the package, its accuracy, its threads."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from linops_jax.ops import _arguments

_DEFAULT_EPSILON = {False: 1e-10, True: 1e-5}  # in double and in single precision


def ducc(where: str) -> Any:
    """The package ducc0. Raises ImportError, with what to install, if it is missing."""
    try:
        import ducc0
    except ImportError as error:
        message = f'lo.ops.{where} needs ducc0, which is not installed: pip install "linops-jax[ducc]"'
        raise ImportError(message, name="ducc0") from error
    return ducc0


def as_epsilon(value: Any, where: str) -> float | None:
    """The accuracy that the user wants; None, for that of the precision, as it is."""
    return None if value is None else _arguments.as_positive(value, where)


def is_single(*dtypes: Any) -> bool:
    """Whether a transform of such arrays is computed in single precision; not by JAX, since host hooks ask, too."""
    return not {np.dtype(np.float64), np.dtype(np.complex128)} & set(map(np.dtype, dtypes))


def real_dtype(*dtypes: Any) -> np.dtype[Any]:
    """The real dtype in which a transform of such arrays is computed."""
    return np.dtype(np.float32 if is_single(*dtypes) else np.float64)


def default_epsilon(*dtypes: Any) -> float:
    return _DEFAULT_EPSILON[is_single(*dtypes)]


def reachable(epsilon: float | None, ndim: int, where: str, *dtypes: Any) -> float:
    """The accuracy of a transform in so many dimensions of such arrays. Raises ValueError if they cannot have it."""
    if epsilon is None:
        return default_epsilon(*dtypes)
    single = is_single(*dtypes)
    require_reachable(epsilon, _best_epsilon(ndim, single), single, where)
    return epsilon


def require_reachable(epsilon: float, best: float, single: bool, where: str) -> None:
    """Raises ValueError if a precision does not reach an accuracy."""
    if epsilon < best:
        precision, advice = ("single", "double precision, or a larger one") if single else ("double", "a larger one")
        message = f"{where} is {epsilon:g}; in {precision} precision the best is {best:.2g}. Use {advice}."
        raise ValueError(message)


@functools.cache
def _best_epsilon(ndim: int, single: bool) -> float:
    import ducc0

    return ducc0.nufft.bestEpsilon(ndim=ndim, singleprec=single)


def require_finite(values: np.ndarray, where: str) -> None:
    """Raises ValueError if an array holds a number that is not finite. ducc0 would hang, crash or return zeros."""
    right = np.isfinite(values)
    if not right.all():
        at = np.unravel_index(int(np.argmin(right)), right.shape)
        message = f"{where} holds {values[at]} at {tuple(map(int, at))}; expected finite numbers."
        raise ValueError(message)


def require_real(value: Any, where: str) -> None:
    """Raises TypeError if an array field does not hold real floating-point numbers."""
    if hasattr(value, "dtype") and not jnp.issubdtype(value.dtype, jnp.floating):
        message = f"{where} has dtype {value.dtype}; expected real floating-point numbers."
        raise TypeError(message)


def require_real_input(x: Any, where: str) -> None:
    """Raises TypeError if coefficients or values on the sphere are complex."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        message = (
            f"{where} takes a real array, found {x.dtype}. Coefficients are packed as real numbers: see its notes."
        )
        raise TypeError(message)


def flat(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array whose last axes have this shape, with all batch axes as one."""
    return x.reshape(math.prod(x.shape[: x.ndim - len(shape)]), *shape)
