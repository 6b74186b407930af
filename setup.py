"""Builds the native part where there is a C compiler; without one the package is whole, only slower."""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = Path("src/spikebridge/ops/native/csrc")
# numbers are those of PyTorch to the bit: no product is fused with a sum
FLAGS = ["-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=default"]


class BuildLibrary(build_ext):
    """The native part is a plain library that is no Python module, so it has no name to export for one."""

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return ext.export_symbols


native = Extension(
    "spikebridge.ops.native._native",
    sources=sorted(map(str, SOURCES.glob("*.c"))),
    depends=sorted(map(str, SOURCES.glob("*.h"))),
    extra_compile_args=[] if sys.platform == "win32" else FLAGS,
    optional=True,
)

setup(ext_modules=[native], cmdclass={"build_ext": BuildLibrary})
