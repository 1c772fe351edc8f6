"""The side that asks: a process that runs beside this one, and is idle between its answers."""

import json
import subprocess
from contextlib import suppress
from tempfile import TemporaryFile
from typing import NamedTuple

from ..._children import environment
from .data import Size

PATIENCE = 20  # seconds until a process that does not end is killed


class Request(NamedTuple):
    """Run this once more: by which library, which problem, of which size, for how many seconds at least."""

    library: str
    problem: str
    size: Size
    least: float


class Answer(NamedTuple):
    """Seconds of one run, and what tells its result."""

    seconds: float
    fingerprint: float


class Child:
    """A process that starts with the first request."""

    def __init__(self, *command: str):
        self._command = command
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: Request) -> Answer:
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # what it wrote says more
            print(json.dumps(request), file=process.stdin, flush=True)
        for line in process.stdout:
            if line.startswith("{"):  # and not what others print
                return Answer(**json.loads(line))
        self._log.seek(0)
        msg = f"{' '.join(self._command)} ended:\n{self._log.read()}"
        raise RuntimeError(msg)

    def _start(self) -> subprocess.Popen[str]:
        self._log = TemporaryFile("w+")  # noqa: SIM115  # until the process has ended
        variables = environment(OPENBLAS_NUM_THREADS="1", JAX_PLATFORMS="cpu")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=variables,
            text=True,
        )
        return self._process

    def close(self) -> None:
        """Ends it: it reads the end of its input."""
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.communicate(timeout=PATIENCE)
            self._process.kill()
            self._process.wait()
            self._log.close()
