"""What an import costs: new processes, with byte code compiled before."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial

from ._measure import Case, Effort, Goal, Missing, Run

TITLE = "Start-up"


def cases(effort: Effort) -> Iterator[Case]:
    with tempfile.TemporaryDirectory(prefix="linops-jax-bench") as folder:
        contestants = {f"import {module}": partial(_importing, module, folder) for module in effort.modules}
        goals = {"import jax": Goal(0.1, "difference", "s")}
        yield Case("a new process", contestants, timed=False, goals=goals, slow=True)


def _importing(module: str, folder: str) -> Run:
    """JAX and the module, and Python itself: seconds of a process."""
    if importlib.util.find_spec(module) is None:
        msg = f"{module} is not installed"
        raise Missing(msg)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = folder
    # -P: what is installed, not what lies here
    command = [sys.executable, "-P", "-W", "ignore", "-c", f"import jax, {module}"]

    def run() -> float:
        start = time.perf_counter()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return time.perf_counter() - start

    return run
