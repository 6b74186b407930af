"""The page of the sensing recipe: the network beside the baselines, error by bin, the graph."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikebridge.analysis.figures import draw_network
from spikebridge.analysis.report import Picture, Section, Table, write_report
from spikebridge.hybrid import HybridNetwork
from spikebridge.training import Run

MEASURED = (
    "Between frames (protocol A) the true boxes of the last two frames are given, and answers count at the end of "
    "every bin up to the next frame. “Shaken” is the same with given boxes that are wrong by 1 or 2 px along each "
    "axis. In the closed loop (protocol C) the first box alone is given.",
    "Networks are trained on the first part of a recording, or on scenes of their own seeds; settings were chosen on "
    "the second part, figures are of the third.",
)


def write(run: Run, networks: Mapping[str, HybridNetwork], command: str) -> Path:
    """Writes report.html into a finished run.

    Args:
        run: with its results.
        networks: untrained, by name; the weights of the first seed are loaded.
        command: what makes the same run again.
    """
    for name, network in networks.items():
        next(child for path, child in run.children().items() if path.startswith(f"{name}/")).load_weights(network)
    results = run.results()
    sections = [
        Section("Result", "", [Table(results["trackers"], f"On {results['recording']}; all distances in pixels.")]),
        Section(
            "Error by bin", "", [Table(results["distance by bin"], "Mean distance in pixels, bins after a frame.")]
        ),
        Section(
            "The networks",
            "Time constants of the channels; membranes start at 13 ms, the unit at 100 ms.",
            [Table(_time_constants(networks))],
            [Picture(draw_network(network), name) for name, network in networks.items()],
        ),
        Section("How it was measured", MEASURED),
    ]
    facts: dict[str, Any] = {name: run.config[name] for name in ("split", "thinning", "crop", "epochs", "shake")}
    facts |= {name: run.environment().get(name) for name in ("spikebridge", "torch", "platform", "git_revision")}
    return write_report(run.path / "report.html", "Tracking between frames", sections, facts, command, lead(results))


def lead(results: Mapping[str, Any]) -> str:
    """The result in a sentence.

    Args:
        results: of the recipe.

    Example:
        >>> rows = [{"tracker": "learned", "distance px": 1.2, "of constant velocity": 0.68},
        ...         {"tracker": "hold", "distance px": 3.8, "of constant velocity": 2.2}]
        >>> lead({"trackers": rows})
        'The network “learned” is 1.20 px off between frames, 0.68 times as far as constant velocity.'
    """
    first = results["trackers"][0]
    return (
        f"The network “{first['tracker']}” is {first['distance px']:.2f} px off between frames, "
        f"{first['of constant velocity']:.2f} times as far as constant velocity."
    )


def _time_constants(networks: Mapping[str, HybridNetwork]) -> list[dict[str, Any]]:
    """What each network has learned to remember for how long."""
    rows = []
    for name, network in networks.items():
        for path, parameter in network.named_parameters():
            if path.endswith("log_tau"):
                taus = 1e3 * parameter.detach().exp()
                what = "membranes of the SNN" if path.startswith("parts.where") else "hybrid unit"
                shown = {"least ms": taus.min(), "mean ms": taus.mean(), "most ms": taus.max()}
                rows.append({"network": name, "of": what, **{key: round(v.item(), 1) for key, v in shown.items()}})
    return rows
