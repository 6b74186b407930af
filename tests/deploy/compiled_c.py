"""The check program of a model in C, built by the system's compiler."""

import re
import shutil
import subprocess

import pytest

from spikebridge.deploy.c.export import WrittenC

COMPILER = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]


def checked(model_c: WrittenC) -> str:
    """The output of the check program of a folder."""
    files = [f"{model_c.name}.c", "check.c"]
    subprocess.run([str(COMPILER), *STRICT, *files, "-o", "check"], cwd=model_c.folder, check=True, timeout=60)
    return subprocess.run(["./check"], cwd=model_c.folder, capture_output=True, text=True, timeout=60).stdout


def same(model_c: WrittenC) -> int:
    """The number of compared values, all of which are the same."""
    match = re.fullmatch(r"\d+ ticks, (\d+) values, 0 differ\n", said := checked(model_c))
    assert match is not None, said
    return int(match[1])
