"""The tables and the report of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from spikebridge.analysis.comparison import paired_difference
from spikebridge.analysis.plots.figures import accuracy_bars, draw_network, to_svg
from spikebridge.analysis.report import Picture, Section, Table, write_report
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses.config import Config
from spikebridge.networks.senses.model.network import VARIANTS
from spikebridge.training.run.config_io import reproduce_command
from spikebridge.training.run.run import Run

_Scores = Mapping[str, Sequence[Mapping[str, Any]]]
_FIGURES = ("accuracy", "energy_uj", "looks", "confidence", "seconds", "parameters")
_MEASURED = (
    "Folds leave people out; an accuracy is that of whole trials of people on whom no network was trained.",
    "Operations are counted on the real activity of trained networks, of a part with a wake in the ticks awake. "
    "Energy is the 45 nm model of M. Horowitz (ISSCC 2014): 4.6 pJ a multiply-accumulate, 0.9 pJ an addition, without "
    "memory; the price of a look is a setting.",
)


def scored_on(is_training: bool) -> str:
    """The people who were scored, in words."""
    return "people of the training, which is no estimate" if is_training else "people left out of the training"


def compare(scores: _Scores, people: str) -> dict[str, Any]:
    """The figures of each network, of each sense alone, and differences to the first network in pairs of people."""
    first, *others = scores
    networks = {name: _mean(rows) for name, rows in scores.items()}
    alone = {
        f"{sense} of {name}": {
            key: round(fmean(row["alone"][sense][key] for row in rows), 4) for key in ("accuracy", "energy_uj")
        }
        for name, rows in scores.items()
        for sense in rows[0]["alone"]
        if len(rows[0]["alone"]) > 1
    }

    return {
        "scored on": people,
        "networks": networks,
        "senses alone": alone,
        f"{first} against": [_against(scores[first], scores[name], name) for name in others],
        "people": _people(scores),
    }


def gate_rows(gates: _Scores) -> list[dict[str, Any]]:
    """A row for each decision to look."""
    return [
        {"gate": kind, **{key: round(fmean(row[key] for row in rows), 4) for key in _FIGURES[:3]}}
        for kind, rows in gates.items()
    ]


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    people = _by_person(rows)
    spread = round(stdev(people.values()), 4) if len(people) > 1 else None
    return {**{key: round(fmean(row[key] for row in rows), 4) for key in _FIGURES}, "sd of people": spread}


def _by_person(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    accuracies: dict[str, list[float]] = {}
    for row in rows:
        for person, accuracy in row["per_person"].items():
            accuracies.setdefault(person, []).append(accuracy)

    return {person: fmean(values) for person, values in accuracies.items()}


def _against(first: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    ours = _by_person(first)
    theirs = _by_person(other)
    difference = paired_difference([100 * x for x in ours.values()], [100 * theirs[person] for person in ours])
    points, sd = difference.rounded(2)

    return {"network": name, "points": points, "sd": sd, "it is": difference.verdict("people")}


def _people(scores: _Scores) -> list[dict[str, Any]]:
    people = {name: _by_person(rows) for name, rows in scores.items()}
    first = next(iter(people.values()))
    return [{"person": one, **{name: round(100 * rows[one], 1) for name, rows in people.items()}} for one in first]


def write(run: Run, config: Config, networks: Mapping[str, HybridNetwork]) -> Path:
    """Writes report.html into a finished run."""
    results = run.results()
    scores = {
        name: [child.results() for path, child in run.children().items() if path.startswith(f"{name}/")]
        for name in networks
    }
    rows = [{"network": name, **row} for name, row in results["networks"].items()]
    alone = [{"sense": name, **row} for name, row in results["senses alone"].items()]
    bars = accuracy_bars({name: [100 * x for x in _by_person(one).values()] for name, one in scores.items()})
    first = next(iter(scores))
    against = results[f"{first} against"]
    sections = [
        Section(
            "Result",
            "",
            [
                Table(rows, "Means over folds and seeds; energy and looks a trial."),
                *([Table(against)] if against else []),
            ],
            [Picture(to_svg(bars), "Accuracy: mean, spread and every person.")],
        ),
        *([Section("Senses alone", "", [Table(alone)])] if alone else []),
        Section("People", "Accuracy on each person.", [Table(results["people"])]),
        Section(
            "The networks",
            pictures=[
                Picture(draw_network(network), f"{name}: {VARIANTS[name]}") for name, network in networks.items()
            ],
            folded=True,
        ),
        Section("How it was measured", _MEASURED, folded=True),
    ]
    facts = {"dataset": config.dataset, "gate": config.look.gate, "epochs": config.training.epochs, **run.versions()}
    share = 100 * results["networks"][first]["accuracy"]
    lead = f"“{first}” is right on {share:.1f} % of trials of {results['scored on']}."

    return write_report(
        run.file("report.html"), "Several senses", sections, facts, reproduce_command("senses", config), lead
    )


def write_falls(run: Run, config: Config, networks: Mapping[str, HybridNetwork]) -> Path:
    """Writes report.html of a fall detector."""
    rows = [{"gate": name, **row} for name, row in run.results()["networks"].items()]
    sections = [
        Section("Gates", "", [Table(rows, "People left out: means over folds and seeds, sums of recordings.")]),
        Section("The network", pictures=[Picture(draw_network(network), name) for name, network in networks.items()]),
        Section("How it was measured", _MEASURED, folded=True),
    ]
    facts = {"dataset": config.dataset, "folds": config.num_folds, **run.versions()}
    first = rows[0]
    found, awake = (100 * (first[key] or 0) for key in ("sensitivity", "awake"))
    lead = f"“{first['gate']}” finds {found:.1f} % of the falls, awake {awake:.1f} % of the time."

    return write_report(run.file("report.html"), "Falls", sections, facts, reproduce_command("senses", config), lead)
