"""Export: a hybrid network as a bundle, whole or not at all."""

import copy
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.deploy.bundle import MANIFEST, Bundle
from spikebridge.deploy.bundle_draft import Draft, Progress, rhythm
from spikebridge.deploy.bundle_links import write_link
from spikebridge.deploy.bundle_parts import holds_numbers, write_part
from spikebridge.deploy.bundle_recording import Sample, refuse_silence
from spikebridge.deploy.manifest import InputRecord, Manifest, SampleRecord
from spikebridge.deploy.manifest_text import write_manifest
from spikebridge.errors import ExportError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Transmission, every

SIGNAL = "signal"


def export(
    network: HybridNetwork | HybridUnit,
    inputs: Mapping[str, Tensor],
    path: Path | str,
    *,
    ticks: int | None = None,
    card: Mapping[str, Any] | None = None,
    progress: Progress = lambda line: None,
) -> Bundle:
    """Writes a network as a bundle.

    Args:
        network: the trained one; it is left as it is. A hybrid unit alone becomes a network of one link.
        inputs: a small input on which every layer spikes and every unit acts, `(T, B, *N)` each.
        path: the folder to make.
        ticks: base ticks of the input; None means the most for which every input has exactly the samples given.
        card: what a reader should know: data, figures, seed, versions.
        progress: is told what is being written.

    Returns:
        The bundle, opened.

    Raises:
        ExportError: the folder is there already, or the bundle cannot hold something; the message names it and why.
    """
    target = Path(path)
    if target.exists():
        raise ExportError(f"{target} is there already; name another folder or remove it first")
    if isinstance(network, HybridUnit):
        network, inputs = _around(network), {SIGNAL: next(iter(inputs.values()))}
    if not isinstance(network, HybridNetwork):
        raise ExportError(f"a bundle holds a HybridNetwork, but got a {type(network).__name__}")
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        own = copy.deepcopy(network).to("cpu").eval()
        sample = _sample(own, inputs, ticks)
        text = write_manifest(_write(Draft(draft, progress), own, sample, dict(card or {})))
        (draft / MANIFEST).write_text(text, encoding="utf-8")
        Bundle.open(draft)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Bundle.open(target)


def _around(unit: HybridUnit) -> HybridNetwork:
    """A unit between an input and an output; its step is that of its kernel, else it counts in seconds."""
    dt = getattr(unit.kernel, "dt", None) or 1.0
    links = [Transmission(SIGNAL, "output", unit, name="unit")]
    parts = {"output": nn.Identity()}
    return HybridNetwork(dt=dt, inputs={SIGNAL: every(dt)}, parts=parts, links=links, outputs=["output"])


def _sample(network: HybridNetwork, inputs: Mapping[str, Tensor], ticks: int | None) -> Sample:
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if value.is_floating_point() and value.dtype != torch.float32:
            raise ExportError(f"{name!r} is {value.dtype}; a bundle holds float32, so call network.float() first")
    given = {name: x.detach().cpu() for name, x in inputs.items()}
    recorded = refuse_silence(network, given, ticks)
    if ticks is None:
        ticks = min(clock.phase + len(given[name]) * clock.period for name, clock in network.inputs.items())
    return Sample(given, recorded, ticks)


def _write(draft: Draft, network: HybridNetwork, sample: Sample, card: dict[str, Any]) -> Manifest:
    parts = {name: write_part(draft, network, name, sample) for name in network.parts}
    links = tuple(write_link(draft, network, route, sample) for route in network.routes)
    signals = {"inputs": sample.inputs, "parts": sample.recorded.parts, "links": sample.recorded.links}
    tensors = {f"{kind}.{name}": x for kind, known in signals.items() for name, x in known.items()}
    file = draft.save_tensors("sample/sample.safetensors", tensors)
    return Manifest(
        dt=network.dt,
        inputs={name: _input(network, name, sample) for name in network.inputs},
        parts=parts,
        links=links,
        order=tuple(part for group in network.plan.groups for part in group.parts),
        outputs=network.outputs,
        sample=SampleRecord(file, sample.ticks, next(iter(sample.inputs.values())).shape[1]),
        files=draft.files,
        left_out=tuple(n for n, m in network.named_children() if n not in ("parts", "units") and holds_numbers(m)),
        card=card,
    )


def _input(network: HybridNetwork, name: str, sample: Sample) -> InputRecord:
    x = sample.inputs[name]
    if x.dtype not in (torch.float32, torch.bool):
        raise ExportError(f"input {name!r} of the sample is {x.dtype}; a bundle takes float32, and flags for triggers")
    kind = "bool" if x.dtype == torch.bool else "float32"
    return InputRecord(rhythm(network.inputs[name]), tuple(x.shape[2:]), kind)  # type: ignore[arg-type]
