"""The report of a run: comparison of networks, accuracy over time, their inside, and cost."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeAlias

import torch
from torch import Tensor

from spikebridge.analysis.activity import spikes_of_part
from spikebridge.analysis.comparison import paired_difference
from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.energy import energy, hardware_profile
from spikebridge.analysis.latency import measure_steps
from spikebridge.analysis.learning_curves import learning_curves
from spikebridge.analysis.plots.figures import (
    accuracy_bars,
    accuracy_lines,
    confusion_matrix,
    draw_network,
    raster,
    to_svg,
    unit_kernels,
)
from spikebridge.analysis.replay.network import record_network
from spikebridge.analysis.report import Picture, Section, Table, write_report
from spikebridge.analysis.summary import summarize
from spikebridge.data.io.atomic import write_text
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.digits.model import VARIANTS
from spikebridge.training.run.run import Run

_log = logging.getLogger(__name__)

_Scores: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]
"""Results of networks by name, one for each seed."""


def write(
    run: Run, facts: Mapping[str, Any], networks: Mapping[str, HybridNetwork], inputs: dict[str, Tensor], command: str
) -> Path:
    """Writes report.html into a finished run.

    Args:
        run: with its results.
        facts: settings to show.
        networks: untrained, by name; the weights of the first seed are loaded.
        inputs: a small batch for summaries and rasters.
        command: reproduces the run.
    """
    scores = _scores(run)
    for name, network in networks.items():
        run.first_child(name).load_weights(network)

    results = run.results()
    _log.info("drawing %d networks", len(networks))
    _save_pictures(run, scores, networks)

    sections = [
        _result(results, scores),
        _time(scores),
        learning_curves({path: child.metrics.rows() for path, child in run.children().items()}),
        *_confusions(scores),
        *_replay(networks, inputs),
        _inside(networks, inputs),
        _drawn(networks, inputs),
        Section("How it was measured", _MEASURED),
    ]
    return write_report(
        run.path / "report.html",
        "What and where on digits",
        sections,
        {**facts, **run.versions()},
        command,
        _lead(results),
    )


_MEASURED = (
    "A digit moves before a simulated hybrid camera for 0.3 s. Frames have a low rate and Gaussian noise; events have "
    "a high rate, some are lost, some are noise. Noise is drawn in every step of training and four times for a score. "
    "The answer is the mean over windows. The default noise was chosen on validation data before any "
    "hybrid network was scored (research/digits/noise.py).",
    "Operations are counted on the real activity of trained networks: multiply-accumulates where values are real, "
    "synaptic operations where inputs are spikes, updates of neurons. Energy is the 45 nm model of M. Horowitz "
    "(ISSCC 2014), 4.6 pJ a multiply-accumulate and 0.9 pJ an addition, without memory. The time of a tick is the "
    "median wall time of one step of a stream of one sample.",
)


def _scores(run: Run) -> dict[str, list[dict[str, Any]]]:
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in run.config["networks"]}
    for path, child in run.children().items():
        scores[path.partition("/")[0]].append(child.results())
    return scores


def _lead(results: Mapping[str, Any]) -> str:
    """The result in a sentence: the accuracy of the learned hybrid, and its differences to the other networks."""
    rows = {row["network"]: row for row in results["networks"]}
    if "learned" not in rows:
        return ""

    groups: dict[str, list[str]] = {}
    for row in results["learned against"]:
        groups.setdefault(row["learned is"], []).append(f"{row['network']} ({row['points']:+.1f})")

    words = {"ahead": "ahead of", "level": "level with", "behind": "behind"}
    compared = [f"{words.get(verdict, verdict)} {', '.join(names)}" for verdict, names in groups.items()]
    ours = f"The learned hybrid reaches {rows['learned']['accuracy %']:.1f}"
    spread = rows["learned"]["sd"]

    if spread is None:
        return f"{ours} % with one seed, which is too few for a comparison."

    return f"{ours} ± {spread:.1f} %. In points, it is {'; '.join(compared)}."


def _result(results: Mapping[str, Any], scores: _Scores) -> Section:
    rows = results["networks"]
    best = max(range(len(rows)), key=lambda i: rows[i]["accuracy %"])
    tables = [Table(rows, "Operations and energy are those of one recording.", marked=[best])]
    if results["learned against"]:
        text = "Differences seed by seed; “level” where the mean lies within two standard errors of zero."
        tables.append(Table(results["learned against"], f"The learned hybrid beside each other network. {text}"))

    return Section("Result", "", tables, [Picture(_bars(scores), "Accuracy: mean, spread and every seed.")])


def _bars(scores: _Scores) -> str:
    return to_svg(accuracy_bars({name: [100 * score["accuracy"] for score in seeds] for name, seeds in scores.items()}))


def _save_pictures(run: Run, scores: _Scores, networks: Mapping[str, HybridNetwork]) -> None:
    """Writes accuracies and networks as separate files."""
    folder = run.path / "pictures"
    folder.mkdir(exist_ok=True)
    drawn = {"accuracy": _bars(scores)} | {name: draw_network(network) for name, network in networks.items()}

    for name, svg in drawn.items():
        write_text(folder / f"{name}.svg", svg)


def _time(scores: _Scores) -> Section:
    windows = len(next(iter(scores.values()))[0]["accuracy_by_window"])
    times = [300 * (k + 1) / windows for k in range(windows)]
    lines = {
        name: [[100 * score["accuracy_by_window"][k] for score in seeds] for k in range(windows)]
        for name, seeds in scores.items()
    }

    figure = accuracy_lines(times, lines, "time since the recording began [ms]")
    text = "Every network answers at the end of each window."

    return Section("Accuracy over time", text, pictures=[Picture(to_svg(figure), "Mean of the answers so far.")])


def _confusions(scores: _Scores) -> list[Section]:
    """What is taken for what: the first network as a matrix, the most frequent confusion of each in a table."""
    counted = {
        name: torch.tensor([score["confusions"] for score in seeds]).sum(0)
        for name, seeds in scores.items()
        if all("confusions" in score for score in seeds)
    }
    if not counted:
        return []

    first, counts = next(iter(counted.items()))
    rows = []

    for name, matrix in counted.items():
        wrong = matrix.clone().fill_diagonal_(0)
        true, answered = divmod(int(wrong.argmax()), len(wrong))
        share = float(wrong[true, answered] / max(1, int(matrix[true].sum())))
        rows.append({"network": name, "digit": str(true), "taken for": str(answered), "share %": round(100 * share, 2)})

    caption = f"Answers of “{first}”, all seeds."
    picture = Picture(to_svg(confusion_matrix(counts, range(len(counts))), caption), caption)

    return [Section("Confusions", "", [Table(rows, "The most frequent confusion of each network.")], [picture])]


def _replay(networks: Mapping[str, HybridNetwork], inputs: Mapping[str, Tensor]) -> list[Section]:
    """One recording through the first network that has both sides."""
    both = next(
        ((name, network) for name, network in networks.items() if {"what", "where"} <= set(network.parts)), None
    )
    if both is None:
        return []

    name, network = both
    seen = {one: inputs[one].to(next(network.parameters()).dtype) for one in network.inputs}
    replay = record_network(network, seen, name=f"one recording in “{name}”")
    text = f"One recording in “{name}”, tick by tick: spikes, membranes, what the units give, and the answers."

    return [Section("Replay", text, replays=[replay])]


def _inside(networks: Mapping[str, HybridNetwork], inputs: Mapping[str, Tensor]) -> Section:
    pictures = []
    for name, network in networks.items():
        _log.info("recording the spikes of %s", name)
        if name == "learned":
            units = {route.name: route.link.unit for route in network.routes if route.link.unit is not None}
            figure = unit_kernels(units, num_steps=6, dt=network.dt)
            pictures.append(
                Picture(
                    to_svg(figure), "Learned FIR kernels: the weight of a spike by its age, one line for each neuron."
                )
            )

        if "where" in network.parts:
            spikes = spikes_of_part(network, "where", inputs)[:, 0]
            caption = f"Spikes of the SNN's last layer in “{name}”."
            pictures.append(Picture(to_svg(raster(spikes, network.dt)), caption))

    return Section("Inside", "Trained networks of the first seed, one recording.", pictures=pictures)


def _drawn(networks: Mapping[str, HybridNetwork], inputs: Mapping[str, Tensor]) -> Section:
    pictures = [Picture(draw_network(network), f"{name}: {VARIANTS[name]}") for name, network in networks.items()]
    first = next(iter(networks.values()))
    summary = summarize(first, {name: inputs[name] for name in first.inputs})
    tables = [Table(summary.parts, summary.title), *([Table(summary.links, "Its links")] if summary.links else [])]

    return Section("The networks", "", tables, pictures)


def measure_cost(network: HybridNetwork, inputs: dict[str, Tensor]) -> dict[str, float]:
    """Operations and energy of one recording, and the wall time of a tick.

    Args:
        network: trained.
        inputs: recordings; costs are their mean. The first one is streamed to measure the time.
    """
    cost = count_cost(network, inputs)
    total = cost.total
    one = {name: x[:, :1].repeat(8, *[1] * (x.ndim - 1)) for name, x in inputs.items()}

    return {
        "macs": total.macs,
        "synops": total.synops,
        "updates": total.updates,
        "energy_nj": energy(cost, hardware_profile("45nm")).total * 1e9,
        "tick_ms": measure_steps(network, one).median * 1e3,
    }


def compare(scores: _Scores) -> dict[str, Any]:
    """The table of all networks over seeds, the learned hybrid beside each other one, and accuracy over time.

    Args:
        scores: results of each network, one for each seed.
    """
    return {
        "networks": [_row(name, seeds) for name, seeds in scores.items()],
        "learned against": _against("learned", scores),
        "accuracy by window": [
            {"network": name} | {str(k + 1): value for k, value in enumerate(_by_window(seeds))}
            for name, seeds in scores.items()
        ],
    }


def _row(name: str, seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = [100 * score["accuracy"] for score in seeds]
    means = {key: fmean(score[key] for score in seeds) for key in ("macs", "synops", "updates", "energy_nj", "tick_ms")}

    return {
        "network": name,
        "accuracy %": round(fmean(values), 2),
        "sd": round(stdev(values), 2) if len(values) > 1 else None,
        "seeds": len(values),
        "parameters": int(seeds[0]["parameters"]),
        "kMAC": round(means["macs"] / 1e3, 1),
        "ksynop": round(means["synops"] / 1e3, 1),
        "kupdate": round(means["updates"] / 1e3, 2),
        "energy nJ": round(means["energy_nj"], 1),
        "ms a tick": round(means["tick_ms"], 3),
    }


def _against(name: str, scores: _Scores) -> list[dict[str, Any]]:
    """Differences seed by seed; "level" where the mean lies within two standard errors."""
    rows = []
    for other in scores:
        if other == name or name not in scores:
            continue
        ours, theirs = ([100 * score["accuracy"] for score in scores[one]] for one in (name, other))
        gap = paired_difference(ours, theirs)
        points, sd = gap.rounded(2)
        rows.append({"network": other, "points": points, "sd": sd, "learned is": gap.verdict()})

    return rows


def _by_window(seeds: Sequence[Mapping[str, Any]]) -> list[float]:
    columns = zip(*(score["accuracy_by_window"] for score in seeds), strict=True)
    return [round(100 * fmean(column), 2) for column in columns]
