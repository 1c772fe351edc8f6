"""Snippets in a process of their own: what may crash, hang, leak or be killed must not take pytest along."""

import os
import subprocess
import sys
import textwrap

import pytest


@pytest.fixture
def run_child(tmp_path):
    """Runs Python code in a fresh process, in a folder of its own from which it can import; asserts its exit code."""

    def run(source, *arguments, timeout=90, expect=0, folder=tmp_path, **environment):
        script = tmp_path / f"child{len(list(tmp_path.glob('child*.py')))}.py"
        script.write_text(textwrap.dedent(source))
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        child = subprocess.run(
            [sys.executable, "-X", "faulthandler", str(script), *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert child.returncode == expect, f"exit code {child.returncode}\n{child.stdout}\n{child.stderr}"
        return child

    return run
