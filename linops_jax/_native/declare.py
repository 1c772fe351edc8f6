"""``lo.native``, which users write in a class body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from linops_jax._native import pointers
from linops_jax._native.function import CFunction
from linops_jax._native.handler import Handler
from linops_jax._native.native import Native


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
    plan: Any = False,
) -> Native:
    """A hook in native code, which is called without Python and without the GIL.

    Write ``apply = lo.native(...)`` in the class body, and likewise for every other hook. Give exactly one of ``function``,
    ``ffi`` and ``numba``.

    Parameters
    ----------
    function : C function, optional
        A C function ``int f(linops_call *)``, as declared in ``linops_jax/native.h`` (see ``get_include``): a function of a
        ctypes library, a cffi function pointer, a PyCapsule (named ``"linops_jax.native.v1"``, or with the signature, as in
        Cython), a ``scipy.LowLevelCallable``, a compiled ``numba.cfunc``, an address, or the name of a function in
        ``library``.
    ffi : XLA FFI handler, optional
        The name of a target registered with ``jax.ffi.register_ffi_target``, a capsule of ``jax.ffi.pycapsule``, a ctypes
        function, a dict of these by stage, or the name of a function in ``library``. A capsule without a name, or a string
        without ``library``, can only be a handler, so it may be given as ``function``, too.
    numba : function, optional
        A Python function ``kernel(x, out)`` of arrays, array fields first, which Numba compiles for the dtypes and ranks of
        each call, or a ``numba.njit`` function. Needs the package numba.
    library : ctypes.CDLL or path, optional
        A shared library, in which the function or the handler is looked up by its name.
    user_data : bytes, array, pointer or function, optional
        For C functions: the data that the function finds at ``call->user_data``. Bytes, a NumPy array, a ctypes structure
        or pointer, an address; or a function of the operator that returns one of these. This function may use the static
        fields only: the array fields are None when it is called.
    owner : object, optional
        An object that is kept alive with the hook, because code or data at an address belongs to it.
    dtypes : sequence of dtypes, optional
        For C functions: the dtypes that the function accepts. Others are a TypeError before the call. Default: all dtypes,
        the function checks them.
    attributes : dict or function, optional
        For FFI handlers: the attributes by name, or a function of the operator that returns them. Values are numbers,
        strings and NumPy arrays. A tuple of numbers becomes an array, and a dtype its name. Default: the static fields.
    parallel : bool, optional
        For C functions and Numba kernels: whether ``vmap`` may evaluate elements of a batch on several threads at once, in
        XLA's thread pool. Default: False.
    plan : bool or function, optional
        For C functions: whether the function finds what ``prepare`` of the class made at ``call->plan``. The plan is of one of
        the types that ``user_data`` may have; or ``plan`` is a function of the plan that returns one of these. Default: False.

    Returns
    -------
    native hook
        The hook, to be assigned to its name in the class body. It cannot be called directly.

    Raises
    ------
    TypeError
        If an argument has a wrong type, or arguments cannot be combined.
    AttributeError
        If ``library`` has no function of this name.
    ImportError
        If ``numba`` is given and the package is not installed.

    Notes
    -----
    The operands of native code are the arrays in the arguments of the hook, in the order of ``jax.tree.leaves``: the array
    fields, then the inputs. The results are the arrays whose specs ``infer_shape`` returns. All are C-contiguous.
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
    options["plan"] = None if plan is False else plan
    _refuse_options(given[0], [name for name, value in options.items() if value is not None])
    if ffi is not None:
        return Handler(ffi, owner, attributes)
    if numba is not None:
        from linops_jax._native.numba import NumbaKernel

        return NumbaKernel(numba, parallel)
    return CFunction(function, user_data, owner, dtypes, parallel, plan)


_OPTIONS = {"function": {"user_data", "dtypes", "parallel", "plan"}, "ffi": {"attributes"}, "numba": {"parallel"}}


def _refuse_options(kind: str, options: Sequence[str]) -> None:
    for name in options:
        if name not in _OPTIONS[kind]:
            owners = " or ".join(other for other in _OPTIONS if name in _OPTIONS[other])
            message = f"lo.native: {name}= is an option of {owners}, not of {kind}. Drop it."
            raise TypeError(message)
