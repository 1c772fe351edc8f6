"""What the hooks promise: shapes, dtypes, inputs left alone, outputs filled, the same answer each time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._check import check, close, require
from linops_jax.testing._subject import Hand, Subject, describe_tree, shape_difference, unwatched

_THREADS = 4
_SLOW = 0.01  # seconds
_BY_HAND = "it calls hooks by hand, with whole NumPy arrays"


def _has_host_hooks(subject: Subject) -> bool:
    return bool(subject.host_hooks())


@check()
def check_promises(subject: Subject) -> str | None:
    """A(x) has the shapes and dtypes of ``infer_shape``, and so has every host hook, called with read-only NumPy arrays."""
    finer: list[str] = []
    hands = subject.host_hooks()
    if hands and subject.is_spread:
        hands, finer = [], ["not by hand, with whole NumPy arrays: other processes hold parts of the arrays"]
    for hand in hands:
        arguments = hand.arguments()
        found = hand.call(arguments, hand.poisoned())
        broken = list(hand.broken_promises(found))
        require(not broken, "; ".join(broken))
        finer += hand.finer_than_promised(found)
    rng = subject.rng("promises")
    y = subject.forward(subject.first(rng))
    require(_is_promised(y, subject.out), f"A(x) is {describe_tree(y)}; promised {describe_tree(subject.out)}")
    if subject.has_adjoint:
        x = subject.reverse(subject.cotangent(rng))
        wanted = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), subject.spec)
        require(_is_promised(x, wanted), f"A^H(y) is {describe_tree(x)}; expected {describe_tree(wanted)}")
    return "; ".join(finer) or None


def _is_promised(found: Any, promised: Any) -> bool:
    return shape_difference(found, promised) is None and all(
        a.dtype == b.dtype for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(promised), strict=True)
    )


@check(needs=("promises",), when=lambda subject: subject.says_adjoint_shape)
def check_adjoint_shape(subject: Subject) -> None:
    """``infer_adjoint_shape`` leads back: from the specs of A x to the structure and shapes of x, in dtypes that can hold x."""
    wrong = subject.wrong_adjoint_shape()
    require(wrong is None, str(wrong))


@check(needs=("promises",), when=_has_host_hooks, whole=_BY_HAND)
def check_inputs(subject: Subject) -> None:
    """No hook changes its input arrays, the operator's own among them."""
    for hand in subject.host_hooks():
        arguments = hand.arguments()
        before = hand.values(arguments)
        hand.call(arguments, hand.poisoned())
        after = hand.values(arguments)
        for (path, left), right in zip(
            jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True
        ):
            same = np.array_equal(
                left.view(np.uint8) if left.ndim else left, right.view(np.uint8) if right.ndim else right
            )
            require(same, f"{hand.label} writes into its input: argument {jax.tree_util.keystr(path)} has changed")


@check(needs=("promises",), when=lambda subject: any(hand.takes_out for hand in subject.host_hooks()), whole=_BY_HAND)
def check_written(subject: Subject) -> None:
    """A hook that takes ``out`` writes every element of it, and reads none."""
    for hand in subject.host_hooks():
        if hand.takes_out:
            arguments = hand.arguments()
            _compare_outputs(hand, hand.call(arguments, hand.poisoned(0)), hand.call(arguments, hand.poisoned(1)))


def _compare_outputs(hand: Hand, first: list[Any], second: list[Any]) -> None:
    for (path, spec), a, b in zip(jax.tree_util.tree_leaves_with_path(hand.promise), first, second, strict=True):
        poisoned = np.argwhere(~np.isclose(_probes.double(a), _probes.double(b), rtol=1e-2, atol=0, equal_nan=True))
        at = jax.tree_util.keystr(path)
        require(
            not len(poisoned),
            f"{hand.label} leaves {len(poisoned)} of {spec.size} elements of out{at} unwritten, or reads them before it "
            f"writes: the first is [{', '.join(map(str, poisoned[0])) if len(poisoned) else ''}]. Fill all of out",
        )


@check(needs=("promises", "inputs", "written"))
def check_repeatable(subject: Subject) -> None:
    """Two calls agree: bit for bit where declared ``deterministic``, else to rounding."""
    for what, evaluate in subject.evaluations(subject.rng("repeatable")):
        _same(subject, evaluate(), evaluate(), f"{what}, called twice")


def _same(subject: Subject, first: Any, second: Any, what: str) -> None:
    if not subject.is_deterministic:
        return close(first, second, what, subject, amplified=False)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        bits = _probes.equal(a, b) if subject.is_spread else np.asarray(a).tobytes() == np.asarray(b).tobytes()
        difference = _probes.norm(_probes.subtract(a, b))
        require(bits, f"{what}: declared deterministic, but the bits differ; the numbers by {difference:.2e}")
    return None


@check(needs=("repeatable",), when=_has_host_hooks, whole=_BY_HAND)
def check_by_hand(subject: Subject) -> None:
    """A hook called by hand, with NumPy alone, and called through JAX give the same numbers."""
    through_jax = {
        "apply": lambda op, x: subject.forward(x),
        "adjoint": lambda op, y: subject.reverse(y),
        **{
            name: lambda op, argument, name=name: subject.hook(name, argument)
            for name in ("gram", "inverse", "inverse_adjoint")
        },
        "linearize": lambda op, x: op.value_and_jacobian(x)[0],
        "jacobian_apply": lambda op, x, dx: op.jacobian(x)(dx),
        "jacobian_adjoint": lambda op, x, dy: op.jacobian(x).H(dy),
    }
    for hand in subject.host_hooks():
        if hand.name not in through_jax:
            continue
        arguments = hand.arguments()
        found = hand.call(arguments, hand.poisoned())
        inputs = jax.tree.map(subject.replicated, hand.inputs(arguments))
        expected = jax.tree.leaves(through_jax[hand.name](subject.op, *inputs))
        for a, b in zip(found, expected, strict=False):  # the state is the hooks' own
            if a is not None and _probes.is_inexact(b):
                a = np.real(a) if np.iscomplexobj(a) and not _probes.is_complex(b) else a
                close(jnp.asarray(a, dtype=b.dtype), b, f"{hand.label} by hand and through JAX", subject)


@check(
    needs=("repeatable",),
    when=_has_host_hooks,
    whole="all processes must run their programs in the same order, which threads do not",
)
def check_threads(subject: Subject) -> None:
    """Calls from several threads at once give what they give one after another."""
    rng = subject.rng("threads")
    jobs = [job for _ in range(_THREADS) for job in subject.evaluations(rng)]
    start = time.perf_counter()
    expected = [evaluate() for _, evaluate in jobs]
    seconds = (time.perf_counter() - start) / max(len(jobs), 1)
    repeats = 3 if seconds < _SLOW else 1  # slow calls overlap at once
    x64 = _probes.has_x64()  # a setting of this thread

    def call(job: tuple[str, Callable[[], Any]]) -> list[Any]:
        with jax.enable_x64(x64), unwatched():
            return [job[1]() for _ in range(repeats)]

    with ThreadPoolExecutor(_THREADS) as pool:
        for (what, _), found, alone in zip(jobs, pool.map(call, jobs), expected, strict=True):
            for one in found:
                close(one, alone, f"{what} in a thread among others, and alone", subject)
