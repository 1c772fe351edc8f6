"""What judges random programs: the oracle beside JAX itself, and wrong programs that must be seen."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, energy, like
from stress import oracle, programs, verdict

COMPLEX = S((3,), np.complex64)
FUNCTIONS = {
    "arithmetic": lambda x: (x * x + 2 - x / 3, -x, jnp.sqrt(jnp.real(x) ** 2 + 1)),
    "complex numbers": lambda x: (jnp.conj(x), x.real + 1j * x.imag, jnp.abs(x.real)),
    "matrices": lambda x: jnp.outer(x, x) @ x + jax.vmap(jnp.dot)(jnp.outer(x, x), jnp.outer(x, 2 * x)),
    "shapes": lambda x: jnp.concatenate([jnp.pad(x, 1)[::-1], jnp.stack([x, x]).T.ravel()[1:4:2], jnp.roll(x, 1)]),
    "sums": lambda x: (jnp.cumsum(x), jax.grad(lambda x: energy(jnp.cumsum(jnp.sin(x) ** 3)))(x), jnp.prod(x)),
    "choices": lambda x: jnp.where(jnp.arange(3) > 1, x, jnp.cos(x)) + jnp.where(jnp.sum(x.real) > 0, 1, 3) * x,
    "Fourier": lambda x: jax.vjp(lambda x: jnp.fft.fft(x, norm="ortho"), x)[1](jnp.fft.ifft(x))[0],
    "what is rare": lambda x: (jnp.sort(x.real), jnp.tanh(x)),
    "calls": lambda x: jax.jit(jax.checkpoint(jnp.sin))(x),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.complex64, np.float32])
def test_the_oracle_gives_what_jax_gives(function, dtype):
    x = like(S((3,), dtype), 1)
    close(oracle.plan(function, x)(x), jax.tree.map(np.asarray, jax.jit(function)(x)))


def test_the_oracle_keeps_integers_and_rounds_to_half_precision():
    x = jnp.arange(3, dtype=np.int32)
    close(oracle.plan(lambda x: (x * (2**31 - 1) + x, 0.5 * x, x @ x), x)(x), (x * (2**31 - 1) + x, 0.5 * x, x @ x))
    h = jnp.asarray([1.001, 2049, 30000], np.float16)
    close(oracle.plan(lambda h: (h + 1, h * 2, h.astype(np.float32)), h)(h), (h + 1, h * 2, h.astype(np.float32)))


RIGHT = programs.Program(
    ("Dense(normal((3, 3), C, 1))", "Square()"),
    "(p1 @ p0)",
    "(p1 @ p0)",
    "S((3,), C)",
    "x",
    ("vmap", "grad"),
    False,
    "adjoints",
)
NAN = "lo.Function(lambda x: x + {}, S((3,), C))"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"twin": "(2 * (p1 @ p0))"}, "value: [^,]*, expected"),
        ({"twin": "(p1 @ p0).conj()"}, "value: [^,]*, expected"),
        (
            {"parts": ("Dense(normal((3, 3), BF16, 1))", "Square()"), "x": "S((3,), BF16)", "twin": "(2 * (p1 @ p0))"},
            "value",
        ),
        (
            {"parts": ("NativeSum(normal((3,), F16, 1))", "Square()"), "x": "S((3,), F16)", "twin": "(p1 @ (p0 + p0))"},
            "value",
        ),
        (
            {
                "parts": ("Numba(normal((3,), I32, 1))", "Handler(normal((3,), I32, 2))"),
                "x": "S((3,), I32)",
                "stack": ("vmap",),
                "also": "simplified",
                "twin": "(p1 @ p0 + p0)",
            },
            "value",
        ),
        ({"twin": "(np.float64(1) * (p1 @ p0))", "wide": True}, "value: complex64.*expected complex128"),
        ({"op": "lo.vstack([p0])", "twin": "p0"}, "value: structure"),
        ({"op": f"({NAN.format('jnp.nan')} @ p0)", "twin": f"({NAN.format(1)} @ p0)"}, "value: .*nan.*expected"),
    ],
)
def test_wrong_programs_are_seen(changes, message):
    verdict.check(RIGHT)
    with pytest.raises(verdict.Wrong, match=message):
        verdict.check(dataclasses.replace(RIGHT, **changes))


def test_jacobians_keep_the_precision_of_each_array():
    """Seed 200082: float32 fields and a float16 input are one vector of real numbers there."""
    program = programs.Program(
        ("Merge(normal((3,), R, 569))",),
        "p0.T",
        "p0.with_domain({'a': S((3,), R), 'b': S((3,), R)}).T.only(S((3,), F16))",
        "S((3,), F16)",
        "p",
        ("jacrev",),
        False,
        "adjoints",
    )
    assert verdict.check(program) is None
