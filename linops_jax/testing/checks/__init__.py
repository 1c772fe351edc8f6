"""One function per identity that an operator must satisfy: the checks of all files in this folder.

Each is called with an operator and specs or example arrays of its input, and raises AssertionError saying what was found.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from linops_jax.testing._check import Check as Check
from linops_jax.testing._check import in_order

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")

CHECKS: dict[str, Check] = in_order()  # by name, in the order in which they run
globals().update({f"check_{name}": check for name, check in CHECKS.items()})

if TYPE_CHECKING:

    def __getattr__(name: str) -> Check: ...
