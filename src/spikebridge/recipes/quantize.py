"""The trained networks of a run as integer models: quantised, written, and measured before and after."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray
from torch import Tensor

from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.energy import energy, hardware_profile, joules
from spikebridge.data.io.atomic import atomic_folder, check_new, write_text
from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.trace import record_trace
from spikebridge.deploy.c.boards import Board
from spikebridge.deploy.c.export import WrittenC, write_c
from spikebridge.deploy.integer.bundle import integer_inputs
from spikebridge.deploy.quantization.config import QConfig, QConfigMapping, qconfigs_for
from spikebridge.deploy.quantization.lowering import add_integers, integer_model
from spikebridge.deploy.quantization.network import layer_paths, quantize
from spikebridge.deploy.quantization.report import memory, quantized_paths, saturation
from spikebridge.errors import ConfigError, ExportError, did_you_mean
from spikebridge.hybrid import HybridNetwork
from spikebridge.hybrid.clock import count_ticks
from spikebridge.pretrained.network import trained_runs
from spikebridge.recipes.own_network import OwnNetwork
from spikebridge.recipes.recipe import Recipe, defines
from spikebridge.training.run.run import Run

T = TypeVar("T")
_NUM_SAMPLES = 8  # for costs and clipping


@dataclass(frozen=True)
class QuantizeOptions:
    """The paths and the network to quantise (all without), and the data: training samples in a folder of data sets.

    With the bundle of a network that network alone is quantised, and its integer model is written into the bundle.
    """

    paths: Sequence[str] = ()
    network: str | None = None
    num_calibration: int = 128
    data: Path | None = None
    bundle: Path | None = None


def quantize_run(
    recipe: Recipe,
    run: Run,
    out: Path | None,
    qconfig: QConfig,
    options: QuantizeOptions,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Quantises every trained network of a run, and writes a folder with an integer model for each.

    Without `out` no folder is made. Gives a row for each network, and the signals that were clipped.
    """
    if out is not None:
        check_new(out, ExportError)

    bundle = None if options.bundle is None else _bundle_of(options.bundle, run)
    if bundle is not None and options.network is None:
        options = replace(options, network=bundle.manifest.card.get("network"))

    config = run.config_as(recipe.Config)
    plan = _plan(recipe, config, qconfig, options)
    rows = []
    clipped = []

    with nullcontext() if out is None else atomic_folder(out) as draft:
        for path, network in _quantized(recipe, run, plan, options, progress):
            if bundle is not None:
                add_integers(bundle, network.trained, network.quantized)
            if draft is not None:
                network.model.save(draft / path.replace("/", "-"))

            rows.append({"network": path, **network.figures(recipe, config, options.data)})
            outside = [one for one in saturation(network.quantized, network.samples) if one.share > 0]
            clipped += [{"network": path, **asdict(one)} for one in outside]
            # a bundle holds the first network of its name
            if bundle is not None:
                break

        results = {"networks": rows, "clipped": clipped}
        about = {"recipe": run.recipe, "region": asdict(qconfig), "regions": [one.path for one in plan.qconfigs]}
        if draft is not None:
            write_text(draft / "quantization.json", json.dumps({**about, **results}, indent=1) + "\n")

    return results


def run_to_c(
    recipe: Recipe,
    run: Run,
    out: Path,
    options: QuantizeOptions,
    progress: Callable[[str], None] = lambda line: None,
    board: Board | None = None,
) -> WrittenC:
    """Quantises a trained network of a run, by default the first one, to 8 bits, and writes the integer model as C.

    With a board it writes a project for it.
    """
    check_new(out, ExportError)
    _, network = next(quantized_networks(recipe, run, options, progress))
    return write_c(network.model, network.integer_inputs(), network.ticks, out, board=board)


def quantized_networks(
    recipe: Recipe, run: Run, options: QuantizeOptions, progress: Callable[[str], None] = lambda line: None
) -> Iterator[tuple[str, "_Quantized"]]:
    """The trained networks of a run by path, quantised to 8 bits one after the other."""
    plan = _plan(recipe, run.config_as(recipe.Config), QConfig(), options)
    return _quantized(recipe, run, plan, options, progress)


def _plan(recipe: Recipe, config: Any, qconfig: QConfig, options: QuantizeOptions) -> QConfigMapping:
    """The numbers of each region: the paths that the user names, else those of the recipe, else everything."""
    return qconfigs_for(list(options.paths or regions_of(recipe, config)), qconfig)


def regions_of(recipe: Recipe, config: Any) -> Sequence[str]:
    """The paths that a recipe names as those with an integer form; none stands for everything."""
    regions: Sequence[str] = recipe.regions(config) if defines(recipe, "regions") else getattr(recipe, "REGIONS", ())
    return regions


def _quantized(
    recipe: Recipe, run: Run, plan: QConfigMapping, options: QuantizeOptions, progress: Callable[[str], None]
) -> Iterator[tuple[str, "_Quantized"]]:
    """The trained networks of a run by path, quantised one after the other."""
    if not defines(recipe, "calibration"):
        raise ConfigError(
            f"the recipe {run.recipe!r} has no calibration(config, num_samples, data) to choose scales on"
        )
    if options.num_calibration < 1:
        raise ConfigError(f"scales are chosen on 1 sample at least, but got {options.num_calibration}")

    networks = dict(_trained_networks(recipe, run, options.network))
    if not options.paths:
        _check_fit(plan, networks, lambda: _trained_networks(recipe, run, None))
    signals = recipe.calibration(run.config_as(recipe.Config), options.num_calibration, options.data)
    for path, network in networks.items():
        progress(path)
        yield path, _Quantized(network.eval(), signals, plan)


def _check_fit(
    plan: QConfigMapping, networks: Mapping[str, Any], every: Callable[[], Iterable[tuple[str, Any]]]
) -> None:
    unfit = [name for name, network in networks.items() if not _has_regions(plan, network)]
    if unfit:
        fit = " or ".join(name for name, network in every() if _has_regions(plan, network))
        raise ConfigError(
            f"the recipe names no layers with an integer form in {', '.join(unfit)}; "
            + (f"choose --network {fit}" if fit else "the run has no other network")
        )


def _has_regions(plan: QConfigMapping, network: HybridNetwork) -> bool:
    paths = layer_paths(network)
    return all(any(map(region.holds, paths)) for region in plan.qconfigs)


def _trained_networks(recipe: Recipe, run: Run, name: str | None) -> Iterator[tuple[str, Any]]:
    """The networks of a run with their weights by path, or those of one network, named with or without its seed."""
    if defines(recipe, "trained"):
        # its weights are not a file for each network
        yield from _named(recipe.trained(run), name, run).items()
        return

    children = {recipe.function: run} if isinstance(recipe, OwnNetwork) else _named(trained_runs(run), name, run)
    for path, child in children.items():
        network: Any = recipe.build(run.config_as(recipe.Config))[path.partition("/")[0]]
        child.load_weights(network)
        yield path, network


class _Quantized:
    """A trained network with its quantised form and its integer model; scales are chosen on `signals`."""

    def __init__(self, network: HybridNetwork, signals: dict[str, Tensor], plan: QConfigMapping) -> None:
        inputs = {name: x for name, x in signals.items() if name in network.inputs}
        self.trained = network
        self.samples = {name: x[:, :_NUM_SAMPLES] for name, x in inputs.items()}
        self.quantized = quantize(network, inputs, plan)
        self.model = integer_model(self.quantized, self.samples)

    def integer_inputs(self) -> dict[str, NDArray[Any]]:
        """The integers of the samples that enter the model."""
        trace = record_trace(self.quantized, self.samples, self.ticks)
        signals = {kind: {name: x.numpy() for name, x in values.items()} for kind, values in trace._asdict().items()}
        return integer_inputs(self.model, {name: x.numpy() for name, x in self.samples.items()}, signals, "the run")

    @property
    def ticks(self) -> int:
        """Base ticks of the samples."""
        counts = {name: len(x) for name, x in self.samples.items()}
        return count_ticks(self.trained.inputs, counts, 0, None, self.trained.dt)

    def figures(self, recipe: Recipe, config: Any, data: Path | None) -> dict[str, Any]:
        """The measures of the recipe, memory, operations and energy, before and after."""
        row: dict[str, Any] = {}
        if defines(recipe, "measure"):
            before, after = (recipe.measure(network, config, data) for network in (self.trained, self.quantized))
            for name, value in before.items():
                row |= {name: value, f"{name} after": after[name]}

        used = memory(self.trained, self.quantized, self.model, self.samples)
        row |= {"bytes": used.parameters, "bytes after": used.integers}
        row |= {"state bytes": used.state, "state bytes after": used.integer_state}

        return row | expenses(self.trained, self.quantized, self.samples)


def expenses(trained: HybridNetwork, quantized: HybridNetwork, inputs: dict[str, Tensor]) -> dict[str, float]:
    """Operations and energy [nJ] a sample, before and after; each network is run and counted for itself.

    Quantised parts have the prices of 8 bits, changes of scale among their operations; the others those of 32.
    """
    real, narrow = (hardware_profile(name) for name in ("45nm", "45nm-int8"))
    before = count_cost(trained, inputs)
    after = count_cost(quantized, inputs)
    prices = dict.fromkeys(quantized_paths(quantized), narrow)
    joules_after = sum(joules(count, prices.get(name, real)) for name, count in after.parts.items())
    joules_after += sum(joules(count, prices.get(f"units.{name}", real)) for name, count in after.links.items())

    return {
        "synaptic operations": before.total.synops,
        "synaptic operations after": after.total.synops,
        "operations": before.total.num_operations,
        "operations after": after.total.num_operations,
        "energy nJ": energy(before, real).total * 1e9,
        "energy nJ after": joules_after * 1e9,
    }


def _bundle_of(path: Path, run: Run) -> Bundle:
    bundle = Bundle.open(path)
    recipe = bundle.manifest.card.get("recipe", run.recipe)
    if recipe != run.recipe:
        raise ConfigError(f"{path} is a bundle of the recipe {recipe!r}, but {run.path} is a run of {run.recipe!r}")
    return bundle


def _named(trained: Mapping[str, T], network: str | None, run: Run) -> dict[str, T]:
    """Trained networks or runs by path, or those of one network."""
    if not trained:
        raise ConfigError(f"{run.path} has no trained networks; train it first")

    chosen = {path: one for path, one in trained.items() if network in (None, path, path.partition("/")[0])}
    if not chosen:
        raise ConfigError(f"{run.path} has no trained network {network!r}; {did_you_mean(str(network), trained)}")

    return chosen
