"""Work that is spread over CPU devices: strong and weak scaling, and a sharded batch under plain `jit`."""

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from ._machine import DEVICES
from ._measure import Case, Effort, Goal, Missing, Run
from ._negation import OURS
from ._scaling import data
from ._scaling.asking import Child, Request
from ._scaling.data import Size
from ._scaling.ours import Windowed

TITLE = "Devices"
LENGTH = 16
PROCESSES = 2  # of pylops-mpi
PART = 16  # windows of each device
EFFICIENCY = 0.9
PLAIN = ("plain JAX", "plain JAX in shard_map")
LIBRARIES = {
    "stack": (OURS, *PLAIN, "bare threads"),
    "nufft": (OURS, "bare threads"),
    "halo": (OURS, *PLAIN),
    "solve": (OURS, *PLAIN),
}

# ---- scaling --------------------------------------------------------------------------------------------------------


def cases(effort: Effort) -> Iterator[Case]:
    yield _batch(effort.pixels // 2)
    with ExitStack() as ends:
        ask = _Asking(effort, ends)
        for problem in effort.spread:
            for devices in effort.devices:
                yield _scaling(problem, devices, effort, ask)


def _scaling(problem: str, devices: int, effort: Effort, ask: "_Asking") -> Case:
    """All of the work on so many devices, by each library; and all of it and one part of it on one device."""
    side = effort.pixels // 2
    whole = Size(PART * devices, side, max(effort.steps // 10, 1))
    answers: list[float] = []
    contestants = {name: partial(ask.jax, name, problem, whole, devices, answers) for name in LIBRARIES[problem]}
    if devices == PROCESSES and problem != "nufft":
        contestants[f"pylops-mpi, {PROCESSES} processes"] = partial(ask.mpi, problem, whole, answers)
    goals = {}
    if devices > 1:
        part = whole._replace(length=PART)
        contestants["the same on one device"] = partial(ask.jax, OURS, problem, whole, 1, answers)
        contestants["a device's part, on one device"] = partial(ask.jax, OURS, problem, part, 1, [])
    if problem == "nufft" and devices == 2:
        goals["a device's part, on one device"] = Goal(round(1 / EFFICIENCY, 2))
    name = f"{_described(problem, whole)}, {devices} device{'s' * (devices > 1)}"
    return Case(name, contestants, timed=False, goals=goals, slow=True)


def _described(problem: str, size: Size) -> str:
    windows = f"{size.length} windowed FFTs of {size.side} x {size.side}"
    return {
        "stack": f"stack of {windows}",
        "nufft": f"stack of {size.length} windowed NUFFTs of {size.side} x {size.side}",
        "halo": f"blur with halos, {size.length * size.side} x {size.side}",
        "solve": f"{size.steps} CGLS steps, stack of {windows}",
    }[problem]


class _Asking:
    """Contestants that run in other processes, which have as many devices as the work is for."""

    def __init__(self, effort: Effort, ends: ExitStack):
        self._least, self._ends = effort.seconds, ends
        self._children: dict[tuple[str, ...], Child] = {}

    def jax(self, library: str, problem: str, size: Size, devices: int, answers: list[float]) -> Run:
        child = self._child(sys.executable, "-P", "-m", f"{_scaling_package()}.worker", str(devices))
        return self._run(child, Request(library, problem, size, self._least), answers)

    def mpi(self, problem: str, size: Size, answers: list[float]) -> Run:
        arguments = ("-n", str(PROCESSES), sys.executable, "-P", "-m", f"{_scaling_package()}.mpi")
        child = self._child(_mpiexec(), *arguments)
        return self._run(child, Request("pylops-mpi", problem, size, self._least), answers)

    def _child(self, *command: str) -> Child:
        _require("ducc0")
        if command not in self._children:
            self._children[command] = Child(*command)
            self._ends.callback(self._children[command].close)
        return self._children[command]

    def _run(self, child: Child, request: Request, answers: list[float]) -> Run:
        """The first answer to a request is checked against what others found."""
        answers.append(child.ask(request).fingerprint)
        np.testing.assert_allclose(answers[-1], answers[0], rtol=1e-3)
        return lambda: child.ask(request).seconds


def _scaling_package() -> str:
    return data.__name__.rpartition(".")[0]


def _require(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            msg = f"{module} is not installed"
            raise Missing(msg)


def _mpiexec() -> str:
    """Where `mpiexec` is: on the path, or beside Python, where `pip install mpich` puts it."""
    _require("pylops_mpi", "mpi4py")
    found = shutil.which("mpiexec") or shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    if not found:
        msg = "there is no mpiexec"
        raise Missing(msg)
    return found


# ---- a sharded batch ------------------------------------------------------------------------------------------------


def _batch(side: int) -> Case:
    contestants = {
        OURS: partial(_sharded, _by_operator, side),
        "the same in shard_map": partial(_in_shard_map, side),
        "the same on one device": partial(_on_one_device, side),
        "JAXbind": partial(_sharded, _by_jaxbind, side),
    }
    return Case(f"{LENGTH} windowed FFTs of {side} x {side} on {DEVICES} devices", contestants, slow=True)


def _by_operator(window: jax.Array) -> Callable[[Any], Any]:
    import ducc0  # noqa: F401  # before it is needed in a hook

    return Windowed(window)


def _by_jaxbind(window: jax.Array) -> Callable[[Any], Any]:
    import ducc0  # noqa: F401
    from jaxbind import get_linear_call

    def transform(out, args, kwargs_dump):
        window, x = args
        data.transform(window, x, out[0])

    def abstract(window, x):
        return ((x.shape, x.dtype),)

    call = get_linear_call(transform, None, abstract, abstract, first_n_args_fixed=1)
    return lambda x: call(window, x)[0]


def _data(side: int) -> tuple[jax.Array, np.ndarray]:
    size = Size(LENGTH, side, 0)
    return jnp.asarray(data.picture(size)), data.windows(size)


def _mesh() -> jax.sharding.Mesh:
    if jax.local_device_count() < DEVICES:
        msg = f"there are fewer than {DEVICES} devices"
        raise Missing(msg)
    return jax.make_mesh((DEVICES,), ("i",), axis_types=(AxisType.Auto,), devices=jax.devices()[:DEVICES])


def _sharded(build: Callable[[jax.Array], Callable[[Any], Any]], side: int) -> Run:
    window, batch = _data(side)
    x = jax.device_put(batch, NamedSharding(_mesh(), P("i")))
    function = jax.jit(jax.vmap(build(window)))
    return lambda: function(x).block_until_ready()


def _in_shard_map(side: int) -> Run:
    window, batch = _data(side)
    mesh = _mesh()
    x = jax.device_put(batch, NamedSharding(mesh, P("i")))
    function = jax.jit(jax.shard_map(jax.vmap(_by_operator(window)), mesh=mesh, in_specs=P("i"), out_specs=P("i")))
    return lambda: function(x).block_until_ready()


def _on_one_device(side: int) -> Run:
    window, batch = _data(side)
    function, x = jax.jit(jax.vmap(_by_operator(window))), jnp.asarray(batch)
    return lambda: function(x).block_until_ready()
