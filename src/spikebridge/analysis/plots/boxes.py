"""The elements of a network diagram: boxes for inputs and parts, labels for the units of links, and their texts."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from spikebridge.analysis.summary import frequency, kind_of, num_parameters, stages_of
from spikebridge.hybrid import Clock, HybridNetwork, Initialisation, Modulation, Wake
from spikebridge.hybrid.network.graph import owner_of
from spikebridge.hybrid.network.link import Route, beside

# sizes in pixels
_NAME_SIZE = 14.0
TEXT_SIZE = 12.0
LABEL_SIZE = 11.0
_FILE_SIZE = 11.0
LINE = 17.0
LABEL_LINE = 15.0
_PORT_DISTANCE = 18.0
TAG = 15.0
_MAX_CHARACTERS = 32

LinkKind: TypeAlias = Literal["transmission", "modulation", "initialisation", "wake"]
SIGNS = {"multiply": "×", "add": "+", "replace": "="}
"""Signs of the effects of a modulation."""


@dataclass(eq=False)
class Box:
    """An input or a part."""

    name: str
    kind: Literal["input", "ANN", "SNN"]
    lines: list[str]
    column: int
    file: str = ""  # of a bundle
    x: float = 0.0  # left edge
    y: float = 0.0  # middle
    width: float = 0.0
    height: float = 0.0
    outgoing: list["LinkLabel"] = field(default_factory=list)
    incoming: list["LinkLabel"] = field(default_factory=list)

    def fit_text(self) -> None:
        """Sets width and height from the texts and the number of links at its sides."""
        texts = [text_width(line, TEXT_SIZE) for line in self.lines]
        self.width = max([text_width(self.name, _NAME_SIZE, bold=True), *texts, _file_width(self.file)]) + 32
        num_ports = max(len(self.outgoing), len(self.incoming))
        num_lines = len(self.lines) + 1 + bool(self.file)
        self.height = max(LINE * num_lines + 20, num_ports * _PORT_DISTANCE + 14)

    def port(self, label: "LinkLabel", side: Literal["left", "right"]) -> tuple[float, float]:
        """The end of a link at a side of the box."""
        links = self.incoming if side == "left" else self.outgoing
        offset = (links.index(label) - (len(links) - 1) / 2) * _PORT_DISTANCE
        return (self.x if side == "left" else self.x + self.width), self.y + offset


@dataclass(eq=False)
class LinkLabel:
    """A link with its texts; without a text it is only a position."""

    source: Box
    target: Box
    kind: LinkKind
    heading: str
    stages: list[tuple[str, str]]
    foot: str
    files: list[tuple[str, str]] = field(default_factory=list)  # by stage; "" is the file of all numbers
    x: float = 0.0  # left edge
    y: float = 0.0  # middle

    @property
    def routing(self) -> Literal["between", "above", "below"]:
        """The routing: to the next column, above the columns between, or back below them."""
        span = self.target.column - self.source.column
        return "between" if span == 1 else "above" if span > 1 else "below"

    @property
    def is_cut(self) -> bool:
        """True for a link from a part in a file to one in a file of the other side."""
        in_files = bool(self.source.file and self.target.file)
        return in_files and self.source.kind != self.target.kind

    @property
    def num_lines(self) -> int:
        return bool(self.heading) + len(self.stages) + len(self.files) + bool(self.foot)

    @property
    def width(self) -> float:
        texts = [text_width(self.heading, LABEL_SIZE, bold=True), text_width(self.foot, LABEL_SIZE)]
        texts += [TAG + text_width(words, LABEL_SIZE) for _, words in self.stages]
        texts += [(TAG if letter else 0) + _file_width(name) for letter, name in self.files]
        return max(texts) + 18 if self.num_lines else 0.0

    @property
    def height(self) -> float:
        # a link without text keeps a little space
        return self.num_lines * LABEL_LINE + 10 if self.num_lines else 12.0


def text_width(text: str, size: float, bold: bool = False) -> float:
    """An upper estimate of the width of a text [px] in a usual sans-serif font."""
    shares = {**dict.fromkeys("iljtfrI.,:;|!' ()[]", 0.38), **dict.fromkeys("mwMW@%→×=+", 0.95)}
    width = sum(shares.get(letter, 0.7 if letter.isupper() else 0.61) for letter in text)

    return size * width * (1.1 if bold else 1.0)


def _file_width(name: str) -> float:
    return 0.62 * _FILE_SIZE * len(name)


def network_boxes(network: HybridNetwork) -> dict[str, Box]:
    """A box for every input and part, each in a column behind its sources."""
    columns = dict.fromkeys(network.inputs, 0)
    for group in network.plan.groups:
        outside = [columns[source] for part in group.parts for source in _sources(network, part) if source in columns]
        base = 1 + max(outside, default=0)

        for part in group.parts:
            # inside a loop a part stands behind the sources of its values of the same tick
            inside = [
                columns[source] + 1 for source in _sources(network, part) if source in group.parts and source in columns
            ]
            columns[part] = max([base, *inside])

    rates = {name: rate_text(network.clock_of(name), network.dt) for name in columns}
    boxes = {name: Box(name, "input", [rates[name]], 0) for name in network.inputs}
    for name, module in network.parts.items():
        number = num_parameters(module)
        is_output = any(owner_of(y, network.parts) == name for y in network.outputs)
        lines = [f"{kind_of(module)} · {rates[name]}", f"{number:,} parameters" if number else "", "output" * is_output]
        boxes[name] = Box(name, kind_of(module), [line for line in lines if line], columns[name])

    return boxes


def link_label(network: HybridNetwork, route: Route, boxes: dict[str, Box]) -> LinkLabel:
    """The label of a link."""
    link = route.link
    source = owner_of(link.source, network.parts)
    kind: LinkKind = "transmission"

    if isinstance(link, Modulation):
        kind = "modulation"
        heading = f"{SIGNS[link.by]} {link.path}"
    elif isinstance(link, Initialisation):
        kind = "initialisation"
        heading = f"= {link.path}"
    elif isinstance(link, Wake):
        kind = "wake"
        heading = wake_text(link.asleep, link.state, link.replay)
    else:
        # a picture has one box a part: the name of one of several outputs stands on the link
        key = link.source.removeprefix(source).removeprefix(".")
        heading = f"{key} {argument_text(link.into)}".strip()

    reading = "once" if link.once else "held" if link.held and kind == "transmission" else ""
    foot = foot_text(beside(link), reading, route.delay)
    stages = [(letter, _short(words)) for letter, words in stages_of(link.unit).items()]

    return LinkLabel(boxes[source], boxes[link.part], kind, _short(heading), stages, _short(foot))


def argument_text(name: str | None) -> str:
    """The argument of the target that a link sets, if it has a name."""
    return "" if name is None else f"as {name}"


def wake_text(asleep: str, state: str, replay: int = 0) -> str:
    """The first line of the label of a wake: what it does, and its settings that are not the default."""
    words = [asleep] * (asleep != "hold") + [state] * (state != "keep") + [f"replay {replay}"] * (replay > 0)
    return "wakes" + (f": {', '.join(words)}" if words else "")


def foot_text(context: str | None, reading: str, delay: int) -> str:
    """The last line of a label: its context or mask, its reading and its delay in ticks."""
    words = ["" if context is None else f"with {context}", reading]
    words.append(f"{delay} tick{'s' if delay > 1 else ''} later" if delay else "")
    return ", ".join(word for word in words if word)


def rate_text(clock: Clock, dt: float) -> str:
    """A clock as a frequency, with its first tick if that is not 0."""
    return frequency(clock, dt) + (f", from tick {clock.phase}" if clock.phase else "")


def _sources(network: HybridNetwork, part: str) -> list[str]:
    routes = [route for route in network.routes if route.link.part == part]
    return [owner_of(source, network.parts) for route in routes for source in route.sources]


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
