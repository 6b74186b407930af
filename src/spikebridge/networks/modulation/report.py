"""The page of the modulation recipe: accuracy over tasks, transfer, how tasks are told apart, cost, the table.

The table of the modulation recipe: means and spreads over seeds, and HMN beside each rival, seed by seed.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeAlias

import numpy as np

from spikebridge.analysis.plots.figures import accuracy_lines, draw_network, to_svg
from spikebridge.analysis.report import Picture, Section, Table, write_report
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.modulation.evaluation.accuracy_matrix import paired_difference
from spikebridge.networks.modulation.evaluation.representation import embedding_map, matrix_map, signals_map
from spikebridge.networks.modulation.training.methods import METHODS
from spikebridge.training.run.run import Run

MEASURED = (
    "Every task shows the same pictures with their pixels in another order; tasks of a group have nearly the same "
    "order. R[k, j] is the accuracy on task j after k tasks. ACC is the mean of the last row; “one picture” is ACC "
    "where the task is found from one unlabelled picture, by a Gaussian on the drives of 64 neurons, or for gates that "
    "no unit makes on as many fixed random projections of the input; “nearest gate” compares the drives with stored "
    "gates. Just learnt is the mean of R[j, j], transfer the mean of R[j−1, j] over tasks with an "
    "earlier mate of their group. Unseen are tasks that the backbone has not been trained on.",
    "Gates, backbone and opening are made of training pictures alone. Every method is a setting of one loop with one "
    "branch; a seed fixes orders, gates, weights and batches for all methods, so differences are paired.",
)
MOST_LINES = 6
WAYS = {
    "given": "the learnt task's gate is kept",
    "inferred": "the task is inferred from each picture",
    "nearest gate": "the gate nearest to each picture is taken",
}
# what matters most stands in one figure; the others follow
MAIN = "hmn"
FIRST = ("hmn", "hmn_shared", "projection", "xdg_ewc", "group_ewc", "single")


def write(run: Run, networks: Mapping[str, HybridNetwork], command: str) -> Path:
    """Writes report.html into a finished run.

    Args:
        run: with its results and those of its cells.
        networks: to draw.
        command: what makes the same run again.
    """
    results = run.results()
    trials = _cells(run)
    sections = [
        _over_tasks(results),
        _table(results),
        *_transfer(trials),
        *_telling_apart(trials),
        _cost(trials),
        Section(
            "The network",
            "HMN on pictures as a graph: the ANN's units set the gates of the SNN, no task is named.",
            pictures=[Picture(draw_network(network), "HMN") for network in networks.values()],
        ),
        Section("How it was measured", MEASURED),
    ]
    names = ("dataset", "split", "num_tasks", "num_seeds", "seed", "num_hidden", "rho", "epochs", "batch_size")
    facts: dict[str, Any] = {name: run.config[name] for name in names}
    facts |= {name: run.environment().get(name) for name in ("spikebridge", "torch", "platform", "git_revision")}
    return write_report(
        run.path / "report.html", "Many tasks without forgetting", sections, facts, command, lead(results)
    )


def lead(results: Mapping[str, Any]) -> str:
    """The result in a sentence or two.

    Example:
        >>> rows = [{"method": "hmn", "ACC": 0.96, "one picture": 0.95, "transfer": 0.8, "forgetting": 0.01},
        ...         {"method": "single", "ACC": 0.97, "one picture": None, "transfer": 0.1, "forgetting": 0.0}]
        >>> print(lead({"methods": rows}))
        After all tasks HMN answers 96.0 % right, 95.0 % with the task found from one picture. The ceiling is 97.0 %.
    """
    rows = {row["method"]: row for row in results["methods"]}
    if "hmn" not in rows:
        return "Methods of continual learning side by side."
    ours = rows["hmn"]
    text = f"After all tasks HMN answers {100 * ours['ACC']:.1f} % right"
    if ours["one picture"] is not None:
        text += f", {100 * ours['one picture']:.1f} % with the task found from one picture"
    ceiling = f" The ceiling is {100 * rows['single']['ACC']:.1f} %." if "single" in rows else ""
    return f"{text}.{ceiling}"


def _cells(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Results of every cell by method."""
    trials: dict[str, list[dict[str, Any]]] = {}
    for path, child in run.children().items():
        if path.count("/") == 1 and child.finished:
            trials.setdefault(path.partition("/")[0], []).append(child.results())
    return {name: trials[name] for name in METHODS if name in trials}


def _main_first(names: Iterable[str]) -> list[str]:
    """Those of the main figure first, the others in their order."""
    return sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def _over_tasks(results: Mapping[str, Any]) -> Section:
    after: Mapping[str, Sequence[Sequence[float]]] = results["after"]
    pictures = []
    names = _main_first(after)
    for start in range(0, len(names), MOST_LINES):
        some = names[start : start + MOST_LINES]
        number = len(after[some[0]][0])
        series = {name: 100 * np.array(after[name]).T for name in some}
        figure = accuracy_lines(np.arange(1, number + 1), series, "tasks learnt", "mean accuracy so far [%]")
        pictures.append(Picture(to_svg(figure, "accuracy against the number of tasks"), ", ".join(some)))
    text = "Mean accuracy on all tasks learnt so far (Fig. 3i); bands are one standard deviation over seeds."
    return Section("Accuracy against the number of tasks", text, pictures=pictures)


def _table(results: Mapping[str, Any]) -> Section:
    against = results.get("hmn against", [])
    tables = [Table(results["methods"], "Accuracies from 0 to 1, means over seeds.")]
    if against:
        tables.append(Table(against, "HMN minus each method, seed by seed; level is within two standard errors."))
    return Section("Methods", "", tables)


def _transfer(trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Section]:
    with_curve = {name: seeds[0]["reshuffled"] for name, seeds in trials.items() if "reshuffled" in seeds[0]}
    if not with_curve:
        return []
    pictures = []
    for kind, title in WAYS.items():
        series = {name: 100 * np.array(curve[kind]) for name, curve in with_curve.items() if kind in curve}
        if series:
            shares = next(iter(with_curve.values()))["shares"]
            some = {name: series[name] for name in _main_first(series)[:MOST_LINES]}
            figure = accuracy_lines(shares, some, "share of the order shuffled once more")
            pictures.append(Picture(to_svg(figure, f"unlearnt but similar tasks, {title}"), title))
    text = "Accuracy on tasks that were never learnt: a window of a learnt order is shuffled once more (Fig. 3f)."
    return [Section("Unlearnt but similar", text, pictures=pictures)]


def _telling_apart(trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Section]:
    shown = {name: seeds[0]["representation"] for name, seeds in trials.items() if "representation" in seeds[0]}
    gated = [name for name in _main_first(shown) if "gate similarity" in shown[name]][:2]
    if not gated:
        return []
    group, pictures = shown[gated[0]]["group"], []
    overlap = matrix_map(shown[gated[0]]["overlap"], group, "likeness of orders", (0.0, 1.0))
    pictures.append(Picture(to_svg(overlap, "overlap of orders"), "Which tasks are alike, by construction."))
    for name in gated:
        found = shown[name]
        figure = matrix_map(found["gate similarity"], group, f"likeness of gates, {name}", (0.0, 1.0))
        pictures.append(Picture(to_svg(figure, "gate similarity"), "Cosine between gates (Fig. 3b)."))
    for name in [*gated[:1], *(other for other in ("snn", "snn_ewc") if other in shown)][:2]:
        figure = matrix_map(shown[name]["activity correlation"], group, f"hidden activity, {name}", (0.0, 1.0))
        pictures.append(Picture(to_svg(figure, "activity"), "Correlation of mean hidden activity (Fig. 3c, d)."))
    first = shown[gated[0]]
    if "embedding" in first:
        figure = embedding_map(first["embedding"], group, first["unseen"], f"gates of {gated[0]} in a plane")
        pictures.append(
            Picture(to_svg(figure, "embedding"), "Each mark is a task, a colour and shape a group (Fig. 3e).")
        )
    figure = signals_map(first["signals"], group, title=f"first gates of each task, {gated[0]}")
    pictures.append(Picture(to_svg(figure, "signals"), "Open neurons of the first layer (Fig. 3h)."))
    keys = ("correlation of gates with overlap", "silhouette")
    rows = [
        {"method": name, **{key: round(value[key], 3) for key in keys if value.get(key) is not None}}
        for name, value in shown.items()
        if any(value.get(key) is not None for key in keys)
    ]
    tables = [Table(rows, "One number for the maps below, first seed.")] if rows else []
    return [Section("How tasks are told apart", "First seed.", tables, pictures)]


def _cost(trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> Section:
    rows, seconds, kept = [], {}, {}
    for name, seeds in trials.items():
        first, memory = seeds[0], seeds[0]["memory"]
        cost = first.get("cost", {})
        per_task = np.mean([seed["seconds"] for seed in seeds], 0)
        seconds[name] = per_task
        numbers = memory["branch"] + memory["backbone"] + memory["buffers"]
        tasks = np.arange(1, len(per_task) + 1)
        in_table = memory["table bits a task"] / 8 + 4 * memory.get("numbers a task", 0)
        kept[name] = (4 * numbers + tasks * in_table) / 1e6
        growth = [seed["growth of seconds"] for seed in seeds if seed["growth of seconds"] is not None]
        rows.append(
            {
                "method": name,
                "branch": memory["branch"],
                "backbone": memory["backbone"],
                "buffers": memory["buffers"],
                "gate bits a task": memory["table bits a task"],
                "numbers a task": memory.get("numbers a task", 0),
                "s a task": round(float(per_task.mean()), 3),
                "growth a task %": round(100 * fmean(growth), 2) if growth else None,
                "kMAC": _thousands(cost.get("macs")),
                "ksynop": _thousands(cost.get("synops")),
                "kMAC units": _thousands(cost.get("backbone macs")),
                "energy nJ": None if "energy nJ" not in cost else round(cost["energy nJ"], 1),
            }
        )
    pictures = []
    for values, title in ((seconds, "seconds a task"), (kept, "memory [MB]")):
        some = {name: values[name] for name in _main_first(values)[:MOST_LINES]}
        figure = accuracy_lines(np.arange(1, len(next(iter(some.values()))) + 1), some, "task", title)
        figure.axes[0].set_ylim(bottom=0)
        pictures.append(
            Picture(
                to_svg(figure, f"{title} against tasks"), f"{title[0].upper()}{title[1:]}, against the number of tasks."
            )
        )
    text = (
        "Operations of one picture in the branch, counted; the units' products are once a task where the gate is "
        "given, once a picture where it is inferred. Energy is of the branch, 45 nm. Seconds of a stopped and resumed "
        "run or a busy machine are not comparable."
    )
    return Section("Cost and memory", text, [Table(rows, "Numbers kept, seconds, operations.")], pictures)


def _thousands(value: float | None) -> float | None:
    return None if value is None else round(value / 1e3, 1)


Scores: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]


def compare(scores: Scores) -> dict[str, Any]:
    """The table of all methods over seeds, paired differences, and accuracy over tasks.

    Args:
        scores: what `modulation_scores.score` gave, a list over seeds for each method.
    """
    return {
        "methods": [_row(name, seeds) for name, seeds in scores.items()],
        f"{MAIN} against": against(MAIN, scores),
        "after": {name: [seed["after"] for seed in seeds] for name, seeds in scores.items()},
    }


def inferred(seed: Mapping[str, Any]) -> float | None:
    """ACC with the task found from one unlabelled picture: by the unit, else by projections of the raw input."""
    modes = seed["modes"]
    if "per_sample" in modes:
        return float(modes["per_sample"])
    for way in ("inferred", "by input"):
        if way in modes:
            return float(modes[way]["1"]["accuracy"])
    return None


def _row(name: str, seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = seeds[0]
    row = {
        "method": name,
        "what": METHODS[name].about,
        "seeds": len(seeds),
        "ACC": _mean([seed["acc"] for seed in seeds]),
        "sd": _spread([seed["acc"] for seed in seeds]),
        "one picture": _mean([value for seed in seeds if (value := inferred(seed)) is not None]),
        "nearest gate": _mean(
            [seed["modes"]["nearest gate"]["1"]["accuracy"] for seed in seeds if "nearest gate" in seed["modes"]]
        ),
        "two nearest": _mean([seed["modes"]["two nearest"] for seed in seeds if "two nearest" in seed["modes"]]),
        "just learnt": _mean([seed["just_learnt"] for seed in seeds]),
        "forgetting": _mean([seed["forgetting"] for seed in seeds]),
        "transfer": _mean([seed["transfer"] for seed in seeds if seed["transfer"] is not None]),
        "FWT": _mean([seed["fwt"] for seed in seeds if seed["fwt"] is not None]),
        "BWT": _mean([seed["bwt"] for seed in seeds if seed["bwt"] is not None]),
        "unseen": _mean([seed["unseen"]["acc"] for seed in seeds if seed["unseen"]["acc"] is not None]),
        "opening": first["opening"][0]["mean"] if "opening" in first else None,
        "s a task": _mean([fmean(seed["seconds"]) for seed in seeds]),
    }
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}


def against(name: str, scores: Scores) -> list[dict[str, Any]]:
    """Differences seed by seed, over the seeds that both have.

    Args:
        name: of the method that the others are held against.
        scores: of all.
    """
    rows = []
    for other in scores:
        if name not in scores or other == name:
            continue
        theirs = {seed["seed"]: seed for seed in scores[other]}
        pairs = [(ours, theirs[ours["seed"]]) for ours in scores[name] if ours["seed"] in theirs]
        if not pairs:
            continue
        row: dict[str, Any] = {"method": other, "seeds": len(pairs)}
        for title, key in (("ACC", "acc"), ("transfer", "transfer"), ("forgetting", "forgetting")):
            there = [(a[key], b[key]) for a, b in pairs if a[key] is not None and b[key] is not None]
            if there:
                gap = paired_difference([a for a, _ in there], [b for _, b in there])
                row[title] = round(gap.mean, 4)
                row[f"{title} sd"] = None if gap.num_seeds < 2 else round(gap.sd, 4)
        gap = paired_difference([a["acc"] for a, _ in pairs], [b["acc"] for _, b in pairs])
        row["ACC is"] = verdict(gap.mean, gap.sd, gap.num_seeds)
        rows.append(row)
    return rows


def verdict(mean: float, sd: float, num_seeds: int) -> str:
    """Whether a paired difference is more than two standard errors.

    Example:
        >>> verdict(0.01, 0.002, 4), verdict(0.01, 0.02, 4), verdict(0.01, float("nan"), 1)
        ('ahead', 'level', 'one seed tells nothing')
    """
    if num_seeds < 2:
        return "one seed tells nothing"
    if abs(mean) <= 2 * sd / num_seeds**0.5:
        return "level"
    return "ahead" if mean > 0 else "behind"


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _spread(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None
