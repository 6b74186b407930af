"""A diagram of a bundle: the network split into its ANN side and its SNN side, each part with its file."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from spikebridge.analysis.plots.boxes import SIGNS, Box, LinkLabel, argument_text, foot_text, rate_text, wake_text
from spikebridge.analysis.plots.network_diagram import draw_graph
from spikebridge.analysis.templates import Drawing
from spikebridge.hybrid import Clock

_STAGES = {"W": "window", "H": "kernel", "Q": "discretizer"}
_FILES = {"H": "kernel_function", "F": "nonlinearity", "Q": "discretizer_function"}
_SIZES = ("length", "stride", "num_taps", "trigger", "bits", "tau")


def draw_bundle(manifest: Mapping[str, Any]) -> Drawing:
    """An SVG of a bundle from the values of its `manifest.json`; two strokes mark a link to the other side."""
    boxes = _boxes(manifest)
    labels = [_link_label(link, boxes) for link in manifest["links"]]
    parts = ", ".join(f"{name} in {part['file']}" for name, part in manifest["parts"].items())

    return draw_graph(list(boxes.values()), labels, f"Bundle: {parts}")


def _boxes(manifest: Mapping[str, Any]) -> dict[str, Box]:
    columns = dict.fromkeys(manifest["inputs"], 0)
    for part in manifest["order"]:
        sources = [link["source"].removesuffix(".awake") for link in manifest["links"] if link["target"] == part]
        columns[part] = 1 + max((columns[name] for name in sources if name in columns), default=0)

    dt = manifest["dt"]
    boxes = {
        name: Box(name, "input", [_rate(signal, dt), _shape(signal["shape"], "values")], 0)
        for name, signal in manifest["inputs"].items()
    }
    for name, part in manifest["parts"].items():
        kind: Literal["ANN", "SNN"] = "SNN" if part["side"] == "snn" else "ANN"
        lines = [f"{kind} · {_rate(part, dt)}", _shape(part["shape"], "spikes" if part["spikes"] else "values")]
        lines += ["output"] if name in manifest["outputs"] else []
        boxes[name] = Box(name, kind, lines, columns[name], part["file"])

    return boxes


def _link_label(link: Mapping[str, Any], boxes: Mapping[str, Box]) -> LinkLabel:
    kind = link["kind"]
    heading = argument_text(link["into"])
    if kind == "modulation":
        heading = f"{SIGNS[link['by']]} {link['node']}.{link['quantity']}"
    elif kind == "wake":
        heading = wake_text(link["wake"]["asleep"], link["wake"]["state"])

    unit = link["unit"] or {}
    files = [(letter, unit[name]) for letter, name in _FILES.items() if unit.get(name) is not None]
    files += [("Q", unit["fires"])] if unit.get("fires") is not None else []
    in_files = {letter for letter, _ in files}
    stages = [(letter, words) for letter, words in _stages(unit) if letter not in in_files]
    files += [("", link["numbers"])] if link["numbers"] is not None else []
    reading = "once" if link.get("once") else "held" if link["held"] and kind == "transmission" else ""
    foot = foot_text(link["context"], reading, link["delay"])

    # a picture has one box a part: the flags of its wake are named on the link
    source = link["source"].removesuffix(".awake")
    return LinkLabel(boxes[source], boxes[link["target"]], kind, heading, stages, foot, files)


def _stages(unit: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The stages that are numbers, in words."""
    for letter, name in _STAGES.items():
        stage = unit.get(name)
        if stage is not None:
            size = next((stage["settings"][key] for key in _SIZES if key in stage["settings"]), None)
            yield letter, stage["name"] if size is None else f"{stage['name']}({size})"


def _rate(signal: Mapping[str, Any], dt: float) -> str:
    return rate_text(Clock(signal["clock"]["period"], signal["clock"]["phase"]), dt)


def _shape(shape: Any, kind: str) -> str:
    return f"{'×'.join(str(n) for n in shape) or '1'} {kind}"
