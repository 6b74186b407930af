"""A report as one HTML file: text, tables, pictures, replays; readable offline, without scripts, in light and dark."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from markupsafe import Markup

from spikebridge._notebook import notebook_html
from spikebridge.analysis.replay.replay import Replay
from spikebridge.analysis.templates import Drawing, page_template, resource_text
from spikebridge.data.io.atomic import make_parents, write_text
from spikebridge.errors import ConfigError

_NUMBER = re.compile(r"^[-+±~<>≤≥]?\s*\d")


@dataclass(frozen=True)
class Table:
    """Rows under the names of the first row; columns of numbers are aligned to the right."""

    rows: Sequence[Mapping[str, Any]]
    caption: str = ""
    marked: Sequence[int] = ()  # indices of highlighted rows
    folded: bool = False  # closed at first, with the caption as its title

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Names, and True for a column of numbers."""
        names = list(self.rows[0]) if self.rows else []
        return [(name, _are_numbers([row.get(name) for row in self.rows])) for name in names]

    @property
    def cells(self) -> list[list[str]]:
        return [[cell_text(row.get(name), name) for name, _ in self.columns] for row in self.rows]


@dataclass(frozen=True)
class Picture:
    """An SVG element, from `draw_network` or `to_svg`, with a caption."""

    svg: str
    caption: str = ""

    @property
    def forms(self) -> tuple[str, str]:
        """The pictures of a wide page and of a phone; the first is empty if the second serves both."""
        if not isinstance(self.svg, Drawing):
            return self.svg, ""
        if 'class="sb-figure"' in self.svg[: self.svg.find(">")] or self.svg.is_too_wide:
            return "", self.svg.narrow or self.svg

        return self.svg, self.svg.narrow


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, then tables, pictures, thumbnails and replays."""

    heading: str
    text: str | Sequence[str] = ()  # one paragraph, or several
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()  # charts two in a row, others at page width
    thumbnails: Sequence[Picture] = ()  # small, several in a row
    replays: Sequence[Replay] = ()
    folded: bool = False  # closed at first

    def _repr_html_(self) -> str | None:
        """The section, for a notebook."""
        return notebook_html("section_html", self)

    @property
    def paragraphs(self) -> list[str]:
        texts = [self.text] if isinstance(self.text, str) else self.text
        return [text for text in texts if text]

    @property
    def anchor(self) -> str:
        """The heading as an anchor in the page."""
        return re.sub(r"\W+", "-", self.heading.lower()).strip("-") or "section"


def cell_text(value: Any, column: str = "") -> str:
    """A value as text: four digits of a float; the standard deviation ("sd") of one seed is "n/a"."""
    if value is None and column.split(" ")[0] == "sd":
        return "n/a (needs 2 seeds)"
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(cell_text(item) for item in value)

    return str(value)


def write_report(
    path: Path | str,
    title: str,
    sections: Sequence[Section],
    facts: Mapping[str, Any] | None = None,
    command: str = "",
    lead: str = "",
) -> Path:
    """Writes a report atomically. The file is self-contained.

    Args:
        path: the HTML file, which is also returned.
        title: the heading of the page.
        sections: in order.
        facts: about the run: seed, versions, git revision.
        command: the command that repeats the run.
        lead: the result in a sentence or two, under the title.

    Raises:
        ConfigError: two sections with one heading, or a picture that is no SVG.
    """
    path = Path(path)
    # first, so that an error leaves an older report as it is
    html = render_report(title, sections, facts, command, lead)
    make_parents(path)
    write_text(path, html)

    return path


def render_report(
    title: str, sections: Sequence[Section], facts: Mapping[str, Any] | None = None, command: str = "", lead: str = ""
) -> str:
    """The report as HTML text, with the arguments of `write_report`."""
    anchors = [section.anchor for section in sections]
    for anchor in anchors:
        if anchors.count(anchor) > 1:
            raise ConfigError(f"two sections of the report have the address {anchor!r}; give each a heading of its own")

    pictures = [picture for section in sections for picture in (*section.pictures, *section.thumbnails)]
    if not all(picture.svg.lstrip().startswith("<svg") for picture in pictures):
        raise ConfigError("a picture of a report is an SVG element, from draw_network or to_svg; it begins with <svg")

    return _render(
        title=title,
        lead=lead,
        facts={name: cell_text(value) for name, value in (facts or {}).items()},
        command=command,
        sections=sections,
        has_script=any(section.replays for section in sections),
    )


def render_live_page(title: str, events: str) -> str:
    """A page of the same look that follows a stream of replays; `events` is the address of its server-sent events."""
    return _render(title=title, lead="", facts={}, command="", sections=[], has_script=True, events=events)


def _render(**values: Any) -> str:
    """The template with the style, and with the script if the page needs it."""
    script = f"\n{resource_text('replay/replay.js')}\n" if values["has_script"] else ""
    # the browser runs this script and no other one, and asks for nothing from outside
    digest = b64encode(sha256(script.encode()).digest()).decode()
    style = Markup(resource_text("report.css"))

    return page_template("report.html.j2").render(
        {"events": "", **values}, style=style, script=Markup(script), digest=digest, svg=Markup
    )


def _are_numbers(values: Sequence[Any]) -> bool:
    filled = [value for value in values if value is not None and value != ""]
    return bool(filled) and all(
        _NUMBER.match(x) if isinstance(x, str) else isinstance(x, int | float) and not isinstance(x, bool)
        for x in filled
    )
