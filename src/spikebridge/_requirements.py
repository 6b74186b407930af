"""Versions of PyTorch and numpy, checked against the oldest ones that the package declares."""

import re

from spikebridge.errors import ConfigError

_CHECKED = ("torch", "numpy")


def check_versions() -> None:
    """Raises a `ConfigError` of one line where an installed version is too old."""
    lines = unfit_versions()
    if lines:
        raise ConfigError("; ".join(lines))


def unfit_versions() -> list[str]:
    """A line for each package that is too old: both versions and the remedy."""
    # slow, and `import spikebridge` alone does not need it
    from importlib.metadata import PackageNotFoundError, requires, version

    lines = []
    for name in _CHECKED:
        try:
            declared = requires("spikebridge") or []
            installed = version(name)
        except PackageNotFoundError:
            continue

        bounds = [re.match(rf"{name}\b[^;]*>=\s*([\d.]+)", requirement) for requirement in declared]
        oldest = next((bound[1] for bound in bounds if bound), "0")
        if _numbers(installed) < _numbers(oldest):
            lines.append(
                f"spikebridge needs {name} {oldest} or newer, but {installed} is installed; "
                f"pip install --upgrade '{name}>={oldest}'"
            )

    return lines


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version, without what builds append: 2.11.0+cpu is (2, 11, 0)."""
    release = re.match(r"[\d.]*\d", version)
    return tuple(map(int, release[0].split("."))) if release else ()
