"""UTD-MHAD with people left out: each sense alone, early fusion, sums, links, gates, faults, over time, a baseline.

    spikebridge train senses --preset actions --num-seeds 3 --out runs/actions
    python research/senses/actions.py runs/actions --json research/senses/results/actions.json

Twice the size, one seed (results/actions_double.json):

    spikebridge train senses --preset actions --networks hybrid ann --hidden 150 --features 68 --folds 0 1 \\
        --training.teachers 0 --out runs/double
    python research/senses/actions.py runs/double --gates rule --json research/senses/results/actions_double.json

Reads the networks of a run, which may still train: folds and networks that are missing are left out and named.
Settings of the recipe were chosen on people 4 and 5 (two were also tried on 1 and 2), so that each row also has the
figures without these two. The trainings of results/actions.json are those of the command, made one fold and seed at a
time (`--folds 0 --seed 1 --num-seeds 1`).

Tried on people 4 and 5, the SNN alone, accuracy [%] and least cross-entropy (seeds); these figures have no command:

| change | without teachers | with four ANNs as teachers |
|---|---|---|
| none | 82.8, .51 (4) | 85.0, .47 (3) |
| dropout .1; .35 | -; 79.4, .63 (2) | 85.7, .46 (3); - |
| 120 neurons a layer | - | 85.4, .45 (2) |
| twice the initial weights, a wider surrogate | 81.7, .57 (2) | - |
| recurrent second layer | 81.5, .65 (1) | - |
| synaptic currents in the second layer | 83.8, .58 (1) | 84.0, .50 (2) |
| larger turns, a gain for each axis, more noise | - | 84.7, .48 (2) |
| teachers weigh .9 instead of .7 | - | 81.9, .51 (1) |
| a stretch of time frozen | - | 78.7, .60 (1) |

A memory of the eye with teachers had 54.6 where it has 58.8 (1). An answer that is sure from .95 on had .3 points more
for .2 looks, a look every .6 s 2.2 more for .2 looks fewer (4 networks, some trained before): neither was taken over.
On all people the SNN alone gained nothing from teachers (84.35 without, 84.25 with), but its sum with the eye did.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikebridge.deploy import QConfig, quantize
from spikebridge.deploy.quantization.config import qconfigs_for
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses.config import Config
from spikebridge.networks.senses.data.sampling import Sampled
from spikebridge.networks.senses.data.sets import folds_of_people, load_trials
from spikebridge.networks.senses.evaluation.evaluate import energies, looks_of
from spikebridge.networks.senses.model.execution import at_end, ends_of, network_inputs, run_network
from spikebridge.networks.senses.model.network import senses_network
from spikebridge.networks.senses.recipe import regions
from spikebridge.networks.senses.shapes import sampled, shape_of
from spikebridge.training import Run

GATES = ("rule", "learned", "every", "always")
RATES = {"5 Hz": 2, "1 Hz": 10}  # looks without a rule, and the ticks between them
CHOSEN_ON = ("4", "5")
NUM_CALIBRATION = 128  # trials
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # of a trial
WRIST_ACTIONS = 21
FIRST = "hybrid, rule"
ORDER = ("inertia of hybrid", "inertia of ann", "depth of ann", "early", "ann", "link", "hybrid")


def right(x: Tensor, data: Sampled) -> list[float]:
    """1 for each trial whose answer is right."""
    return (x.argmax(-1) == data.label).float().tolist()


def faults(data: Sampled) -> dict[str, Sampled]:
    """The trials with one sense dead, noisy, late or slow."""
    generator = torch.Generator().manual_seed(0)
    wrist = data.signals["inertia"]
    eye = data.signals["depth"]
    noise = torch.randn(wrist.shape, generator=generator)
    slow = eye.clone()
    for tick in range(len(eye)):
        slow[tick] = eye[tick - tick % 10]

    changed = {
        "no wrist": (torch.zeros_like(wrist), eye),
        "no eye": (wrist, torch.zeros_like(eye)),
        "wrist from the middle on": (torch.where(torch.arange(len(wrist))[:, None, None] < 90, wrist, wrist[90]), eye),
        "noise of .1 (g, 100 degrees/s)": (wrist + 0.1 * noise, eye),
        "noise of .3 (g, 100 degrees/s)": (wrist + 0.3 * noise, eye),
        "eye 200 ms late": (wrist, torch.cat([torch.zeros_like(eye[:2]), eye[:-2]])),
        "eye of 1 Hz": (wrist, slow),
    }
    return {name: replace(data, signals={"inertia": a, "depth": b}) for name, (a, b) in changed.items()}


def rows_of(network: HybridNetwork, data: Sampled, variant: str, gates: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The figures of a network and its senses: what is right, energy, looks, confidence."""
    rows = {}
    for kind in gates:
        network.parts["gate"].kind = kind  # type: ignore[assignment]
        outputs = run_network(network, data)
        parts = energies(network, data)
        answer = outputs["answer"]
        length = ends_of(answer, data)
        column = torch.arange(len(length))
        rows[f"{variant}, {kind}"] = {
            "right": right(at_end(answer, data), data),
            "energy_uj": sum(parts.values()),
            "looks": float(looks_of(outputs, data).mean()),
            "over time": [
                fmean(right(answer[(share * length).long().clamp(min=1) - 1, column], data)) for share in SHARES
            ],
        }
        for name in ("inertia", "depth"):
            if f"{name}_evidence" in outputs:
                rows[f"{name} of {variant}, {kind}"] = {
                    "right": right(at_end(outputs[f"{name}_evidence"], data), data),
                    "energy_uj": sum(value for part, value in parts.items() if part.startswith(name)),
                }

    gate: Any = network.parts["gate"]
    own_wait = gate.min_wait
    gate.kind = "every"
    for rate, gate.min_wait in RATES.items():
        outputs = run_network(network, data)
        rows[f"{variant}, {rate}"] = {"right": right(at_end(outputs["answer"], data), data)}
        if "depth_evidence" in outputs:
            rows[f"depth of {variant}, {rate}"] = {"right": right(at_end(outputs["depth_evidence"], data), data)}

    gate.kind = "rule"
    gate.min_wait = own_wait
    for name, broken in faults(data).items():
        answer = at_end(run_network(network, broken)["answer"], data)
        confidence = torch.softmax(answer, -1).amax(-1)
        rows[f"{variant}, {name}"] = {"right": right(answer, data), "confidence": float(confidence.mean())}

    return rows


def in_integers(network: HybridNetwork, config: Config, train: Sampled, test: Sampled) -> list[float]:
    """Right answers of a network in 8 bits as `quantize` makes it; its decision to look stays real."""
    places = np.sort(np.random.default_rng(0).permutation(len(train.label))[:NUM_CALIBRATION])
    inputs = network_inputs(network, train.select(places).signals)
    quantized = quantize(network, inputs, qconfigs_for(regions(config), QConfig()))
    return right(at_end(run_network(quantized, test)["answer"], test), test)


def linear(train: Sampled, test: Sampled) -> list[float]:
    """A logistic regression on means, deviations, extremes of the wrist and the mean picture."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    def features(data: Sampled) -> np.ndarray:
        columns = []
        for trial, length in enumerate(data.lengths["inertia"].tolist()):
            x = data.signals["inertia"][:length, trial]
            pictures = data.signals["depth"][: length // 5, trial, 0, ::4, ::4]
            halves = [part for half in x.chunk(3) for part in (half.mean(0), half.std(0), half.amax(0), half.amin(0))]
            columns.append(torch.cat([*halves, pictures.mean(0).flatten(), pictures.std(0).flatten()]).numpy())
        return np.stack(columns)

    scaler = StandardScaler().fit(features(train))
    model = LogisticRegression(C=0.1, max_iter=300).fit(scaler.transform(features(train)), train.label.numpy())
    return (model.predict(scaler.transform(features(test))) == test.label.numpy()).astype(float).tolist()


def by_person(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The accuracy on each person [%], over seeds."""
    people: dict[str, list[float]] = {}
    for row in rows:
        for person, hit in zip(row["person"], row["right"], strict=True):
            people.setdefault(person, []).append(hit)

    return {person: 100 * fmean(hits) for person, hits in sorted(people.items())}


def interval(values: Sequence[float]) -> list[float] | None:
    """The 95 % interval of a mean over people, by bootstrap; None for fewer than three."""
    if len(values) < 3:
        return None
    draws = np.random.default_rng(0).choice(np.asarray(values), (10_000, len(values))).mean(1)
    return [round(float(one), 2) for one in np.quantile(draws, (0.025, 0.975))]


def standard_error(values: Sequence[float]) -> float | None:
    """The standard error of a mean over people; None for fewer than two."""
    return round(float(np.std(values, ddof=1) / len(values) ** 0.5), 2) if len(values) > 1 else None


def less(first: dict[str, float], other: dict[str, float]) -> dict[str, Any]:
    """By how many points one row is ahead of another, in pairs of people."""
    points = {person: first[person] - other[person] for person in first if person in other}
    unseen = [point for person, point in points.items() if person not in CHOSEN_ON]
    figures = {"points": round(fmean(points.values()), 2), "interval": interval([*points.values()])}
    return figures | {"points without 4 and 5": round(fmean(unseen), 2) if unseen else None}


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The means of a row over folds and seeds, with standard error and interval over people."""
    people = by_person(rows)
    means = [*people.values()]
    unseen = [value for person, value in people.items() if person not in CHOSEN_ON]
    wrist = [
        hit for row in rows for label, hit in zip(row["label"], row["right"], strict=True) if label < WRIST_ACTIONS
    ]
    others = {
        key: round(fmean(row[key] for row in rows), 3) for key in ("energy_uj", "looks", "confidence") if key in rows[0]
    }
    if "over time" in rows[0]:
        others["over time"] = [
            round(100 * fmean(column), 1) for column in zip(*(row["over time"] for row in rows), strict=True)
        ]

    return {
        "accuracy": round(fmean(means), 2),
        "standard error": standard_error(means),
        "interval": interval(means),
        "without 4 and 5": round(fmean(unseen), 2) if unseen else None,
        "its standard error": standard_error(unseen),
        "wrist actions": round(100 * fmean(wrist), 2),
        **others,
        "people": {person: round(value, 2) for person, value in people.items()},
        "trainings": len(rows),
    }


def _place(name: str) -> int:
    """The place of a row: senses alone, early fusion, the twin, sums, links, then what befalls a network."""
    places = [place for place, begin in enumerate(ORDER) if name.startswith(begin) and name.endswith(", rule")]
    return places[0] if places else len(ORDER) + (name == "linear")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--gates", nargs="+", default=GATES)
    options = parser.parse_args()

    run = Run.open(options.run)
    config = run.config_as(Config)
    trials = load_trials(config.dataset, config.data)
    shape = shape_of(config, trials)
    data, _ = sampled(trials, shape)
    parts = folds_of_people(trials, config.people, config.num_folds)
    rows: dict[str, list[dict[str, Any]]] = {}

    for path, child in run.children().items():
        if not child.file("weights.safetensors").is_file():
            print(f"{path} is missing")
            continue
        variant, fold, _ = path.split("/")
        people = parts[int(fold.removeprefix("fold-"))]
        test = data.of_people(people)
        network = senses_network(variant, shape)
        child.load_weights(network)
        # rivals look by the rule alone
        found = rows_of(network.eval(), test, variant, options.gates if variant == "hybrid" else GATES[:1])
        if variant == "hybrid":
            training = data.of_people(people, inside=False)
            found["linear"] = {"right": linear(training, test)}
            found["hybrid, 8 bits"] = {"right": in_integers(network, config, training, test)}
        for name, row in found.items():
            person = [trials.person_names[one] for one in test.person]
            rows.setdefault(name, []).append({**row, "person": person, "label": test.label.tolist()})

    ordered = sorted(rows, key=_place)
    table = {name: summed(rows[name]) for name in ordered}
    if FIRST in rows:
        for name in ordered:
            table[name][f"{FIRST} less it"] = less(by_person(rows[FIRST]), by_person(rows[name]))

    for name, row in table.items():
        print(f"{name:40}", row, flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
