"""The table of `operators.md`, made from the classes of `lo.ops`, their docstrings and the first of their examples."""

import inspect
import re
from typing import Any

import jax

import linops_jax as lo
from linops_jax.testing import Checkup

COLUMNS = ["operator", "what it does", "example", "linear over", "adjoint", "computed by", "checks"]
MATH = re.compile(r"^ *\.\. math::((?:.|\n)+?)(?=\n\n|\Z)", flags=re.MULTILINE)
OF_X = re.compile(r"(?<![\\a-zA-Z])x(?![a-zA-Z])")  # the input, as a letter
MORE = re.compile(r"\\qquad|\\quad")  # what follows is another formula, or where this one holds
OTHER = re.compile(r"A\^H|dx|\\begin|\\text")  # the adjoint, the Jacobian, and what has lines or words


def markdown() -> str:
    values = [getattr(lo.ops, name) for name in sorted(lo.ops.__all__, key=str.lower)]
    classes = [value for value in values if isinstance(value, type)]
    return "\n".join(["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|", *map(row, classes)])


def row(cls: Any) -> str:
    op, x = next(iter(cls.examples()))
    name = f"{{class}}`{cls.__name__} <{cls.__module__}.{cls.__name__}>`"
    shapes = f"{shape(x)} → {shape(jax.eval_shape(op, x))}"
    checks = str(len(Checkup(op, x).checks))
    return f"| {' | '.join([name, what(cls), shapes, linear_over(op), adjoint(op), computed_by(op, x), checks])} |"


def what(cls: Any) -> str:
    """The first sentence of the docstring and, on a line of its own, the formula."""
    text = inspect.getdoc(cls) or ""
    sentence = text.splitlines()[0].replace("``", "`").replace(r"\|", "|").replace("|", r"\|")
    shown = formula(text)
    return f"{sentence}<br>${shown}$" if shown else sentence


def formula(text: str) -> str:
    """What a docstring says first of what becomes of x; empty where that is not formulas of a line each."""
    found = MATH.search(text)
    lines = MORE.split(" ".join(found[1].split())) if found else []
    shown = [line.strip(" .,\\") for line in lines if "=" in line and not OTHER.search(line)]
    return (
        ""
        if not any(map(OF_X.search, shown))
        else "$<br>$".join(shown).replace(r"\|", r"\Vert ").replace("|", r"\vert ")
    )


def shape(x: Any) -> str:
    return ", ".join(str(leaf.shape).replace(" ", "\N{NO-BREAK SPACE}") for leaf in jax.tree.leaves(x))


def linear_over(op: Any) -> str:
    if isinstance(op, lo.NonlinearOperator):
        return "nonlinear"
    words = [word for word in ("unitary", "symmetric", "positive", "diagonal") if getattr(op.properties, word)]
    return ", ".join(["ℝ" if op.properties.real_linear else "ℂ", *words])


def adjoint(op: Any) -> str:
    """Of a nonlinear operator: that of its Jacobian."""
    rtol = op.properties.adjoint_rtol
    return "exact" if rtol is None else f"up to {rtol:g}"


def computed_by(op: Any, x: Any) -> str:
    """What the program of a CPU calls: hooks on the host, native ones, or nothing that is not XLA's own."""
    program = jax.jit(op).trace(x).lower(lowering_platforms=("cpu",)).as_text()
    calls = re.findall(r"custom_call @linops_jax_(host|native|ffi)", program)
    return " and ".join(sorted(set(calls))).replace("ffi", "native") or "XLA"
