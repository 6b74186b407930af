"""The page of the sensing recipe: results, error by bin, an animation, cost, and the networks."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

from torch import Tensor

from spikebridge.analysis.learning_curves import learning_curves
from spikebridge.analysis.plots.figures import accuracy_lines, draw_network, to_svg
from spikebridge.analysis.report import Picture, Section, Table, write_report
from spikebridge.data.io.records import is_plain_number
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.sensing.data import RecordingPart
from spikebridge.networks.sensing.report._figures import cost_rows, moving_pictures
from spikebridge.networks.sensing.report.animation import animation_svg
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.training.run.run import Run

_Row = TypedDict("_Row", {"tracker": str, "distance px": float, "of constant velocity": float})


class _ByBin(TypedDict):
    tracker: str


_Results = TypedDict(
    "_Results",
    {"recording": str, "trackers": Annotated[list[_Row], "rows"], "distance by bin": Annotated[list[_ByBin], "_"]},
)
# names of what has time constants, by the beginning of the path of the parameter
_OWNERS = {"parts.where": "membranes of the SNN", "units": "hybrid unit"}
_DISTANCE = "mean distance [px]"
_MEASURED = (
    "Between frames (protocol A) the true boxes of the last two frames are given, and answers count at the end of "
    "every bin up to the next frame. “Shaken” is the same with given boxes that are wrong by 1 or 2 px along each "
    "axis. In the closed loop (protocol C) the first box alone is given.",
    "Networks are trained on the first part of a recording, or on scenes of their own seeds; settings were chosen on "
    "the second part, figures are of the third.",
)
_COST = (
    "One frame and the bins up to the next, counted on a generated scene; energy by the 45 nm model of 4.6 pJ a "
    "multiply-accumulate and 0.9 pJ an addition. The head's Fourier transforms, which all of them need, are not "
    "counted. Below: the same ANN run in every bin, as a camera that gives frames so fast would need it."
)


def write(
    run: Run,
    networks: Mapping[str, HybridNetwork],
    command: str,
    tracker: SensingTracker,
    scored: Sequence[RecordingPart],
    inputs: Mapping[str, Tensor],
    settings: Mapping[str, Any],
) -> Path:
    """Writes report.html into a finished run.

    The weights of the first seed are loaded into the `networks`; `command` makes the same run again, `tracker` is the
    first network with its weights, `scored` the parts that it was scored on, and `inputs` one frame and some bins.
    """
    results = run.results(_Results)
    for name, network in networks.items():
        run.first_child(name).load_weights(network)

    first = next(iter(networks))
    sections = [
        Section("Result", "", [Table(results["trackers"], f"On {results['recording']}; all distances in pixels.")]),
        Section(
            "Error by bin",
            "",
            [Table(results["distance by bin"], "Mean distance in pixels, bins after a frame.")],
            [_by_bin(results["distance by bin"])],
        ),
        learning_curves({path: child.metrics.rows() for path, child in run.children().items()}, list(networks)),
        _animation(tracker, scored[0]),
        *_cost(cost_rows(networks[first], inputs)),
        *_ablation(results["trackers"], list(networks)),
        Section(
            "The networks",
            "Time constants of the channels; membranes start at 13 ms, the unit at 100 ms.",
            [Table(time_constants(networks))],
            [Picture(draw_network(network), name) for name, network in networks.items()],
            folded=True,
        ),
        Section("How it was measured", _MEASURED, folded=True),
    ]

    facts = {**settings, **run.versions()}
    return write_report(run.file("report.html"), "Tracking between frames", sections, facts, command, _lead(results))


def _lead(results: Mapping[str, Any]) -> str:
    """The result in a sentence."""
    first = results["trackers"][0]
    return (
        f"The network “{first['tracker']}” is {first['distance px']:.2f} px off between frames, "
        f"{first['of constant velocity']:.2f} times as far as constant velocity."
    )


def _by_bin(rows: Sequence[Mapping[str, Any]]) -> Picture:
    bins = [name for name in rows[0] if name.isdecimal()]
    # a gap where a value is no number
    values: dict[str, list[Any]] = {row["tracker"]: [row.get(name) for name in bins] for row in rows}
    lines = {name: [float(x) if is_plain_number(x) else math.nan for x in line] for name, line in values.items()}
    figure = accuracy_lines([int(name) for name in bins], lines, "bins since the frame", _DISTANCE)

    return Picture(to_svg(figure, "Error by bin"))


def _animation(tracker: SensingTracker, part: RecordingPart) -> Section:
    caption = (
        "White, thin: the truth. Green: the hybrid. Yellow, thin: its ANN alone, which waits for the next frame. Blue "
        "and orange: ON and OFF events of the last two bins. Slowed down five times; the first box alone was given."
    )

    svg = animation_svg(moving_pictures(tracker, part), 0.04, f"Boxes on {part.recording.name}")
    return Section("What it looks like", "", (), [Picture(svg, caption)])


def _cost(rows: Sequence[Mapping[str, Any]]) -> list[Section]:
    return [Section("Cost", _COST, [Table(rows)])] if rows else []


def _ablation(rows: Sequence[Mapping[str, Any]], networks: Sequence[str]) -> list[Section]:
    """The difference of each network from the first one, if several were trained with equal seeds."""
    figures_of = {row["tracker"]: row for row in rows}
    networks = [name for name in networks if name in figures_of]
    if len(networks) < 2:
        return []

    first = networks[0]
    table = [
        {
            "network": name,
            "distance px": figures_of[name]["distance px"],
            "sd": figures_of[name].get("sd"),
            f"beyond {first}": round(figures_of[name]["distance px"] - figures_of[first]["distance px"], 3),
            "shaken 2 px": figures_of[name].get("shaken 2 px"),
            "closed loop auc": figures_of[name].get("closed loop auc"),
        }
        for name in networks
    ]

    return [Section("Ablation", "Equal training, equal seeds.", [Table(table, marked=[0])])]


def time_constants(networks: Mapping[str, HybridNetwork]) -> list[dict[str, Any]]:
    """The learned time constants of each network's membranes and units, a row for each."""
    rows = []
    for name, network in networks.items():
        for path, parameter in network.named_parameters():
            if path.endswith("log_tau"):
                taus = 1e3 * parameter.detach().exp()
                owner = next((owner for start, owner in _OWNERS.items() if path.startswith(start)), path)
                values = {"min ms": taus.min(), "mean ms": taus.mean(), "max ms": taus.max()}
                rounded = {key: round(value.item(), 1) for key, value in values.items()}
                rows.append({"network": name, "of": owner, **rounded})

    return rows
