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
    """A hook in native code, called without Python and without the GIL: ``apply = lo.native(...)``, for any hook.

    Its operands are the arrays in the hook's arguments in the order of ``jax.tree.leaves``: array fields first, then
    the inputs. Its results are the arrays that ``infer_shape`` promises. All are C-contiguous. Give one of:

    - ``function``: a C function ``int f(linops_call *)`` of the interface in ``linops_jax/native.h`` (see
      ``get_include``): a function of a ctypes library, a cffi function pointer, a PyCapsule (named
      ``"linops_jax.native.v1"``, or with the signature as Cython names it), a ``scipy.LowLevelCallable``, a compiled
      ``numba.cfunc``, an address, or a name in ``library``.
    - ``ffi``: an XLA FFI handler: the name of a target registered with ``jax.ffi.register_ffi_target``, a capsule of
      ``jax.ffi.pycapsule``, a ctypes function, a dict of these by stage, or a name in ``library``. It may be given as
      ``function`` where it cannot be anything else: a capsule without a name, or a string without ``library``.
    - ``numba``: a Python function ``kernel(x, out)`` over arrays (array fields first), which Numba compiles for the
      dtypes and ranks at hand, or a ``numba.njit`` function. Needs the package numba.

    Options:

    - ``library``: a ``ctypes.CDLL``, or the path of a shared library, in which the function is looked up by name.
    - ``user_data`` (C): what the function finds in ``call->user_data``: bytes, a NumPy array, a ctypes structure or
      pointer, an address; or a function of the operator that returns one of these from static fields (array fields are
      None there).
    - ``owner``: any object to keep alive with the hook, for an address whose code or data belongs to it.
    - ``dtypes`` (C): the dtypes the function takes; others are a TypeError before the call. Default: all, the function
      checks.
    - ``attributes`` (FFI): the handler's attributes, a dict or a function of the operator that returns one. Default: the
      static fields by name. Numbers, strings, NumPy arrays; a tuple of numbers becomes an array, a dtype its name.
    - ``parallel`` (C, Numba): ``vmap`` may evaluate elements of a batch on several threads at once, on XLA's own pool.

    Raises TypeError for arguments that do not go together or have a wrong type, AttributeError for a name not in ``library``,
    ImportError for ``numba`` without that package.
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
    """One hook with several kinds: ``apply = lo.per_platform(cpu=lo.native(...), default=lo.traced(f))``.

    - ``cpu``, ``gpu``, ``cuda``, ``rocm``, ``tpu``: a native hook, a traced function, or (``cpu``) a plain function as host
      hook. C functions and Numba kernels run on the CPU only; a handler is registered for the platform it is given for.
    - ``default``: for all other platforms. A plain function, C function or Numba kernel serves the CPU only.

    With a traced function among them, hooks that are left out are derived by JAX from that one, as with ``lo.traced``.
    The kinds must agree; the checks compare on the platform they run on.

    Raises TypeError for anything that is no hook, or cannot run on its platform.
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
