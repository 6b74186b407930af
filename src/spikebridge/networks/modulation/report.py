"""The report of a run: accuracy over tasks, the table of methods over seeds, confusions, memory."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, TypeAlias, TypedDict

import numpy as np

from spikebridge.analysis.comparison import paired_difference
from spikebridge.analysis.learning_curves import learning_curves
from spikebridge.analysis.plots.figures import accuracy_lines, confusion_matrix, draw_network, heat_map, to_svg
from spikebridge.analysis.report import Picture, Section, Table, write_report
from spikebridge.errors import is_number
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.modulation.config import METHODS, Method
from spikebridge.networks.modulation.evaluation.scores import MethodScore
from spikebridge.training.run.run import Run

_Row = TypedDict("_Row", {"method": str, "ACC": float, "one picture": float | None})
_Differences = TypedDict("_Differences", {"hmn against": list[dict[str, Any]]}, total=False)


class _Results(_Differences):
    methods: Annotated[list[_Row], "methods"]
    after: dict[str, Annotated[list[list[float]], "_", "tasks"]]


_Scores: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]
"""Results of `score` by method, one for each seed."""

_MEASURED = (
    "R[k, j] is the accuracy on task j after k tasks. ACC is the mean of the last row. “One picture” is ACC with the "
    "task inferred from one unlabelled image, by a Gaussian on the preactivations of 64 neurons, or, without units, on "
    "as many fixed random projections of the input. “Nearest gate” compares the preactivations with stored gates. Just "
    "learnt is the mean of R[j, j], transfer the mean of R[j−1, j] over tasks with an earlier task of their group. "
    "Unseen are tasks that the backbone was not trained on.",
    "Gates and backbone are made from training images only. A seed fixes permutations, gates, weights and batches for "
    "all methods, so differences are paired.",
)
_HMN = "hmn"
_MAX_CELLS = 20  # of a row whose numbers can be read


def write(run: Run, facts: Mapping[str, Any], networks: Mapping[str, HybridNetwork], command: str) -> Path:
    """Writes report.html into a finished run, with settings, drawn networks, and the command that reproduces it."""
    results = run.results(_Results)
    trials = _trials(run)
    sections = [
        _over_tasks(results),
        _table(results),
        *_confusions(trials),
        _memory(trials),
        learning_curves({path: child.metrics.rows() for path, child in run.children().items()}, list(METHODS)),
        Section(
            "The network",
            "HMN for images as a graph: the units of the ANN set the gates of the SNN, without a task number.",
            pictures=[Picture(draw_network(network), "HMN") for network in networks.values()],
            folded=True,
        ),
        Section("How it was measured", _MEASURED, folded=True),
    ]

    title = "Continual learning with modulated neurons"
    return write_report(run.file("report.html"), title, sections, {**facts, **run.versions()}, command, _lead(results))


def _lead(results: Mapping[str, Any]) -> str:
    rows = {row["method"]: row for row in results["methods"]}
    if _HMN not in rows:
        return "Methods of continual learning, compared."

    row = rows[_HMN]
    text = f"After all tasks HMN is {100 * row['ACC']:.1f} % accurate"
    if row["one picture"] is not None:
        text += f", {100 * row['one picture']:.1f} % with the task inferred from one image"

    return f"{text}."


def _trials(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Results of every trial by method."""
    trials: dict[str, list[dict[str, Any]]] = {}
    sizes: dict[str, int] = {}
    for path, child in run.children().items():
        if path.count("/") == 1 and child.finished:
            trials.setdefault(path.partition("/")[0], []).append(child.results(MethodScore, sizes))

    return {name: trials[name] for name in METHODS if name in trials}


def _over_tasks(results: Mapping[str, Any]) -> Section:
    after = {name: results["after"][name] for name in METHODS if name in results["after"]}
    num_tasks = max((len(seeds[0]) for seeds in after.values()), default=0)
    series = {name: 100 * np.array(seeds).T for name, seeds in after.items()}
    figure = accuracy_lines(
        np.arange(1, num_tasks + 1), series, "tasks learned", "mean accuracy so far [%]", list(METHODS)
    )

    return Section(
        "Accuracy against the number of tasks",
        "Mean accuracy on all tasks learned so far (Fig. 3i); bands are one standard deviation over seeds.",
        pictures=[Picture(to_svg(figure, "accuracy against the number of tasks"), ", ".join(series))],
    )


def _table(results: Mapping[str, Any]) -> Section:
    differences = results.get(f"{_HMN} against", [])
    tables = [Table(results["methods"], "Accuracies from 0 to 1, means over seeds.")]
    if differences:
        tables.append(Table(differences, "HMN minus each method, seed by seed; level is within two standard errors."))

    return Section("Methods", "", tables)


def _confusions(trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Section]:
    """Confusions after the last task: classes with the gate given, tasks inferred from one image."""
    name = next((name for name, seeds in trials.items() if "confusions" in seeds[0]), None)
    if name is None:
        return []

    first = trials[name][0]
    classes = first["confusions"]
    figure = confusion_matrix(classes, range(len(classes)))
    pictures = [Picture(to_svg(figure, "classes"), "Classes: all tasks, each with its gate.")]

    counts = np.array(first.get("task confusions", []))
    if 0 < len(counts) <= _MAX_CELLS:
        shares = 100 * counts / counts.sum(1, keepdims=True)
        tasks = range(len(shares))
        title = "share of the images [%]"
        figure = heat_map(shares, tasks, tasks, "task", "inferred task", title, np.eye(len(shares)), "{:.0f}")
        pictures.append(Picture(to_svg(figure, "tasks"), "Tasks: inferred from one unlabelled image."))

    return [Section("Confusions", f"“{name}” after the last task, first seed.", pictures=pictures)]


def _memory(trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> Section:
    rows = [{"method": name, **seeds[0]["memory"]} for name, seeds in trials.items()]
    return Section("Memory", "", [Table(rows, "Stored numbers, and those that each further task adds.")])


def compare(scores: _Scores, methods: Mapping[str, Method] = METHODS) -> dict[str, Any]:
    """The table of all methods over seeds, paired differences, and accuracy over tasks."""
    return {
        "methods": [
            {"method": name, "what": methods[name].description, **_row(seeds)} for name, seeds in scores.items()
        ],
        f"{_HMN} against": against(_HMN, scores),
        "after": {name: [seed["after"] for seed in seeds] for name, seeds in scores.items()},
    }


def _accuracy_from_one_picture(seed: Mapping[str, Any]) -> float | None:
    """ACC with the task inferred from one unlabelled image: by the unit, or by projections of the input."""
    for mode in ("inferred", "by input"):
        if mode in seed["modes"]:
            return float(seed["modes"][mode]["1"]["accuracy"])

    return None


def _row(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    modes = [seed["modes"] for seed in seeds]
    accuracies = [seed["acc"] for seed in seeds]
    row = {
        "seeds": len(seeds),
        "ACC": fmean(accuracies),
        "sd": stdev(accuracies) if len(accuracies) > 1 else None,
        "one picture": _mean(map(_accuracy_from_one_picture, seeds)),
        "nearest gate": _mean(mode["nearest gate"]["1"]["accuracy"] for mode in modes if "nearest gate" in mode),
        "two nearest": _mean(mode.get("two nearest") for mode in modes),
        "just learnt": _mean(seed["just_learnt"] for seed in seeds),
        "forgetting": _mean(seed["forgetting"] for seed in seeds),
        "transfer": _mean(seed["transfer"] for seed in seeds),
        "FWT": _mean(seed["fwt"] for seed in seeds),
        "BWT": _mean(seed["bwt"] for seed in seeds),
        "unseen": _mean(seed["unseen"].get("acc") for seed in seeds),
        "opening": seeds[0]["opening"][0].get("mean") if "opening" in seeds[0] else None,
        "s a task": fmean(fmean(seed["seconds"]) for seed in seeds),
    }

    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}


def against(name: str, scores: _Scores) -> list[dict[str, Any]]:
    """Differences of a method to each other method, over the seeds that both have."""
    rows = []
    for other in scores:
        by_seed = {trial["seed"]: trial for trial in scores[other]}
        pairs = [(trial, by_seed[trial["seed"]]) for trial in scores.get(name, ()) if trial["seed"] in by_seed]
        if other == name or not pairs:
            continue

        row: dict[str, Any] = {"method": other, "seeds": len(pairs)}
        for title, key in (("ACC", "acc"), ("transfer", "transfer"), ("forgetting", "forgetting")):
            # a sequence without similar tasks has no transfer
            both = [(a[key], b[key]) for a, b in pairs if a[key] is not None and b[key] is not None]
            if both:
                difference = paired_difference([a for a, _ in both], [b for _, b in both])
                row[title], row[f"{title} sd"] = difference.rounded(4)

        row["ACC is"] = paired_difference([a["acc"] for a, _ in pairs], [b["acc"] for _, b in pairs]).verdict()
        rows.append(row)

    return rows


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [float(value) for value in values if is_number(value)]
    return fmean(numbers) if numbers else None
