"""A diagram of a bundle: the network split into its ANN side and its SNN side, each part with its file."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from spikebridge.analysis.plots.boxes import Box, LinkLabel
from spikebridge.analysis.plots.layout import layout_graph
from spikebridge.analysis.plots.network_diagram import draw_layout
from spikebridge.analysis.summary import frequency
from spikebridge.hybrid import Clock

_SIGNS = {"multiply": "×", "add": "+", "replace": "="}
_STAGES = {"W": "window", "H": "kernel", "Q": "discretizer"}
_FILES = {"H": "kernel_function", "F": "nonlinearity", "Q": "discretizer_function"}
_SIZES = ("length", "stride", "num_taps", "trigger", "bits", "tau")


def draw_bundle(manifest: Mapping[str, Any], title: str | None = None) -> str:
    """A picture of a bundle: two strokes mark a link from one side to the other.

    Args:
        manifest: what stands in `manifest.json`, as plain values.
        title: above the picture.

    Returns:
        An SVG document, also fit to stand inside HTML.

    Example:
        >>> clock = {"period": 1, "phase": 0}
        >>> part = {"side": "ann", "file": "ann/head.onnx", "clock": clock, "shape": [3], "spikes": False}
        >>> link = {"kind": "transmission", "source": "x", "target": "head", "into": None, "context": None,
        ...         "held": False, "delay": 0, "unit": None, "numbers": None}
        >>> svg = draw_bundle({"dt": 0.01, "inputs": {"x": {"clock": clock, "shape": [2]}}, "parts": {"head": part},
        ...                    "links": [link], "order": ["head"], "outputs": ["head"]})
        >>> "ann/head.onnx" in svg, "100 Hz" in svg
        (True, True)
    """
    boxes = _boxes(manifest)
    labels = [_link_label(link, boxes) for link in manifest["links"]]
    parts = ", ".join(f"{name} in {part['file']}" for name, part in manifest["parts"].items())

    return draw_layout(layout_graph(list(boxes.values()), labels), title, f"Bundle: {parts}")


def _boxes(manifest: Mapping[str, Any]) -> dict[str, Box]:
    columns = dict.fromkeys(manifest["inputs"], 0)
    for part in manifest["order"]:
        sources = [link["source"] for link in manifest["links"] if link["target"] == part]
        columns[part] = 1 + max((columns[name] for name in sources if name in columns), default=0)

    boxes = {
        name: Box(name, "input", [_rate(one, manifest), _shape(one["shape"], "values")], 0)
        for name, one in manifest["inputs"].items()
    }
    for name, part in manifest["parts"].items():
        kind: Literal["ANN", "SNN"] = "SNN" if part["side"] == "snn" else "ANN"
        lines = [f"{kind} · {_rate(part, manifest)}", _shape(part["shape"], "spikes" if part["spikes"] else "values")]
        lines += ["output"] if name in manifest["outputs"] else []
        boxes[name] = Box(name, kind, lines, columns[name], part["file"])

    return boxes


def _link_label(link: Mapping[str, Any], boxes: Mapping[str, Box]) -> LinkLabel:
    modulates = link["kind"] == "modulation"
    foot = [f"with {link['context']}"] if link["context"] is not None else []
    foot += ["held"] if link["held"] and not modulates else []
    foot += [f"{link['delay']} tick{'s' if link['delay'] > 1 else ''} later"] if link["delay"] else []
    heading = f"as {link['into']}" if link["into"] is not None else ""

    if modulates:
        heading = f"{_SIGNS[link['by']]} {link['node']}.{link['quantity']}"

    unit = link["unit"] or {}
    files = [(letter, unit[name]) for letter, name in _FILES.items() if unit.get(name) is not None]
    files += [("Q", unit["fires"])] if unit.get("fires") is not None else []
    in_files = {letter for letter, _ in files}
    stages = [(letter, words) for letter, words in _stages(unit) if letter not in in_files]
    files += [("", link["numbers"])] if link["numbers"] is not None else []
    ends = boxes[link["source"]], boxes[link["target"]]

    return LinkLabel(*ends, modulates, heading, stages, ", ".join(foot), files)


def _stages(unit: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The stages that are numbers, in words."""
    for letter, name in _STAGES.items():
        stage = unit.get(name)
        if stage is not None:
            size = next((stage["settings"][one] for one in _SIZES if one in stage["settings"]), None)
            yield letter, stage["name"] if size is None else f"{stage['name']}({size})"


def _rate(signal: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    period = signal["clock"]["period"]
    phase = signal["clock"]["phase"]
    return frequency(Clock(period, phase), manifest["dt"]) + (f", from tick {phase}" if phase else "")


def _shape(shape: Any, what: str) -> str:
    return f"{'×'.join(str(n) for n in shape) or '1'} {what}"
