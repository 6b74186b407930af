"""A step that frees what it took is given the same memory again."""

import os
import platform
import resource

import pytest

from fresh_process import run_fresh

REPEATED = """
import resource
import sys

import torch

from spikebridge.training._allocation import raise_mmap_threshold

if sys.argv[1] == "keep":
    raise_mmap_threshold()
for i in range(12):
    if i == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(2**21) for _ in range(6)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have rules of their own")
def test_blocks_of_some_megabytes_are_not_given_back() -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    kept, given_back = (int(run_fresh(REPEATED, word, environment=plain)) for word in ("keep", "give back"))
    pages = 10 * 6 * 2**23 / resource.getpagesize()

    assert kept < pages / 10
    assert given_back > pages / 4
