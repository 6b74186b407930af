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
    from torch import Tensor

    from spikebridge.analysis.chips import Chip
    from spikebridge.deploy.bundle.bundle import Bundle
    from spikebridge.deploy.chips.network import ChipPair
    from spikebridge.hybrid import HybridNetwork


@dataclass(frozen=True)
class ChipOptions:
    """The network and the parts for a chip, epochs of retraining, integers for the host too, and the data."""

    network: str | None = None
    parts: tuple[str, ...] = ()
    epochs: int = 0
    integers: bool = False
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


def placement_chip(word: str) -> "Chip":
    """The abilities of a chip for `place`: `spinnaker`, a chip with published costs, or those of a TOML file."""
    from spikebridge.analysis.chips import SPINNAKER, Chip, read_chip

    if word == SPINNAKER.name:
        return SPINNAKER
    if word.endswith(".toml") or Path(word).is_file():
        return read_chip(word)

    chip = chip_from(word)
    if chip.memory is None or not chip.costs:
        raise ConfigError(f"no speed or memory of {chip.name} is published; give your own numbers in a TOML file")
    source = "; ".join(chip.sources)
    return Chip(chip.name, chip.memory, **chip.costs, neurons=chip.neurons, source=source, assumed=chip.assumed)


def chip_level(bundle: Any, word: str) -> dict[str, Any]:
    """The level of a chip of the user's own for `compare_bundle`, whose differences are only stated."""
    from spikebridge.deploy.compare import Tolerance

    chip = chip_from(word)
    stated = Tolerance(values=float("inf"), spikes=1.0)
    names = {chip.name: False} | ({f"{chip.name}, integers": True} if bundle.manifest.integers else {})
    return {name: (_level(bundle, chip, integers), stated) for name, integers in names.items()}


def _level(bundle: Any, chip: ChipSpec, integers: bool) -> Callable[[Any, int], Any]:
    from spikebridge.deploy.chips.bundle import chip_runner

    return lambda inputs, ticks: chip_runner(bundle, chip, integers=integers).run_recorded(inputs, ticks)


def quantize_for_chip(
    target: Target,
    chip: ChipSpec,
    out: Path,
    options: ChipOptions,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Writes a bundle of a trained network with its spiking part on a chip; gives figures, choices and misfits."""
    from spikebridge.deploy.quantization.lowering import add_integers

    check_new(out, ExportError)
    name, trained, config, inputs, pair = _on_chip(target, chip, options, progress)
    networks = {"": trained, f" on {chip.name}": pair.network}
    figures = _measured(networks, target, config, options)

    if options.epochs:
        progress(f"{options.epochs} epochs with the steps of {chip.name}")
        target.recipe.retrain(pair.network, config, options.epochs, options.data)
        pair.network.eval()
        figures |= _measured({f" on {chip.name}, retrained": pair.network}, target, config, options)

    bundle = _bundle_of(pair, target, out, options, progress)
    if options.integers:
        progress("the host in integers")
        host = _host_in_integers(pair, target, config, inputs)
        add_integers(bundle, pair.float_network(), host)
        figures |= _measured({f" on {chip.name}, the rest in integers": pair.placed_in(host)}, target, config, options)

    misfits = [one._asdict() for one in pair.misfits]
    parts = [{"part": part, "delay": one.delay, "channels": one.code.channels} for part, one in pair.parts.items()]

    return {"network": name, "chip": chip.name, "parts": parts, "layers": pair.choices(), "misfits": misfits, **figures}


def export_for_board(
    target: Target, chip: ChipSpec, out: Path, options: ChipOptions, progress: Callable[[str], None]
) -> list[Path]:
    """Quantises a network of a run for a chip and writes the folder for its board."""
    from spikebridge.deploy.chips.export import write_board

    check_new(out, ExportError)
    *_, pair = _on_chip(target, chip, options, progress)
    with tempfile.TemporaryDirectory() as folder:
        return write_board(_bundle_of(pair, target, Path(folder) / "bundle", options, progress), chip, out)


def _on_chip(
    target: Target, chip: ChipSpec, options: ChipOptions, progress: Callable[[str], None]
) -> tuple[str, Any, Any, dict[str, "Tensor"], "ChipPair"]:
    """Name and trained network, settings of its run, samples, and the network with its spiking part on a chip."""
    from spikebridge.deploy.chips.network import check_parts, to_chip

    if options.epochs < 0 or options.num_calibration < 1:
        raise ConfigError(
            f"expected 0 epochs or more and 1 sample or more, but got {options.epochs} and {options.num_calibration}"
        )

    name, trained, run = target.trained_network(options.network)
    recipe = target.recipe
    for hook in ("calibration", *(("retrain",) if options.epochs else ())):
        if not defines(recipe, hook):
            raise ConfigError(f"the recipe {run.recipe!r} has no function {hook}, which --chip needs")

    # samples may take a minute
    check_parts(trained, chip, options.parts)
    config = run.config_as(recipe.Config)
    signals = recipe.calibration(config, options.num_calibration, options.data)
    inputs = {key: x for key, x in signals.items() if key in trained.inputs}
    progress(f"{name} on {chip.name}")
    return name, trained, config, inputs, to_chip(trained, inputs, chip, options.parts)


def _bundle_of(
    pair: "ChipPair", target: Target, out: Path, options: ChipOptions, progress: Callable[[str], None]
) -> "Bundle":
    """A new bundle of the network in floats with its parts on the chip."""
    from spikebridge.deploy.chips.network import add_chip

    _, bundle = export_target(target, options.network, out, progress, pair.float_network())
    return add_chip(bundle, pair)


def _host_in_integers(pair: "ChipPair", target: Target, config: Any, inputs: dict[str, "Tensor"]) -> "HybridNetwork":
    """The network in floats with the parts and units that are not on the chip quantised to our integers."""
    from spikebridge.deploy.quantization.config import QConfig, qconfigs_for
    from spikebridge.deploy.quantization.network import quantize
    from spikebridge.recipes.quantize import regions_of

    network = pair.float_network()
    everything = [*network.parts, *(f"units.{route.name}" for route in network.routes if route.link.unit is not None)]
    named = regions_of(target.recipe, config) or everything
    paths = [path for path in named if path.partition(".")[0] not in pair.parts]
    if not paths:
        raise ConfigError(f"nothing of the network is beside {pair.chip.name}; leave --integers out")

    return quantize(network, inputs, qconfigs_for(paths, QConfig()))


def export_nir(file: Path, chip: ChipSpec, out: Path) -> tuple[list[Path], list[dict[str, Any]]]:
    """Writes the numbers of a NIR file for a chip's board, and gives the files and choices; there is no host."""
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

    return sorted(out.iterdir()), placed.choices(file.stem)


def _measured(networks: dict[str, Any], target: Target, config: Any, options: ChipOptions) -> dict[str, float]:
    """The figures of a recipe for networks, by what their names add."""
    if not defines(target.recipe, "measure"):
        return {}

    return {
        f"{figure}{suffix}": value
        for suffix, network in networks.items()
        for figure, value in target.recipe.measure(network, config, options.data).items()
    }
