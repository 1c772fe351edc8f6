"""`linops-jax new`: an operator and its test, from templates that pass all checks as they stand.

The templates are Python and C files, so that the tools of this repository read them as they read all others. Their folder is no
package: nothing imports what is in it.
"""

import importlib.util
import keyword
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from .._errors import BadInput, one_line_errors, require

_TEMPLATES = Path(__file__).with_name("_templates")
_ALLOWED = "a name has letters, digits and underscores and begins with a letter, as MyBlur or my_blur"


def new(
    name: Annotated[str, typer.Argument(help="Of the class, as MyBlur; my_blur gives the same.")],
    nonlinear: Annotated[
        bool, typer.Option("--nonlinear", help="A NonlinearOperator, with the products of its Jacobian.")
    ] = False,
    native: Annotated[bool, typer.Option("--native", help="Hooks in C, called without Python.")] = False,
    traced: Annotated[bool, typer.Option("--traced", help="Hooks in JAX, compiled with the code around them.")] = False,
    directory: Annotated[Path, typer.Option(help="Folder to write into; made if it is missing.")] = Path(),
) -> None:
    """Write an operator and its test, which pass all checks as they stand.

    MyBlur becomes my_blur.py and test_my_blur.py, and my_blur.c with --native. Without options, the operator is linear and its
    hooks are NumPy code. No file is overwritten. Exit code 2: nothing was written.
    """
    with one_line_errors(extra="all"):
        require(not (native and traced), "--native and --traced cannot be combined: choose one")
        require(not directory.is_file(), f"--directory {directory} is a file: give a folder")
        kind = "native" if native else "traced" if traced else "host"
        written = _Written.of(name, directory)
        files = written.texts("nonlinear" if nonlinear else "linear", kind)
        _write(files)
    typer.echo(f"wrote {', '.join(map(str, files))}; next, run:")
    for command in written.commands(native):
        typer.echo(f"  {command}")


@dataclass(frozen=True)
class _Written:
    """What the files are called, and where they are."""

    cls: str
    module: str
    directory: Path

    @classmethod
    def of(cls, name: str, directory: Path) -> "_Written":
        require(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is not None, f"{name!r} cannot be used: {_ALLOWED}")
        written = cls(_camel(name), name if name.islower() else _snake(_camel(name)), directory)
        for made in (written.cls, written.module):
            require(not keyword.iskeyword(made), f"{name!r} cannot be used: {made} is a keyword of Python")
        require(written.module != "conftest", f"{name!r} cannot be used: pytest loads conftest.py by itself")
        for part in written.package.split(".")[:-1]:
            can_be_imported = part.isidentifier() and not keyword.iskeyword(part)
            require(can_be_imported, f"--directory {directory} is in the package {part!r}, which Python cannot import")
        hides = not written.package and importlib.util.find_spec(written.module) is not None
        taken = directory / f"{written.module}.py"
        require(
            not hides or taken.exists(),  # of which the error says more
            f"{name!r} cannot be used: {written.module}.py would hide the module {written.module}, which is installed",
        )
        return written

    @property
    def package(self) -> str:
        """The package that the folder is, with a dot at its end; empty for a plain folder."""
        folder, names = self.directory.resolve(), []
        while (folder / "__init__.py").exists():
            names.append(folder.name)
            folder = folder.parent
        return "".join(f"{part}." for part in reversed(names))

    def texts(self, map_: str, kind: str) -> dict[Path, str]:
        """The files and what they hold."""
        templates = {f"{map_}_{kind}.py": f"{self.module}.py", f"test_{map_}.py": f"test_{self.module}.py"}
        if kind == "native":
            templates[f"{map_}_{kind}.c"] = f"{self.module}.c"
        return {self.directory / to: self._renamed((_TEMPLATES / name).read_text()) for name, to in templates.items()}

    def commands(self, native: bool) -> list[str]:
        """What the user runs next."""
        operator, test, source, library = (
            shlex.quote(str(self.directory / name))
            for name in (f"{self.module}.py", f"test_{self.module}.py", f"{self.module}.c", f"lib{self.module}.so")
        )
        include = "$(python -c 'import linops_jax; print(linops_jax.get_include())')"
        build = [f'cc -O3 -shared -fPIC -I"{include}" {source} -o {library}'] if native else []
        return [*build, f"linops-jax check {operator}", f"python -m pytest {test}"]

    def _renamed(self, text: str) -> str:
        imported = re.sub(r"from \.\w+ import", f"from {self.package}{self.module} import", text)
        return imported.replace("MyOperator", self.cls).replace("my_operator", self.module)


def _write(files: dict[Path, str]) -> None:
    """All of them, or none."""
    for file in files:
        require(not file.exists(), f"{file} exists and is not overwritten: choose another name or --directory")
    for file, text in files.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        except OSError as error:
            raise BadInput(str(error)) from None


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _snake(name: str) -> str:
    """XRayTransform is x_ray_transform, and FFT2D is fft2d."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])", "_", name).lower()
