"""The command `linops-jax`. What a subcommand needs is imported when it runs, not here."""

from typing import Annotated

import typer

import linops_jax

from . import demo
from .bench import bench
from .check import check
from .new import new

app = typer.Typer(
    help="Write an operator, check operators and their adjoints, measure what calls cost, and run a demo.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(demo.app, name="demo")
app.command()(new)
app.command()(check)
app.command()(bench)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"linops-jax {linops_jax.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="linops-jax")
