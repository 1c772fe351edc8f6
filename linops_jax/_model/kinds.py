"""Kinds of hook: their names, and the classes of hooks that are not plain methods (native code, code per platform)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar


class Kind(str):
    """A kind of hook: its name, in messages and in keys, and what is true of it everywhere.

    What a program contains for it is in ``_engine/lowering``.

    Attributes
    ----------
    is_foreign : bool
        Whether it is code that JAX does not know, which may raise an exception while it runs.
    is_counted : bool
        Whether its calls are counted.
    platform : str or None
        The only platform that it runs on; None for all.
    """

    is_foreign: bool
    is_counted: bool
    platform: str | None

    def __new__(
        cls, name: str, *, is_foreign: bool = False, is_counted: bool = False, platform: str | None = None
    ) -> Kind:
        new = super().__new__(cls, name)
        new.is_foreign, new.is_counted, new.platform = is_foreign, is_counted, platform
        return new


HOST = Kind("host", is_foreign=True, is_counted=True, platform="cpu")
NATIVE = Kind("native", is_foreign=True, is_counted=True, platform="cpu")  # or all platforms, if the code says so
REFUSED = Kind(
    "refused", is_foreign=True, platform="cpu"
)  # not defined: zero for zero tangents, an error for all others
TRACED, PER_PLATFORM, MISSING = Kind("traced"), Kind("per platform"), Kind("missing")

Arrays = Sequence[tuple[str, int]]  # dtype and rank of each array


class Native:
    """A hook in native code, as ``lo.native`` returns it. It cannot be called directly: apply the operator.

    Attributes
    ----------
    parallel : bool
        Whether elements of a batch may be evaluated on several threads at once.
    anywhere : bool
        Whether it can run on all platforms; otherwise on the CPU only.
    takes_plan : bool
        Whether it gets the address of what ``prepare`` made.
    what : str
        What messages call it.
    """

    parallel: bool = False
    anywhere: bool = False
    takes_plan: bool = False
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


class PerPlatform:
    """A hook with different code for different platforms, as ``lo.per_platform`` returns it."""

    def __init__(self, variants: Mapping[str, Any]):
        self.variants = variants

    def __set_name__(self, owner: Any, name: str) -> None:
        for variant in self.variants.values():
            if isinstance(variant, Native):
                variant.__set_name__(owner, name)

    @property
    def traced(self) -> Callable[..., Any] | None:
        """The first variant that is JAX code, or None."""
        return next((value for value in self.variants.values() if getattr(value, "_linops_traced", False)), None)

    def __get__(self, op: Any, cls: Any = None) -> Any:
        return self if op is None or self.traced is None else self.traced.__get__(op, cls)
