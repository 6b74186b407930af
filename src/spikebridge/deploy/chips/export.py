"""A part on a chip for the tools of its board: `PART.json` and `PART.nir`, the host's bundle, and a README."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spikebridge.data.io.atomic import atomic_folder, check_new, write_bytes, write_text
from spikebridge.deploy.bundle.bundle import Bundle, file_name
from spikebridge.deploy.chips.bundle import chip_models
from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.chips.model import ChipModel
from spikebridge.deploy.nir.writer import to_nir
from spikebridge.errors import ExportError
from spikebridge.neurons import LIF, CubaLIF, Sequential

_README = """\
# {part} on {chip}

`{file}.json` holds the numbers for the tools of the board, `{file}.nir` the same network for tools that read NIR, and
`host/` the whole network, whose other parts run on the host. A step is {dt:g} s; spikes come {delay} steps later than
in floats. The input has {channels} channels: {code}.

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
            write_text(draft / ("README.md" if len(models) == 1 else f"{file_name(name)}.md"), _readme(model, chip))

    return sorted(file for file in out.rglob("*") if file.is_file())


def write_part(model: ChipModel, chip: ChipSpec, folder: Path) -> None:
    """Writes the numbers of a part for the tools of the board, as JSON and as NIR."""
    record = model.record
    code = record.input
    channels = {"shape": code.shape, "signed": code.signed, "copies": code.copies, "limit": code.limit}
    head = {"chip": chip.name, "part": record.part, "dt": record.dt, "delay": record.delay, "input": channels}
    numbers = {**head, **chip.board(model.core)}
    stem = file_name(record.part)

    write_text(folder / f"{stem}.json", json.dumps(numbers, default=_plain) + "\n")
    first = record.populations[0].connections[0]
    shape = (code.channels,) if first.convolution is None else first.shape
    written = to_nir(float_chain(model, chip), torch.zeros(1, 1, *shape), dt=record.dt)
    write_bytes(folder / f"{stem}.nir", written.content())


def float_chain(model: ChipModel, chip: ChipSpec) -> Sequential:
    """A chain of layers in floats with the chip's own numbers as weights, thresholds and decays."""
    layers: dict[str, nn.Module] = {}
    numbers = {name: torch.from_numpy(value) for name, value in model.core.numbers.items()}
    dt = model.record.dt

    for one in model.core.populations:
        (connection,) = one.connections
        weight = (numbers[f"{one.name}/weight_0"] << connection.shift).float()
        layers[f"{one.name}_weights"] = _synapses(weight, numbers[f"{one.name}/bias"], connection.convolution)
        decay, kept = (chip.steps.decays(numbers[f"{one.name}/{name}"].double()) for name in ("decay", "decay_syn"))
        settings: Any = {"tau": (dt / decay.log().abs()).float(), "reset": chip.reset}
        settings["v_threshold"] = numbers[f"{one.name}/v_threshold"].float()
        if kept.any():
            # a membrane that reads its current after the decay
            r = kept.float() if chip.steps.reads_decayed_current else 1.0
            layers[one.name] = CubaLIF(tau_syn=(dt / kept.log().abs()).float(), r=r, **settings)
        else:
            layers[one.name] = LIF(**settings)

    return Sequential(dt=dt, **layers)


def _synapses(weight: torch.Tensor, bias: torch.Tensor, convolution: dict[str, Any] | None) -> nn.Module:
    if convolution is None:
        layer: Any = nn.Linear(*weight.shape, bias=bool(bias.any()))
        weight = weight.T
    else:
        settings = {**convolution, "padding": [before for before, _ in convolution["padding"]]}
        kind = nn.Conv1d if weight.ndim == 3 else nn.Conv2d
        layer = kind(weight.shape[1], weight.shape[0], weight.shape[2:], bias=bool(bias.any()), **settings)
        bias = bias.reshape(len(weight), -1)[:, 0]

    with torch.no_grad():
        layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.copy_(bias)

    return layer


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


def _plain(value: Any) -> Any:
    return value.tolist()
