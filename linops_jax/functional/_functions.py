"""The operator behind a function that functional.py has bound.

It has static fields only: the functions, what they say about shapes, and the keywords of one call. So one primitive per
kind of function serves all of them, programs own the functions they call, and other processes find these by name. The
tables are in the language of _hooks; their transposes are plain, without conjugation.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import operator
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from linops_jax._engine import errors, primitives
from linops_jax._engine.names import Named
from linops_jax._model import fields, shapes
from linops_jax._model.fields import Statics, static
from linops_jax._model.hooks import CT, HOST, Hook, Rule, T
from linops_jax._operators.meta import Traits

_rule = functools.partial(Rule, functional=True)
_transpose_rule = functools.partial(Rule, functional=True, reverses=True)

_LINEAR = {
    "apply": _rule(("self", "fixed", "x"), {"x": ("transpose", ("self", "fixed", CT))}),
    "transpose": _transpose_rule(("self", "fixed", "dy"), {"dy": ("apply", ("self", "fixed", CT))}),
}

_POINT = ("self", "fixed", "x")
_NONLINEAR = {
    "apply": _rule(_POINT, derivative={"x": ("jvp", (*_POINT, T))}),
    "jvp": _rule((*_POINT, "dx"), {"dx": ("vjp", (*_POINT, CT))}, {"x": ("hessian_apply", (*_POINT, "dx", T))}),
    "vjp": _transpose_rule(
        (*_POINT, "dy"), {"dy": ("jvp", (*_POINT, CT))}, {"x": ("hessian_transpose", (*_POINT, T, "dy"))}
    ),
    "hessian_apply": _rule(
        (*_POINT, "dx1", "dx2"),
        {"dx1": ("hessian_transpose", (*_POINT, "dx2", CT)), "dx2": ("hessian_transpose", (*_POINT, "dx1", CT))},
    ),
    "hessian_transpose": _transpose_rule(
        (*_POINT, "dx", "dy"),
        {"dx": ("hessian_transpose", (*_POINT, CT, "dy")), "dy": ("hessian_apply", (*_POINT, "dx", CT))},
    ),
}


def _multilinear_rules(n: int) -> dict[str, Rule]:
    """The transpose in one argument is multilinear itself: in the other arguments and in the cotangent."""
    x = [f"x{i}" for i in range(n)]

    def transpose(i: int, **values: str) -> tuple[str, tuple[str, ...]]:
        """The transpose in argument i, and what stands for the arguments of f and for the cotangent."""
        others = [values.get(name, name) for name in x if name != x[i]]
        return f"transpose{i}", ("self", "fixed", *others, values["dy"])

    rules = {"apply": _rule(("self", "fixed", *x), {x[i]: transpose(i, dy=CT) for i in range(n)})}
    for i in range(n):
        name, arguments = transpose(i, dy="dy")
        transposed = {x[j]: transpose(j, **{x[i]: CT}, dy="dy") for j in range(n) if j != i}
        transposed["dy"] = ("apply", ("self", "fixed", *(CT if name == x[i] else name for name in x)))
        rules[name] = _transpose_rule(arguments, transposed)
    return rules


class MisfitError(ValueError):
    """What ``abstract`` says does not fit."""


@dataclasses.dataclass(eq=False, repr=False)
class Functions:
    """The operator behind a bound call. ``functions`` and ``abstracts`` are in the order of the class's rules."""

    functions: tuple[Named | None, ...] = static()
    abstracts: tuple[Named | None, ...] = static()
    fixed: tuple[int, ...] = static()
    can_batch: bool = static()
    keywords: tuple[tuple[str, Any], ...] = static()

    _rules: ClassVar[Mapping[str, Rule]]
    _given_as: ClassVar[Callable[[str], str]]  # how users pass a function
    _label: ClassVar[str]
    _traits: ClassVar[Traits] = Traits()
    _hooks: ClassVar[dict[str, Hook]]
    primitives: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, rules: Mapping[str, Rule]) -> None:
        cls._rules, cls._label = rules, cls.__qualname__
        cls._hooks = {
            name: Hook(cls, name, rule, HOST, Functions.caller, takes_out=True) for name, rule in rules.items()
        }
        cls._primitives = {name: primitives.make_primitive(hook) for name, hook in cls._hooks.items()}
        fields.register_pytree(cls)

    @classmethod
    def make(cls, *values: Any) -> Any:
        return fields.restore(cls, values, ())

    def with_keywords(self, keywords: Statics) -> Any:
        if self.can_batch and any(name == "batch_axes" for name, _ in keywords.values):
            message = f"{self.name}: the keyword batch_axes says which axes vmap has added. Give yours another name."
            raise TypeError(message)
        return self.make(self.functions, self.abstracts, self.fixed, self.can_batch, keywords.values)

    def static_keywords(self, keywords: dict[str, Any]) -> Statics:
        try:
            return Statics(tuple(sorted(keywords.items())))
        except TypeError as error:
            unhashable = next((item for item in keywords.items() if not is_hashable(item[1])), None)
            if unhashable is None:  # its own __eq__ or __hash__ has raised
                raise
            name, value = unhashable
            message = (
                f"{self.name}: the keyword {name} must be hashable, but is {type(value).__name__} {value!r:.80}. Pass a "
                "tuple for a list and an array as a positional argument; under jax.jit, bind keywords with "
                "functools.partial."
            )
            raise TypeError(message) from error

    # ---- functions by name ----------------------------------------------------------------------------------------

    def _at(self, values: tuple[Named | None, ...], name: str) -> Any:
        found = values[list(self._rules).index(name)]
        return None if found is None else found.function

    @property
    def name(self) -> str:
        assert self.functions[0] is not None
        return self.functions[0].label

    def label(self, name: str) -> str:
        found = self.functions[list(self._rules).index(name)]
        return f"{self.name} ({type(self)._given_as(name)})" if found is None else found.label

    def has(self, name: str) -> bool:
        """Whether a function can be evaluated, or only transposed, as a jvp is where there is a vjp."""
        if self._at(self.functions, name) is not None:
            return True
        rule = self._rules[name]
        return not rule.reverses and any(self._at(self.functions, hook) for hook, _ in rule.transposed.values())

    # ---- arguments ------------------------------------------------------------------------------------------------

    def free(self) -> Any:
        """The positions of the arguments that are not fixed."""
        return (i for i in itertools.count() if i not in self.fixed)

    def in_order(self, binding: Any, operands: Sequence[Any]) -> list[Any]:
        """Operands as the function takes them: its own arguments by position, then tangents and cotangents."""
        keys: list[float] = []
        for name, tree in list(zip(binding.hook.rule.arguments, binding.trees, strict=True))[1:]:
            count = tree.num_leaves
            if name == "fixed":
                keys += self.fixed
            elif name == "x":
                keys += itertools.islice(self.free(), count)
            elif name.startswith("x"):
                keys.append(next(itertools.islice(self.free(), int(name[1:]), None)))
            else:
                keys += [float("inf")] * count
        return [operands[i] for i in sorted(range(len(keys)), key=keys.__getitem__)]

    # ---- shapes ---------------------------------------------------------------------------------------------------

    def promise(self, name: str, specs: Sequence[Any], batch_axes: Any = None) -> list[tuple[Any, Any]]:
        """What ``abstract`` says of a function's results: specs, and the axis of the last vmap."""
        abstract = self._at(self.abstracts, name)
        if abstract is None:
            message = f"Nothing says what {self.label(name)} returns: its abstract is None. Pass a function."
            raise MisfitError(message)
        where = Named(abstract).label
        keywords = dict(self.keywords) | ({"batch_axes": batch_axes} if self.can_batch else {})
        try:
            answer = abstract(*specs, **keywords)
        except Exception as error:
            errors.annotate(error, where)
            raise
        try:
            entries = [(tuple(shape), np.dtype(dtype), axis) for shape, dtype, *axis in answer]
        except (TypeError, ValueError):
            message = (
                f"{where} returned {answer!r:.80}; expected ((shape, dtype), ...) with one entry for each output. "
                "For a single output, mind the comma: ((shape, dtype),)."
            )
            raise TypeError(message) from None
        return [(shapes.spec(jax.ShapeDtypeStruct(shape, dtype)), axis) for shape, dtype, axis in entries]

    def _promised(self, rule: Any, given: dict[str, Any], result: Any) -> dict[str, Any]:
        """Specs of a function's arguments and of its results, as a program should call it that does so with those given."""
        points = [name for name in self._rules["apply"].arguments if name.startswith("x")]
        at = {name: given.get(name, result) for name in points}  # of one that is not given, the result is the cotangent
        inputs = [*jax.tree.leaves(given["fixed"]), *jax.tree.leaves(list(at.values()))]
        positions = [*self.fixed, *itertools.islice(self.free(), len(inputs) - len(self.fixed))]
        specs = [inputs[i] for i in sorted(range(len(inputs)), key=positions.__getitem__)]
        results = [spec for spec, _ in self.promise("apply", specs)]
        found = {**given, "result": result}
        of_results = {"result", "dy"} - ({"result"} if rule.reverses else set())
        expected = {name: _in_structure_of(tree, results) for name, tree in found.items() if name in of_results}
        alike = {name for name in found if name.startswith("d") or name == "result"} - of_results
        return expected | {name: at["x"] for name in alike if "x" in given}

    def layout(self, binding: Any, avals_in: Sequence[Any], avals_out: Sequence[Any], masks: Any) -> Any:
        """Called at every lowering: checks what is promised, and says where batch axes go if the function takes them.

        The answer holds for each input, in the function's order, what to do with it and its batch axes, and for each
        output the order of axes that brings the batch axes to the front.
        """
        name = binding.hook.name
        if self._at(self.functions, name) is None:
            raise self.missing(name)
        inputs = self.in_order(binding, list(zip(avals_in, masks, strict=True)))
        axes = len(masks[0])
        if axes and self.can_batch:
            moving = self.in_order(binding, [False] * len(self.fixed) + [True] * (len(inputs) - len(self.fixed)))
            return self._layout(name, inputs, moving, avals_out, axes)
        if binding.hook.rule.reverses and self._at(self.abstracts, name) is not None:
            specs = [_unbatched(aval, sum(mask)) for aval, mask in inputs]
            self._compare(
                name, [spec for spec, _ in self.promise(name, specs)], [_unbatched(a, axes) for a in avals_out]
            )
        return None

    def _layout(
        self, name: str, inputs: Sequence[Any], moving: Sequence[bool], avals_out: Sequence[Any], axes: int
    ) -> Any:
        sizes = avals_out[0].shape[:axes]
        outputs = [_unbatched(aval, axes) for aval in avals_out]
        own = [_unbatched(aval, sum(mask)) for aval, mask in inputs]
        mapped = [any(mask) for _, mask in inputs]
        # A function that cannot have batch axes in some of its arguments only gets them in all that are not fixed.
        everywhere = [has or moves for has, moves in zip(mapped, moving, strict=True)]
        try:
            orders = self._orders(name, own, mapped, outputs, sizes)
        except MisfitError:
            if mapped == everywhere:
                raise
            mapped = everywhere
            orders = self._orders(name, own, mapped, outputs, sizes)
        actions = [
            _SQUEEZE if not has else _KEEP if all(mask) else _REPEAT
            for has, (_, mask) in zip(mapped, inputs, strict=True)
        ]
        return axes, tuple(actions), _batch_axes(mapped, axes), tuple(orders)

    def _orders(
        self, name: str, own: Sequence[Any], mapped: Sequence[bool], outputs: Sequence[Any], sizes: tuple[Any, ...]
    ) -> list[tuple[int, ...] | None]:
        """``abstract`` says where one vmap after the other puts its axis, innermost first."""
        labels = [list(range(len(spec.shape))) for spec in outputs]
        expected = [list(spec.shape) for spec in outputs]
        for axes in range(1, len(sizes) + 1):
            lead = sizes[-axes:]
            specs = [_with_shape(s, (*lead, *s.shape)) if has else s for s, has in zip(own, mapped, strict=True)]
            batch_axes = _batch_axes(mapped, axes)
            answer = self.promise(name, specs, batch_axes)
            for (_, axis), label, shape in zip(answer, labels, expected, strict=False):
                place = self._axis(name, axis, len(shape), batch_axes)
                label.insert(place, -axes)
                shape.insert(place, lead[0])
            wanted = [_with_shape(spec, tuple(shape)) for spec, shape in zip(outputs, expected, strict=True)]
            self._compare(name, [spec for spec, _ in answer], wanted, f" for batch_axes={batch_axes}")
        orders = [tuple(label.index(i) for i in sorted(label, key=lambda i: (i >= 0, i))) for label in labels]
        return [None if order == tuple(range(len(order))) else order for order in orders]

    def _axis(self, name: str, axis: list[Any], rank: int, batch_axes: Any) -> int:
        """The third entry: a position in an array of ``rank`` axes and the new one."""
        if len(axis) == 1 and isinstance(axis[0], int | np.integer) and -rank - 1 <= axis[0] <= rank:
            return int(axis[0]) % (rank + 1)
        found = f"{axis[0]!r}" if axis else "no third entry"
        message = (
            f"{Named(self._at(self.abstracts, name)).label} returned {found} for batch_axes={batch_axes}; expected (shape, "
            f"dtype, axis) with the position of the last batch axis in the output, from 0 to {rank}. Return it, or leave "
            "out func_can_batch=True."
        )
        raise MisfitError(message)

    def _compare(self, name: str, found: Sequence[Any], wanted: Sequence[Any], when: str = "") -> None:
        if [(s.shape, s.dtype) for s in found] == [(s.shape, s.dtype) for s in wanted]:
            return
        message = (
            f"{Named(self._at(self.abstracts, name)).label} says that {self.label(name)} returns "
            f"{shapes.describe_tree(list(found))}{when}; expected {shapes.describe_tree(list(wanted))}. Fix whichever is wrong."
        )
        raise MisfitError(message)

    def refuse_misfit(self, binding: Any) -> None:
        """For a program from elsewhere, whose static values may be anything. Raises TypeError or ValueError."""
        kinds = {"functions": Named | None, "abstracts": Named | None, "fixed": int, "keywords": tuple}
        for name, kind in kinds.items():
            found = getattr(self, name)
            if type(found) is not tuple or not all(isinstance(v, kind) and type(v) is not bool for v in found):
                message = f"this program has {name}={found!r:.80} for {self._label}; expected a tuple of {kind}."
                raise TypeError(message)
        fits = (
            len(self.functions) == len(self.abstracts) == len(self._rules)
            and self.functions[0] is not None
            and type(self.can_batch) is bool
            and all(len(pair) == 2 and type(pair[0]) is str for pair in self.keywords)
            and len(set(self.fixed)) == len(self.fixed) == binding.trees[1].num_leaves
            and all(i >= 0 for i in self.fixed)
        )
        if not (fits and _is_layout(binding)):
            message = (
                f"this program calls {self._label} with functions, fixed arguments or batch axes that do not fit each "
                "other. Export the program again."
            )
            raise ValueError(message)
        if self._at(self.functions, binding.hook.name) is None:
            raise self.missing(binding.hook.name)

    # ---- the call -------------------------------------------------------------------------------------------------

    def caller(self, binding: Any) -> Callable[..., None]:
        """What the trampoline calls with views of all inputs and outputs."""
        function, name = self._at(self.functions, binding.hook.name), self.label(binding.hook.name)
        inputs = sum(tree.num_leaves for tree in binding.trees)
        order = self.in_order(binding, range(inputs))
        ordered = order == list(range(inputs))
        layout = binding.layout
        axes, actions, batch_axes, orders = layout or (0, (), None, ())
        keywords = dict(self.keywords)
        if self.can_batch:
            keywords["batch_axes"] = batch_axes
        dump = types.MappingProxyType(keywords)

        def call(*views: Any) -> None:
            args = list(views[:inputs] if ordered else map(views.__getitem__, order))
            out = list(views[inputs:])
            answer = function(out, args, dump)
            if answer is not None or len(out) + inputs != len(views) or any(map(operator.is_not, out, views[inputs:])):
                _check_written(name, out, views[inputs:], answer)

        def call_batched(*views: Any) -> None:
            shown = [_unordered(view, order) for view, order in zip(views[inputs:], orders, strict=True)]
            sizes = views[inputs].shape[:axes]
            args = [_prepared(views[i], action, sizes) for i, action in zip(order, actions, strict=True)]
            out = list(shown)
            answer = function(out, args, dump)
            if answer is not None or len(out) != len(shown) or any(map(operator.is_not, out, shown)):
                _check_written(name, out, shown, answer)
            for view, array, axes_in_front in zip(views[inputs:], shown, orders, strict=True):
                if axes_in_front is not None:  # what is first and last stays so, for the trampoline's canary
                    view[...] = array.transpose(axes_in_front).copy()

        return call if layout is None else call_batched

    # ---- what is not there ----------------------------------------------------------------------------------------

    def missing(self, name: str) -> NotImplementedError:
        where = type(self)._given_as(name)
        if name.startswith("hessian") and not any(self._at(self.functions, hook) for hook in _HESSIAN):
            message = (
                f"Second derivatives of {self.name} are not available: its jvp and vjp do not say how they change with the "
                "arguments. Pass hessian=(hessian_apply, hessian_transpose) to get_nonlinear_call."
            )
        else:
            why = "reverse-mode differentiation needs it" if self._rules[name].reverses else "forward mode needs it"
            message = f"{self.name} has no {where}: {why}. Pass a function instead of None."
        return NotImplementedError(message)

    def not_linear(self, names: Sequence[str]) -> NotImplementedError:
        if "fixed" in names:
            return self._fixed_error(self.fixed)
        message = f"{self.name} cannot be transposed in several arguments together: it is linear in each of them alone."
        return NotImplementedError(message)

    def not_differentiable(self, argument: str, moving: Sequence[bool]) -> NotImplementedError:
        if argument == "fixed":
            return self._fixed_error([i for i, moves in zip(self.fixed, moving, strict=True) if moves])
        message = f"Third derivatives of {self.name} are not available: no function gives them."
        return NotImplementedError(message)

    def _fixed_error(self, positions: Sequence[int]) -> NotImplementedError:
        names = _argument_names(self._at(self.abstracts, "apply"))
        which = ", ".join(f"{i} ({names[i]})" if i < len(names) else str(i) for i in positions)
        message = (
            f"{self.name} is being differentiated in argument {which}, which is fixed. Wrap it in jax.lax.stop_gradient, or "
            "do not declare it fixed."
        )
        return NotImplementedError(message)


_HESSIAN = ("hessian_apply", "hessian_transpose")
_KEEP, _SQUEEZE, _REPEAT = range(3)


class LinearCall(Functions, rules=_LINEAR):
    _given_as = {"transpose": "f_T"}.__getitem__


class NonlinearCall(Functions, rules=_NONLINEAR):
    _given_as = {
        "jvp": "jvp (f_derivative[0])",
        "vjp": "vjp (f_derivative[1])",
        "hessian_apply": "hessian_apply (hessian[0])",
        "hessian_transpose": "hessian_transpose (hessian[1])",
    }.__getitem__


_MULTILINEAR = "MultilinearCall"


@functools.cache
def multilinear(n: int) -> type[Functions]:
    """The class of functions that are linear in each of n arguments."""
    given_as = {f"transpose{i}": f"transpose in its differentiable argument number {i} (f_T)" for i in range(n)}
    name = f"{_MULTILINEAR}{n}"
    namespace = {"__module__": __name__, "__qualname__": name, "_given_as": given_as.__getitem__}
    cls = types.new_class(name, (Functions,), {"rules": _multilinear_rules(n)}, lambda body: body.update(namespace))
    globals()[name] = cls  # where programs find it: one that calls a function of n arguments needs one that is bound
    return cls


# ---- shapes and views ---------------------------------------------------------------------------------------------


def _with_shape(spec: Any, shape: tuple[Any, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, spec.dtype)


def _in_structure_of(tree: Any, leaves: list[Any]) -> Any:
    structure = jax.tree.structure(tree)
    return jax.tree.unflatten(structure, leaves) if structure.num_leaves == len(leaves) else leaves


def _unbatched(aval: Any, axes: int) -> jax.ShapeDtypeStruct:
    return _with_shape(aval, aval.shape[axes:])


def _batch_axes(mapped: Sequence[bool], axes: int) -> tuple[tuple[int, ...], ...]:
    """In front of the array, innermost vmap first."""
    return tuple(tuple(reversed(range(axes))) if has else () for has in mapped)


def _is_layout(binding: Any) -> bool:
    """Whether a layout is one that ``Functions.layout`` could have answered with, as far as a call depends on it."""
    if binding.layout is None:
        return True
    if type(binding.layout) is not tuple or len(binding.layout) != 4:
        return False
    axes, actions, batch_axes, orders = binding.layout
    inputs, outputs = sum(tree.num_leaves for tree in binding.trees), binding.out_tree.num_leaves
    if not (type(axes) is int and all(type(part) is tuple for part in (actions, batch_axes, orders))):
        return False
    return (
        axes > 0
        and len(actions) == len(batch_axes) == inputs
        and all(type(action) is int and action in (_KEEP, _SQUEEZE, _REPEAT) for action in actions)
        and all(axes_of in ((), tuple(reversed(range(axes)))) for axes_of in batch_axes)
        and len(orders) == outputs
        and all(order is None or _is_permutation(order) for order in orders)
    )


def _is_permutation(order: Any) -> bool:
    return type(order) is tuple and all(type(i) is int for i in order) and sorted(order) == list(range(len(order)))


def _prepared(view: np.ndarray, action: int, sizes: tuple[int, ...]) -> np.ndarray:
    """An input with all batch axes or with none; the trampoline gives axes of size 1 for those it lacks."""
    if action == _KEEP:
        return view
    own = view.shape[len(sizes) :]
    return view.reshape(own) if action == _SQUEEZE else np.ascontiguousarray(np.broadcast_to(view, sizes + own))


def _unordered(view: np.ndarray, order: tuple[int, ...] | None) -> np.ndarray:
    """The memory of an output as an array with its axes where the function puts them."""
    return view if order is None else view.reshape([view.shape[order.index(axis)] for axis in range(len(order))])


def _check_written(name: str, out: list[Any], views: Sequence[Any], answer: Any) -> None:
    """A function that returns what it has filled does no harm; one that returns or rebinds instead has written nothing."""
    for i, view in enumerate(views):
        if len(out) != len(views) or out[i] is not view:
            message = f"{name} replaced out[{i}] instead of filling it. Write in place: out[{i}][...] = ..."
            raise TypeError(message)
    for value in answer if isinstance(answer, tuple | list) else (answer,):
        if value is None or (isinstance(value, np.ndarray) and any(np.may_share_memory(value, view) for view in views)):
            continue
        message = (
            f"{name} returned {type(value).__name__} {value!r:.80}; its result belongs into out, in place: "
            "out[0][...] = ..., and it returns nothing."
        )
        raise TypeError(message)


def is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _argument_names(abstract: Any) -> list[str]:
    try:
        parameters = inspect.signature(abstract).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
