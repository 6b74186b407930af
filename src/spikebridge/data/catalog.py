"""The known data sets: their files, official sources and licences, and whether they are on this machine.

`data_sets.json` lists them. The folder is named by the environment variable `SPIKEBRIDGE_DATA` or by an explicit path
(`--data`), which goes before it. A set is present when all files of one of its layouts are. Nothing is downloaded. This
module needs neither torch nor numpy.
"""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from spikebridge.errors import ConfigError, DataError, did_you_mean

VARIABLE = "SPIKEBRIDGE_DATA"


class _DataSet(NamedTuple):
    """A known data set. `layouts` are lists of paths below the data folder; any complete one makes the set.

    A set without layouts comes with an installed `package`, or with scikit-learn, which is always there.
    """

    name: str
    about: str
    layouts: tuple[tuple[str, ...], ...]
    source: str
    licence: str
    package: str = ""


class _DataSetStatus(NamedTuple):
    """A data set, and the missing files of the layout that is nearest to complete."""

    data_set: _DataSet
    present: bool
    missing: tuple[str, ...]


def _known_sets() -> tuple[_DataSet, ...]:
    rows = json.loads(Path(__file__).with_name("data_sets.json").read_text(encoding="utf-8"))
    return tuple(_DataSet(**{**row, "layouts": tuple(map(tuple, row["layouts"]))}) for row in rows)


DATA_SETS = _known_sets()


def data_folder(explicit: Path | None = None) -> Path:
    """The folder that holds the data sets."""
    folder_name = explicit if explicit is not None else os.environ.get(VARIABLE)
    if not folder_name:
        raise DataError(f"no data folder is named: set {VARIABLE} to the folder of the data sets, or give --data.")

    folder = Path(folder_name).expanduser()
    if not folder.is_dir():
        fault = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"the data folder {folder} {fault}; correct {VARIABLE} or --data.")

    return folder


def refuse_data_folder(explicit: Path | None, used: str) -> None:
    """Refuses a data path that would not be read, so that figures of other data are not taken for its own."""
    if explicit is not None:
        raise ConfigError(f"the run uses {used} and reads nothing from {explicit}; leave --data out")


def available(explicit: Path | None = None) -> list[_DataSetStatus]:
    """Every known data set, and whether it is there.

    Args:
        explicit: a path that goes before the environment variable. If neither names a folder, only the sets that come
            with a package are there.

    Returns:
        One entry a data set, in the order of `data_sets.json`.

    Raises:
        DataError: the folder does not exist.

    Example:
        >>> [entry.present for entry in available() if entry.data_set.name == "digits"]
        [True]
    """
    has_folder = explicit is not None or os.environ.get(VARIABLE)
    folder = data_folder(explicit) if has_folder else None

    return [_status(data_set, folder) for data_set in DATA_SETS]


def find_files(name: str, explicit: Path | None = None) -> tuple[Path, ...]:
    """The files of the first complete layout of a data set, in its order; none for a set that comes with a package."""
    known = {data_set.name: data_set for data_set in DATA_SETS}
    if name not in known:
        raise ConfigError(f"no data set is called {name!r}; {did_you_mean(name, known)}")

    data_set = known[name]
    if not data_set.layouts:
        return ()

    folder = data_folder(explicit)
    for layout in data_set.layouts:
        if not _missing(layout, folder):
            return tuple(folder / path for path in layout)

    missing = ", ".join(_status(data_set, folder).missing)
    raise DataError(
        f"{name} is not in {folder}: {missing} missing. It comes from {data_set.source} (licence: {data_set.licence}); "
        "get it there and put it into that folder."
    )


def has_files(name: str) -> bool:
    """True if the folder of the environment has the files of a data set."""
    try:
        find_files(name)
    except DataError:
        return False

    return True


def _missing(layout: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    return tuple(path for path in layout if not (folder / path).exists())


def _status(data_set: _DataSet, folder: Path | None) -> _DataSetStatus:
    if not data_set.layouts:
        present = not data_set.package or find_spec(data_set.package) is not None
        return _DataSetStatus(data_set, present, () if present else (f"the package {data_set.package}",))

    if folder is None:
        return _DataSetStatus(data_set, False, data_set.layouts[0])

    by_layout = tuple(_missing(layout, folder) for layout in data_set.layouts)
    # with no file of any layout, the first one is the most usual
    missing = by_layout[0] if by_layout == data_set.layouts else min(by_layout, key=len)

    return _DataSetStatus(data_set, not missing, missing)
