"""How a command says that it cannot use what it was given: one line on stderr and exit code 2."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


class BadInput(Exception):
    """The user's input cannot be used. The text says what was found and what to do, in one line."""


def require(condition: bool, otherwise: str) -> None:
    """Raises `BadInput(otherwise)` unless the condition holds."""
    if not condition:
        raise BadInput(otherwise)


@contextmanager
def one_line_errors(extra: str) -> Iterator[None]:
    """Ends the command on `BadInput`, or if a package from the distribution's `extra` is missing."""
    try:
        yield
    except BadInput as error:
        _quit(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "linops_jax").startswith("linops_jax"):
            raise
        _quit(f"the package {error.name} is missing: pip install 'linops-jax[{extra}]'")


def _quit(reason: str) -> None:
    typer.echo(f"linops-jax: {' '.join(reason.split())}", err=True)
    raise typer.Exit(2)
