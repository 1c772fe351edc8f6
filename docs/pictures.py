"""The pictures of the gallery: what an operator makes of a photograph or a signal, and what its adjoint makes of that."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook
from matplotlib.figure import Figure
from myst_nb import glue

Panel = tuple[str, Any]


def photograph() -> Any:
    """Grace Hopper, from matplotlib's sample data: (150, 128), from 0 to 1."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        grey = plt.imread(file, format="jpg").mean(axis=-1) / 255
    return jnp.asarray(grey.reshape(150, 4, 128, 4).mean(axis=(1, 3)), jnp.float32)


def signal() -> Any:
    """Steps and a wave, 200 samples."""
    t = np.arange(200) / 200
    steps = np.select([t < 0.2, t < 0.35, t < 0.5], [0.0, 1.0, 0.4], 0.0)
    return jnp.asarray(steps + (t > 0.5) * np.sin(30 * t) * (1 - t), jnp.float32)


def show(name: str, op: Any, x: Any, view: Callable[[Any], Any] = jnp.real) -> None:
    """Draws x, A x and Aᴴ A x, and keeps A x as the thumbnail of the gallery; `view` makes a picture of A x."""
    A = op.with_domain(x)
    y = A(x)
    draw(name, ("x", x), ("A x", view(y)), ("Aᴴ A x", jnp.real(A.H(y))))


def draw(name: str, *panels: Panel) -> None:
    """Panels in a row; the second one is the thumbnail."""
    _, all_axes = plt.subplots(1, len(panels), figsize=(9, 2.8), layout="constrained")
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw(axes, *panel)
    thumbnail = Figure(figsize=(2.2, 1.8), layout="constrained")
    _draw(thumbnail.subplots(), "", panels[1][1])
    glue(name, thumbnail, display=False)


def _draw(axes: Any, title: str, values: Any) -> None:
    axes.set_title(title)
    values = np.asarray(values)
    if values.ndim == 1:
        axes.plot(values, lw=1)
        axes.grid(alpha=0.3)
        return
    low, high = np.quantile(values, (0.005, 0.995))
    axes.imshow(values, cmap="gray", vmin=low, vmax=high, aspect="equal", interpolation="nearest")
    axes.set_axis_off()


def magnitude(y: Any) -> Any:
    """The centred logarithm of a spectrum."""
    return jnp.log(1e-3 + abs(jnp.fft.fftshift(y)))


def side_by_side(y: Any) -> Any:
    """The components on the first axis, beside each other."""
    return jnp.concatenate(list(y), axis=1)
