from collections.abc import Callable
from typing import Any

class Counter:
    def __init__(self) -> None: ...
    @property
    def count(self) -> int: ...

class Target:
    def __init__(
        self,
        *,
        name: str,
        call: Callable[..., Any],
        store: Callable[[int, Any, Any], None],
        start: Callable[[str, Any, Any], Any],
        direct: bool,
        takes_out: bool,
        batched: bool,
        looped: str,
        ignored: str,
        counter: Counter,
    ) -> None: ...

def native_target(
    *,
    name: str,
    function: int,
    user_data: int,
    owner: object,
    start: Callable[[str, Any, Any], Any],
    is_handler: bool,
    batched: bool,
    parallel: bool,
    looped: str,
    ignored: str,
    takes: list[tuple[int, int]],
    counter: Counter,
) -> Target: ...

class OnArrays:
    def __init__(self, target: Target, batch: str) -> None: ...
    def __call__(self, operands: list[Any], results: list[Any]) -> str: ...

def register_target(key: str, target: Target) -> bool: ...
def count_targets() -> int: ...
def configure(
    *,
    dtypes: dict[int, Any],
    resolve: Callable[[str], Target],
    report: Callable[[str, BaseException], str],
    collect: Callable[[int], Any],
    derived_arrays: Callable[[Any], list[Any]],
    swap_no_execution: Callable[[Any], Any],
    main_thread: int | None,
) -> None: ...
def handlers() -> dict[str, Any]: ...
def native_handlers() -> dict[str, Any]: ...
def close(seconds: float) -> None: ...
