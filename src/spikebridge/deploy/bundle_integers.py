"""The integer model of a bundle: added to it with what the quantised network gave on the bundle's sample."""

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import save

from spikebridge.deploy.bundle import MANIFEST, Bundle
from spikebridge.deploy.bundle_recording import Recording, record
from spikebridge.deploy.integer_bundle import check_fit
from spikebridge.deploy.integer_file import NUMBERS, WORDS
from spikebridge.deploy.manifest import FileRecord, IntegersRecord
from spikebridge.deploy.manifest_text import write_manifest
from spikebridge.deploy.quantize_record import integer_model
from spikebridge.errors import ExportError
from spikebridge.hybrid import HybridNetwork

FOLDER = "integers"
SAMPLE = f"{FOLDER}/sample.safetensors"
CLOSE = 1e-3  # of the largest value: another run of the same weights is nearer, another seed is not


def add_integers(bundle: Bundle, network: HybridNetwork, quantized: HybridNetwork) -> Bundle:
    """Writes the integer model of a network into its bundle, whole or not at all.

    Args:
        bundle: of the network, opened.
        network: the trained one.
        quantized: of `quantize(network, ...)`, trained further or not.

    Returns:
        The bundle, opened anew.

    Raises:
        ExportError: the bundle is of another network or other weights, or has an integer model.
    """
    if bundle.manifest.integers is not None:
        raise ExportError(f"{bundle.path} has an integer model already; export the network anew for another one")
    numbers = bundle.numbers(bundle.manifest.sample.file)
    ticks = bundle.manifest.sample.ticks
    if list(network.inputs) != list(bundle.manifest.inputs):
        raise ExportError(f"{bundle.path} is the bundle of another network: it takes {list(bundle.manifest.inputs)}")
    inputs = {name: torch.from_numpy(numbers[f"inputs.{name}"].copy()) for name in network.inputs}
    _check_same(bundle, record(network.eval(), inputs, ticks))
    model = integer_model(quantized, inputs)
    check_fit(bundle, model)
    given = record(quantized.eval(), inputs, ticks)
    tensors = {f"{kind}.{name}": x.contiguous() for kind, known in given._asdict().items() for name, x in known.items()}
    folder = bundle.path / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # left by a program that was stopped; no manifest tells of it
    try:
        model.save(folder)
        (bundle.path / SAMPLE).write_bytes(save(tensors))
        files = {name: _file(bundle.path / name) for name in (f"{FOLDER}/{WORDS}", f"{FOLDER}/{NUMBERS}", SAMPLE)}
        manifest = dataclasses.replace(
            bundle.manifest,
            files={**bundle.manifest.files, **files},
            integers=IntegersRecord(FOLDER, (WORDS, NUMBERS), SAMPLE),
        )
        draft = bundle.path / f".{MANIFEST}.{os.getpid()}.tmp"
        draft.write_text(write_manifest(manifest), encoding="utf-8")
        draft.replace(bundle.path / MANIFEST)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Bundle.open(bundle.path)


def _check_same(bundle: Bundle, given: Recording) -> None:
    known = bundle.numbers(bundle.manifest.sample.file)
    for name, y in given.parts.items():
        wanted = known.get(f"parts.{name}")
        if wanted is None or wanted.shape != tuple(y.shape):
            raise ExportError(f"{bundle.path} is the bundle of another network: it has no such part {name!r}")
        away = torch.from_numpy(wanted.copy()) - y
        # spikes may differ in a few places, where a sum lies on the threshold
        if float(away.abs().mean()) > CLOSE * max(1.0, float(y.abs().max())):
            raise ExportError(
                f"{bundle.path} holds other weights than those that were quantised: its part {name!r} gives another "
                "signal on the sample; export and quantise the same run and network"
            )


def _file(path: Path) -> FileRecord:
    content = path.read_bytes()
    return FileRecord(len(content), hashlib.sha256(content).hexdigest())
