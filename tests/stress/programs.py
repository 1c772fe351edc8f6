"""Random programs: an expression of operators and, built the same way, one of their twins.

An expression is text, so that a failure can be pasted. The same names mean operators or twins, ``lo`` the library or
``twins``. Only where an adjoint leaves its domain to be found out do the two texts differ: a twin is always told.
"""

import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import operators
from helpers import S, like, normal
from stress import parts, stacks, twins

import linops_jax as lo

DTYPES = {"R": np.float32, "C": np.complex64, "R64": np.float64, "C128": np.complex128,
          "F16": np.float16, "BF16": ml_dtypes.bfloat16, "I32": np.int32}  # fmt: skip


def copies(op, n):
    """One operator that stands for n equal ones."""
    return jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * n), op)


NAMES = {**vars(operators), **vars(parts), **DTYPES, "jnp": jnp, "np": np, "jax": jax,
         "S": S, "like": like, "normal": normal, "copies": copies, "lo": lo}  # fmt: skip
NOT_BY_ITSELF = (
    "needs to know the shape of its result|derives adjoints for floating arrays only"  # the latter of integers
)
REFUSED = "their domains differ"  # of real and complex ones, which only the smallest programs come to


@dataclasses.dataclass(frozen=True)
class Program:
    parts: tuple[str, ...]  # the operators that are drawn, as text
    op: str  # of p0, p1, ...
    twin: str
    x: str  # specs of the input
    base: str  # "x": the operators are constants; "p": they are part of the argument
    stack: tuple[str, ...]
    wide: bool
    also: str  # what is looked at beside values and the stack: "adjoints" or "simplified"
    pieces: tuple[Any, ...] = ()  # smaller programs, parts of this one

    def operators(self):
        return tuple(eval(part, NAMES) for part in self.parts)

    def spec(self):
        return eval(self.x, NAMES)

    @property
    def epsilon(self):
        """Of the shortest numbers in it."""
        text = f"{self.parts} {self.op} {self.x}"
        if "FFT" in text and INTEGERS in text:
            text += " C"  # what it makes of them
        shortest = next((name for name in ("BF16", "F16", "R", "C") if re.search(rf"\b{name}\b", text)), None)
        return float(jnp.finfo(DTYPES[shortest or ("R64" if self.wide else "R")]).eps)

    def build(self, operators):
        return _evaluate(self.op, operators)

    def build_twin(self, operators):
        return _evaluate_twin(self.twin, operators)


def _evaluate(text, operators):
    return eval(text, {**NAMES, **{f"p{i}": op for i, op in enumerate(operators)}})


def _evaluate_twin(text, operators):
    values = {f"p{i}": twins.Twin(functools.partial(parts.twin_of, op)) for i, op in enumerate(operators)}
    return eval(text, {**NAMES, **values, "lo": twins})


# ---- drawing --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Expression:
    op: str
    twin: str
    x: Any


def _name(text):
    return text.partition("(")[0].removeprefix("lo.")


def _is_nonlinear(text):
    name = _name(text)
    return issubclass(NAMES[name] if name in NAMES else getattr(lo, name), lo.NonlinearOperator)


class NoSuchExpression(Exception):
    """These spaces have none; another draw may."""


class OutOfFuel(Exception):
    """Too many tries."""


NARROW, WIDE, HALVES, INTEGERS = ["R", "C"], ["R64", "C128"], ["F16", "BF16"], "I32"
ALSO = [None] * 4 + [*HALVES, INTEGERS, INTEGERS]  # numbers that a program may have besides


class Draw:
    """One random program's choices."""

    def __init__(self, seed, wide, also):
        self.rng = np.random.default_rng(seed)
        self.names = [*NARROW, *(WIDE if wide else []), *([also] if also in HALVES else [])]
        self.dtypes = [np.dtype(DTYPES[name]) for name in self.names]
        self.with_integers = also == INTEGERS
        self.wide, self.fuel = wide, 50
        self.parts, self.operators, self.pieces, self.results = [], [], [], {}

    def pick(self, options):
        return options[self.rng.integers(len(options))]

    def number(self):
        return int(self.rng.integers(1000))

    def chance(self, p):
        return self.rng.random() < p

    # ---- spaces

    def space(self, kind, dtype=None):
        """Specs of one kind: v a vector, m a matrix, s a number, t a tuple, l a list, d a dict of two vectors."""
        shape = {"m": (3, 3), "s": ()}.get(kind, (3,))
        one = lambda: S(shape, dtype or self.pick(self.dtypes))  # noqa: E731
        return {"t": lambda: (one(), one()), "l": lambda: [one(), one()], "d": lambda: {"a": one(), "b": one()}}.get(
            kind, one
        )()

    # ---- leaves

    def array(self, shape, kind=None):
        options = [name for name in self.names if kind != "r" or not name.startswith("C")]
        name = INTEGERS if self.with_integers and kind != "f" and self.chance(0.4) else self.pick(options)
        return f"normal({shape}, {name}, {self.number()})"

    def part(self, x, kind, out, linear, name=""):
        """One operator from x whose name begins so, by chance one that is there already."""
        places = {kind: functools.partial(self.array, (3, 3) if kind == "m" else (3,), kind) for kind in "mvfr"}
        options = [
            text
            for kinds, text in parts.RECIPES
            if kinds == kind + out and text.startswith(name) and not (linear and _is_nonlinear(text))
        ]
        if not options:
            raise NoSuchExpression
        for _ in range(20):
            there = [i for i, text in enumerate(self.parts) if any(_name(text) == _name(option) for option in options)]
            if there and self.chance(0.25):
                i = self.pick(there)
            else:
                text = self.pick(options)
                for key, place in places.items():
                    while f"{{{key}}}" in text:
                        text = text.replace(f"{{{key}}}", place(), 1)
                self.parts.append(text)
                self.operators.append(eval(text, NAMES))
                i = len(self.parts) - 1
            if not (_name(self.parts[i]) in parts.WITHOUT_HALVES and has_halves((x, self.operators[i]))):
                return Expression(f"p{i}", f"p{i}", x)
        raise NoSuchExpression

    # ---- expressions

    def result(self, e):
        key = e.twin, text_of(e.x)
        if key not in self.results:
            self.results[key] = jax.eval_shape(_evaluate_twin(e.twin, self.operators), e.x)
        return self.results[key]

    def combine(self, template, x, /, *expressions, twin=None, **texts):
        """An expression from smaller ones, which stand at {0}, {1}, ... of the template."""
        op = template.format(*(e.op for e in expressions), **texts)
        return Expression(op, (twin or template).format(*(e.twin for e in expressions), **texts), x)

    def expression(self, x, out, depth, linear):
        """From specs to a kind of result."""
        for _ in range(8):
            self.fuel -= 1
            if self.fuel < 0:
                raise OutOfFuel
            try:
                e = self._some(x, kind_of(x), out, depth, linear)
                if kind_of(self.result(e)) != out:
                    continue
            except (NoSuchExpression, twins.ElsewhereError):
                continue
            except ValueError as error:
                if not re.search(REFUSED, str(error)):
                    raise
                continue
            self.pieces.append(e)
            return e
        raise NoSuchExpression

    def _some(self, x, kind, out, depth, linear):
        leaf = kind in "vtds" and (kind, out) in LEAVES
        if leaf and (depth <= 0 or self.chance(0.12)):
            return self.part(x, kind, out, linear)
        if depth <= -3:
            raise NoSuchExpression
        ways = [self.sum, self.scaled, self.product]
        if depth > 0:
            ways += [self.conjugate, self.adjoint, self.adjoint, self.gram, self.with_domain, self.declared, self.affine,
                     self.jacobian]  # fmt: skip
            ways += [] if linear else [self.times]
        if kind == out:
            ways += [self.power]
        containers = {
            ("v", "t"): [self.vstack], ("v", "l"): [self.vstack], ("v", "d"): [self.vstack],
            ("t", "v"): [self.hstack], ("l", "v"): [self.hstack], ("d", "v"): [self.hstack],
            ("t", "t"): [self.block_diag], ("l", "l"): [self.block_diag, self.block], ("d", "d"): [self.block_diag],
            ("m", "m"): [self.along_axis, self.kron, self.rows], ("v", "v"): [self.frozen, self.function, self.copies],
        }.get((kind, out), [])  # fmt: skip
        ways = containers * 3 if depth <= 0 and containers else ways + containers * 3
        if depth <= 0 and not containers:
            ways = [self.product]
        return self.pick(ways)(x, out, depth - 1, linear)

    def sum(self, x, out, depth, linear):
        a, b = (self.expression(x, out, depth, linear) for _ in range(2))
        return self.combine(self.pick(["({0} + {1})", "({0} - {1})", "({0} - (-{1}))"]), x, a, b)

    def scaled(self, x, out, depth, linear):
        a = self.expression(x, out, depth, linear)
        return self.combine(
            "({scalar} * {0})" if self.chance(0.8) else "({0} / {scalar})", x, a, scalar=self.pick(SCALARS)
        )

    def product(self, x, out, depth, linear):
        middle = self.pick([m for m in "vtlds" if out != "m"] or ["m"]) if kind_of(x) != "m" else "m"
        if depth < 0:
            middle = "v" if out != "m" else "m"
        b = self.expression(x, middle, depth, linear)
        a = self.expression(self.result(b), out, depth, linear)
        return self.combine("({0} @ {1})", x, a, b)

    def model(self, x, out, depth, linear):
        """Often one that keeps a state for its derivatives."""
        if (kind_of(x), out) == ("v", "v") and not linear and self.chance(0.6):
            return self.part(x, "v", "v", linear, "Remembers")
        return self.expression(x, out, depth, linear)

    def times(self, x, out, depth, linear):
        a, b = (self.model(x, out, depth, False) for _ in range(2))
        return self.combine("Times([{0}, {1}])", x, a, b, twin="lo.Times([{0}, {1}])")

    def power(self, x, out, depth, linear):
        a = self.expression(x, out, depth, linear)
        if not same_kind(self.result(a), x) and not same_kind(x, self.result(a)):
            raise NoSuchExpression
        e = self.combine("({0} ** {n})", x, a, n=self.pick([2, 3]))
        self.result(e)
        return e

    def conjugate(self, x, out, depth, linear):
        return self.combine("{0}.conj()", x, self.expression(x, out, depth, True))

    def adjoint(self, x, out, depth, linear):
        z = self.space(out)
        a = self.expression(z, kind_of(x), depth, True)
        if not same_kind(x, self.result(a)):
            raise NoSuchExpression
        way = self.pick(["H", "T"])
        if self.says_itself(f"{a.op}.{way}", x, z):
            twin = f"{{0}}.with_domain({{z}}).{way}{self.only(a)}"
            return self.combine(f"{{0}}.{way}", x, a, twin=twin, x=text_of(x), z=text_of(z))
        return self.combine(f"{{0}}.with_domain({{z}}).{way}", x, a, z=text_of(z))

    def gram(self, x, out, depth, linear):
        if kind_of(x) != out or has_integers(x):
            raise NoSuchExpression
        a = self.expression(x, self.pick("vtld" if out != "m" else "m"), depth, True)
        way = self.pick(["{0}.gram", "({0}.H @ {0})"])
        fixed = "{0}.with_domain({x}).gram"
        if self.says_itself(way.format(a.op), x, x):
            return self.combine(way, x, a, twin=fixed + self.only(a), x=text_of(x))
        return self.combine(fixed, x, a, x=text_of(x))

    def only(self, a):
        """Of the text of the twin of an adjoint whose operator has no domain."""
        return ".only({x})" if _evaluate(a.op, self.operators).domain is None else ""

    def says_itself(self, text, x, z):
        """Whether an adjoint finds by itself that its result is in z; what fails otherwise is to be seen."""
        try:
            return twins.specs(jax.eval_shape(_evaluate(text, self.operators), x)) == z
        except (TypeError, NotImplementedError) as error:
            return not re.search(NOT_BY_ITSELF, str(error))

    def with_domain(self, x, out, depth, linear):
        """On its domain, or on a larger one."""
        if has_integers(x):
            raise NoSuchExpression
        z = jax.tree.map(
            lambda s: S(s.shape, self.pick([d for d in self.dtypes if twins.can_cast(s.dtype, d, "safe")])), x
        )
        return self.combine("{0}.with_domain({z})", x, self.expression(z, out, depth, linear), z=text_of(z))

    def declared(self, x, out, depth, linear):
        return self.combine("lo.declare({0}, real_linear=True)", x, self.expression(x, out, depth, True))

    def affine(self, x, out, depth, linear):
        if linear:
            raise NoSuchExpression
        a = self.expression(x, out, depth, True)
        b = text_of(self.space(out))
        return self.combine("lo.Affine({0}, like({b}, {n}))", x, a, b=b, n=self.number())

    def jacobian(self, x, out, depth, linear):
        if has_integers(x):
            raise NoSuchExpression
        f = self.expression(x, out, depth, False)
        return self.combine("{0}.jacobian(like({x}, {n}))", x, f, x=text_of(x), n=self.number())

    def frozen(self, x, out, depth, linear):
        if linear:
            raise NoSuchExpression
        value, slot = self.space("v"), self.pick([0, 1])
        f = self.expression((value, x) if slot == 0 else (x, value), out, depth, False)
        return self.combine(
            "lo.freeze({0}, {{{slot}: like({value}, {n})}})", x, f, slot=slot, value=text_of(value), n=self.number()
        )

    def function(self, x, out, depth, linear):
        text = self.pick(["2j * x", "x[::-1]", "jnp.cumsum(x)", "jnp.real(x)", "x - jnp.conj(x)"])
        declared = ", real_linear=True" if "conj" in text else ""
        return Expression(*[f"lo.Function(lambda x: {text}, {text_of(x)}{declared})"] * 2, x)

    def vstack(self, x, out, depth, linear):
        a, b = (self.expression(x, "v", depth, linear) for _ in range(2))
        return self.combine(f"lo.vstack({CONTAINERS[out]})", x, a, b)

    def hstack(self, x, out, depth, linear):
        a, b = (self.expression(leaf, "v", depth, linear) for leaf in jax.tree.leaves(x))
        return self.combine(f"lo.hstack({CONTAINERS[kind_of(x)]})", x, a, b)

    def block_diag(self, x, out, depth, linear):
        a, b = (self.expression(leaf, "v", depth, linear) for leaf in jax.tree.leaves(x))
        return self.combine(f"lo.block_diag({CONTAINERS[out]})", x, a, b)

    def block(self, x, out, depth, linear):
        a, b, c, d = (self.expression(leaf, "v", depth - 1, linear) for leaf in (*x, *x))
        forms = ["[[{0}, {1}], [{2}, {3}]]", "[[{0}, None], [{2}, {3}]]", "[[None, {1}], [{2}, None]]"]
        return self.combine(f"lo.block({self.pick(forms)})", x, a, b, c, d)

    def along_axis(self, x, out, depth, linear):
        a = self.model(S((3,), x.dtype), "v", depth, linear)
        return self.combine("lo.along_axis({0}, {axis})", x, a, axis=self.pick([0, 1, -1]))

    def rows(self, x, out, depth, linear):
        """One operator whose fields have a leading axis."""
        a = self.stackable(S((3,), x.dtype), depth, linear)
        return self.combine("lo.block_diag(copies({0}, 3))", x, a, twin="lo.along_axis({0}, 1)")

    def copies(self, x, out, depth, linear):
        a = self.stackable(x, depth, linear)
        b = self.stackable(self.result(a), depth, linear)
        twin = "(({1} @ {0}) + ({1} @ {0}))"
        return self.combine("(lo.hstack(copies({1}, 2)) @ lo.vstack(copies({0}, 2)))", x, a, b, twin=twin)

    def stackable(self, x, depth, linear):
        a = self.expression(x, "v", depth, linear)
        if not jax.tree.leaves(_evaluate(a.op, self.operators)):
            raise NoSuchExpression
        return a

    def kron(self, x, out, depth, linear):
        b = self.expression(S((3,), x.dtype), "v", depth, True)
        a = self.expression(self.result(b), "v", depth, True)
        return self.combine("lo.kron({0}, {1})", x, a, b)


LEAVES = {("v", "v"), ("v", "t"), ("v", "d"), ("t", "v"), ("t", "d"), ("d", "v"), ("v", "s"), ("s", "v")}
CONTAINERS = {"t": "({0}, {1})", "l": "[{0}, {1}]", "d": '{{"a": {0}, "b": {1}}}'}
SCALARS = ["2", "0.5", "-1.5", "1j", "(1 - 2j)", "np.float32(0.5)", "np.complex64(1j)", "jnp.float32(-1.5)",
           "jnp.asarray(0.5 + 1j)", "np.float64(0.7)", "jnp.asarray(2)", "True"]  # fmt: skip


def kind_of(spec):
    if isinstance(spec, tuple | list | dict):
        inner = jax.tree.leaves(spec, is_leaf=lambda leaf: leaf is not spec)
        if len(inner) != 2 or any(kind_of(leaf) != "v" for leaf in inner):
            return "?"
        return {tuple: "t", list: "l", dict: "d"}[type(spec)]
    return "svm"[len(spec.shape)]


def text_of(spec):
    if isinstance(spec, dict):
        return "{" + ", ".join(f"{key!r}: {text_of(value)}" for key, value in spec.items()) + "}"
    if isinstance(spec, list | tuple):
        left, right = "[]" if isinstance(spec, list) else "()"
        return left + ", ".join(map(text_of, spec)) + right
    return f"S({spec.shape}, {next(name for name, dtype in DTYPES.items() if dtype == spec.dtype)})"


def has_integers(tree):
    return any(np.issubdtype(leaf.dtype, np.integer) for leaf in jax.tree.leaves(tree))


def has_halves(tree):
    return any(leaf.dtype.itemsize == 2 for leaf in jax.tree.leaves(tree))


def same_kind(a, b):
    """Whether arrays like a can be cast to those like b."""
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        s.shape == t.shape and twins.can_cast(s.dtype, t.dtype)
        for s, t in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def draw(seed):
    """The program of a seed."""
    rng = np.random.default_rng([seed, 12])
    wide, also = bool(rng.random() < 0.25), ALSO[rng.integers(len(ALSO))]
    with jax.enable_x64(wide):
        for attempt in range(100):
            choices = Draw([seed, attempt], wide, also)
            dtype = np.int32 if choices.with_integers and choices.chance(0.5) else None
            x = choices.space(choices.pick("vvvvvvtldm"), dtype)
            out = "m" if kind_of(x) == "m" else choices.pick("vvvvvtlds")
            try:
                e = choices.expression(x, out, int(rng.integers(1, 4)), bool(rng.random() < 0.6))
            except (NoSuchExpression, OutOfFuel):
                continue
            return _finish(choices, e, rng)
    message = f"seed {seed} gives no program"
    raise AssertionError(message)


def _finish(choices, e, rng):
    """A base and a stack that the operators have derivatives for."""
    used = [choices.operators[i] for i in _used(e.op)]
    linear = isinstance(_kind(e, choices), lo.LinearOperator)
    base = "p" if rng.random() < 0.3 and jax.tree.leaves(used) and not has_integers((used, e.x)) else "x"
    order = order_in_fields(used) if base == "p" else 2 if linear else min([2, *map(order_in_input, used)])
    if has_integers(e.x):
        order, linear = 0, False  # nobody differentiates in them
    stack = stacks.draw(rng, linear=linear and base == "x", order=order)
    inside = {piece.op: piece for piece in choices.pieces if piece.op in e.op and piece.op != e.op}
    pieces = sorted(inside.values(), key=lambda piece: len(piece.op))
    also = "simplified" if has_integers(e.x) else choices.pick(["adjoints", "simplified"])
    rest = base, stack, choices.wide, also
    return program(choices, e, *rest, pieces=tuple(program(choices, piece, *rest) for piece in pieces))


def _used(text):
    """Which operators stand in a text."""
    return sorted({int(number) for number in re.findall(r"\bp(\d+)\b", text)})


def _kind(e, choices):
    try:
        return _evaluate(e.op, choices.operators)
    except Exception:  # shown when the program runs
        return None


def program(choices, e, *rest, pieces=()):
    """Only with the operators that it has, numbered anew."""
    used = _used(e.op)
    op, twin = (re.sub(r"\bp(\d+)\b", lambda name: f"p{used.index(int(name[1]))}", text) for text in (e.op, e.twin))
    return Program(tuple(choices.parts[i] for i in used), op, twin, text_of(e.x), *rest, pieces)


def order_in_input(op):
    """How often a part can be differentiated in its input."""
    if isinstance(op, lo.LinearOperator) or type(op).__name__ in (
        "TracedSine",
        "TracedModulus",
        "RemembersTraced",
        "RemembersOne",
        "SquaredL2",
        "L1",
        "L2",
    ):
        return 3
    return 2 if hasattr(op, "hessian_apply") else 1


def order_in_fields(operators):
    differentiable = [
        not jax.tree.leaves(op) or hasattr(op, "parameter_vjp") or type(op).__name__ in PARAMETERS for op in operators
    ]
    return int(all(differentiable))


PARAMETERS = (
    "Traced", "DerivedDense", "Derived", "HostAdjoint", "TracedSine", "Diagonal", "Matrix", "RemembersTraced", "RemembersOne",
    "Spread", "SquaredL2", "Prox",
)  # fmt: skip
