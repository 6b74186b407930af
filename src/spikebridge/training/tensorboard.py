"""The rows of metrics.jsonl in TensorBoard: a mirror, made anew from the rows whenever a training starts."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spikebridge.errors import ConfigError
from spikebridge.training.metrics import Row


class TensorBoard:
    """Writes the numbers of rows under `PHASE/NAME`, against the step.

    Args:
        folder: of the event files; whatever is in it is written anew.
        rows: those that are there already.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, rows: Iterable[Row] = ()) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "tensorboard=True needs TensorBoard: pip install 'spikebridge[tensorboard]', or leave it out"
            ) from error
        if folder.exists():
            shutil.rmtree(folder)
        self._writer = SummaryWriter(str(folder))
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Shows one row."""
        prefix = row["phase"] if row["kind"] == "epoch" else f"{row['phase']} steps"
        for name, value in row.items():
            if isinstance(value, float):
                self._writer.add_scalar(f"{prefix}/{name}", value, row["step"])

    def close(self) -> None:
        """Brings everything to the disk."""
        self._writer.close()
