"""Hooks in native code: what C functions, FFI handlers and Numba kernels have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from linops_jax._model.kinds import NATIVE, Code

Arrays = Sequence[tuple[str, int]]  # dtype and rank of each array


class Native(Code):
    """A hook in native code, as ``lo.native`` returns it. It cannot be called directly: apply the operator.

    Attributes
    ----------
    parallel : bool
        Whether elements of a batch may be evaluated on several threads at once.
    anywhere : bool
        Whether programs for all platforms can call it; otherwise those for the CPU only.
    """

    kind = NATIVE
    keywords = ("out",)
    parallel: bool = False
    anywhere: bool = True

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        message = (
            f"{self._where} is native and has no Python body that could be called. Apply the operator: A(x), A.H(y)."
        )
        raise TypeError(message)

    def signature(self, label: str, inputs: Arrays, outputs: Arrays) -> Any:
        """Checks the types of all operands and results; raises TypeError for types that the code does not accept.

        Returns the types for which code has to be compiled, as plain values, or None if nothing is compiled.
        """
        return None

    def refuse_misfit(self, label: str, signature: Any, inputs: int, outputs: int) -> None:
        """Raises ValueError if the signature in a program from another process, which may be any value, is not valid."""
        if signature is not None:
            message = (
                f"this program was made for another kind of {label}: found {signature!r:.80}. Export the program again."
            )
            raise ValueError(message)

    def takes(self, signature: Any, arrays: int) -> list[tuple[Sequence[str], int]]:
        """The dtypes and the rank (-1: any) that are allowed for each operand and result.

        Empty if the native code checks its arrays itself. Compiled code does not: it would misread arrays of other types.
        """
        return []

    def compiled(self, label: str, signature: Any) -> int:
        """The address of a C function with the interface of ``linops_jax/native.h``."""
        raise NotImplementedError

    def user_data_of(self, op: Any) -> tuple[int, Any]:
        """The address of the user data for an operator, of which static fields are known, and an object that owns the data."""
        return 0, None

    def address_of(self, plan: Any) -> tuple[int, Any]:
        """The address that the code gets of a plan, and an object that owns the data at this address."""
        raise NotImplementedError
