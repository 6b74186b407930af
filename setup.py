"""Builds the native part where there is a C compiler; without one the package is whole, only slower."""

import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = "src/spikebridge/ops/csrc"
# numbers are those of PyTorch to the bit: no product is fused with a sum
FLAGS = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=default"]


class BuildLibrary(build_ext):
    """The native part is a plain library that is no Python module, so it has no name to export for one."""

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return ext.export_symbols


native = Extension(
    "spikebridge.ops._native",
    sources=[f"{SOURCES}/native.c", f"{SOURCES}/rows.c"],
    depends=[f"{SOURCES}/{name}.h" for name in ("native", "rows", "step")],
    extra_compile_args=[] if sys.platform == "win32" else FLAGS,
    optional=True,
)

setup(ext_modules=[native], cmdclass={"build_ext": BuildLibrary})
