"""A bundle while it is written: files with their sizes and hashes."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from safetensors.torch import save
from torch import Tensor

from spikebridge.deploy.manifest import FileRecord, Rhythm
from spikebridge.errors import ExportError
from spikebridge.hybrid import Clock

Progress: TypeAlias = Callable[[str], None]


@dataclass
class Draft:
    """Files of a bundle on their way.

    Attributes:
        folder: where they are written.
        progress: is told the name of each.
        files: what there is so far.
    """

    folder: Path
    progress: Progress
    files: dict[str, FileRecord] = field(default_factory=dict)

    def save(self, name: str, content: bytes, note: str = "") -> str:
        """Writes a file and gives its name."""
        if name.lower() in {other.lower() for other in self.files}:
            raise ExportError(f"two files of the bundle would be called {name!r}; rename a part or a link")
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self.files[name] = FileRecord(len(content), hashlib.sha256(content).hexdigest())
        self.progress(f"{name}{note}")
        return name

    def save_tensors(self, name: str, tensors: dict[str, Tensor]) -> str:
        """Writes tensors by name."""
        return self.save(name, save({key: tensor.detach().contiguous().clone() for key, tensor in tensors.items()}))


def rhythm(clock: Clock) -> Rhythm:
    """A clock in the manifest's words."""
    return Rhythm(clock.period, clock.phase)
