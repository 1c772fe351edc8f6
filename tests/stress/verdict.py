"""What a program must do: give what its twin gives, with the same dtypes; and its adjoints, and simplified."""

import dataclasses
import inspect
import re
import traceback
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import operators
from helpers import like
from stress import oracle, parts, programs, stacks, twins

import linops_jax as lo

REFUSING = (
    NotImplementedError,
    TypeError,
    ValueError,
    jax.errors.JaxRuntimeError,
)  # the last where a compiled program runs

# What may be refused, with the reason: name -> (text of the error, whether the program asks for it)
REFUSALS = {
    "adjoints in fields, forward": (
        "has no forward-mode derivative with respect to the fields",
        lambda p: p.base == "p",  # parameter_jvp and parameter_vjp give the reverse mode of A^H only
    ),
    "second derivatives in fields": (
        "there is no hook for the derivative of",  # derivatives of hooks that are derivatives already
        lambda p: p.base == "p",
    ),
    "jacobians in fields": (
        "Second derivatives of .* are not available|has no hessian",
        lambda p: p.base == "p",  # how a Jacobian depends on fields
    ),
    "domains of different kinds": (
        r"(cannot (add|stack)|block:) .*: their domains differ: found b?(f|c|i)\d+\[.*, expected b?(?!\1)(f|c|i)\d+\[",
        lambda p: True,  # of integers, real and complex numbers: nobody has said which of them is meant
    ),
    "half precision in Numba": (
        "is compiled by Numba, which has no arrays of b?float16",
        lambda p: "F16" in f"{p.parts} {p.op} {p.x}",  # of a result, whose adjoint gets it
    ),
}


class Wrong(AssertionError):
    """A program and its twin differ."""


def refute(message):
    raise Wrong(message)


def check(program):
    """Raises what is wrong with a program; returns the name of a legitimate refusal, or None."""
    with jax.enable_x64(program.wide), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for step in (check_value, check_stack, ALSO[program.also]):
                _named(step, program)
        except Exception as error:
            for name, (text, asks) in REFUSALS.items():
                if isinstance(error, REFUSING) and asks(program) and re.search(text, str(error)):
                    return name
            raise
    return None


def _named(step, program):
    try:
        step(program)
    except Exception as error:
        error.add_note(f"in {step.__name__}")
        raise


def _pair(program):
    operators = program.operators()
    return program.build(operators), program.build_twin(operators), like(program.spec(), 5)


def check_value(program):
    """Eagerly."""
    op, twin, x = _pair(program)
    expected = Expected(twin, x, program.epsilon)
    expected.refute(op(x), "value")
    expected.refute_specs(jax.eval_shape(op, x), "shape")


def check_stack(program):
    operators, x = program.operators(), like(program.spec(), 5)
    if program.base == "p":
        operators = jax.tree.map(jnp.asarray, operators)
        first, argument = lambda px: program.build(px[0])(px[1]), (operators, x)
        reference = lambda px: program.build_twin(px[0])(px[1])  # noqa: E731
    else:
        first, argument = program.build(operators), x
        reference = program.build_twin(operators)
    function, x = stacks.transform(first, argument, program.stack)
    plain, _ = stacks.transform(reference, argument, program.stack, plain=True)
    Expected(plain, x, program.epsilon).refute(function(x), "value")


def check_adjoints(program):
    op, twin, x = _pair(program)
    if not isinstance(op, lo.LinearOperator):
        op, twin = op.jacobian(x), twin.jacobian(x)
    op, twin = op.with_domain(twins.specs(x)), twin.with_domain(twins.specs(x))
    y = like(jax.eval_shape(twin, x), 6)
    spaces(op, twins.specs(x), twins.specs(y))
    spaces(op.H, twins.specs(y), twins.specs(x))
    all_alike(
        program,
        ("H", op.H, twin.H, y),
        ("T", op.T, twin.T, y),
        ("gram", op.gram, twin.gram, x),
        ("H.H", op.H.H, twin, x),
    )


def check_simplified(program):
    op, twin, x = _pair(program)
    simple = lo.simplify(op)
    pairs = [("simplify(op)", simple, twin, x)]
    if op.domain is not None:
        spaces(simple, op.domain, op.codomain)
    if isinstance(op, lo.LinearOperator) and not programs.has_integers(x):
        op, twin = op.with_domain(twins.specs(x)), twin.with_domain(twins.specs(x))
        y = like(op.codomain, 6)
        fixed = [
            ("simplify(op) on its domain", lo.simplify(op), twin, x),
            ("simplify(op.H)", lo.simplify(op.H), twin.H, y),
            ("simplify(op).H", lo.simplify(op).H, twin.H, y),
        ]
        for _, simple, expected, at in fixed:
            spaces(simple, twins.specs(at), twins.specs(jax.eval_shape(expected, at)))
        pairs += fixed
    all_alike(program, *pairs)


ALSO = {"adjoints": check_adjoints, "simplified": check_simplified}


def spaces(op, domain, codomain):
    if (op.domain, op.codomain) != (domain, codomain):
        refute(f"{op!r} has the spaces {op.domain} -> {op.codomain}, expected {domain} -> {codomain}")


# ---- comparing ------------------------------------------------------------------------------------------------------


def all_alike(program, *rows):
    """Of each row of a name, an operator, a twin and their input, in one compiled program: compiling takes longest."""
    found = jax.jit(lambda inputs: [op(x) for (_, op, _, _), x in zip(rows, inputs, strict=True)])(
        [x for *_, x in rows]
    )
    for (name, _, twin, x), value in zip(rows, found, strict=True):
        Expected(twin, x, program.epsilon).refute(value, name)


class Expected:
    """What a function in plain JAX gives."""

    def __init__(self, function, x, epsilon):
        self.evaluate, self.x = oracle.plan(function, x), x
        self.value = self.evaluate(x)
        dtypes = [leaf.dtype for leaf in jax.tree.leaves(self.value) if jnp.issubdtype(leaf.dtype, np.inexact)]
        self.epsilon = max(epsilon, *(float(jnp.finfo(dtype).eps) for dtype in dtypes), 0)
        self.rounding, self.amplified = (
            (400, 100) if epsilon < 1e-4 else (20, 10)
        )  # of half precision there is less to lose

    def refute(self, found, name):
        """Equal structures, shapes and dtypes; numbers up to rounding, or what a rounding error of x makes of them."""
        self.refute_specs(found, name)
        pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(self.value), strict=True))
        off = [np.max(np.abs(wide(a) - wide(b)), initial=0) for a, b in pairs]
        size = [np.max(np.abs(wide(b)), initial=1e-3) for _, b in pairs]
        if all(o <= self.rounding * self.epsilon * s for o, s in zip(off, size, strict=True)):
            return
        if not all(np.isfinite(wide(b)).all() for _, b in pairs):
            return  # the twin has left the numbers
        moves = zip(*(self.sensitivity(seed) for seed in range(3)), strict=True)
        if not all(
            o <= self.rounding * self.epsilon * s + self.amplified * max(m)
            for o, s, m in zip(off, size, moves, strict=True)
        ):  # NaN
            refute(f"{name}: {found}, expected {self.value}; off by {off} of {size}")

    def refute_specs(self, found, name):
        if jax.tree.structure(found) != jax.tree.structure(self.value):
            refute(f"{name}: structure {jax.tree.structure(found)}, expected {jax.tree.structure(self.value)}")
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(self.value), strict=True):
            if (a.shape, a.dtype) != (b.shape, b.dtype):
                refute(f"{name}: {a.dtype}{a.shape}, expected {b.dtype}{b.shape}")

    def sensitivity(self, seed):
        rng = np.random.default_rng(seed)

        def move(leaf):
            moved = wide(leaf) * (1 + self.epsilon * rng.choice([-1, 1], leaf.shape))
            return moved.astype(leaf.dtype) if jnp.issubdtype(leaf.dtype, np.inexact) else leaf

        moved = jax.tree.map(move, self.x)
        a, b = jax.tree.leaves(self.value), jax.tree.leaves(self.evaluate(moved))
        return [np.max(np.abs(wide(u) - wide(v)), initial=0) for u, v in zip(a, b, strict=True)]


def wide(array):
    array = np.asarray(array)
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


# ---- telling --------------------------------------------------------------------------------------------------------


def smallest(program, error):
    """The smallest part of a program, under the fewest transformations, that fails alike; and its error."""
    for piece in program.pieces:
        if (found := _error(piece)) is not None:
            program, error = piece, found
            break
    names = list(program.stack)
    for i in reversed(range(len(names))):
        shorter = _replaced(program, stack=(*names[:i], *names[i + 1 :]))
        if (found := _error(shorter)) is not None:
            program, error = shorter, found
            del names[i]
    if program.base == "p" and (found := _error(plain := _replaced(program, base="x"))) is not None:
        program, error = plain, found
    return program, error


def _replaced(program, **changes):
    return dataclasses.replace(program, pieces=(), **changes)


def _error(program):
    try:
        check(program)
    except Exception as error:
        return error
    return None


@dataclasses.dataclass(frozen=True)
class Report:
    kind: str  # of the error, in one line
    text: str


def report(seed, program, error):
    """What to print of a failure: its seed, its error, and a program to paste."""
    small, error = (None, error) if program is None else smallest(program, error)
    notes = " ".join(getattr(error, "__notes__", []))
    first = str(error).partition("\n")[0]
    kind = f"{type(error).__name__}: {first[:300]}"
    text = f"\n---- seed {seed}: {type(error).__name__}: {error}\n{notes}\n{pasted(small) if small else traced(error)}"
    return Report(kind, text)


def traced(error):
    """Of a fault of the generator."""
    return "".join(traceback.format_exception(error))


def pasted(program):
    """A program that runs from the root of a checkout."""
    needed = {cls for op in program.operators() for cls in type(op).__mro__}
    known = dict.fromkeys(v for module in (operators, parts) for v in vars(module).values() if isinstance(v, type))
    sources = "\n\n".join(inspect.getsource(cls) for cls in known if cls in needed and cls.__module__ != "on_device")
    listed = "".join(f"    {part},\n" for part in program.parts)
    numbered = ", ".join(f"p{i}" for i in range(len(program.parts)))
    return f"""
import sys; sys.path[:0] = ["tests"]
import jax; jax.config.update("jax_num_cpu_devices", 4); jax.config.update("jax_enable_x64", {program.wide})
import jax.numpy as jnp, ml_dtypes, numpy as np
import linops_jax as lo
from helpers import S, like, normal
from on_device import class_on_device
from operators import *
from stress import programs, verdict
from stress.parts import *
from stress.programs import DTYPES
globals().update(DTYPES)

{sources}
{numbered}{"," if program.parts else "_"} = (
{listed})
op = {program.op}
x = like({program.x}, 5)
print(op, op(x))
program = programs.Program({program.parts!r}, {program.op!r},
    {program.twin!r}, {program.x!r}, {program.base!r}, {program.stack!r}, {program.wide!r}, {program.also!r})
verdict.check(program)
"""
