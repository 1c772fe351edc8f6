"""What linear and nonlinear operators share: how they are called, and how the shapes of their results are found."""

from __future__ import annotations

import abc
import contextlib
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.core

from linops_jax import _compat
from linops_jax._engine import calling, eager, errors, foreign
from linops_jax._model import advice, fields, shapes
from linops_jax._model.properties import Properties
from linops_jax._model.rules import STATE
from linops_jax._operators import constructors, printing, upstream
from linops_jax._operators.arithmetic import Arithmetic
from linops_jax._operators.meta import OperatorMeta
from linops_jax._operators.printing import ATOM as ATOM
from linops_jax._operators.printing import PRODUCT as PRODUCT
from linops_jax._operators.printing import SUM as SUM
from linops_jax._operators.structure import Structure
from linops_jax._types import Arrays, Specs

_MOST_SHAPES = 32  # the number of input shapes that one operator remembers
_UNKNOWN = object()
watchers: list[Callable[[Any, str, tuple[Any, ...], Any], None]] = []  # called before each evaluation of a hook


def required(function: Callable[..., Any]) -> Any:
    """Marks a hook without which a class is abstract, unless JAX derives it.

    Type checkers must not see it as abstract, for it may be derived. They must not see its signature either: a hook may
    also take ``out`` or ``state``, and may be native code or None.
    """
    return abc.abstractmethod(function)


def _shape_key(x: Any) -> Any:
    """What the shape of one operator's result depends on: specs of the input, and whether 64-bit numbers are enabled."""
    wide = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    if x is None:
        return wide
    leaves, tree = jax.tree.flatten(x)
    return tuple(leaves), tree, wide


@jax.jit
def _compiled(op: Any, x: Any) -> Any:
    return op._checked(x)


class UnknownShapeError(TypeError):
    """The shape of an adjoint's result is not known."""


class Operator(Arithmetic, Structure, metaclass=OperatorMeta, rules={}):
    """A map between pytrees of arrays: the base class of LinearOperator and NonlinearOperator.

    Operators are immutable pytrees. Array fields are their children; static fields belong to the structure. ``A(x)`` and
    ``A @ x`` apply them; ``+``, ``-``, ``*``, ``/`` and ``@`` compose them.
    """

    _precedence = ATOM
    _symbol = ""
    _hidden: ClassVar[tuple[str, ...]] = ()  # fields that are not shown

    def __call__(self, x: Arrays) -> Arrays:
        """Applies the operator.

        Parameters
        ----------
        x : pytree of arrays
            The input. Lists of numbers become arrays where the operator expects an array.

        Returns
        -------
        pytree of arrays
            The result, in the shapes and dtypes of the codomain.

        Raises
        ------
        TypeError
            If x holds something that is not an array.
        ValueError
            If x does not fit the domain.
        Exception
            Whatever a host hook raises, with a note that names the hook.
        """
        if not (is_concrete := shapes.is_concrete(x)):
            x = shapes.lists_as_arrays(x, lambda: self.domain)
            is_concrete = shapes.are_concrete(x)
        if is_concrete and self._can_run_compiled and not watchers and not upstream.is_open():
            return eager.run_compiled(_compiled, self._waits, self, x)
        return self._checked(x)

    def _checked(self, x: Any) -> Any:
        """The result for an input that has not been checked or cast."""
        return self._forward(self._as_input(shapes.as_arrays(x, f"{type(self)._label}(x)")))

    @functools.cached_property
    def _can_run_compiled(self) -> bool:
        """Whether an eager call may run as one compiled program: the fields hold values, not tracers."""
        return self._is_traceable and shapes.are_concrete(self)

    @property
    def _is_traceable(self) -> bool:
        """Whether a call may be compiled. It may not where Python code decides something by the values of arrays."""
        return all(part._is_traceable for part in self._parts())

    def _waits(self) -> bool:
        """Whether an eager call waits for its result, so that exceptions of host hooks are raised by this call."""
        return self._parts_wait if type(self)._composite else foreign.is_called_by(type(self)._hooks["apply"])

    @functools.cached_property
    def _parts_wait(self) -> bool:
        """Whether any hook of any part runs on the host. Found once for each composite, after it has been traced."""
        if type(self)._composite:
            return any(part._parts_wait for part in self._parts())
        return any(map(foreign.is_called_by, type(self)._hooks.values()))

    @functools.cached_property
    def _remembers(self) -> bool:
        """Whether ``linearize`` keeps a state for derivatives: that of the operator, or of an operator in its fields."""
        return "linearize" in type(self)._hooks or any(op._remembers for op in fields.operators_of(self))

    @property
    def _is_recorded(self) -> bool:
        """Whether a call inside a product is recorded, so that a later adjoint finds the shape of its result there."""
        return not type(self)._composite

    @functools.cached_property
    def _is_looked_for(self) -> bool:
        """Whether the adjoint of some part finds the shape of its result only in what was recorded."""
        return any(part._is_looked_for for part in self._parts())

    def _is_complex_linear(self, x: Any = None) -> bool:
        """Whether the operator, or the Jacobian of a nonlinear one, is linear over the complex numbers.

        It is not where a property says so, or where a space inside is real, so that real parts are taken. ``x`` is the
        specs of the input, if they are known.
        """
        if self.properties.real_linear:
            return False
        x = x if self.domain is None else self.domain
        spaces, inputs = [x], [None] * len(self._parts())
        with contextlib.suppress(UnknownShapeError):  # of an adjoint in a product, alone; its parts answer
            spaces.append(self.codomain if x is None else self._infer_shape(x))
            inputs = inputs if x is None else self._inputs_of_parts(x)
        if not all(spec is None or shapes.all_complex(spec) for spec in spaces):
            return False
        return all(part._is_complex_linear(at) for part, at in zip(self._parts(), inputs, strict=True))

    @property
    def _is_linear_in_its_numbers(self) -> bool:
        """Whether the operator is linear over the complex numbers, or has real spaces only: what solvers need."""
        leaves = jax.tree.leaves((self.domain, self.codomain))
        return not any(shapes.is_complex(leaf.dtype) for leaf in leaves) or self._is_complex_linear()

    def _as_input(self, x: Any) -> Any:
        """Arrays cast to the domain where it is fixed, or the domain's specs in the place of specs."""
        if (domain := self.domain) is None or shapes.same(x, domain):
            return x
        if difference := shapes.cast_obstacle(x, domain):
            message = f"{self!r} cannot be applied: its domain does not match the input: {difference}."
            raise ValueError(message)
        are_specs = any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(x))
        return domain if are_specs else shapes.cast_like(x, domain, type(self)._label)

    def _forward(self, x: Any) -> Any:
        """The result for an input of the domain."""
        if type(self)._composite:
            if self._is_recorded and upstream.is_open():
                self._infer_shape(x)
            return self.apply(x)  # type: ignore[attr-defined]
        return self._evaluate("apply", (x,), self._infer_shape(x))

    def _evaluate(self, name: str, arguments: tuple[Any, ...], out: Any) -> Any:
        """The result of one hook, evaluated by its primitive."""
        hook = type(self)._hooks.get(name)
        if hook is None:
            where = type(self)._label
            message = f"{where} has no {name}. Define {where}.{name}."
            raise NotImplementedError(message)
        for watcher in watchers:
            watcher(self, name, arguments, out)
        with upstream.outside():
            return calling.call(hook, (shapes.as_arrays(self, type(self)._label), *arguments), out)

    def _infer_shape(self, x: Any) -> Any:
        """Specs of ``self(x)`` from arrays or specs x, with JAX's canonical dtypes; remembered for each x."""
        x = self._as_input(shapes.specs(x))
        is_domain = self.domain is not None and jax.tree.leaves(x) == jax.tree.leaves(
            self.domain
        )  # compares shardings, too
        asked = None if is_domain else x
        key = _shape_key(asked)
        y = self.__dict__.get("_shapes", {}).get(key, _UNKNOWN)
        steps = self.__dict__.get("_steps", {}).get(key)
        if y is not _UNKNOWN and steps is not None:
            upstream.record_all(steps)
        elif y is _UNKNOWN or (type(self)._composite and upstream.is_open() and self._is_looked_for):
            with upstream.watched() as seen:
                y = self._derive_shape(x)
            if seen.independent:  # otherwise it is right in this product only
                self._remember(asked, y)
                if type(self)._composite and upstream.is_open():
                    self._remember(asked, seen.steps, "_steps")
        if self._is_recorded:
            upstream.record(self, x, y)
        return y

    def _promised(self, rule: Any, given: dict[str, Any], result: Any) -> dict[str, Any]:
        """Specs of all arguments of a hook and of its result, from those that are given."""
        with upstream.outside():
            x = self._as_input({**given, "result": result}[rule.of_domain])
            y = self._infer_shape(x)
        back = self if rule.in_fields else x
        state = self._infer_state_shape(x) if rule.with_state or STATE in rule.arguments else None
        value = back if rule.ends_in_domain else (y, state) if rule.with_state else y
        role = {
            "self": self,
            "dself": self,
            "y": y,
            "dy": y,
            STATE: state,
            "step": shapes.real_scalar(x),
            "result": value,
        }
        return {name: role.get(name, x) for name in (*given, "result")}

    def _remember(self, x: Any, y: Any, what: str = "_shapes") -> None:
        """Keeps the specs of the result for specs x (None: the domain), or with ``what="_steps"`` what the call records."""
        if fields.is_sealed(self):
            values: dict[str, Any] = self.__dict__  # type: ignore[assignment]
            known = values.setdefault(what, {})
            if len(known) >= _MOST_SHAPES:
                known.clear()
            known[_shape_key(x)] = y

    def _derive_shape(self, x: Any) -> Any:
        """Composites say it by the shapes of their parts."""
        if type(self)._composite:
            return _compat.eval_shape(self.apply, x)  # type: ignore[attr-defined]
        y = self._infer("infer_shape", "apply", x)
        hook = type(self)._hooks["apply"]
        if not (hook.is_jax and shapes.have_places((self, x))):
            return y
        evaluate = lambda op, x: calling.call(hook, (op, x), y)  # noqa: E731
        try:  # JAX knows how the hook's results are sharded
            return shapes.specs(_compat.eval_shape(evaluate, shapes.specs(self), x))
        except Exception:  # raised again when the operator is called
            return y

    def _infer(self, name: str, derive_from: str, x: Any) -> Any:
        """What the hook ``name`` says of specs x; without such a hook, JAX evaluates ``derive_from`` on them."""
        where = f"{type(self)._label}.{name}"
        function = getattr(self, name, None)
        if function is None or getattr(function, "__isabstractmethod__", False):
            leaves, tree = jax.tree.flatten(self)  # as an argument, JAX would keep self's static values alive
            evaluate = lambda leaves, x: getattr(jax.tree.unflatten(tree, leaves), derive_from)(x)  # noqa: E731
            return _compat.eval_shape(evaluate, leaves, x)
        try:
            answer = getattr(shapes.specs(self), name)(shapes.specs(x))
        except Exception as error:
            errors.annotate(error, where)
            raise
        return shapes.promised(answer, where)

    def _infer_state_shape(self, x: Any) -> Any:
        """Specs of the state that ``linearize`` gives at x."""
        return self._infer("infer_state_shape", "", self._as_input(shapes.specs(x)))

    @property
    def domain(self) -> Specs:
        """Specs of the input (``jax.ShapeDtypeStruct``) if ``with_domain`` has fixed them; otherwise None."""
        return None

    @property
    def codomain(self) -> Specs:
        """Specs of the result (``jax.ShapeDtypeStruct``) if the domain is fixed; otherwise None."""
        if self.domain is None:
            return None
        y = self.__dict__.get("_shapes", {}).get(_shape_key(None))
        return self._infer_shape(self.domain) if y is None else y

    @property
    def properties(self) -> Properties:
        """What is known of the operator, an instance of ``Properties``."""
        return type(self)._traits.properties

    def with_domain(self, spec: Specs) -> Any:
        """The same operator for inputs of one shape and dtype only.

        Parameters
        ----------
        spec : pytree of jax.ShapeDtypeStruct or pytree of arrays
            Shapes and dtypes of the input.

        Returns
        -------
        LinearOperator or NonlinearOperator
            The operator, which knows its ``domain`` and ``codomain`` and casts its input to this domain.

        Raises
        ------
        ValueError
            If the operator has another domain already.
        Exception
            Whatever ``infer_shape`` raises for an input that the operator cannot take.

        Examples
        --------
        >>> A = lo.FFT().with_domain(jax.ShapeDtypeStruct((8,), jnp.complex64))
        >>> A.codomain
        ShapeDtypeStruct(shape=(8,), dtype=complex64)
        """
        return constructors.with_domain(self, shapes.as_specs(spec, f"{type(self)._label}.with_domain"))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        advice.refuse_numpy(function, type(self)._label)

    # ---- immutability and printing -----------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if fields.is_sealed(self):
            fields.refuse_change(self, name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        fields.refuse_change(self, name)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: copies and pickles find the rest again."""
        values = {*fields.array_fields(type(self)), *fields.static_fields(type(self)), "_statics"}
        return {name: value for name, value in self.__dict__.items() if name in values}

    def __repr__(self) -> str:
        return printing.with_shapes(self, printing.exact)

    def __str__(self) -> str:
        return printing.with_shapes(self, printing.short)

    def _repr_html_(self) -> str:
        return constructors.html(self)

    def _expression(self, show: printing.Notation) -> str:
        """How the operator prints. Combinators override this method, see printing.py."""
        return show.atom(self)

    def _text(self, show: printing.Notation) -> str:
        return repr(self) if self._prints_itself() else self._expression(show)

    def _prints_itself(self) -> bool:
        return type(self).__repr__ is not Operator.__repr__
