"""``lo.native`` and ``lo.per_platform``: what users write in a class body."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from linops_jax._model.kinds import Native, PerPlatform
from linops_jax._native import pointers
from linops_jax._native.function import CFunction
from linops_jax._native.handler import Handler


def native(
    function: Any = None,
    *,
    ffi: Any = None,
    numba: Any = None,
    library: Any = None,
    user_data: Any = None,
    owner: Any = None,
    dtypes: Sequence[Any] | None = None,
    attributes: Any = None,
    parallel: bool = False,
) -> Native:
    """A hook in native code, which is called without Python and without the GIL: ``apply = lo.native(...)``.

    Give one of ``function``, ``ffi`` and ``numba``.

    Parameters
    ----------
    function : C function, optional
        A function ``int f(linops_call *)`` of the interface in ``linops_jax/native.h`` (see ``get_include``): a function
        of a ctypes library, a cffi function pointer, a PyCapsule (with the name ``"linops_jax.native.v1"``, or the
        signature as its name, as Cython has it), a ``scipy.LowLevelCallable``, a compiled ``numba.cfunc``, an address, or
        a name in ``library``.
    ffi : XLA FFI handler, optional
        The name of a target registered with ``jax.ffi.register_ffi_target``, a capsule of ``jax.ffi.pycapsule``, a ctypes
        function, a dict of these by stage, or a name in ``library``. A capsule without a name, and a string without
        ``library``, may also be given as ``function``.
    numba : callable, optional
        A Python function ``kernel(x, out)`` of arrays (array fields first), which Numba compiles for their dtypes and
        numbers of axes, or a ``numba.njit`` function. Needs the package numba.
    library : ctypes.CDLL or path, optional
        A shared library in which the function is found by name.
    user_data : object, optional
        For C functions: what ``call->user_data`` is. Bytes, a NumPy array, a ctypes structure or pointer, an address; or a
        function of the operator that returns one of these from static fields (array fields are None there).
    owner : object, optional
        An object to keep alive with the hook, if its code or data belong to it.
    dtypes : sequence of dtypes, optional
        For C functions: the dtypes that the function takes. Others are a TypeError before the call. By default all are
        passed on, and the function has to check.
    attributes : dict or callable, optional
        For FFI handlers: the attributes, or a function of the operator that returns them. By default the static fields by
        name. Numbers, strings and NumPy arrays; a tuple of numbers becomes an array, and a dtype its name.
    parallel : bool, optional
        For C functions and Numba: whether ``vmap`` may evaluate elements of a batch at once, on XLA's threads. False by
        default.

    Returns
    -------
    native hook
        For the right-hand side of an assignment in the class, as any hook.

    Raises
    ------
    TypeError
        If arguments do not go together, or have a wrong type.
    AttributeError
        If the library does not have the name.
    ImportError
        If the package numba is missing.

    Notes
    -----
    The operands are the arrays in the hook's arguments, in the order of ``jax.tree.leaves``: array fields first, then the
    inputs. The results are the arrays that ``infer_shape`` promises. All are C-contiguous.
    """
    given = [name for name, value in (("function", function), ("ffi", ffi), ("numba", numba)) if value is not None]
    if len(given) != 1:
        message = f"lo.native takes exactly one of: a C function, ffi=handler, numba=kernel; found {', '.join(given) or 'none'}."
        raise TypeError(message)
    if library is not None:
        if numba is not None:
            message = "lo.native: library= is for a C function or ffi=, not for numba=. Drop it."
            raise TypeError(message)
        found = pointers.symbol(library, function if ffi is None else ffi, "lo.native")
        function, ffi, owner = (found, ffi, (library, owner)) if ffi is None else (function, found, (library, owner))
    elif isinstance(function, str) or pointers.is_handler(function):
        function, ffi, given = None, function, ["ffi"]
    options = {"user_data": user_data, "dtypes": dtypes, "attributes": attributes, "parallel": parallel or None}
    _refuse_options(given[0], [name for name, value in options.items() if value is not None])
    if ffi is not None:
        return Handler(ffi, owner, attributes)
    if numba is not None:
        from linops_jax._native.numba import NumbaKernel

        return NumbaKernel(numba, parallel)
    return CFunction(function, user_data, owner, dtypes, parallel)


_OPTIONS = {"function": {"user_data", "dtypes", "parallel"}, "ffi": {"attributes"}, "numba": {"parallel"}}


def _refuse_options(kind: str, options: Sequence[str]) -> None:
    for name in options:
        if name not in _OPTIONS[kind]:
            owners = " or ".join(other for other in _OPTIONS if name in _OPTIONS[other])
            message = f"lo.native: {name}= is an option of {owners}, not of {kind}. Drop it."
            raise TypeError(message)


def per_platform(*, default: Any = None, **platforms: Any) -> PerPlatform:
    """One hook in several versions, by platform: ``apply = lo.per_platform(cpu=lo.native(...), default=lo.traced(f))``.

    Parameters
    ----------
    default : hook, optional
        For all other platforms. A plain function, C function or Numba kernel serves the CPU only.
    **platforms : hook
        For ``cpu``, ``gpu``, ``cuda``, ``rocm`` or ``tpu``: a native hook, a traced function, or (``cpu``) a plain
        function. C functions and Numba kernels run on the CPU only. An FFI handler is registered for the platform that it
        is given for.

    Returns
    -------
    hook
        For the right-hand side of an assignment in the class, as any hook.

    Raises
    ------
    TypeError
        If a value is not a hook, or cannot run on its platform.

    Notes
    -----
    If one version is traced, JAX derives other hooks from it, as with ``lo.traced``. All versions must give the same
    results; ``lo.check_operator`` tests the one for the platform on which it runs.
    """
    variants = {**platforms, **({} if default is None else {"default": default})}
    if not variants:
        message = "lo.per_platform needs at least one hook: cpu=..., cuda=..., default=..."
        raise TypeError(message)
    for name, value in variants.items():
        _check_variant(name, value)
    if default is not None and not _is_anywhere(default):
        del variants["default"]
        variants.setdefault("cpu", default)
    return PerPlatform(variants)


def _is_anywhere(value: Any) -> bool:
    return getattr(value, "_linops_traced", False) or (isinstance(value, Native) and value.anywhere)


def _check_variant(name: str, value: Any) -> None:
    if name not in ("cpu", "gpu", "cuda", "rocm", "tpu", "default"):
        message = f"lo.per_platform: unknown platform {name!r}; use cpu, gpu, cuda, rocm, tpu or default."
        raise TypeError(message)
    if not (isinstance(value, Native) or inspect.isfunction(value)):
        message = (
            f"lo.per_platform({name}=...) must be lo.native(...), lo.traced(f) or a plain function, not "
            f"{type(value).__name__}."
        )
        raise TypeError(message)
    if name in ("cpu", "default") or _is_anywhere(value) or isinstance(value, Handler):
        return
    what = value.what if isinstance(value, Native) else "a host hook"
    message = f"lo.per_platform({name}=...): {what} runs on the CPU only. Use an XLA FFI handler or lo.traced(f) here."
    raise TypeError(message)
