"""Functionals that are wrong on purpose: their prox, conjugate or Lipschitz constant. They join ``WRONG``."""

import jax.numpy as jnp
import numpy as np
from wrong import wrong

import linops_jax as lo


def soft(x, step):
    return np.sign(x) * np.maximum(np.abs(x) - step, 0)


class Absolute(lo.Functional):
    """The l1-norm of real numbers, with a prox in NumPy."""

    @lo.traced
    def apply(self, x):
        return jnp.sum(jnp.abs(x))

    def prox(self, x, step):
        return soft(x, step)


@wrong("prox", r"f\(u\) \+ \|u - x\|\^2 / \(2 step\) is .* at u = prox\(x, step\), but .* at another u")
class TwiceTheStep(Absolute):
    def prox(self, x, step):
        return soft(x, 2 * step)


@wrong("prox", r"prox must give the least")
class ForgetsOneElement(Absolute):
    def prox(self, x, step):
        p = soft(x, step)
        p[-1] = x[-1]
        return p


@wrong("prox", r"f\(prox\(x, 0\.5\)\) is inf, and must be finite")
class OutsideOfTheSet(lo.NonNegative):
    def prox(self, x, step):
        return np.minimum(x, 0)


@wrong("prox_nonexpansive", r"more than Re <prox\(x\) - prox\(z\), x - z> = .*declare the class with convex = False")
class NotConvex(lo.Functional):
    """The number of elements that are not zero."""

    @lo.traced
    def apply(self, x):
        return jnp.sum(x != 0, dtype=x.dtype)

    def prox(self, x, step):
        return np.where(x**2 > 2 * step, x, 0)


@wrong("prox_subgradient", r"f\(z\) = .* is less than f\(p\) \+ Re <\(x - p\) / step, z - p>")
class AlmostTheProx(Absolute):
    def prox(self, x, step):
        return soft(x, step) * x.dtype.type(1 - 1e-3)


@wrong("projection", r"f\(prox\(x, 0\.5\)\) is .*, and must be 0, since the class is declared with indicator = True")
class NoIndicator(Absolute):
    indicator = True


@wrong("vmap_of_prox", r"jit\(vmap\(prox\)\) over x and step, and a loop: they differ by")
class FirstStepOfTheBatch(Absolute, batched=True):
    def prox(self, x, step):
        return soft(x, np.ravel(step)[0])


@wrong("prox_jacobian", r"prox_jacobian is not the derivative of prox in x")
class WrongProxJacobian(Absolute):
    def prox_jacobian(self, x, step, dx):
        return np.where(np.abs(x) > 0.9 * step, 0.9 * dx, 0)


@wrong("conjugate_prox", r"conjugate_prox\(u, .*\) and u - step prox\(u / step, 1 / step\): they differ by")
class WrongConjugateProx(Absolute):
    def conjugate_prox(self, u, step):
        return jnp.clip(u, -step, step)


@wrong("conjugate", r"f\(p\) \+ f\*\(u\) = .*, but Re <p, u> = ")
class WrongConjugate(lo.SquaredL2):
    def conjugate(self, u):
        return 2 * super().conjugate(u)


@wrong(
    "smooth", r"the gradient changes by 1 \|x - z\| between two points, but smooth = 0\.9 promises no more than that"
)
class SmootherThanItIs(lo.SquaredL2):
    smooth = 0.9
