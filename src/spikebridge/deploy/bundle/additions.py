"""Further forms of a network in its bundle, such as integers, each in a folder of its own."""

import dataclasses
import shutil
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from spikebridge.data.io.atomic import write_bytes, write_text
from spikebridge.data.io.closed_folder import inside
from spikebridge.deploy.bundle.bundle import MANIFEST, Bundle
from spikebridge.deploy.bundle.manifest import FileRecord, write_manifest
from spikebridge.deploy.bundle.trace import record_trace
from spikebridge.errors import ExportError
from spikebridge.hybrid import HybridNetwork

# mean difference relative to the largest value: another run of the same weights is nearer, another seed is not
_MAX_DIFFERENCE = 1e-3


def inputs_of_same(bundle: Bundle, network: HybridNetwork) -> dict[str, Tensor]:
    """The inputs of a bundle's sample; raises an `ExportError` for another network than the bundle's, or weights."""
    if list(network.inputs) != list(bundle.manifest.inputs):
        raise ExportError(f"{bundle.path} is the bundle of another network: it takes {list(bundle.manifest.inputs)}")

    sample = bundle.numbers(bundle.manifest.sample.file)
    inputs = {name: torch.from_numpy(sample[f"inputs.{name}"].copy()) for name in network.inputs}
    trace = record_trace(network.eval(), inputs, bundle.manifest.sample.ticks)
    for name, y in trace.parts.items():
        expected = sample.get(f"parts.{name}")
        if expected is None or expected.shape != tuple(y.shape):
            raise ExportError(f"{bundle.path} is the bundle of another network: it has no such part {name!r}")

        # flags have no difference and no absolute value
        values = y.double()
        difference = torch.from_numpy(expected.astype("float64")) - values
        # the mean, since spikes may differ in a few places, where a sum lies on the threshold
        if float(difference.abs().mean()) > _MAX_DIFFERENCE * max(1.0, float(values.abs().max())):
            raise ExportError(
                f"{bundle.path} holds other weights than those that were quantised: its part {name!r} gives another "
                "signal on the sample; export and quantise the same run and network"
            )

    return inputs


def signals_file(network: HybridNetwork, inputs: Mapping[str, Tensor], ticks: int) -> bytes:
    """The signals of all parts and links of a network on inputs, as a safetensors file."""
    signals = record_trace(network.eval(), inputs, ticks)._asdict()
    return save({f"{kind}.{name}": x.contiguous() for kind, named in signals.items() for name, x in named.items()})


def add_files(bundle: Bundle, folder: str, contents: Mapping[str, bytes], **changes: Any) -> Bundle:
    """The bundle with a new folder of files and a changed manifest, whole or not at all; opened again."""
    target = inside(bundle.path, folder)
    # a stopped program may have left one, which no manifest names
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    files = {f"{folder}/{name}": FileRecord.of(content) for name, content in contents.items()}
    manifest = dataclasses.replace(bundle.manifest, files={**bundle.manifest.files, **files}, **changes)

    try:
        for name, content in contents.items():
            write_bytes(target / name, content)

        # the manifest comes last: before it, the bundle is the one without the folder
        write_text(inside(bundle.path, MANIFEST), write_manifest(manifest))
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise

    return Bundle.open(bundle.path)
