"""Files of a closed folder, such as a run, a sweep or a bundle: neither a name nor a link leads out of it."""

import os
from pathlib import Path

from spikebridge.errors import DataError


def inside(folder: Path, name: str | Path, root: Path | None = None) -> Path:
    """The path of a file or folder of a closed folder, to read or to write.

    A link may stay inside of the folder, or inside of `root`, the closed folder around it. The folder itself may be
    reached through a link.

    Raises:
        DataError: the name, or a link on its way, leads out of the folder.

    Example:
        >>> inside(Path("run"), "report.html").as_posix()
        'run/report.html'
        >>> inside(Path("run"), "../other/report.html")
        Traceback (most recent call last):
        spikebridge.errors.DataError: run/../other/report.html leads out of run, to ...; a run, a sweep and a bundle ...
    """
    path = folder / name
    outer = folder if root is None else root
    try:
        real, real_folder, real_outer = (Path(os.path.realpath(one)) for one in (path, folder, outer))
    except ValueError as error:
        raise DataError(f"{str(path)!r}: this is no name of a file ({error})") from None

    if not real.is_relative_to(real_outer):
        raise DataError(
            f"{path} leads out of {outer}, to {real}; a run, a sweep and a bundle hold their own files: put the file "
            "itself there, or remove the link"
        )

    # the end of a link, so that one which is put in its place later is not followed
    return path if real == real_folder / name else real
