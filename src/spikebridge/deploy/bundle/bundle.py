"""A bundle: one folder that holds a hybrid network for other machines. Reading one needs no torch.

```
manifest.json      clocks, links, units, files with sizes and SHA-256, the model card
ann/PART.onnx      one file an ANN part, for any batch size; LINK.unit.onnx for the nonlinearity of a unit
snn/PART.nir       one file an SNN part
units/LINK.*       kernels and discretizers as numbers (safetensors)
sample/            a small input, and the signals of every part and link of the trained network on it
```

A bundle may come from anywhere: paths are kept inside the folder, sizes and hashes are checked before memory is taken,
and nothing in it is ever run as a program.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from spikebridge._notebook import notebook_html
from spikebridge.data.io.closed_folder import inside
from spikebridge.data.io.safe_open import open_binary, read_bytes, read_text
from spikebridge.deploy.bundle.consistency import check_consistency
from spikebridge.deploy.bundle.manifest import Manifest, parse_manifest
from spikebridge.errors import DataError

V = TypeVar("V")
MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 16 << 20
_CHUNK = 1 << 20
_MAX_NAME = 255  # characters of the name of a file or folder


class Bundle:
    """A bundle on disk, opened with `Bundle.open`.

    Args:
        path: the folder.
        manifest: its content.

    Example:
        >>> Bundle.open("no/such/folder")
        Traceback (most recent call last):
        spikebridge.errors.DataError: no/such/folder is not a bundle: there is no manifest.json; ...
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: Path | str) -> "Bundle":
        """Reads a manifest, and checks every file, and the manifest against the sample.

        Args:
            path: the folder.

        Raises:
            DataError: the folder is no bundle, a file is missing, damaged, or leads out of the folder, or the
                manifest contradicts itself or the sample.
        """
        folder = Path(path)
        file = inside(folder, MANIFEST)
        if not file.is_file():
            raise DataError(
                f"{folder} is not a bundle: there is no {MANIFEST}; `spikebridge export RUN --out DIR` makes one"
            )

        text = read_text(file, "a manifest", _MAX_MANIFEST_BYTES)
        try:
            bundle = cls(folder, parse_manifest(text))
        except DataError as error:
            raise DataError(f"{folder}: {error}") from None

        # in chunks: a large file is hashed without taking its memory
        for name in bundle.manifest.files:
            bundle._check(name)

        try:
            check_consistency(bundle.manifest, bundle.numbers(bundle.manifest.sample.file))
        except DataError as error:
            raise DataError(f"{folder}: {error}") from None

        return bundle

    def read(self, name: str) -> bytes:
        """The bytes of a file, checked against its size and hash.

        Raises:
            DataError: the file is not the one of the manifest.
        """
        content = read_bytes(self._within(name), "a file of a bundle", self.manifest.files[name].size)
        if hashlib.sha256(content).hexdigest() != self.manifest.files[name].sha256:
            raise DataError(self._damaged(name))

        return content

    def numbers(self, name: str | None) -> dict[str, NDArray[np.generic]]:
        """The tensors of a safetensors file by name; none without a file.

        Raises:
            DataError: the file is damaged.
        """
        if name is None:
            return {}

        try:
            # safetensors checks the sizes of the header against the length of the file before it takes memory
            return load(self.read(name))
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.path / name} is damaged: {error}") from None

    def sample_inputs(self) -> dict[str, NDArray[np.generic]]:
        """The inputs of the sample by name, `(T, B, *N)` each."""
        numbers = self.numbers(self.manifest.sample.file)
        return {name: numbers[f"inputs.{name}"] for name in self.manifest.inputs}

    def _repr_html_(self) -> str | None:
        """The diagram, for a notebook."""
        return notebook_html("bundle_html", str(self.path), asdict(self.manifest), self.size())

    def size(self) -> int:
        return sum(file.size for file in self.manifest.files.values())

    def _check(self, name: str) -> None:
        if digest_of(self._within(name)) != self.manifest.files[name].sha256:
            raise DataError(self._damaged(name))

    def _damaged(self, name: str) -> str:
        return f"{self.path / name} is damaged: its SHA-256 is not the one in the manifest; export or copy it again"

    def _within(self, name: str) -> Path:
        record = self.manifest.files.get(name)
        if record is None:
            raise DataError(f"{self.path} has no file {name!r}")

        if leads_out(name):
            raise DataError(f"{self.path}: the file {name!r:.200} leads out of the bundle, or is no name of a file")

        path = inside(self.path, name)
        if not path.is_file():
            raise DataError(f"{path} is missing")
        size = path.stat().st_size
        if size != record.size:
            raise DataError(f"{path} has {size} bytes, but the manifest says {record.size}; copy it again")

        return path


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, read in pieces: a large one takes no memory."""
    digest = hashlib.sha256()
    with open_binary(path, "a file of a run or bundle") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)

    return digest.hexdigest()


def leads_out(name: str) -> bool:
    """True if the name of a file, which may be anything, names none below the folder that lists it."""
    pure = PurePosixPath(name)
    # no system takes a zero byte or half a character, and few a longer name
    is_odd = not name.isprintable() or any(len(part) > _MAX_NAME for part in pure.parts)
    return is_odd or pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or not pure.parts


def below(prefix: str, numbers: Mapping[str, V]) -> dict[str, V]:
    """The entries whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in numbers.items() if name.startswith(prefix)}


def file_name(name: str) -> str:
    """The name of a part or a link as that of a file: other signs than letters and digits as %XX."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else f"%{ord(c):X}" for c in name)
