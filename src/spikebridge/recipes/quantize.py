"""The trained networks of a run as integer models: quantised, written, and measured before and after.

A recipe that can be quantised has `calibration(config, num_samples, data)`, the inputs to choose scales on, and may
have `measure(network, config, data)`, the figures that quantisation may cost, and `REGIONS`, or `regions(config)`, the
paths that have an integer form where not all have one.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.energy import energy, hardware_profile, joules
from spikebridge.data.io.atomic import atomic_folder, write_text
from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.trace import record_trace
from spikebridge.deploy.c.export import WrittenC, write_c
from spikebridge.deploy.integer.bundle import integer_inputs
from spikebridge.deploy.quantization.config import QConfig, QConfigMapping, qconfigs_for
from spikebridge.deploy.quantization.lowering import add_integers, integer_model
from spikebridge.deploy.quantization.network import quantize
from spikebridge.deploy.quantization.report import Saturation, memory, quantized_paths, saturation
from spikebridge.errors import ConfigError, ExportError, did_you_mean
from spikebridge.hybrid import HybridNetwork
from spikebridge.training.run.run import Run

_NUM_SHOWN = 8  # samples for costs and clipping
_SUMMARY = "quantization.json"


@dataclass(frozen=True)
class QuantizeOptions:
    """What is quantised, and on which data.

    Attributes:
        paths: of parts, units and layers; the recipe's own without any, or everything.
        network: one of the recipe's networks, all without it.
        num_calibration: training samples on which scales are chosen.
        data: the folder with data sets.
        bundle: of one of the networks; that network alone is quantised, and its integer model is written there.
    """

    paths: Sequence[str] = ()
    network: str | None = None
    num_calibration: int = 128
    data: Path | None = None
    bundle: Path | None = None


def quantize_run(
    module: ModuleType,
    run: Run,
    out: Path | None,
    qconfig: QConfig,
    options: QuantizeOptions,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Quantises every trained network of a run, and writes one folder with an integer model for each.

    Args:
        module: the recipe.
        run: with weights.
        out: the folder to make; None makes none.
        qconfig: widths.
        options: what is quantised, and on which data.
        progress: gets the name of each network.

    Returns:
        One row a network, and where values were clipped.

    Raises:
        ConfigError: a recipe, network, region or number that cannot be meant.
        ExportError: the folder is there already, a layer has no integer form, or the bundle is of another network.
        DataError: the bundle is damaged.
    """
    if out is not None and out.exists():
        raise ExportError(f"{out} is there already; name another folder or remove it first")

    data = options.data
    opened = None if options.bundle is None else _opened(options.bundle, run)
    if opened is not None and options.network is None:
        options = replace(options, network=opened.manifest.card.get("network"))

    config = run.config_as(module.Config)
    rows = []
    clipped = []

    with nullcontext() if out is None else atomic_folder(out) as draft:
        for path, one in _quantized(module, run, qconfig, options, progress):
            if opened is not None:
                add_integers(opened, one.network, one.whole)
            if draft is not None:
                one.model.save(draft / path.replace("/", "-"))
            rows.append({"network": path, **one.figures(module, config, data)})
            clipped += [{"network": path, **asdict(most)} for most in one.clipped()]
            if opened is not None:
                break  # a bundle holds the first one of its name

        results = {"networks": rows, "clipped": clipped}
        plan = _plan(module, run, qconfig, options)
        about = {"recipe": run.recipe, "region": asdict(qconfig), "regions": [r.path for r in plan.qconfigs]}
        if draft is not None:
            write_text(draft / _SUMMARY, json.dumps({**about, **results}, indent=1) + "\n")

    return results


def _plan(module: ModuleType, run: Run, qconfig: QConfig, options: QuantizeOptions) -> QConfigMapping:
    has_own = hasattr(module, "regions")
    own = module.regions(run.config_as(module.Config)) if has_own else getattr(module, "REGIONS", ())
    return qconfigs_for(list(options.paths) or list(own), qconfig)


def _quantized(
    module: ModuleType, run: Run, qconfig: QConfig, options: QuantizeOptions, progress: Callable[[str], None]
) -> Iterator[tuple[str, "_Quantized"]]:
    """The trained networks of a run by path, quantised one after the other."""
    if not hasattr(module, "calibration"):
        raise ConfigError(
            f"the recipe {run.recipe!r} has no calibration(config, num_samples, data) to choose scales on"
        )

    if options.num_calibration < 1:
        raise ConfigError(f"scales are chosen on 1 sample at least, but got {options.num_calibration}")

    children = _children(run, options.network)
    config = run.config_as(module.Config)
    plan = _plan(module, run, qconfig, options)
    signals = module.calibration(config, options.num_calibration, options.data)

    for path, child in children.items():
        progress(path)
        trained = module.build(config)[path.partition("/")[0]]
        child.load_weights(trained)
        yield path, _Quantized(trained.eval(), signals, plan)


def run_to_c(
    module: ModuleType,
    run: Run,
    out: Path,
    options: QuantizeOptions,
    progress: Callable[[str], None] = lambda line: None,
) -> WrittenC:
    """Quantises a trained network of a run to 8 bits, and writes the integer model as C.

    Args:
        module: the recipe.
        run: with weights.
        out: the folder to make.
        options: what is quantised, and on which data; the first network without a name.
        progress: gets the name of the network.

    Raises:
        ConfigError: a recipe or network that cannot be meant.
        ExportError: the folder is there already, or a layer has no integer form or no C form.
    """
    if out.exists():
        raise ExportError(f"{out} is there already; name another folder or remove it first")

    _, one = next(_quantized(module, run, QConfig(), options, progress))
    traced = record_trace(one.whole, one.some, one.ticks)
    known = {kind: {name: x.numpy() for name, x in several.items()} for kind, several in traced._asdict().items()}
    inputs = integer_inputs(one.model, {name: x.numpy() for name, x in one.some.items()}, known, f"{run.path}")

    return write_c(one.model, inputs, one.ticks, out)


class _Quantized:
    """One network, quantised.

    Args:
        network: in evaluation mode.
        signals: to choose scales on.
        plan: of regions.
    """

    def __init__(self, network: HybridNetwork, signals: dict[str, Tensor], plan: QConfigMapping) -> None:
        inputs = {name: x for name, x in signals.items() if name in network.inputs}
        self.network = network
        self.some = {name: x[:, :_NUM_SHOWN] for name, x in inputs.items()}
        self.whole = quantize(network, inputs, plan)
        self.model = integer_model(self.whole, self.some)

    @property
    def ticks(self) -> int:
        """Base ticks of the samples for costs and clipping."""
        clocks = {name: self.network.clock_of(name) for name in self.some}
        return min(clock.phase + len(self.some[name]) * clock.period for name, clock in clocks.items())

    def figures(self, module: ModuleType, config: Any, data: Path | None) -> dict[str, Any]:
        """What the recipe measures, memory, operations and energy, before and after."""
        row: dict[str, Any] = {}
        if hasattr(module, "measure"):
            before, after = (module.measure(one, config, data) for one in (self.network, self.whole))
            for name, value in before.items():
                row |= {name: value, f"{name} after": after[name]}

        used = memory(self.network, self.whole, self.model, self.some)
        row |= {"bytes": used.parameters, "bytes after": used.integers}
        row |= {"state bytes": used.state, "state bytes after": used.integer_state}

        return row | expenses(self.network, self.whole, self.some)

    def clipped(self) -> list[Saturation]:
        """The signals that leave their grids."""
        return [one for one in saturation(self.whole, self.some) if one.share > 0]


def expenses(network: HybridNetwork, whole: HybridNetwork, inputs: dict[str, Tensor]) -> dict[str, float]:
    """Operations and energy a sample, before and after: each network is run and counted for itself.

    What is quantised has the prices of 8 bits, changes of scale among its operations; what stays real has those of 32.

    Args:
        network: the trained one.
        whole: the same, quantised.
        inputs: `(T, B, *N)` each.

    Returns:
        Synaptic operations, all operations, and energy [nJ].
    """
    real, narrow = (hardware_profile(name) for name in ("45nm", "45nm-int8"))
    before = count_cost(network, inputs)
    after = count_cost(whole, inputs)
    prices = dict.fromkeys(quantized_paths(whole), narrow)
    joules_after = sum(joules(done, prices.get(name, real)) for name, done in after.parts.items())
    joules_after += sum(joules(done, prices.get(f"units.{name}", real)) for name, done in after.links.items())

    return {
        "synaptic operations": before.total.synops,
        "synaptic operations after": after.total.synops,
        "operations": before.total.num_operations,
        "operations after": after.total.num_operations,
        "energy nJ": energy(before, real).total * 1e9,
        "energy nJ after": joules_after * 1e9,
    }


def _opened(path: Path, run: Run) -> Bundle:
    bundle = Bundle.open(path)
    recipe = bundle.manifest.card.get("recipe", run.recipe)
    if recipe != run.recipe:
        raise ConfigError(f"{path} is a bundle of the recipe {recipe!r}, but {run.path} is a run of {run.recipe!r}")
    return bundle


def _children(run: Run, network: str | None) -> dict[str, Run]:
    found = {path: child for path, child in run.children().items() if (child.path / "weights.safetensors").is_file()}
    if not found:
        raise ConfigError(f"{run.path} has no trained networks; train it first")
    if network is None:
        return found

    chosen = {path: child for path, child in found.items() if network in (path, path.partition("/")[0])}
    if not chosen:
        raise ConfigError(f"{run.path} has no trained network {network!r}; {did_you_mean(network, found)}")

    return chosen
