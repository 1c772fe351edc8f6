"""Hooks with different code for different platforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from linops_jax._model.kinds import PER_PLATFORM, Code, is_hook, is_traced, runs_anywhere, variants_of


class PerPlatform(Code):
    """A hook with different code for different platforms, as ``lo.per_platform`` returns it."""

    kind = PER_PLATFORM

    def __init__(self, variants: Mapping[str, Any]):
        self.variants = variants

    @property
    def traced(self) -> Callable[..., Any] | None:
        """The first variant that is JAX code, or None."""
        return next(filter(is_traced, self.variants.values()), None)

    def __get__(self, op: Any, cls: Any = None) -> Any:
        return self if op is None or self.traced is None else self.traced.__get__(op, cls)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if self.traced is None:
            message = (
                f"{self._where} has different code for each platform, and none of it is traced, so it cannot be called "
                "directly. Apply the operator: A(x), A.H(y)."
            )
            raise TypeError(message)
        return self.traced(*arguments, **keywords)


def per_platform(*, default: Any = None, **platforms: Any) -> PerPlatform:
    """A hook with different code for different platforms.

    Write ``apply = lo.per_platform(cpu=lo.native(...), default=lo.traced(f))`` in the class body.

    Parameters
    ----------
    default : hook, optional
        The code for all other platforms. An FFI handler without a name is used on the CPU only.
    **platforms : hook
        The code for ``cpu``, ``gpu``, ``cuda``, ``rocm`` or ``tpu``: a native hook, ``lo.traced(f)``, ``lo.device(f)`` or a
        plain function. Plain functions, C functions and Numba kernels run on the host in any case. An FFI handler is
        registered for the platform for which it is given.

    Returns
    -------
    hook
        The hook, to be assigned to its name in the class body.

    Raises
    ------
    TypeError
        If a value is not a hook, or a platform is unknown.

    Notes
    -----
    If one of the functions is traced, JAX derives hooks that the class does not define from this function, as with
    ``lo.traced``. The code must compute the same on all platforms. The checks test the code for the platform on which they
    run. Of other platforms than the CPU only the programs have been looked at: nothing has been run there.

    Examples
    --------
    >>> class Double(lo.LinearOperator):
    ...     infer_shape = lambda self, x: x
    ...     apply = lo.per_platform(cpu=lambda self, x: 2 * x, default=lo.traced(lambda self, x: 2 * x))
    >>> Double()(jnp.array([1.0, 3.0]))
    Array([2., 6.], dtype=float32)
    """
    variants = {**platforms, **({} if default is None else {"default": default})}
    if not variants:
        message = "lo.per_platform needs at least one hook: cpu=..., cuda=..., default=..."
        raise TypeError(message)
    for name, value in variants.items():
        _check_variant(name, value)
    if not runs_anywhere(default):
        del variants["default"]
        variants.setdefault("cpu", default)
    return PerPlatform(variants)


def _check_variant(name: str, value: Any) -> None:
    if name not in ("cpu", "gpu", "cuda", "rocm", "tpu", "default"):
        message = f"lo.per_platform: unknown platform {name!r}; use cpu, gpu, cuda, rocm, tpu or default."
        raise TypeError(message)
    if not is_hook(value) or variants_of(value):
        message = (
            f"lo.per_platform({name}=...) must be lo.native(...), lo.traced(f), lo.device(f) or a plain function, not "
            f"{type(value).__name__}."
        )
        raise TypeError(message)
