"""How often a model with ``linearize`` is simulated for a value and its derivatives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import jax

from linops_jax.testing._check import check
from linops_jax.testing._subject import Subject
from linops_jax.testing.checks._transforms import derivable, pullable

_PRODUCTS = 5
Evaluation = Callable[[], tuple[Any, Callable[[], Any]]]  # gives what comes first, and the function of one product


@check(needs=("jit", "jvp", "vjp"), when=lambda subject: subject.simulates and _has_products(subject))
def check_simulations(subject: Subject) -> str:
    """Products at a point simulate nothing: the state of ``linearize`` at this point serves all of them."""
    x = subject.point(subject.rng("simulations"))
    counts = [f"F(x) {_count(subject, lambda: subject.op(x))}"]
    for what, evaluation in _evaluations(subject, x):
        counts.append(f"{what} {_count_with_products(subject, x, what, evaluation)}")
    return ", ".join(counts)


def _has_products(subject: Subject) -> bool:
    return not subject.is_linear and (derivable(subject) or pullable(subject))


def _evaluations(subject: Subject, x: Any) -> Iterator[tuple[str, Evaluation]]:
    """What to evaluate first, and products with it."""
    op, rng = subject.op, subject.rng("products")
    if pullable(subject):
        dy = subject.cotangent(rng)
        yield f"jax.vjp and {_PRODUCTS} products", lambda: _first_and_product(jax.vjp(op, x), dy)
    if derivable(subject):
        dx = subject.tangent(rng)
        yield f"jax.linearize and {_PRODUCTS} products", lambda: _first_and_product(jax.linearize(op, x), dx)
        yield f"F.jacobian(x) and {_PRODUCTS} products", lambda: _first_and_product((None, op.jacobian(x)), dx)
    else:
        yield f"F.jacobian(x) and {_PRODUCTS} products", lambda: _first_and_product((None, op.jacobian(x).H), dy)


def _first_and_product(found: tuple[Any, Callable[[Any], Any]], direction: Any) -> tuple[Any, Callable[[], Any]]:
    first, product = found
    return first, lambda: product(direction)


def _count_with_products(subject: Subject, x: Any, what: str, evaluation: Evaluation) -> int:
    """The number of simulations for an evaluation and its products. Raises AssertionError if products need some."""
    products: list[Callable[[], Any]] = []

    def first() -> Any:
        value, product = evaluation()
        products.append(product)
        return value

    before = _count(subject, first)
    after = sum(_count(subject, products[0]) for _ in range(_PRODUCTS))
    if after and not _recomputes(subject.op, x):
        message = (
            f"{what}: simulations: {before} for the point, {after} for the products, which need none. A class that writes its "
            "own Jacobian hooks as JAX code must keep the state of the models that it calls: give it linearize, or leave these "
            "hooks out."
        )
        raise AssertionError(message)
    return before + after


def _count(subject: Subject, evaluate: Callable[[], Any]) -> int:
    before = subject.simulations()
    jax.block_until_ready(evaluate())
    return subject.simulations() - before


def _recomputes(op: Any, x: Any) -> bool:
    """Whether its code says that derivatives evaluate it again, by ``jax.checkpoint``."""
    return re.search(r"\b(checkpoint|remat2?)\[", str(jax.make_jaxpr(op)(x))) is not None
