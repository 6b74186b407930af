"""Trained networks with their spiking part on a chip: quantised, retrained, and written for the chip's board."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikebridge.data.io.atomic import atomic_folder, check_new
from spikebridge.deploy.chips.catalog import chip_of
from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.errors import ConfigError, ExportError, in_words
from spikebridge.recipes.bundle import export_target
from spikebridge.recipes.load import load_program
from spikebridge.recipes.recipe import defines
from spikebridge.recipes.target import Target

if TYPE_CHECKING:
    from spikebridge.deploy.bundle.bundle import Bundle
    from spikebridge.deploy.chips.network import ChipPair


@dataclass(frozen=True)
class ChipOptions:
    """The network and the parts for a chip, epochs of retraining, and the data."""

    network: str | None = None
    parts: tuple[str, ...] = ()
    epochs: int = 0
    num_calibration: int = 128
    data: Path | None = None


def chip_from(word: str) -> ChipSpec:
    """A chip of the package by name, or the `CHIP` of a file FILE.py."""
    if not word.endswith(".py"):
        return chip_of(word)

    chip = getattr(load_program(Path(word)), "CHIP", None)
    if not isinstance(chip, ChipSpec):
        raise ConfigError(f"{word} should define CHIP, a ChipSpec, but it has {in_words(chip)}")
    return chip


def chip_level(bundle: Any, word: str) -> dict[str, Any]:
    """The level of a chip of the user's own for `compare_bundle`, whose differences are only stated."""
    from spikebridge.deploy.chips.bundle import chip_runner
    from spikebridge.deploy.compare import Tolerance

    chip = chip_from(word)
    stated = Tolerance(values=float("inf"), spikes=1.0)
    return {chip.name: (lambda inputs, ticks: chip_runner(bundle, chip).run_recorded(inputs, ticks), stated)}


def quantize_for_chip(
    target: Target,
    chip: ChipSpec,
    out: Path,
    options: ChipOptions,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Writes a bundle of a trained network with its spiking part on a chip; gives figures, choices and misfits."""
    check_new(out, ExportError)
    name, trained, config, pair = _on_chip(target, chip, options, progress)
    networks = {"": trained, f" on {chip.name}": pair.network}
    figures = _measured(networks, target, config, options)

    if options.epochs:
        progress(f"{options.epochs} epochs with the steps of {chip.name}")
        target.recipe.retrain(pair.network, config, options.epochs, options.data)
        pair.network.eval()
        figures |= _measured({f" on {chip.name}, retrained": pair.network}, target, config, options)

    _bundle_of(pair, target, out, options, progress)
    misfits = [one._asdict() for one in pair.misfits]
    parts = [{"part": part, "delay": one.delay, "channels": one.code.channels} for part, one in pair.parts.items()]

    return {"network": name, "chip": chip.name, "parts": parts, "layers": pair.choices(), "misfits": misfits, **figures}


def export_for_board(
    target: Target, chip: ChipSpec, out: Path, options: ChipOptions, progress: Callable[[str], None]
) -> list[Path]:
    """Quantises a network of a run for a chip and writes the folder for its board."""
    from spikebridge.deploy.chips.export import write_board

    check_new(out, ExportError)
    pair = _on_chip(target, chip, options, progress)[-1]
    with tempfile.TemporaryDirectory() as folder:
        return write_board(_bundle_of(pair, target, Path(folder) / "bundle", options, progress), chip, out)


def _on_chip(
    target: Target, chip: ChipSpec, options: ChipOptions, progress: Callable[[str], None]
) -> tuple[str, Any, Any, "ChipPair"]:
    """Name and trained network, the settings of its run, and the network with its spiking part on a chip."""
    from spikebridge.deploy.chips.network import to_chip

    if options.epochs < 0 or options.num_calibration < 1:
        raise ConfigError(f"expected epochs of 0 or more and a sample of 1 or more, but got {options}")

    name, trained, run = target.trained_network(options.network)
    recipe = target.recipe
    for hook in ("calibration", *(("retrain",) if options.epochs else ())):
        if not defines(recipe, hook):
            raise ConfigError(f"the recipe {run.recipe!r} has no function {hook}, which --chip needs")

    config = run.config_as(recipe.Config)
    signals = recipe.calibration(config, options.num_calibration, options.data)
    inputs = {key: x for key, x in signals.items() if key in trained.inputs}
    progress(f"{name} on {chip.name}")
    return name, trained, config, to_chip(trained, inputs, chip, options.parts)


def _bundle_of(
    pair: "ChipPair", target: Target, out: Path, options: ChipOptions, progress: Callable[[str], None]
) -> "Bundle":
    """A new bundle of the network in floats with its parts on the chip."""
    from spikebridge.deploy.chips.network import add_chip

    _, bundle = export_target(target, options.network, out, progress, pair.float_network())
    return add_chip(bundle, pair)


def export_nir(file: Path, chip: ChipSpec, out: Path) -> list[Path]:
    """Writes the numbers of a NIR file for a chip's board; there is no host."""
    import torch

    from spikebridge.deploy.chips.export import write_part
    from spikebridge.deploy.chips.network import part_on_chip
    from spikebridge.deploy.nir.reader import from_nir

    check_new(out, ExportError)
    part = from_nir(file)
    if part.graph.shape is None:
        raise ConfigError(f"{file} does not give the shape of its input")

    placed = part_on_chip(part, torch.ones(1, 1, *part.graph.shape), chip, file.stem)
    with atomic_folder(out) as draft:
        write_part(placed.model(file.stem, part.graph.dt), chip, draft)

    return sorted(out.iterdir())


def _measured(networks: dict[str, Any], target: Target, config: Any, options: ChipOptions) -> dict[str, float]:
    """The figures of a recipe for networks, by what their names add."""
    if not defines(target.recipe, "measure"):
        return {}

    return {
        f"{figure}{suffix}": value
        for suffix, network in networks.items()
        for figure, value in target.recipe.measure(network, config, options.data).items()
    }
