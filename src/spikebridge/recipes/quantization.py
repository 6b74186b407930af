"""A run in whole numbers: its trained networks quantised, written, and measured beside what they were.

A recipe that can be quantised has `calibration(config, num_samples, data)`, the inputs to choose scales on, and may
have `measure(network, config, data)`, the figures that quantisation may cost, and `REGIONS`, the paths that have an
integer form where not all have one.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from spikebridge.analysis import count_cost, energy, hardware_profile
from spikebridge.deploy import IntegerModel, Quantization, Region, integer_model, memory, quantize, saturation
from spikebridge.deploy.quantize_config import regions_of
from spikebridge.errors import ConfigError, ExportError, did_you_mean
from spikebridge.hybrid import HybridNetwork
from spikebridge.training.run import Run

NUM_SHOWN = 8  # samples for costs and clipping
SUMMARY = "quantization.json"


def quantize_run(
    module: ModuleType,
    run: Run,
    out: Path,
    region: Region,
    *,
    paths: Sequence[str] = (),
    network: str | None = None,
    num_calibration: int = 128,
    data: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Quantises every trained network of a run, and writes one folder with an integer model for each.

    Args:
        module: the recipe.
        run: with weights.
        out: the folder to make.
        region: widths.
        paths: what is quantised; the recipe's own regions without any, or everything.
        network: one of the recipe's networks, all without it.
        num_calibration: training samples to choose scales on.
        data: the folder with data sets.
        progress: is told what is done.

    Returns:
        One row a network, and where values were clipped.

    Raises:
        ConfigError: a recipe, network, region or number that cannot be meant.
        ExportError: the folder is there already, or a layer has no integer form.
    """
    if out.exists():
        raise ExportError(f"{out} is there already; name another folder or remove it first")
    if not hasattr(module, "calibration"):
        raise ConfigError(
            f"the recipe {run.recipe!r} has no calibration(config, num_samples, data) to choose scales on"
        )
    if num_calibration < 1:
        raise ConfigError(f"scales are chosen on 1 sample at least, but got {num_calibration}")
    children = _children(run, network)
    config = run.config_as(module.Config)
    plan = regions_of(list(paths) or list(getattr(module, "REGIONS", ())), region)
    signals = module.calibration(config, num_calibration, data)
    draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    rows, clipped = [], []
    try:
        for path, child in children.items():
            progress(path)
            trained = module.build(config)[path.partition("/")[0]]
            child.load_weights(trained)
            trained.eval()
            row, most = _one(module, config, trained, plan, signals, data, draft / path.replace("/", "-"))
            rows.append({"network": path, **row})
            clipped += [{"network": path, **asdict(one)} for one in most]
        results = {"networks": rows, "clipped": clipped}
        about = {"recipe": run.recipe, "region": asdict(region), "regions": [r.path for r in plan.regions]}
        (draft / SUMMARY).write_text(json.dumps({**about, **results}, indent=1) + "\n", encoding="utf-8")
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return results


def _one(
    module: ModuleType,
    config: Any,
    network: HybridNetwork,
    plan: Quantization,
    signals: dict[str, Tensor],
    data: Path | None,
    folder: Path,
) -> tuple[dict[str, Any], list[Any]]:
    """One network: its integer model written, its figures before and after, and the signals that were clipped."""
    inputs = {name: x for name, x in signals.items() if name in network.inputs}
    some = {name: x[:, :NUM_SHOWN] for name, x in inputs.items()}
    whole = quantize(network, inputs, plan)
    model = integer_model(whole, some)
    model.save(folder)
    row: dict[str, Any] = {}
    if hasattr(module, "measure"):
        before, after = (module.measure(one, config, data) for one in (network, whole))
        for name, value in before.items():
            row |= {name: value, f"{name} after": after[name]}
    used = memory(network, whole, model, some)
    row |= {"bytes": used.parameters, "bytes after": used.integers}
    row |= {"state bytes": used.state, "state bytes after": used.integer_state}
    row |= _energy(network, model, some)
    return row, [one for one in saturation(whole, some) if one.share > 0]


def _energy(network: HybridNetwork, model: IntegerModel, inputs: dict[str, Tensor]) -> dict[str, float]:
    """The operations of the network before, at the prices of 32-bit real numbers and, where quantised, of 8 bits."""
    cost = count_cost(network, inputs)
    real, whole = (energy(cost, hardware_profile(name)) for name in ("45nm", "45nm-int8"))
    units = {link.name for link in model.record.links if link.unit is not None}
    after = sum(whole.parts[n] if n in model.record.parts else joules for n, joules in real.parts.items())
    after += sum(whole.links[n] if n in units else joules for n, joules in real.links.items())
    return {"energy nJ": real.total * 1e9, "energy nJ after": after * 1e9}


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
