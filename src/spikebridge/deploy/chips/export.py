"""A part on a chip for the tools of its board: `PART.json` and `PART.nir`, the host's bundle, and a README."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from spikebridge.data.io.atomic import atomic_folder, check_new, write_bytes, write_text
from spikebridge.deploy.bundle.bundle import Bundle, file_name
from spikebridge.deploy.chips.bundle import chip_models
from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.chips.model import ChipModel
from spikebridge.errors import ExportError

_README = """\
# {part} on {chip}

`{file}.json` holds the numbers for the tools of the board, `{file}.nir` the part in floats for tools that read NIR and
choose numbers of their own, and `host/` the whole network, whose other parts run on the host. A step is {dt:g} s;
spikes come {delay} steps later than in floats. The input has {channels} channels: {code}.

The numbers are loaded with

```python
{loading}```

and the host runs with the board in place of the part:

```python
from spikebridge.deploy import Bundle, Runner

class Board:
    def step(self, reads, effects, state):  # one tick: reads holds the counts of spikes of the input
        ...

runner = Runner(Bundle.open("host"), {{"{part}": Board()}})
```

`spikebridge run host --chip {chip}` runs the same pair with the chip's integers instead of a board.
"""


def write_board(bundle: Bundle, chip: ChipSpec, out: Path) -> list[Path]:
    """Writes a new folder for the board, whole or not at all, and returns its files.

    Raises:
        DataError: the bundle has no parts on the chip.
        ExportError: the folder is there already.
    """
    check_new(out, ExportError)
    models = chip_models(bundle, chip)
    with atomic_folder(out) as draft:
        shutil.copytree(bundle.path, draft / "host")
        for name, model in models.items():
            write_part(model, chip, draft)
            if bundle.manifest.parts[name].format == "nir":
                write_bytes(draft / f"{file_name(name)}.nir", bundle.read(bundle.manifest.parts[name].file))
            write_text(draft / ("README.md" if len(models) == 1 else f"{file_name(name)}.md"), _readme(model, chip))

    return sorted(file for file in out.rglob("*") if file.is_file())


def write_part(model: ChipModel, chip: ChipSpec, folder: Path) -> None:
    """Writes the numbers of a part for the tools of the board."""
    record = model.record
    head = {"chip": chip.name, "part": record.part, "dt": record.dt, "delay": record.delay}
    numbers = {**head, "input": asdict(record.input), **chip.board(model.core)}
    write_text(folder / f"{file_name(record.part)}.json", json.dumps(numbers, default=np.ndarray.tolist) + "\n")


def _readme(model: ChipModel, chip: ChipSpec) -> str:
    record = model.record
    code = record.input
    signs = "first those of positive counts, then those of negative ones" if code.signed else "one for each value"
    copies = f", {code.copies} for each, filled in turn with {code.limit} spikes" if code.copies > 1 else ""
    file = file_name(record.part)
    return _README.format(
        part=record.part,
        chip=chip.name,
        file=file,
        dt=record.dt,
        delay=record.delay,
        channels=code.channels,
        code=signs + copies,
        loading=chip.loading.format(file=f"{file}.json"),
    )
