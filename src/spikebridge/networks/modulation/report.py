"""The report of a run: accuracy over tasks, transfer, representation, cost, and the table of methods over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeAlias

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from spikebridge.analysis.comparison import paired_difference
from spikebridge.analysis.learning_curves import learning_curves
from spikebridge.analysis.plots.figures import accuracy_lines, confusion_matrix, draw_network, heat_map, to_svg
from spikebridge.analysis.plots.style import INK, PAPER, SERIES, new_figure
from spikebridge.analysis.report import Picture, Section, Table, write_report
from spikebridge.errors import ShapeError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.modulation.training.methods import METHODS
from spikebridge.training.run.run import Run

_Scores: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]
"""Results of `score` by method, one for each seed."""

_MEASURED = (
    "Every task shows the same images with permuted pixels; the permutations of one group are similar. R[k, j] is the "
    "accuracy on task j after k tasks. ACC is the mean of the last row. “One picture” is ACC with the task inferred "
    "from one unlabelled image, by a Gaussian on the preactivations of 64 neurons, or, where no unit makes the gates, "
    "on as many fixed random projections of the input. “Nearest gate” compares the preactivations with stored gates. "
    "Just learnt is the mean of R[j, j], transfer the mean of R[j−1, j] over tasks with an earlier task of their "
    "group. Unseen are tasks that the backbone was not trained on.",
    "Gates and backbone are made from training images only. Every method is a setting of one training loop and one "
    "branch. A seed fixes permutations, gates, weights and batches for all methods, so differences are paired.",
)
_MODES = {
    "given": "gate of the learned task",
    "inferred": "task inferred from each image",
    "nearest gate": "gate nearest to each image",
}
_OURS = "hmn"
# the most important methods stand in one figure, the others follow
_FIRST = ("hmn", "hmn_shared", "projection", "xdg_ewc", "group_ewc", "single")
_MOST_LINES = 6
_MOST_CELLS = 20  # of a row whose numbers can be read
_MARKERS = "os^Dv*PX"


def write(run: Run, facts: Mapping[str, Any], networks: Mapping[str, HybridNetwork], command: str) -> Path:
    """Writes report.html into a finished run.

    Args:
        run: with its results and those of its trials.
        facts: settings to show.
        networks: to draw.
        command: reproduces the run.
    """
    results = run.results()
    trials = _trials(run)
    sections = [
        _over_tasks(results),
        _table(results),
        *_transfer(trials),
        *_representation(trials),
        *_confusions(trials),
        _cost(trials),
        learning_curves({path: child.metrics.rows() for path, child in run.children().items()}),
        Section(
            "The network",
            "HMN for images as a graph: the units of the ANN set the gates of the SNN, without a task number.",
            pictures=[Picture(draw_network(network), "HMN") for network in networks.values()],
        ),
        Section("How it was measured", _MEASURED),
    ]

    return write_report(
        run.path / "report.html",
        "Continual learning with modulated neurons",
        sections,
        {**facts, **run.versions()},
        command,
        _lead(results),
    )


def _lead(results: Mapping[str, Any]) -> str:
    """The result in a sentence or two.

    Example:
        >>> rows = [{"method": "hmn", "ACC": 0.96, "one picture": 0.95, "transfer": 0.8, "forgetting": 0.01},
        ...         {"method": "single", "ACC": 0.97, "one picture": None, "transfer": 0.1, "forgetting": 0.0}]
        >>> print(_lead({"methods": rows}))
        After all tasks HMN is 96.0 % accurate, 95.0 % with the task inferred from one image. The upper bound is 97.0 %.
    """
    rows = {row["method"]: row for row in results["methods"]}
    if "hmn" not in rows:
        return "Methods of continual learning, compared."

    ours = rows["hmn"]
    text = f"After all tasks HMN is {100 * ours['ACC']:.1f} % accurate"
    if ours["one picture"] is not None:
        text += f", {100 * ours['one picture']:.1f} % with the task inferred from one image"

    ceiling = f" The upper bound is {100 * rows['single']['ACC']:.1f} %." if "single" in rows else ""
    return f"{text}.{ceiling}"


def _trials(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Results of every trial by method."""
    trials: dict[str, list[dict[str, Any]]] = {}
    for path, child in run.children().items():
        if path.count("/") == 1 and child.finished:
            trials.setdefault(path.partition("/")[0], []).append(child.results())

    return {name: trials[name] for name in METHODS if name in trials}


def _main_first(names: Iterable[str]) -> list[str]:
    """The methods of the main figure first."""
    return sorted(names, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))


def _over_tasks(results: Mapping[str, Any]) -> Section:
    after: Mapping[str, Sequence[Sequence[float]]] = results["after"]
    pictures = []
    names = _main_first(after)

    for start in range(0, len(names), _MOST_LINES):
        some = names[start : start + _MOST_LINES]
        number = len(after[some[0]][0])
        series = {name: 100 * np.array(after[name]).T for name in some}
        figure = accuracy_lines(np.arange(1, number + 1), series, "tasks learned", "mean accuracy so far [%]")
        pictures.append(Picture(to_svg(figure, "accuracy against the number of tasks"), ", ".join(some)))

    text = "Mean accuracy on all tasks learned so far (Fig. 3i); bands are one standard deviation over seeds."
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
    for kind, title in _MODES.items():
        series = {name: 100 * np.array(curve[kind]) for name, curve in with_curve.items() if kind in curve}
        if series:
            shares = next(iter(with_curve.values()))["shares"]
            some = {name: series[name] for name in _main_first(series)[:_MOST_LINES]}
            figure = accuracy_lines(shares, some, "share of the permutation shuffled again")
            pictures.append(Picture(to_svg(figure, f"unlearned similar tasks, {title}"), title))

    text = "Accuracy on tasks without training: a window of a learned permutation is shuffled again (Fig. 3f)."
    return [Section("Unlearned similar tasks", text, pictures=pictures)]


def _representation(trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Section]:
    shown = {name: seeds[0]["representation"] for name, seeds in trials.items() if "representation" in seeds[0]}
    gated = [name for name in _main_first(shown) if "gate similarity" in shown[name]][:2]
    if not gated:
        return []

    group = shown[gated[0]]["group"]
    pictures = []
    overlap = matrix_map(shown[gated[0]]["overlap"], group, "overlap of permutations", (0.0, 1.0))
    pictures.append(Picture(to_svg(overlap, "overlap of permutations"), "Similarity of tasks, by construction."))

    for name in gated:
        found = shown[name]
        figure = matrix_map(found["gate similarity"], group, f"similarity of gates, {name}", (0.0, 1.0))
        pictures.append(Picture(to_svg(figure, "gate similarity"), "Cosine between gates (Fig. 3b)."))

    for name in [*gated[:1], *(other for other in ("snn", "snn_ewc") if other in shown)][:2]:
        figure = matrix_map(shown[name]["activity correlation"], group, f"hidden activity, {name}", (0.0, 1.0))
        pictures.append(Picture(to_svg(figure, "activity"), "Correlation of mean hidden activity (Fig. 3c, d)."))

    first = shown[gated[0]]
    if "embedding" in first:
        figure = embedding_map(first["embedding"], group, first["unseen"], f"gates of {gated[0]} in a plane")
        pictures.append(
            Picture(
                to_svg(figure, "embedding"), "One mark for each task, one colour and shape for each group (Fig. 3e)."
            )
        )

    figure = signals_map(first["signals"], group, title=f"first gates of each task, {gated[0]}")
    pictures.append(Picture(to_svg(figure, "signals"), "Open neurons of the first layer (Fig. 3h)."))
    keys = ("correlation of gates with overlap", "silhouette")

    rows = [
        {"method": name, **{key: round(value[key], 3) for key in keys if value.get(key) is not None}}
        for name, value in shown.items()
        if any(value.get(key) is not None for key in keys)
    ]

    tables = [Table(rows, "One number for each map below, first seed.")] if rows else []
    return [Section("Representation of tasks", "First seed.", tables, pictures)]


def _confusions(trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Section]:
    """What is taken for what after the last task: classes with the gate given, tasks inferred from one image."""
    name = next((name for name in _main_first(trials) if "confusions" in trials[name][0]), None)
    if name is None:
        return []

    first = trials[name][0]
    classes = first["confusions"]
    figure = confusion_matrix(classes, range(len(classes)))
    pictures = [Picture(to_svg(figure, "classes"), "Classes: all tasks, each with its gate.")]

    if "task confusions" in first:
        counts = np.array(first["task confusions"])
        shares = 100 * counts / counts.sum(1, keepdims=True)
        tasks = range(len(shares))
        title = "share of the images [%]"

        if len(shares) <= _MOST_CELLS:
            figure = heat_map(shares, tasks, tasks, "task", "inferred task", title, np.eye(len(shares)), "{:.0f}")
        else:
            figure = matrix_map(shares, None, title, (0.0, 100.0), column_title="inferred task")

        pictures.append(Picture(to_svg(figure, "tasks"), "Tasks: inferred from one unlabelled image."))

    return [Section("Confusions", f"“{name}” after the last task, first seed.", pictures=pictures)]


def _cost(trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> Section:
    rows = []
    seconds = {}
    kept = {}

    for name, seeds in trials.items():
        first = seeds[0]
        memory = seeds[0]["memory"]
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
        some = {name: values[name] for name in _main_first(values)[:_MOST_LINES]}
        figure = accuracy_lines(np.arange(1, len(next(iter(some.values()))) + 1), some, "task", title)
        figure.axes[0].set_ylim(bottom=0)

        pictures.append(
            Picture(
                to_svg(figure, f"{title} against tasks"), f"{title[0].upper()}{title[1:]}, against the number of tasks."
            )
        )

    text = (
        "Counted operations of the branch for one image. The units run once for each task where the gate is given, "
        "once for each image where it is inferred. Energy is that of the branch, 45 nm. Seconds of a resumed run or "
        "of a busy machine are not comparable."
    )
    return Section("Cost and memory", text, [Table(rows, "Stored numbers, seconds, operations.")], pictures)


def _thousands(value: float | None) -> float | None:
    return None if value is None else round(value / 1e3, 1)


def compare(scores: _Scores) -> dict[str, Any]:
    """The table of all methods over seeds, paired differences, and accuracy over tasks.

    Args:
        scores: of all methods.
    """
    return {
        "methods": [_row(name, seeds) for name, seeds in scores.items()],
        f"{_OURS} against": against(_OURS, scores),
        "after": {name: [seed["after"] for seed in seeds] for name, seeds in scores.items()},
    }


def _accuracy_from_one_picture(seed: Mapping[str, Any]) -> float | None:
    """ACC with the task inferred from one unlabelled image: by the unit, or by projections of the input."""
    modes = seed["modes"]
    if "per_sample" in modes:
        return float(modes["per_sample"])

    for mode in ("inferred", "by input"):
        if mode in modes:
            return float(modes[mode]["1"]["accuracy"])

    return None


def _row(name: str, seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = seeds[0]
    row = {
        "method": name,
        "what": METHODS[name].description,
        "seeds": len(seeds),
        "ACC": _mean([seed["acc"] for seed in seeds]),
        "sd": _spread([seed["acc"] for seed in seeds]),
        "one picture": _mean([value for seed in seeds if (value := _accuracy_from_one_picture(seed)) is not None]),
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


def against(name: str, scores: _Scores) -> list[dict[str, Any]]:
    """Differences to each other method, over the seeds that both have.

    Args:
        name: of the method.
        scores: of all methods.
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
                row[title], row[f"{title} sd"] = gap.rounded(4)

        row["ACC is"] = paired_difference([a["acc"] for a, _ in pairs], [b["acc"] for _, b in pairs]).verdict()
        rows.append(row)

    return rows


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _spread(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def matrix_map(
    values: ArrayLike,
    group: ArrayLike | None = None,
    title: str = "",
    limits: tuple[float, float] | None = None,
    row_title: str = "task",
    column_title: str = "task",
) -> Figure:
    """A matrix as an image: the higher a value, the stronger the colour; lines between groups.

    Args:
        values: `(R, C)`.
        group: `(R,)`, growing, of each row, and of each column of a square matrix.
        title: above the figure.
        limits: values of no and of full colour; None: the least and the most.
        row_title, column_title: of the axes.

    Raises:
        ShapeError: not a matrix, or not one group a row.
    """
    grid = _array(values)
    if grid.ndim != 2 or not grid.size:
        raise ShapeError(f"a map needs a matrix (R, C), but got shape {grid.shape}.")

    low, high = (float(np.nanmin(grid)), float(np.nanmax(grid))) if limits is None else limits
    figure, axes = new_figure(4.6, 0.9 + 3.4 * min(1.0, max(0.4, len(grid) / grid.shape[1])), title)
    # clear to full, so that the page shows through where a value is low
    colours = LinearSegmentedColormap.from_list("clear to full", [to_rgba(SERIES[0], 0.0), to_rgba(SERIES[0], 1.0)])
    image = axes.imshow(grid, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, fraction=0.05)
    bar.ax.tick_params(colors=INK, labelsize=9)

    if group is not None:
        groups = _array(group)
        if groups.shape != (len(grid),):
            raise ShapeError(f"a map of {len(grid)} rows needs as many groups, but got shape {groups.shape}.")
        for place in np.flatnonzero(np.diff(groups)) + 0.5:
            axes.axhline(place, color=INK, linewidth=0.5, alpha=0.5)
            if grid.shape[0] == grid.shape[1]:
                axes.axvline(place, color=INK, linewidth=0.5, alpha=0.5)

    axes.set(xlabel=column_title, ylabel=row_title)
    return figure


def signals_map(signals: ArrayLike, group: ArrayLike | None = None, num_values: int = 128, title: str = "") -> Figure:
    """The first values of each task's signal, a row a task (Fig. 3h).

    Args:
        signals: `(K, C)`.
        group: `(K,)`, growing.
        num_values: how many of each signal.
        title: above the figure.
    """
    return matrix_map(_array(signals)[:, :num_values], group, title, (0.0, 1.0), column_title="neuron")


def embedding_map(points: ArrayLike, group: ArrayLike, unseen: ArrayLike | None = None, title: str = "") -> Figure:
    """Signals in a plane: a colour and mark a group, hollow where the backbone has not seen the task (Fig. 3e).

    Args:
        points: `(M, 2)`.
        group: `(M,)`.
        unseen: `(M,)`, truth values.
        title: above the figure.

    Raises:
        ShapeError: not one point, group and truth value each.
    """
    places = _array(points)
    groups = _array(group)
    hollow = np.zeros(len(places), dtype=bool) if unseen is None else _array(unseen).astype(bool)
    if places.shape != (len(groups), 2) or groups.ndim != 1 or hollow.shape != groups.shape:
        raise ShapeError(
            f"an embedding needs points (M, 2) with a group and a truth value each, but got shapes {places.shape}, "
            f"{groups.shape} and {hollow.shape}."
        )

    figure, axes = new_figure(4.8, 3.6, title)
    for i, one in enumerate(np.unique(groups)):
        colour = SERIES[i % len(SERIES)]
        # the marks change more slowly than the colours, so that their pairs do not repeat early
        marker = _MARKERS[i // len(SERIES) % len(_MARKERS)]
        for filled, mark in ((colour, ~hollow), (PAPER, hollow)):
            chosen = (groups == one) & mark
            axes.plot(*places[chosen].T, marker, color=colour, markerfacecolor=filled, markersize=6, linestyle="none")

    axes.set_xticks([])
    axes.set_yticks([])
    if hollow.any():
        axes.set_xlabel("hollow: a task that the backbone has not seen")

    return figure


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)
