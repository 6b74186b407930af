"""HTML of objects in a notebook. Diagrams stand in the output; pages stand in a frame, so that no style leaves them.

Names are text everywhere: a page escapes them, and a frame takes a page as one escaped attribute.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from spikebridge.analysis.learning_curves import Rows, learning_curves
from spikebridge.analysis.plots.bundle_diagram import draw_bundle
from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.analysis.replay.replay import Replay
from spikebridge.analysis.report import Section, Table, render_report
from spikebridge.hybrid import HybridNetwork

_HEIGHT = 560  # of a frame [px]; its corner resizes it
_LOW_HEIGHT = 300


def network_html(network: HybridNetwork) -> str:
    """The diagram of a network."""
    return draw_network(network)


def bundle_html(path: str, manifest: Mapping[str, Any], num_bytes: int) -> str:
    """The diagram of a bundle, with its place and size."""
    return f"<p>Bundle {escape(path)}, {num_bytes:,} bytes</p>{draw_bundle(manifest)}"


def replay_html(replay: Replay) -> str:
    """A page with a replay."""
    return _frame(replay.name, [Section("Replay", replays=[replay])])


def section_html(section: Section) -> str:
    """A page with a section."""
    has_drawings = section.pictures or section.thumbnails or section.replays
    return _frame("", [section], _HEIGHT if has_drawings else _LOW_HEIGHT)


def comparison_html(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A page with the table of a comparison."""
    return _frame("", [Section(title, tables=[Table(rows)])], _LOW_HEIGHT)


def run_html(name: str, facts: Mapping[str, Any], results: Mapping[str, Any], trainings: Mapping[str, Rows]) -> str:
    """A page with the results and the learning curves of a run."""
    tables = [Table(rows, key) for key, rows in results.items() if _is_table(rows)]
    numbers = {key: value for key, value in results.items() if isinstance(value, int | float | str)}
    tables = [Table([numbers]), *tables] if numbers else tables
    result = Section("Results", [] if tables else "No results yet.", tables)

    return _frame(name, [result, learning_curves(trainings)], facts=facts)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _frame(
    title: str, sections: Sequence[Section], height: int = _HEIGHT, facts: Mapping[str, Any] | None = None
) -> str:
    page = escape(render_report(title, sections, facts))
    style = f"width: 100%; height: {height}px; border: 0; resize: vertical"
    return f'<iframe srcdoc="{page}" sandbox="allow-scripts" style="{style}" title="{escape(title)}"></iframe>'
