"""Kinds of hook: by their names, and as values beside plain methods: native code, and several kinds for several platforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

HOST, TRACED, NATIVE, PER_PLATFORM, MISSING = "host", "traced", "native", "per platform", "missing"
REFUSED = "refused"  # a derivative that nobody has: zero for zero tangents, an error for others

Arrays = Sequence[tuple[str, int]]  # dtype and rank of each


class Native:
    """A hook in native code, as ``lo.native`` returns it. It has no Python body: apply the operator to call it.

    parallel: whether elements of a batch may be evaluated on several threads at once
    anywhere: whether it is for all platforms, not for the CPU alone
    """

    parallel: bool = False
    anywhere: bool = False
    what: ClassVar[str] = "a native hook"
    _where: str = ""

    def __set_name__(self, owner: Any, name: str) -> None:
        self._where = self._where or f"{owner.__qualname__.rpartition('<locals>.')[2]}.{name}"

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        message = (
            f"{self._where} is native and has no Python body that could be called. Apply the operator: A(x), A.H(y)."
        )
        raise TypeError(message)

    def signature(self, label: str, inputs: Arrays, outputs: Arrays) -> Any:
        """Checks all operands and results; answers with the types for which it is compiled, in plain values, or None.

        Raises TypeError for what it does not take.
        """
        return None

    def refuse_misfit(self, label: str, signature: Any, inputs: int, outputs: int) -> None:
        """For the signature in a program from elsewhere, which may be anything. Raises ValueError."""
        if signature is not None:
            message = (
                f"this program was made for another kind of {label}: found {signature!r:.80}. Export the program again."
            )
            raise ValueError(message)

    def takes(self, signature: Any, arrays: int) -> list[tuple[Sequence[str], int]]:
        """For each of its operands and results the dtypes that it can be given, and the rank (-1: any).

        Nothing where it looks for itself. Compiled code would take other arrays for these.
        """
        return []

    def compiled(self, label: str, signature: Any) -> int:
        """The address of a C function of our interface."""
        raise NotImplementedError

    def user_data_of(self, op: Any) -> tuple[int, Any]:
        """The address of the user data for an operator's static fields, and what keeps it alive."""
        return 0, None


class PerPlatform:
    """One hook with several kinds, as ``lo.per_platform`` returns it."""

    def __init__(self, variants: Mapping[str, Any]):
        self.variants = variants

    def __set_name__(self, owner: Any, name: str) -> None:
        for variant in self.variants.values():
            if isinstance(variant, Native):
                variant.__set_name__(owner, name)

    @property
    def traced(self) -> Callable[..., Any] | None:
        """The JAX code among them."""
        return next((value for value in self.variants.values() if getattr(value, "_linops_traced", False)), None)

    def __get__(self, op: Any, cls: Any = None) -> Any:
        return self if op is None or self.traced is None else self.traced.__get__(op, cls)
