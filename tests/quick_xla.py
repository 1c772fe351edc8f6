"""XLA with less effort: tests compile thousands of programs, and run each of them once or twice.

It has to be imported before JAX compiles anything. ``XLA_FLAGS=`` in the environment leaves XLA as users have it.
"""

import mmap
import os
import pathlib

import jaxlib

FLAGS = {
    "xla_cpu_use_fusion_emitters": "false",  # half of the time of a small program
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": "true",
    "xla_cpu_parallel_codegen_split_count": "1",
}


def _known(flags):
    """Those that this version of XLA knows: at another one it ends the process."""
    library = pathlib.Path(jaxlib.__file__).with_name("libjax_common.so")
    if not library.exists():
        return []
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return [flag for flag in flags if text.find(b"\0" + flag.encode() + b"\0") >= 0]


if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = " ".join(f"--{flag}={FLAGS[flag]}" for flag in _known(FLAGS))
