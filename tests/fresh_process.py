"""Runs a program in a process that has loaded PyTorch and nothing of the package.

Loading PyTorch takes longer than most programs of tests, so the process is a fork of one that has done nothing else.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

MAX_SECONDS = 120  # of a program


@cache
def _server() -> subprocess.Popen[str]:
    """The process that is forked; it ends with this one."""
    command = [sys.executable, str(Path(__file__))]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)
    return server


def run_fresh(program: str, *words: str, environment: Mapping[str, str] | None = None) -> str:
    """Runs a program with its arguments and gives its output; if it fails, the error shows its stderr.

    Variables that PyTorch reads while it loads have no effect in `environment`.
    """
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    request = [program, [str(word) for word in words], dict(os.environ if environment is None else environment)]
    print(json.dumps([*request, str(Path.cwd())]), file=server.stdin, flush=True)
    code, out, error = json.loads(server.stdout.readline())
    assert code == 0, f"exit code {code}: {error}"

    return str(out)


def _serve() -> None:
    """Answers each line, a program with its words, environment and folder, with exit code, output and errors."""
    import torch  # noqa: F401 - loaded once for all programs

    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
            pid = os.fork()
            if pid == 0:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(error.fileno(), 2)
                _run(*json.loads(line))

            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            out.seek(0)
            error.seek(0)
            print(json.dumps([code, out.read().decode(), error.read().decode()]), flush=True)


def _run(program: str, words: list[str], environment: dict[str, str], folder: str) -> None:
    """Runs a program in this process and ends it."""
    code = 1
    try:
        # a program that hangs would hold all later ones
        signal.alarm(MAX_SECONDS)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv[1:] = words
        sys.stdin = open(0)  # noqa: SIM115
        sys.stdout = open(1, "w")  # noqa: SIM115
        sys.stderr = open(2, "w")  # noqa: SIM115
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - shown to the test
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # the exit handlers belong to the server
        os._exit(code)


if __name__ == "__main__":
    _serve()
