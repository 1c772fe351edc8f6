"""The stream of a program, as the current stream of the libraries that device hooks use. It has only been run on the CPU."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Contexts = Iterable[contextlib.AbstractContextManager[Any]]


def _of_torch(torch: Any, stream: int, device: int) -> Contexts:
    if torch.cuda.is_available():
        yield torch.cuda.stream(torch.cuda.ExternalStream(stream, device=device))


def _of_cupy(cupy: Any, stream: int, device: int) -> Contexts:
    yield cupy.cuda.Device(device)
    yield cupy.cuda.ExternalStream(stream, device)


_LIBRARIES: dict[str, Callable[[Any, int, int], Contexts]] = {"torch": _of_torch, "cupy": _of_cupy}


@contextlib.contextmanager
def as_current(stream: int, device: int) -> Iterator[None]:
    """A context in which the libraries that have been imported put their work on this stream, and on this device.

    Parameters
    ----------
    stream : int
        The address of the stream of CUDA or ROCm.
    device : int
        The number of the device.
    """
    with contextlib.ExitStack() as contexts:
        for name, contexts_of in _LIBRARIES.items():
            library = sys.modules.get(name)
            for context in () if library is None else contexts_of(library, stream, device):
                contexts.enter_context(context)
        yield
