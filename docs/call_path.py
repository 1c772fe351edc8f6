"""The way of one call: which modules of the package run, in which order, from the class statement to the result.

`python docs/call_path.py` prints it, `python docs/call_path.py docs/internals.md` writes it into the page.
"""

import gc
import pathlib
import re
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

PACKAGE = pathlib.Path(lo.__file__).parent
BLOCK = re.compile(r"(^```\{call-path\}\n).*?(^```$)", flags=re.MULTILINE | re.DOTALL)


def make_class() -> Any:
    class Scale(lo.LinearOperator):
        factors: jax.Array

        def apply(self, x):
            return self.factors * x

        def adjoint(self, y):
            return np.conj(self.factors) * y

        def infer_shape(self, x):
            return x

    return Scale


def stages() -> dict[str, list[str]]:
    """What a stage is, and the modules that run in it, by first entry. Needs a fresh process: later calls find things done."""
    found = {}

    def run(stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
        result, found[stage] = modules_entered(function, *arguments)
        return result

    cls = run("class statement: once for each class", make_class)
    factors, x = jnp.arange(3.0), jnp.ones(3)
    A = run("construction: once for each operator", cls, factors)
    jitted = jax.jit(lambda A, x: A(x))
    traced = run("tracing: once for each structure, shape and dtype", jitted.trace, A, x)
    lowered = run("lowering: once for each program", traced.lower)
    compiled = lowered.compile()
    run("first execution: once for each executable", compiled, A, x)
    run("every later execution", compiled, A, x)
    A(x)
    run("every later eager call", A, x)
    return found


def modules_entered(function: Callable[..., Any], *arguments: Any) -> tuple[Any, list[str]]:
    """The function's result, and the modules whose functions ran, by first entry."""
    entered: dict[str, None] = {}

    def profile(frame: Any, event: str, _: Any) -> None:
        if event == "call" and (name := place(frame.f_code)):
            entered[name] = None

    gc.disable()  # callbacks of a collection are not part of the call
    sys.setprofile(profile)
    try:
        result = function(*arguments)
    finally:
        sys.setprofile(None)
        gc.enable()
    return result, list(entered)


def place(code: Any) -> str | None:
    """The module of a function, or the hook itself, or None for what belongs to others."""
    if "written for" in code.co_filename:
        return "generated"
    if code.co_filename == __file__:
        return f"Scale.{code.co_name}" if code.co_name in ("apply", "infer_shape") else None
    path = pathlib.Path(code.co_filename)
    return path.relative_to(PACKAGE).with_suffix("").as_posix() if path.is_relative_to(PACKAGE) else None


def as_text(found: dict[str, list[str]]) -> str:
    lines = []
    for stage, modules in found.items():
        lines += [stage, *textwrap.wrap(" ".join(modules), 110, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = as_text(stages())
    if len(sys.argv) == 1:
        print(text, end="")
    for page in map(pathlib.Path, sys.argv[1:]):
        page.write_text(BLOCK.sub(lambda found: f"{found[1]}{text}{found[2]}", page.read_text()))
