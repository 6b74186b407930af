"""The elements of a network diagram: boxes for inputs and parts, labels for the units of links, and their texts."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from spikebridge.analysis.summary import frequency, kind_of, num_parameters, stages_of
from spikebridge.hybrid import HybridNetwork, Modulation
from spikebridge.hybrid.network.graph import owner_of
from spikebridge.hybrid.network.link import Route

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

_Routing: TypeAlias = Literal["between", "above", "below"]
_SIGNS = {"multiply": "×", "add": "+", "replace": "="}


@dataclass(eq=False)
class Box:
    """An input or a part, with the file that holds it, if any. `x` and `y` are its left edge and its middle."""

    name: str
    kind: Literal["input", "ANN", "SNN"]
    lines: list[str]
    column: int
    file: str = ""
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    leaving: list["LinkLabel"] = field(default_factory=list)
    arriving: list["LinkLabel"] = field(default_factory=list)

    def fit_text(self) -> None:
        """Sets width and height from the texts and the number of links at its sides."""
        texts = [text_width(line, TEXT_SIZE) for line in self.lines]
        self.width = max([text_width(self.name, _NAME_SIZE, bold=True), *texts, _file_width(self.file)]) + 32
        num_ports = max(len(self.leaving), len(self.arriving))
        num_lines = len(self.lines) + 1 + bool(self.file)
        self.height = max(LINE * num_lines + 20, num_ports * _PORT_DISTANCE + 14)

    def port(self, label: "LinkLabel", side: Literal["left", "right"]) -> tuple[float, float]:
        """The point where a link leaves or arrives."""
        links = self.arriving if side == "left" else self.leaving
        offset = (links.index(label) - (len(links) - 1) / 2) * _PORT_DISTANCE
        return (self.x if side == "left" else self.x + self.width), self.y + offset


@dataclass(eq=False)
class LinkLabel:
    """A link with its texts; `x` and `y` are its left edge and middle. Without a text it is only a position.

    Where its stages are files of a bundle, those are `files`, by letter; "" is the file of their numbers.
    """

    source: Box
    target: Box
    modulates: bool
    heading: str
    stages: list[tuple[str, str]]
    foot: str
    files: list[tuple[str, str]] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0

    @property
    def routing(self) -> _Routing:
        """The routing: to the next column, above the columns between, or back below them."""
        span = self.target.column - self.source.column
        return "between" if span == 1 else "above" if span > 1 else "below"

    @property
    def is_cut(self) -> bool:
        """Whether it leads from a part in a file to one in a file of the other side."""
        in_files = bool(self.source.file and self.target.file)
        return in_files and self.source.kind != self.target.kind

    @property
    def num_lines(self) -> int:
        """Lines of text."""
        return bool(self.heading) + len(self.stages) + len(self.files) + bool(self.foot)

    @property
    def width(self) -> float:
        """From the longest text."""
        texts = [text_width(self.heading, LABEL_SIZE, bold=True), text_width(self.foot, LABEL_SIZE)]
        texts += [TAG + text_width(words, LABEL_SIZE) for _, words in self.stages]
        texts += [(TAG if letter else 0) + _file_width(name) for letter, name in self.files]
        return max(texts) + 18 if self.num_lines else 0.0

    @property
    def height(self) -> float:
        """From the number of lines; a bare link keeps a little space."""
        return self.num_lines * LABEL_LINE + 10 if self.num_lines else 12.0


def text_width(text: str, size: float, bold: bool = False) -> float:
    """An upper estimate of the width of a text [px] in a usual sans-serif font.

    Example:
        >>> text_width("", 12.0), text_width("mm", 10.0) > text_width("ii", 10.0)
        (0.0, True)
    """
    shares = {**dict.fromkeys("iljtfrI.,:;|!' ()[]", 0.38), **dict.fromkeys("mwMW@%→×=+", 0.95)}
    width = sum(shares.get(letter, 0.7 if letter.isupper() else 0.61) for letter in text)

    return size * width * (1.1 if bold else 1.0)


def _file_width(name: str) -> float:
    """The width of a file name [px], in a monospace font."""
    return 0.62 * _FILE_SIZE * len(name)


def network_boxes(network: HybridNetwork) -> dict[str, Box]:
    """A box for every input and part, each in a column behind its sources."""
    columns = dict.fromkeys(network.inputs, 0)
    for group in network.plan.groups:
        outside = [columns[source] for part in group.parts for source in _sources(network, part) if source in columns]
        base = 1 + max(outside, default=0)

        for part in group.parts:
            # inside a loop a part stands behind those whose values it gets in the same tick
            inside = [
                columns[source] + 1 for source in _sources(network, part) if source in group.parts and source in columns
            ]
            columns[part] = max([base, *inside])

    boxes = {name: Box(name, "input", [_clock(network, name)], 0) for name in network.inputs}
    for name, module in network.parts.items():
        number = num_parameters(module)
        lines = [f"{kind_of(module)} · {_clock(network, name)}", *([f"{number:,} parameters"] if number else [])]
        lines += ["output"] if any(owner_of(y, network.parts) == name for y in network.outputs) else []
        boxes[name] = Box(name, kind_of(module), lines, columns[name])

    return boxes


def link_label(network: HybridNetwork, route: Route, boxes: dict[str, Box]) -> LinkLabel:
    """A link with its texts."""
    link = route.link
    foot = [f"with {link.context}"] if link.context is not None else []

    if isinstance(link, Modulation):
        heading = f"{_SIGNS[link.by]} {link.path}"
    else:
        # a picture has one box a part: which of several outputs leads on stands on the link
        key = link.source.removeprefix(owner_of(link.source, network.parts)).removeprefix(".")
        words = [key, "" if link.into is None else f"as {link.into}"]
        heading = " ".join(word for word in words if word)
        foot += ["held"] if link.held else []

    if route.delay:
        foot.append(f"{route.delay} tick{'s' if route.delay > 1 else ''} later")

    stages = [(letter, _short(words)) for letter, words in stages_of(link.unit).items()]
    ends = boxes[owner_of(link.source, network.parts)], boxes[link.part]

    return LinkLabel(*ends, isinstance(link, Modulation), _short(heading), stages, _short(", ".join(foot)))


def _sources(network: HybridNetwork, part: str) -> list[str]:
    routes = [route for route in network.routes if route.link.part == part]
    return [owner_of(source, network.parts) for route in routes for source in route.sources]


def _clock(network: HybridNetwork, name: str) -> str:
    clock = network.clock_of(name)
    return frequency(clock, network.dt) + (f", from tick {clock.phase}" if clock.phase else "")


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
