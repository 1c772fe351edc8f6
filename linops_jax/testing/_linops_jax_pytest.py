"""Options of the pytest plugin.

Installed beside the package, not in it: pytest imports this in every run, and JAX only where the options are used, so that a
conftest.py may still set JAX's environment variables.
"""

from __future__ import annotations

from typing import Any


def pytest_addoption(parser: Any) -> None:
    group = parser.getgroup("linops_jax", "operators of linops_jax")
    group.addoption(
        "--linops",
        action="append",
        default=[],
        metavar="TARGET",
        help="check every operator class with examples() of a module, package, file.py or file.py::Class (repeatable)",
    )
    group.addoption(
        "--linops-strict", action="store_true", default=False, help="operator classes without examples() fail"
    )


def pytest_configure(config: Any) -> None:
    if config.getoption("linops"):
        from linops_jax.testing.plugin import Plugin

        config.pluginmanager.register(Plugin(config), "linops_jax_operators")
