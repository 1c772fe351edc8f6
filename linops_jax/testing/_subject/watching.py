"""Which calls are a check's own, and which a user's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

_thread = threading.local()


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """A context in which calls of this thread are a check's own: ``lo.checking()`` leaves them alone."""
    before, _thread.unwatched = is_unwatched(), True
    try:
        yield
    finally:
        _thread.unwatched = before


def is_unwatched() -> bool:
    return getattr(_thread, "unwatched", False)
