"""Hooks that are C functions with the interface of ``include/linops_jax/native.h``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from linops_jax._native import pointers
from linops_jax._native.native import Arrays, Native


class CFunction(Native):
    """A hook that is a C function. It keeps alive the objects to which code and data belong.

    Compiled programs keep the hook alive, so the function lives at least as long as each program that calls it.
    """

    def __init__(
        self, function: Any, user_data: Any, owner: Any, dtypes: Sequence[Any] | None, parallel: bool, plan: Any
    ):
        where = "lo.native"
        self.address, own_data = pointers.function_pointer(function, where)
        if own_data and user_data is not None:
            message = (
                f"{where}: {function!r:.80} already has user data, which user_data= would replace. Drop one of them."
            )
            raise TypeError(message)
        self.parallel = parallel
        self._kept = (function, owner)
        self._user_data = user_data if user_data is not None else (own_data or None)
        if not inspect.isfunction(user_data):
            pointers.data_pointer(self._user_data, f"{where}, user_data")  # to raise here instead of in the first call
        if not (isinstance(plan, bool) or inspect.isfunction(plan)):
            message = f"{where}: plan must be True, or a function that returns what the code gets of a plan; found {plan!r:.80}."
            raise TypeError(message)
        self.keywords = ("out",) if plan is False else ("out", "plan")
        self._handle = plan
        self._dtypes = None if dtypes is None else tuple(np.dtype(dtype).name for dtype in dtypes)

    def signature(self, label: str, inputs: Arrays, outputs: Arrays) -> Any:
        for dtype, _ in (*inputs, *outputs):
            if self._dtypes is not None and dtype not in self._dtypes:
                message = (
                    f"{label} is native and takes arrays of {', '.join(self._dtypes)}; found an array of {dtype}. Convert an "
                    "input with astype before the call. For a result, correct infer_shape."
                )
                raise TypeError(message)
        return None

    def takes(self, signature: Any, arrays: int) -> list[tuple[Sequence[str], int]]:
        return [] if self._dtypes is None else [(self._dtypes, -1)] * arrays

    def compiled(self, label: str, signature: Any) -> int:
        return self.address

    def user_data_of(self, op: Any) -> tuple[int, Any]:
        data = self._user_data(op) if inspect.isfunction(self._user_data) else self._user_data
        return pointers.data_pointer(data, f"{self._where}, user_data"), data

    def address_of(self, plan: Any) -> tuple[int, Any]:
        handle = self._handle(plan) if inspect.isfunction(self._handle) else plan
        return pointers.data_pointer(handle, f"{self._where}, plan"), handle
