"""What linear and nonlinear operators share, and the entry points of the algebra."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import jax
import jax.core
import numpy as np

from linops_jax import _errors, _fields, _hooks, _primitives, _printing, _specs
from linops_jax._meta import OperatorMeta
from linops_jax._printing import ATOM as ATOM
from linops_jax._printing import PRODUCT as PRODUCT
from linops_jax._printing import SUM as SUM
from linops_jax._properties import Properties

_F = TypeVar("_F", bound=Callable[..., Any])
_constructors: dict[str, Callable[..., Any]] = {}
watchers: list[Callable[[Any, str, tuple[Any, ...], Any], None]] = []  # hear of every evaluation of a hook, before it


def constructor(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declares what an entry point of the algebra builds. Combinators live in files that import this one."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _constructors[name] = function
        return function

    return register


def required(function: _F) -> _F:
    """A hook without which the class is abstract, unless JAX derives it: so type checkers must not see it as such."""
    return abc.abstractmethod(function)


def is_scalar(value: Any) -> bool:
    if isinstance(value, bool | int | float | complex | np.number | np.bool_):
        return True
    return isinstance(value, np.ndarray | jax.Array) and value.ndim == 0


@jax.jit
def _compiled(op: Any, x: Any) -> Any:
    return op._checked(x)


class Operator(metaclass=OperatorMeta, rules={}):
    """A map between pytrees of arrays. Subclass LinearOperator or NonlinearOperator.

    Operators are immutable pytrees: array fields are the leaves, static fields belong to the structure. ``A(x)`` and
    ``A @ x`` apply; ``+``, ``-``, ``*``, ``/`` and ``@`` compose.
    """

    _precedence = ATOM
    _symbol = ""
    _hidden: ClassVar[tuple[str, ...]] = ()  # fields that only the class itself cares for
    __array_ufunc__ = None  # NumPy arrays leave binary operators to us

    def __call__(self, x: Any) -> Any:
        """Applies the operator to a pytree of arrays.

        Raises whatever a host hook raised, with the hook named in a note; TypeError for what is not an array.
        """
        if self._can_run_compiled and not watchers and (_specs.is_concrete(x) or _specs.are_concrete(x)):
            return _primitives.run_compiled(_compiled, self._waits, self, x)
        return self._checked(x)

    def _checked(self, x: Any) -> Any:
        x = _specs.as_arrays(x, f"{type(self)._label}(x)")
        if self.domain is not None:
            self._check_input(x, self.domain)
        return self._forward(x)

    @functools.cached_property
    def _can_run_compiled(self) -> bool:
        return self._is_one_call and _specs.are_concrete(self)

    @property
    def _is_one_call(self) -> bool:
        """Whether it evaluates one hook: then an eager call is a compiled one, shapes and all."""
        return not type(self)._composite

    @property
    def _waits(self) -> bool:
        """Whether an eager call waits, so that the exception of a host hook is raised where the call stands."""
        return type(self)._hooks["apply"].kind in (_hooks.HOST, _hooks.NATIVE)

    def _check_input(self, x: Any, domain: Any) -> None:
        if difference := _specs.misfit(x, domain):
            message = f"{self!r} cannot be applied: its domain does not match the input: {difference}."
            raise ValueError(message)

    def _forward(self, x: Any) -> Any:
        if type(self)._composite:
            return self.apply(x)  # type: ignore[attr-defined]
        return self._evaluate("apply", (x,), self._infer_shape(x))

    def _evaluate(self, name: str, arguments: tuple[Any, ...], out: Any) -> Any:
        """One hook through its primitive."""
        hook = type(self)._hooks.get(name)
        if hook is None:
            where = type(self)._label
            message = f"{where} has no {name}. Define {where}.{name}."
            raise NotImplementedError(message)
        for watcher in watchers:
            watcher(self, name, arguments, out)
        return _primitives.call(hook, (_specs.as_arrays(self, type(self)._label), *arguments), out)

    def _infer_shape(self, x: Any) -> Any:
        """Specs of ``self(x)`` from arrays or specs, with JAX's canonical dtypes."""
        return self._infer("infer_shape", "apply", x)

    def _infer(self, name: str, derive_from: str, x: Any) -> Any:
        where = f"{type(self)._label}.{name}"
        function = getattr(self, name, None)
        if type(self)._composite or function is None or getattr(function, "__isabstractmethod__", False):
            return jax.eval_shape(lambda op, x: getattr(op, derive_from)(x), self, x)
        try:
            answer = getattr(_specs.specs(self), name)(_specs.specs(x))
        except Exception as error:
            _errors.annotate(error, where)
            raise
        return _specs.promised(answer, where)

    @property
    def domain(self) -> Any:
        """Specs of the input, where they are fixed (``with_domain``); otherwise None."""
        return None

    @property
    def codomain(self) -> Any:
        """Specs of the output, where the domain is fixed; otherwise None."""
        return None if self.domain is None else self._infer_shape(self.domain)

    @property
    def properties(self) -> Properties:
        """What is known of the operator: ``symmetric``, ``positive``, ``unitary``, ``diagonal``, ``real_linear``."""
        return type(self)._traits.properties

    def with_domain(self, spec: Any) -> Any:
        """The same operator for inputs of one shape and dtype only: ``A.domain`` and ``A.codomain`` are known then."""
        return _constructors["with_domain"](self, spec)

    # ---- algebra --------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        return _constructors["add"](self, other) if isinstance(other, Operator) else NotImplemented

    def __sub__(self, other: Any) -> Any:
        return _constructors["add"](self, -other) if isinstance(other, Operator) else NotImplemented

    def __neg__(self) -> Any:
        return _constructors["scale"](-1, self)

    def __mul__(self, other: Any) -> Any:
        return _constructors["scale"](other, self) if is_scalar(other) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return _constructors["scale"](1 / other, self) if is_scalar(other) else NotImplemented

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, Operator):
            return _constructors["compose"](self, other)
        return self(other) if isinstance(other, np.ndarray | jax.Array) else NotImplemented

    def __pow__(self, exponent: Any) -> Any:
        return _constructors["power"](self, exponent) if isinstance(exponent, int) else NotImplemented

    # ---- looks and immutability -----------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if _fields.is_sealed(self):
            _fields.refuse_change(self, name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _fields.refuse_change(self, name)

    def __repr__(self) -> str:
        return _printing.with_shapes(self, _printing.exact)

    def __str__(self) -> str:
        return _printing.with_shapes(self, _printing.short)

    def _repr_html_(self) -> str:
        return _constructors["html"](self)

    def _expression(self, show: _printing.Exact) -> str:
        """How it prints: combinators override this one method, see _printing.py."""
        return show.atom(self)

    def _text(self, show: _printing.Exact) -> str:
        return repr(self) if self._prints_itself() else self._expression(show)

    def _prints_itself(self) -> bool:
        return type(self).__repr__ is not Operator.__repr__


class OfOne:
    """Around one operator, ``op``: takes its domain, its properties, and how it is evaluated."""

    op: Any

    @property
    def domain(self) -> Any:
        return self.op.domain

    @property
    def properties(self) -> Properties:
        return self.op.properties

    @property
    def _is_one_call(self) -> bool:
        return self.op._is_one_call

    @property
    def _waits(self) -> bool:
        return self.op._waits


class Backwards(OfOne):
    """Around one operator ``op``, from its codomain to its domain."""

    @property
    def domain(self) -> Any:
        return self.op.codomain

    @property
    def codomain(self) -> Any:
        return self.op.domain
