"""The known data sets: their files, official sources and licences, and where they lie on this machine.

The folder is named by the environment variable `SPIKEBRIDGE_DATA` or by an explicit path (`--data`). A set is present
when all files of one of its layouts are. Nothing is downloaded. This module needs neither torch nor numpy.
"""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from spikebridge.errors import ConfigError, DataError, did_you_mean

VARIABLE = "SPIKEBRIDGE_DATA"


@dataclass(frozen=True)
class _DataSet:
    """A known data set: its files relative to the data folder, and its official source.

    Args:
        name: what it is called at the command line.
        about: what it is, in one line.
        layouts: each a tuple of relative paths that together make the set; any one layout will do. None at all means
            that the set comes with an installed package.
        source: title, authors and official site, as text.
        licence: what its authors state.
        package: an optional one, as it is imported, that brings the set.
    """

    name: str
    about: str
    layouts: tuple[tuple[str, ...], ...]
    source: str
    licence: str
    package: str = ""


class _DataSetStatus(NamedTuple):
    """One data set, and what of it is there."""

    data_set: _DataSet
    present: bool
    missing: tuple[str, ...]  # of the layout that is nearest to complete


_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_OTB = ("Biker", "Couple", "Crossing", "Football1", "MotorRolling")
_EVENT_FILES = (
    "faery_dvs_320x240.es",
    "faery_color.es",
    "faery_evt2_640x480.raw",
    "expelliarmus_evt2_sample.raw",
    "expelliarmus_evt3_sample.raw",
)

_CLEVRER = (
    "scenes_propnet.jsonl.gz",
    "scenes_near_truth.jsonl.gz",
    "questions_explanatory_real.jsonl.gz",
    "questions_explanatory_train_texts.jsonl.gz",
    "questions_descriptive_explanatory_silver.jsonl.gz",
    "questions_counterfactual_texts.jsonl.gz",
)

DATA_SETS = (
    _DataSet(
        name="digits",
        about="1797 handwritten digits of 8 x 8 pixels, shipped with scikit-learn",
        layouts=(),
        source="Optical Recognition of Handwritten Digits, E. Alpaydin, C. Kaynak: archive.ics.uci.edu",
        licence="CC BY 4.0",
    ),
    _DataSet(
        name="photographs",
        about="18 photographs and textures for generated scenes, shipped with scikit-image (extra `photographs`)",
        layouts=(),
        source="packages scikit-image, scikit-learn, matplotlib; two by danielbuechele and vultilion on Flickr",
        licence="CC0 and public domain; two CC BY 2.0",
        package="skimage",
    ),
    _DataSet(
        name="mnist",
        about="handwritten digits of 28 x 28 pixels: the four idx files, plain or gzipped, or digits.npz",
        layouts=(
            tuple(f"mnist/{name}" for name in _IDX),
            tuple(f"mnist/{name}.gz" for name in _IDX),
            ("mnist/digits.npz",),
        ),
        source="MNIST, Y. LeCun, C. Cortes, C. Burges: yann.lecun.com/exdb/mnist",
        licence="CC BY-SA 3.0",
    ),
    _DataSet(
        name="nmnist",
        about="MNIST seen by a moving event camera of 34 x 34 pixels, one .bin file a digit",
        layouts=(("nmnist/Train", "nmnist/Test"),),
        source="N-MNIST, G. Orchard, A. Jayawant, G. Cohen, N. Thakor: garrickorchard.com/datasets/n-mnist",
        licence="CC BY-SA 4.0",
    ),
    _DataSet(
        name="fe240hz",
        about="frames at 40 Hz, events and boxes at 240 Hz of one moving object (checks the event-camera simulator)",
        layouts=(
            (
                "tracking/FE240hz_star_motion_0/img",
                "tracking/FE240hz_star_motion_0/events_sparse.npz",
                "tracking/FE240hz_star_motion_0/groundtruth_rect.txt",
            ),
        ),
        source="FE240hz, J. Zhang et al., ICCV 2021; sample in the repository Jee-King/AFNet on GitHub",
        licence="not stated: research use only",
    ),
    _DataSet(
        name="otb",
        about="five video clips with a box in each frame (trains the part that reads frames)",
        layouts=(tuple(f"tracking/OTB_{clip}/img" for clip in _OTB),),
        source="OTB, Y. Wu, J. Lim, M.-H. Yang, IEEE TPAMI 2015",
        licence="not stated: research use only",
    ),
    _DataSet(
        name="vot",
        about="a video clip with a polygon in each frame (trains the part that reads frames)",
        layouts=(("tracking/VOT15_bag/imgs", "tracking/VOT15_bag/groundtruth.txt"),),
        source="VOT2015, M. Kristan et al., ICCV workshops 2015: votchallenge.net",
        licence="not stated: research use only",
    ),
    _DataSet(
        name="clevrer",
        about="4000 videos of colliding objects as scenes, once as perceived and once near truth, with questions",
        layouts=(tuple(f"clevrer/{name}" for name in _CLEVRER),),
        source="CLEVRER, K. Yi et al., ICLR 2020; parsed in IbrahimYang/Hybrid-neural-networks, azreasoners/CRCG and "
        "xyang23/CLEVRER-Humans1.0 on GitHub",
        licence="not stated: research use only",
    ),
    _DataSet(
        name="event_files",
        about="small event files of several cameras (checks the optional readers)",
        layouts=(tuple(f"events/{name}" for name in _EVENT_FILES),),
        source="test files of the repositories neuromorphicsystems/faery and open-neuromorphic/expelliarmus on GitHub",
        licence="as stated there: LGPL 3 and MIT",
    ),
    _DataSet(
        name="spoken_digits",
        about="spoken digits of several speakers at 8 kHz, an npz of series",
        layouts=(("signals/spoken_digits.npz",),),
        source="Free Spoken Digit Dataset; repository Jakobovski/free-spoken-digit-dataset on GitHub",
        licence="CC BY-SA 4.0",
    ),
    _DataSet(
        name="myo",
        about="muscle signals of an armband with 8 electrodes at 200 Hz, seven gestures, an npz of series",
        layouts=(("signals/myo.npz",),),
        source="MyoArmbandDataset, U. Cote-Allard et al., IEEE TNSRE 27, 2019; repository "
        "UlysseCoteAllard/MyoArmbandDataset on GitHub",
        licence="GPL 3.0",
    ),
    _DataSet(
        name="watch",
        about="acceleration and rotation of a wrist at 50 Hz, seven shoulder exercises, an npz of series",
        layouts=(("signals/watch.npz",),),
        source="D. Burns et al., arXiv 1802.01489 (2018); package seglearn on PyPI",
        licence="BSD 3-Clause",
    ),
    _DataSet(
        name="ecg_100",
        about="30 minutes of a heart with the times of 2273 beats, two channels at 360 Hz, an npz of one series",
        layouts=(("signals/ecg_100.npz",),),
        source="MIT-BIH Arrhythmia Database, record 100, G. Moody, R. Mark, IEEE EMB Magazine 20, 2001: physionet.org",
        licence="ODC-By 1.0",
    ),
)


def data_folder(explicit: Path | None = None) -> Path:
    """The folder that holds the data sets.

    Args:
        explicit: a path that goes before the environment variable.

    Returns:
        An existing folder.

    Raises:
        DataError: no folder is named, or the one that is named does not exist.

    Example:
        >>> data_folder(Path("/no/such/place"))
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: the data folder /no/such/place does not exist...
    """
    named = explicit if explicit is not None else os.environ.get(VARIABLE)
    if not named:
        raise DataError(
            f"no data folder is named: set {VARIABLE} to the folder that holds the data sets, or give --data."
        )

    folder = Path(named).expanduser()
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"the data folder {folder} {what}; correct {VARIABLE} or --data.")

    return folder


def refuse_data_folder(explicit: Path | None, used: str) -> None:
    """Refuses a data path that would not be read, so that figures of other data are not taken for its own.

    Args:
        explicit: the path that was given, if any.
        used: the data that is used instead.

    Raises:
        ConfigError: a path was given.

    Example:
        >>> refuse_data_folder(None, "the digits of scikit-learn")
        >>> refuse_data_folder(Path("mine"), "the digits of scikit-learn")
        Traceback (most recent call last):
        ...
        spikebridge.errors.ConfigError: the run uses the digits of scikit-learn and reads nothing from mine; leave ...
    """
    if explicit is not None:
        raise ConfigError(f"the run uses {used} and reads nothing from {explicit}; leave --data out")


def available(explicit: Path | None = None) -> list[_DataSetStatus]:
    """Every known data set, and whether it is there.

    Args:
        explicit: a path that goes before the environment variable. Where neither names a folder, only the sets that
            come with a package are there.

    Returns:
        One entry a data set, in the order of `DATA_SETS`.

    Raises:
        DataError: the folder that is named does not exist.

    Example:
        >>> [entry.present for entry in available() if entry.data_set.name == "digits"]
        [True]
    """
    named = explicit is not None or os.environ.get(VARIABLE)
    folder = data_folder(explicit) if named else None

    return [_status(data_set, folder) for data_set in DATA_SETS]


def find_files(name: str, explicit: Path | None = None) -> tuple[Path, ...]:
    """The files of a data set, in the order of its first complete layout.

    Args:
        name: a name from `DATA_SETS`.
        explicit: a path that goes before the environment variable.

    Returns:
        Existing paths; none for a set that comes with a package.

    Raises:
        ConfigError: the name is unknown.
        DataError: files are missing; the message names them and the official source.

    Example:
        >>> find_files("digits")
        ()
        >>> find_files("minst")
        Traceback (most recent call last):
        ...
        spikebridge.errors.ConfigError: no data set is called 'minst'; did you mean 'mnist'? Known: ...
    """
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


def _missing(layout: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    return tuple(path for path in layout if not (folder / path).exists())


def _status(data_set: _DataSet, folder: Path | None) -> _DataSetStatus:
    if not data_set.layouts:
        is_there = not data_set.package or find_spec(data_set.package) is not None
        return _DataSetStatus(data_set, is_there, () if is_there else (f"the package {data_set.package}",))

    if folder is None:
        return _DataSetStatus(data_set, False, data_set.layouts[0])

    by_layout = tuple(_missing(layout, folder) for layout in data_set.layouts)
    # where nothing of any layout is there, the first one is what people usually have
    missing = by_layout[0] if by_layout == data_set.layouts else min(by_layout, key=len)

    return _DataSetStatus(data_set, not missing, missing)
