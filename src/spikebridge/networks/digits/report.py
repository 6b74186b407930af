"""The report of a run: comparison of networks, accuracy over time, their inside, and cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, TypeAlias, TypedDict

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
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.digits.model import VARIANTS
from spikebridge.training.run.run import Run


class NetworkScore(TypedDict):
    """Results of one network and seed."""

    macs: float
    synops: float
    updates: float
    energy_nj: float
    tick_ms: float
    accuracy: float
    accuracy_by_window: Annotated[list[float], "windows"]
    confusions: Annotated[list[list[int]], "classes", "classes"]
    parameters: int


_Row = TypedDict("_Row", {"network": str, "accuracy %": float, "sd": float | None})
_Difference = TypedDict("_Difference", {"network": str, "points": float, "learned is": str})
_Results = TypedDict("_Results", {"networks": Annotated[list[_Row], "networks"], "learned against": list[_Difference]})
_Scores: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]
"""Results of networks by name, one for each seed."""


def write(
    run: Run, facts: Mapping[str, Any], networks: Mapping[str, HybridNetwork], inputs: dict[str, Tensor], command: str
) -> Path:
    """Writes report.html into a finished run; the networks get the weights of the first seed."""
    scores = _scores(run)
    for name, network in networks.items():
        run.first_child(name).load_weights(network)

    results = run.results(_Results)
    sections = [
        _result(results, scores),
        _time(scores),
        learning_curves({path: child.metrics.rows() for path, child in run.children().items()}, list(scores)),
        _confusions(scores),
        *_replay(networks, inputs),
        _inside(networks, inputs),
        _drawn(networks, inputs),
        Section("How it was measured", _MEASURED, folded=True),
    ]
    title = "What and where on digits"
    return write_report(run.file("report.html"), title, sections, {**facts, **run.versions()}, command, _lead(results))


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
    sizes: dict[str, int] = {}
    for path, child in run.children().items():
        if (seeds := scores.get(path.partition("/")[0])) is not None:
            seeds.append(child.results(NetworkScore, sizes))

    return scores


def _lead(results: Mapping[str, Any]) -> str:
    """The accuracy of the learned hybrid, and its differences to the other networks, in two sentences."""
    rows = {row["network"]: row for row in results["networks"]}
    if "learned" not in rows:
        return ""

    groups: dict[str, list[str]] = {}
    for row in results["learned against"]:
        groups.setdefault(row["learned is"], []).append(f"{row['network']} ({row['points']:+.1f})")

    words = {"ahead": "ahead of", "level": "level with", "behind": "behind"}
    verdicts = "; ".join(f"{words.get(verdict, verdict)} {', '.join(names)}" for verdict, names in groups.items())
    reached = f"The learned hybrid reaches {rows['learned']['accuracy %']:.1f}"
    spread = rows["learned"]["sd"]

    # one seed has no spread
    if spread is None:
        return f"{reached} % with one seed, which is too few for a comparison."

    return f"{reached} ± {spread:.1f} %. In points, it is {verdicts}."


def _result(results: Mapping[str, Any], scores: _Scores) -> Section:
    rows = results["networks"]
    best = max(range(len(rows)), key=lambda i: rows[i]["accuracy %"])
    tables = [Table(rows, "Operations and energy are those of one recording.", marked=[best])]
    if results["learned against"]:
        text = "Differences seed by seed; “level” where the mean lies within two standard errors of zero."
        tables.append(Table(results["learned against"], f"The learned hybrid against each other network. {text}"))

    bars = accuracy_bars({name: [100 * score["accuracy"] for score in seeds] for name, seeds in scores.items()})
    return Section("Result", "", tables, [Picture(to_svg(bars), "Accuracy: mean, spread and every seed.")])


def _time(scores: _Scores) -> Section:
    num_windows = len(next(iter(scores.values()))[0]["accuracy_by_window"])
    times = [300 * (k + 1) / num_windows for k in range(num_windows)]
    lines = {
        name: [[100 * score["accuracy_by_window"][k] for score in seeds] for k in range(num_windows)]
        for name, seeds in scores.items()
    }

    figure = accuracy_lines(times, lines, "time since the recording began [ms]")
    text = "Every network answers at the end of each window."

    return Section("Accuracy over time", text, pictures=[Picture(to_svg(figure), "Mean of the answers so far.")])


def _confusions(scores: _Scores) -> Section:
    """The confusion matrix of the first network, and the most frequent confusion of each."""
    counts = {name: torch.tensor([score["confusions"] for score in seeds]).sum(0) for name, seeds in scores.items()}
    rows = []

    for name, matrix in counts.items():
        wrong = matrix.clone().fill_diagonal_(0)
        true, answered = divmod(int(wrong.argmax()), len(wrong))
        share = float(wrong[true, answered] / max(1, int(matrix[true].sum())))
        rows.append({"network": name, "digit": str(true), "taken for": str(answered), "share %": round(100 * share, 2)})

    first, matrix = next(iter(counts.items()))
    caption = f"Answers of “{first}”, all seeds."
    picture = Picture(to_svg(confusion_matrix(matrix, range(len(matrix))), caption), caption)

    return Section(
        "Confusions", "", [Table(rows, "The most frequent confusion of each network.")], [picture], folded=True
    )


def _replay(networks: Mapping[str, HybridNetwork], inputs: Mapping[str, Tensor]) -> list[Section]:
    """One recording through the first network with both pathways."""
    hybrids = [name for name, network in networks.items() if {"what", "where"} <= set(network.parts)]
    if not hybrids:
        return []

    name = hybrids[0]
    network = networks[name]
    dtype = next(network.parameters()).dtype
    recording = {source: inputs[source].to(dtype) for source in network.inputs}
    replay = record_network(network, recording, name=f"one recording in “{name}”")
    text = f"One recording in “{name}”, tick by tick: spikes, membranes, signals of the units, and the answers."

    return [Section("Replay", text, replays=[replay])]


def _inside(networks: Mapping[str, HybridNetwork], inputs: Mapping[str, Tensor]) -> Section:
    pictures = []
    for name, network in networks.items():
        if name == "learned":
            units = {route.name: route.link.unit for route in network.routes if route.link.unit is not None}
            kernels = to_svg(unit_kernels(units, num_steps=6, dt=network.dt))
            caption = "Learned FIR kernels: the weight of a spike by its age, one line for each neuron."
            pictures.append(Picture(kernels, caption))

        if "where" in network.parts:
            spikes = spikes_of_part(network, "where", inputs)[:, 0]
            caption = f"Spikes of the SNN's last layer in “{name}”."
            pictures.append(Picture(to_svg(raster(spikes, network.dt)), caption))

    return Section("Inside", "Trained networks of the first seed, one recording.", pictures=pictures, folded=True)


def _drawn(networks: Mapping[str, HybridNetwork], inputs: Mapping[str, Tensor]) -> Section:
    captions = {name: f"{name}: {VARIANTS[name]}" if name in VARIANTS else name for name in networks}
    pictures = [Picture(draw_network(network), captions[name]) for name, network in networks.items()]
    first = next(iter(networks.values()))
    summary = summarize(first, {name: inputs[name] for name in first.inputs})
    tables = [Table(summary.parts, summary.title), *([Table(summary.links, "Its links")] if summary.links else [])]

    return Section("The networks", "", tables, pictures, folded=True)


def measure_cost(network: HybridNetwork, inputs: dict[str, Tensor]) -> dict[str, float]:
    """Mean operations and energy of a recording, and the wall time of a tick."""
    cost = count_cost(network, inputs)
    # the first recording eight times, so that the median is over enough ticks
    stream = {name: x[:, :1].repeat(8, *[1] * (x.ndim - 1)) for name, x in inputs.items()}

    return {
        "macs": cost.total.macs,
        "synops": cost.total.synops,
        "updates": cost.total.updates,
        "energy_nj": energy(cost, hardware_profile("45nm")).total * 1e9,
        "tick_ms": measure_steps(network, stream).median * 1e3,
    }


def compare(scores: _Scores) -> dict[str, Any]:
    """The table of all networks over seeds, differences to the learned hybrid, and accuracy over time."""
    return {
        "networks": [_row(name, seeds) for name, seeds in scores.items()],
        "learned against": _against_learned(scores),
        "accuracy by window": [
            {"network": name, **{str(k): value for k, value in enumerate(_by_window(seeds), start=1)}}
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


def _against_learned(scores: _Scores) -> list[dict[str, Any]]:
    """Differences seed by seed; "level" where the mean lies within two standard errors."""
    if "learned" not in scores:
        return []

    accuracies = {name: [100 * score["accuracy"] for score in seeds] for name, seeds in scores.items()}
    learned = accuracies.pop("learned")
    rows = []

    for name, values in accuracies.items():
        difference = paired_difference(learned, values)
        points, sd = difference.rounded(2)
        rows.append({"network": name, "points": points, "sd": sd, "learned is": difference.verdict()})

    return rows


def _by_window(seeds: Sequence[Mapping[str, Any]]) -> list[float]:
    columns = zip(*(score["accuracy_by_window"] for score in seeds), strict=True)
    return [round(100 * fmean(column), 2) for column in columns]
