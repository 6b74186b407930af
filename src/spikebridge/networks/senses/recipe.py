"""Several senses, each on its own clock: an SNN on what is always on, an ANN on what looks when it has to.

    spikebridge train senses --data my.npz --senses wrist=snn@50 eye=ann@10

Folds leave people out: a network is scored on people who are not in its training.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import ConfigError, DataError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses import report as report_page
from spikebridge.networks.senses.config import Config, GateEvaluation
from spikebridge.networks.senses.data.sets import chosen_folds, folds_of_people, load_trials
from spikebridge.networks.senses.data.trials import Trials, findings, read_trials
from spikebridge.networks.senses.evaluation.evaluate import score, share
from spikebridge.networks.senses.falls.model import BLOCK, falls_network
from spikebridge.networks.senses.falls.run import (
    calibration_blocks,
    count_alarms,
    evaluate_falls,
    left_out,
    train_falls,
    trained_stages,
)
from spikebridge.networks.senses.falls.train import listen
from spikebridge.networks.senses.model.execution import at_end, network_inputs, run_network
from spikebridge.networks.senses.model.network import VARIANTS, SensesShape, senses_network
from spikebridge.networks.senses.shapes import sampled, shape_of
from spikebridge.networks.senses.training.fold import FoldTraining
from spikebridge.networks.senses.training.train import SensesLearning
from spikebridge.training.run.run import Run

PRESETS = {
    "quick": Config(
        dataset="generated",
        networks=tuple(VARIANTS),
        num_folds=2,
        hidden=16,
        features=8,
        training=SensesLearning(epochs=4, eye_epochs=1, lr=0.02, teachers=1),
    ),
    "default": Config(),
    # the shipped weights are trained on everybody: --networks hybrid --folds
    "actions": Config(
        dataset="actions",
        senses=("inertia=snn@50", "depth=ann@10"),
        networks=tuple(VARIANTS),
        folds=None,
        training=SensesLearning(epochs=60, eye_epochs=8),
    ),
    "falls": Config(
        dataset="falls",
        networks=("hybrid",),
        num_folds=6,
        folds=None,
        training=SensesLearning(epochs=12, eye_epochs=8),
    ),
}

_EXAMPLE_TICKS = 12  # of the slowest sense: two looks at least


def _trials(config: Config, data: Path | None = None) -> Trials:
    trials = load_trials(config.dataset, config.data if data is None else data)
    if trials.name == "own":
        for line in findings(trials):
            warnings.warn(line, stacklevel=2)
    return trials


def build(config: Config) -> dict[str, HybridNetwork]:
    """Every network of the comparison, untrained."""
    if config.dataset == "falls":
        return {"hybrid": falls_network("cascade")}
    shape = shape_of(config)
    return {name: senses_network(name, shape) for name in config.networks}


def example(config: Config) -> dict[str, Tensor]:
    """A small batch of samples made of noise, with motion enough for a look."""
    return {"wrist": _example_fall()} if config.dataset == "falls" else _noise(shape_of(config))


def network_example(config: Config, network: HybridNetwork, run: Run | None = None) -> dict[str, Tensor]:
    """The example as a network reads it: in blocks of samples for an ANN on a fast sensor."""
    if config.dataset == "falls":
        return example(config)
    # the record of a run needs no data
    shape = shape_of(config) if run is None else _trained_shape(config, run)[0]
    return network_inputs(network, _noise(shape))


def _noise(shape: SensesShape) -> dict[str, Tensor]:
    slowest = max(sense.period for sense in shape.senses)
    generator = torch.Generator().manual_seed(0)
    return {
        sense.name: torch.rand(_EXAMPLE_TICKS * slowest // sense.period, 2, *sense.shape, generator=generator)
        for sense in shape.senses
    }


def _example_fall() -> Float[Tensor, "T B L 3"]:
    """A rest, free fall, impact and rest [g], which wake every stage."""
    wrist = 0.05 * torch.randn(20, 2, BLOCK, 3, generator=torch.Generator().manual_seed(0))
    wrist[:8, ..., 2] += 1.0
    wrist[10] *= 80.0
    wrist[11:, ..., 0] += 1.0

    return wrist


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every network on every fold with every seed, scores them, and writes the table."""
    trials = _trials(config)
    if config.dataset == "falls":
        results = train_falls(config, run, trials, _folds(config, trials))
        run.save_results(results)
        return results

    shape = shape_of(config, trials)
    _check_networks(config.networks, shape)
    data, teachers = sampled(trials, shape)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in config.networks}

    for fold, people in _folds(config, trials):
        kept = np.flatnonzero(~np.isin(data.person, people))
        if len(np.unique(data.label[kept])) < 2:
            raise DataError(f"expected trials of two classes for the training, but {len(kept)} of one are left")
        test = data.of_people(people) if len(people) else data
        for seed in range(config.seed, config.seed + config.num_seeds):
            known = {name: x[:, kept] for name, x in teachers.items()}
            training = FoldTraining(shape, data.select(kept), known, config.training, seed, quiet)
            for name in config.networks:
                child = run.child("/".join(filter(None, (name, fold, f"seed-{seed}"))))
                if not child.finished:
                    network = training.train(name)
                    child.save_weights(network)
                    child.save_results(
                        {**score(network, test, trials.person_names, config.look.price_uj), **_facts(trials)}
                    )
                scores[name].append(child.results())

    results = report_page.compare(scores, report_page.scored_on(config.folds == () and not config.people))
    run.save_results(results)

    return results


def _check_networks(networks: tuple[str, ...], shape: SensesShape) -> None:
    values = [sense.part for sense in shape.senses if not sense.is_picture]
    fits = {"link": values == ["snn"], "early": len(values) < 2}
    unfit = [name for name in networks if not fits.get(name, True)]
    if unfit:
        senses = ", ".join(f"{sense.name}={sense.part}" for sense in shape.senses)
        raise ConfigError(
            f"{unfit[0]!r} takes one sensor of values beside pictures (for a link an SNN), but there are {senses}; "
            "choose --networks hybrid ann"
        )


def _folds(config: Config, trials: Trials) -> Any:
    parts = folds_of_people(trials, config.people, config.num_folds) if config.folds != () or config.people else []
    return chosen_folds(parts, (0,) if config.people else config.folds)


def _facts(trials: Trials) -> dict[str, Any]:
    shapes = {name: list(one.shape) for name, one in trials.sensors.items()}
    rates = {name: one.rate_hz for name, one in trials.sensors.items()}
    return {"classes": list(trials.label_names), "shapes": shapes, "rates_hz": rates}


Evaluation = GateEvaluation


def evaluate(run: Run, data: Path | None = None, options: GateEvaluation | None = None) -> dict[str, Any]:
    """Scores a run again on the people left out, or on everybody in a file; the first network with other gates too."""
    config = run.config_as(Config)
    trials = _trials(config, data)
    if config.dataset == "falls":
        return evaluate_falls(run, trials, {} if data is not None else dict(_folds(config, trials)))

    shape, classes = _trained_shape(config, run)
    trials = trials.with_classes(classes)
    everything, _ = sampled(trials, shape)
    folds = {} if data is not None else dict(_folds(config, trials))
    scores: dict[str, list[dict[str, Any]]] = {}
    gates: dict[str, list[dict[str, Any]]] = {}

    for name in config.networks:
        for path, child in run.children().items():
            if not path.startswith(f"{name}/"):
                continue
            network = senses_network(name, shape)
            child.load_weights(network)
            people = folds.get(path.split("/")[1], ())
            test = everything.of_people(np.asarray(people)) if len(people) else everything
            scores.setdefault(name, []).append(score(network, test, trials.person_names, config.look.price_uj))
            for kind in options.gates if options and name == config.networks[0] else ():
                if not shape.looks:
                    raise ConfigError("--gates asks for other looks, but no sense of this network looks")
                network.parts["gate"].kind = kind  # type: ignore[assignment]
                row = score(network, test, trials.person_names, config.look.price_uj)
                gates.setdefault(kind, []).append(row)

    people_scored = "everybody in the data" if data is not None else report_page.scored_on(config.folds == ())
    results = report_page.compare(scores, people_scored)
    return {**results, **({"gates": report_page.gate_rows(gates)} if gates else {})}


def _trained_shape(config: Config, run: Run) -> tuple[SensesShape, list[str]]:
    facts = run.first_child(config.networks[0]).results()
    return shape_of(config, None, facts), list(facts["classes"])


def trained(run: Run) -> dict[str, HybridNetwork]:
    """Every network of a run with the weights of its first fold and seed."""
    config = run.config_as(Config)
    if config.dataset == "falls":
        return {"hybrid": falls_network("cascade", trained_stages(run.first_child("hybrid")))}

    shape, _ = _trained_shape(config, run)
    networks = {name: senses_network(name, shape) for name in config.networks}
    for name, network in networks.items():
        run.first_child(name).load_weights(network)

    return networks


def stream_inputs(run: Run, network: HybridNetwork) -> dict[str, tuple[int, tuple[int, ...]]]:
    """The base ticks of a sample of each input in a stream, and its shape: blocks of samples for a slower clock."""
    config = run.config_as(Config)
    if config.dataset == "falls":
        return {"wrist": (BLOCK, (BLOCK, 3))}

    inputs = {}
    for sense in shape_of(config, None, run.results()).senses:
        period = network.inputs[sense.name].period
        block = period // sense.period
        inputs[sense.name] = (period, (block, *sense.shape) if block > 1 else sense.shape)

    return inputs


def report(run: Run) -> Path:
    """Writes report.html."""
    config = run.config_as(Config)
    networks = trained(run)
    if config.dataset == "falls":
        return report_page.write_falls(run, config, networks)
    return report_page.write(run, config, networks)


def regions(config: Config) -> tuple[str, ...]:
    """The paths with an integer form: all but a hybrid's decision to look, which stays with the host."""
    if config.dataset == "falls":
        return ()
    shape = shape_of(config)
    parts = [name for name in senses_network("hybrid", shape).parts if name != "gate" and not name.endswith("_seen")]
    return (*parts, *(f"units.{one.name}_to_{one.name}_snn1" for one in shape.senses if one.part == "snn"))


def calibration(config: Config, num_samples: int, data: Path | None = None) -> dict[str, Tensor]:
    """Inputs of training people, on which quantisation is calibrated."""
    trials = _trials(config, data)
    people = next(iter(dict(_folds(config, trials)).values()))
    if config.dataset == "falls":
        return {"wrist": calibration_blocks(trials, people, num_samples)}

    shape = shape_of(config, trials)
    everything, _ = sampled(trials, shape)
    training = everything.of_people(people, inside=False)
    places = np.sort(np.random.default_rng(0).permutation(len(training.label))[:num_samples])
    return network_inputs(senses_network("hybrid", shape), training.select(places).signals)


def measure(network: HybridNetwork, config: Config, data: Path | None = None) -> dict[str, float]:
    """The figures that quantisation may change."""
    trials = _trials(config, data)
    people = next(iter(dict(_folds(config, trials)).values()))
    if config.dataset == "falls":
        figures = count_alarms(network, left_out(listen(trials), people))
        return {name: figures[name] for name in ("sensitivity", "false_alarms_an_hour", "awake")}

    everything, _ = sampled(trials, shape_of(config, trials))
    test = everything.of_people(people) if len(people) else everything
    right = at_end(run_network(network, test)["answer"], test).argmax(-1) == test.label
    return {"accuracy": share(right)}


def weights_for(data: Path) -> str:
    """The name of the shipped weights that fit the sensors of a file."""
    trials = read_trials(data)
    if trials.spans is not None:
        return "senses_falls"
    shapes = {name: one.shape for name, one in trials.sensors.items()}
    if {"inertia": (6,), "depth": (32, 24)}.items() <= shapes.items():
        return "senses_actions"

    raise ConfigError(
        f"{data} has the sensors {', '.join(shapes)}, for which there are no shipped weights; there are some for "
        "UTD-MHAD (inertia, depth) and WEDA-FALL; train a network, then `spikebridge eval RUN --data FILE`"
    )
