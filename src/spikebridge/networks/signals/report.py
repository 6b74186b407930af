"""The report of a run: comparison of networks, people, confusion, accuracy over time, drawings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, NotRequired, TypeAlias, TypedDict

import numpy as np

from spikebridge.analysis.comparison import paired_difference
from spikebridge.analysis.learning_curves import learning_curves
from spikebridge.analysis.plots.figures import accuracy_bars, accuracy_lines, confusion_matrix, draw_network, to_svg
from spikebridge.analysis.report import Picture, Section, Table, write_report
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals.model.network import VARIANTS
from spikebridge.training.run.config_io import read_results
from spikebridge.training.run.run import Run


class WindowScore(TypedDict):
    """Results of one network, fold and seed."""

    macs_per_second: float
    synops_per_second: float
    per_group: Annotated[dict[str, float], "_"]
    accuracy_by_answer: Annotated[list[float], "answers"]
    confusion: Annotated[list[list[int]], "classes", "classes"]
    parameters: int
    front_end_macs_per_second: float
    energy_uj_per_second: float
    classes: NotRequired[list[str]]


_Row = TypedDict("_Row", {"network": str, "accuracy %": float, "sd": float | None})
_Difference = TypedDict("_Difference", {"network": str, "points": float, "it is": str})


class _Results(TypedDict):
    networks: Annotated[list[_Row], "networks"]
    people: list[dict[str, Any]]


_COSTS = ("macs_per_second", "synops_per_second", "front_end_macs_per_second", "energy_uj_per_second")
_Scores: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]
"""Results of networks by name, one for each fold and seed."""

LEFT_OUT = "people left out of the training"
TRAINED_ON = "people of the training, which is no estimate for others"
_MAX_ANSWERS = 8  # in a table
_MEASURED = (
    "Folds leave people out; an accuracy is that of windows of people on whom no network was trained. Statistics for "
    "standardisation come from the training people. Frames, filters and kernels are causal. The answer at a time is "
    "the mean of the logits so far.",
    "Operations are counted on the real activity of trained networks; those of the front end are computed from its "
    "sizes. Energy is the 45 nm model of M. Horowitz (ISSCC 2014): 4.6 pJ a multiply-accumulate, 0.9 pJ an addition, "
    "without memory. Differences are those of the same people and seeds; “level” where the mean lies within two "
    "standard errors of zero.",
)


def compare(scores: _Scores, scored_on: str = "") -> dict[str, Any]:
    """The table of networks, differences to the first one, accuracy by person and over time; `scored_on` are people."""
    first = next(iter(scores))
    return {
        **({"scored on": scored_on} if scored_on else {}),
        "networks": [_row(name, rows) for name, rows in scores.items()],
        f"{first} against": [_against(scores[first], scores[name], name) for name in scores if name != first],
        "people": _people(scores),
        "accuracy by answer": [
            {"network": name, **{str(k): round(value, 2) for k, value in _some_answers(_by_answer(rows))}}
            for name, rows in scores.items()
        ],
    }


def _row(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    people = _by_person(rows)
    means = {key: fmean(row[key] for row in rows) for key in _COSTS}

    return {
        "network": name,
        "accuracy %": round(fmean(people.values()), 2),
        "sd": round(stdev(people.values()), 2) if len(people) > 1 else None,
        "people": len(people),
        "parameters": int(rows[0]["parameters"]),
        "kMAC/s": round(means["macs_per_second"] / 1e3, 1),
        "ksynop/s": round(means["synops_per_second"] / 1e3, 1),
        "front end kMAC/s": round(means["front_end_macs_per_second"] / 1e3, 1),
        "uJ/s": round(means["energy_uj_per_second"], 3),
    }


def _by_person(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The accuracy on each person [%], the mean over seeds."""
    accuracies: dict[str, list[float]] = {}
    for row in rows:
        for person, accuracy in row["per_group"].items():
            accuracies.setdefault(person, []).append(100 * accuracy)

    return {person: fmean(values) for person, values in accuracies.items()}


def _against(first: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Differences in pairs of people."""
    people = _by_person(first)
    other_people = _by_person(other)
    both = [person for person in people if person in other_people]
    difference = paired_difference([people[person] for person in both], [other_people[person] for person in both])
    points, sd = difference.rounded(2)

    return {"network": name, "points": points, "sd": sd, "it is": difference.verdict("people")}


def _people(scores: _Scores) -> list[dict[str, Any]]:
    by_network = {name: _by_person(rows) for name, rows in scores.items()}
    people = next(iter(by_network.values()))
    return [
        {"person": person, **{name: round(one[person], 1) for name, one in by_network.items() if person in one}}
        for person in people
    ]


def _by_answer(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    return [100 * fmean(column) for column in zip(*(row["accuracy_by_answer"] for row in rows), strict=True)]


def _some_answers(accuracies: Sequence[float]) -> list[tuple[int, float]]:
    """Numbers and accuracies of at most eight answers, evenly spaced up to the last one."""
    step = -(-len(accuracies) // _MAX_ANSWERS)
    chosen = range(len(accuracies), 0, -step)
    return [(number, accuracies[number - 1]) for number in reversed(chosen)]


def write(run: Run, facts: Mapping[str, Any], networks: Mapping[str, HybridNetwork], command: str) -> Path:
    """Writes report.html into a finished run."""
    children = run.children()
    sizes: dict[str, int] = {}
    scores: dict[str, list[dict[str, Any]]] = {
        name: [child.results(WindowScore, sizes) for path, child in children.items() if path.startswith(f"{name}/")]
        for name in networks
    }

    for name, network in networks.items():
        run.first_child(name).load_weights(network)

    results = run.results(_Results)
    first = f"{results['networks'][0]['network']} against"
    results |= {first: read_results(list[_Difference], results.get(first, []), run.file("results.json"))}
    drawings = {f"{name}: {VARIANTS[name]}": draw_network(network) for name, network in networks.items()}
    sections = [
        _result(results, scores),
        Section("People", "Accuracy on each person, who was left out of the training.", [Table(results["people"])]),
        *_confusion(scores),
        _time(scores),
        learning_curves({path: child.metrics.rows() for path, child in children.items()}, list(networks)),
        Section("The networks", pictures=[Picture(svg, name) for name, svg in drawings.items()], folded=True),
        Section("How it was measured", _MEASURED, folded=True),
    ]

    facts = {**facts, **run.versions()}
    return write_report(run.file("report.html"), "One sensor, two clocks", sections, facts, command, _lead(results))


def _lead(results: Mapping[str, Any]) -> str:
    first = results["networks"][0]
    compared = ", ".join(
        f"{row['it is']} {'with' if row['it is'] == 'level' else 'of'} {row['network']} ({row['points']:+.1f} points)"
        for row in results[f"{first['network']} against"]
    )

    spread = "" if first["sd"] is None else f" ± {first['sd']:.1f}"
    # a run of an earlier version does not say who was scored
    people = results.get("scored on", LEFT_OUT)
    lead = f"“{first['network']}” is right on {first['accuracy %']:.1f}{spread} % of the windows of {people}"

    return f"{lead}; {compared}." if compared else f"{lead}."


def _result(results: Mapping[str, Any], scores: _Scores) -> Section:
    first = results["networks"][0]["network"]
    tables = [Table(results["networks"], "Mean and standard deviation over people; operations and energy a second.")]
    if results[f"{first} against"]:
        tables.append(Table(results[f"{first} against"], f"“{first}” against each other network, in pairs of people."))

    bars = accuracy_bars({name: list(_by_person(rows).values()) for name, rows in scores.items()})
    return Section("Result", "", tables, [Picture(to_svg(bars), "Accuracy: mean, spread and every person.")])


def _confusion(scores: _Scores) -> list[Section]:
    pictures = []
    for name, rows in scores.items():
        counts = np.sum([row["confusion"] for row in rows], 0)
        classes = rows[0].get("classes") or range(len(counts))
        pictures.append(Picture(to_svg(confusion_matrix(counts, classes)), name))

    return [Section("Confusion", "Shares of the answers to each label, over all people.", pictures=pictures[:2])]


def _time(scores: _Scores) -> Section:
    lines = {name: _by_answer(rows) for name, rows in scores.items()}
    num_answers = len(next(iter(lines.values())))
    figure = accuracy_lines(np.arange(1, num_answers + 1), lines, "answers so far")
    return Section("Accuracy over time", "", pictures=[Picture(to_svg(figure), "The mean of the logits so far.")])
