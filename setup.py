"""Builds the native library if there is a C compiler; without one the package is complete, only slower.

The library is plain C without Python, so one wheel serves every version: `py3-none-PLATFORM` with it, `py3-none-any`
without. `make wheel` makes the one for Linux.
"""

import re
import sys
import tomllib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

FOLDER = Path("src/spikebridge/ops/native")
# kernels of all networks, and those of the tracker, which use headers of the former
SOURCES = (FOLDER / "csrc", Path("src/spikebridge/networks/sensing/native/csrc"))
# numbers are equal to those of PyTorch to the bit: no product is fused with a sum
FLAGS = ["-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=default"]


def long_description() -> str:
    """The README with absolute links, since a package index does not have the other files."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    home = project["urls"]["Source"]
    tag = f"v{project['version']}"

    # pictures are files, other links lead to pages
    raw = home.replace("github.com", "raw.githubusercontent.com")
    text = Path("README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^\]]*\]\()(?!https?:|#)", rf"\g<1>{raw}/{tag}/", text)

    return re.sub(r"((?<!!)\[[^\]]*\]\()(?!https?:|#)", rf"\g<1>{home}/blob/{tag}/", text)


class BuildLibrary(build_ext):
    """Builds a plain library, which is no Python module."""

    def get_export_symbols(self, ext: Extension) -> list[str]:
        # a module would export its `PyInit` function
        return ext.export_symbols

    def copy_extensions_to_source(self) -> None:
        # a library of an earlier build, or of one Python version, would be found before the new one
        for old in FOLDER.glob("_native*.so"):
            old.unlink()
        super().copy_extensions_to_source()


class BuildWheel(bdist_wheel):
    """A wheel for every Python version, of one platform if it holds the native library."""

    def get_tag(self) -> tuple[str, str, str]:
        has_library = any(Path(self.bdist_dir).rglob("_native*"))
        return "py3", "none", super().get_tag()[2] if has_library else "any"


native = Extension(
    "spikebridge.ops.native._native",
    sources=sorted(str(file) for folder in SOURCES for file in folder.glob("*.c")),
    depends=sorted(str(file) for folder in SOURCES for file in folder.glob("*.h")),
    include_dirs=[str(folder) for folder in SOURCES],
    extra_compile_args=[] if sys.platform == "win32" else FLAGS,
    optional=True,
    py_limited_api=True,
)

if __name__ == "__main__":
    setup(
        ext_modules=[native],
        cmdclass={"build_ext": BuildLibrary, "bdist_wheel": BuildWheel},
        long_description=long_description(),
        long_description_content_type="text/markdown",
    )
