"""Snippets in a process of their own: what may crash, hang, leak or be killed must not take pytest along."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background job, and children would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def run_child(tmp_path):
    """Runs Python code in a fresh process, in a folder of its own from which it can import; asserts its exit code.

    One that hangs is killed after ``timeout`` seconds, and the failure shows where each of its threads was.
    """

    def run(source, *arguments, timeout=90, expect=0, folder=tmp_path, **environment):
        script = tmp_path / f"child{len(list(tmp_path.glob('child*.py')))}.py"
        script.write_text(textwrap.dedent(source))
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-X", "faulthandler", str(script), *map(str, arguments)]
        with subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                out, err = child.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGABRT)  # faulthandler prints all stacks
                try:
                    out, err = child.communicate(timeout=5)
                except subprocess.TimeoutExpired:
                    child.kill()
                    out, err = child.communicate()
                pytest.fail(f"hangs after {timeout} s\n{out}\n{err}")
        allowed = expect if isinstance(expect, tuple) else (expect,)
        assert child.returncode in allowed, f"exit code {child.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(command, child.returncode, out, err)

    return run
