"""Draws the architecture from the imports: the layers, the inside of `hybrid`, and each network's folder.

    python research/pages/architecture_page.py  # writes docs/images/architecture-*.svg and the tables of the page
    python research/pages/architecture_page.py --check    # writes nothing; exit code 1 where something is out of date

A box is a folder or a file without underscore, above all that it imports. An arrow points to an imported one; an arrow
that follows from two others is left out. The package is read, not run. The tables show results of research/project:
`layout.json`, `slowdown.json`, `same_answers.json` and `mutations.json`; the scripts there measure them.
"""

import ast
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from research.pages.made_page import path_in_project, table, write_or_check

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "src" / "spikebridge"
IMAGES = PROJECT / "docs" / "images"
RESULTS = PROJECT / "research" / "project" / "results" / "layout.json"
TIMES = RESULTS.with_name("slowdown.json")
ANSWERS = RESULTS.with_name("same_answers.json")
MUTATIONS = RESULTS.with_name("mutations.json")
CALLS = {
    "unit": "a hybrid unit on four steps, which begin a stream",
    "unit_later": "the next four steps",
    "network": "`HybridNetwork.forward`, two plain parts, first call",
    "network_later": "the next call",
    "neuron": "a step of `LIF`, which begins a stream",
    "neuron_later": "the next step",
    "box": "the box of one bin of events",
    "box_with_frame": "six bins of the tracker with a frame",
    "train_loop_in_training": "`fit` of `train sensing`, files of `training/`",
    "train_loop": "`fit` of `train sensing`, all files",
}
INSIDES = (
    "hybrid",
    *(f"networks/{name}" for name in ("digits", "sensing", "modulation", "reasoning", "signals")),
)
SLOWDOWN = {
    "plain_layers": "layers, forward and backward (`plain_layers.py`)",
    "peers": "layers of `peers.py`, part A, forward and backward",
    "network_overhead": "a hybrid network (`network_overhead.py`)",
    "live": "50 steps of a stream (`live.py`)",
    "starts": "processor time of `import spikebridge` and `--help`",
}

NAME_SIZE = 14.0
TEXT_SIZE = 11.0
LINE = 15.0
MARGIN = 20.0
GAP = 18.0
LEVEL_GAP = 44.0
PADDING = 10.0
LETTER = 0.56  # width of a letter, as a share of its size
MAX_LETTERS = 26
MAX_BOXES_OF_A_ROW = 5

Graph = dict[str, set[str]]

STYLE = """.sb-arch { --paper:#fff; --ink:#1b2430; --muted:#5a6675; --wire:#8b97a6; --fill:#eef3fb; --edge:#3f74d1;
font-family: system-ui, "Segoe UI", Roboto, Arial, "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { .sb-arch { --paper:#161b22; --ink:#e6ebf2; --muted:#9ba7b6; --wire:#65717f;
--fill:#1b2d4b; --edge:#6c9cf0; } }
.sb-arch .paper { fill: var(--paper); } .sb-arch .box { fill: var(--fill); stroke: var(--edge); stroke-width: 1.2; }
.sb-arch .wire { fill: none; stroke: var(--wire); stroke-width: 1.3; } .sb-arch .head { fill: var(--wire); }
.sb-arch .name { fill: var(--ink); font-size: 14px; font-weight: 650; }
.sb-arch .line { fill: var(--muted); font-size: 11px; }"""


@dataclass(eq=False)
class Box:
    """A folder or a file, with its place in the picture [px]: left edge and upper edge."""

    name: str
    lines: list[str]
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        """From the longest text."""
        texts = [len(self.name) * NAME_SIZE * 1.08, *(len(line) * TEXT_SIZE for line in self.lines)]
        return max(texts) * LETTER + 2 * PADDING

    @property
    def height(self) -> float:
        """From the number of lines."""
        return NAME_SIZE + len(self.lines) * LINE + 2 * PADDING


def imported(path: Path) -> Iterable[tuple[str, ...]]:
    """Dotted names below the package that a file imports, as parts; those inside functions, too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]

        yield from (tuple(name.split(".")[1:]) for name in names if name.startswith("spikebridge."))


def members(folder: Path) -> dict[str, list[Path]]:
    """Folders and files inside a folder, each with its Python files."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            files[path.name] = sorted(path.rglob("*.py"))
        elif path.suffix == ".py" and not path.stem.startswith("_"):
            files[path.stem] = [path]

    # folders of data or of compiled files have no Python
    return {name: paths for name, paths in files.items() if paths}


def imports_between(folder: Path) -> Graph:
    """The members of a folder that each member imports."""
    inside = folder.relative_to(PACKAGE).parts
    parts = members(folder)
    graph: Graph = {name: set() for name in parts}

    for name, files in parts.items():
        for path in files:
            for target in imported(path):
                if target[: len(inside)] == inside and len(target) > len(inside):
                    graph[name].add(target[len(inside)])

        graph[name] = {other for other in graph[name] if other in parts and other != name}

    return graph


def reachable(graph: Graph, start: str) -> set[str]:
    """All members that a member imports, directly or not."""
    members: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in members:
            members.add(name)
            waiting += graph[name]

    return members


def levels(graph: Graph) -> list[list[str]]:
    """Members in rows, the lowest first: each stands one row above the highest that it imports."""
    below = {name: reachable(graph, name) for name in graph}
    circle = sorted(name for name in graph if name in below[name])
    if circle:
        raise SystemExit(f"these import each other in a circle: {', '.join(circle)}")

    height: dict[str, int] = {}
    # a member comes after all that it imports, since it reaches more
    for name in sorted(graph, key=lambda name: len(below[name])):
        height[name] = 1 + max((height[other] for other in graph[name]), default=-1)

    return [sorted(name for name in graph if height[name] == row) for row in range(1 + max(height.values()))]


def without_shortcuts(graph: Graph) -> Graph:
    """The imports that do not follow from two others."""
    return {
        name: {other for other in others if not any(other in reachable(graph, via) for via in others - {other})}
        for name, others in graph.items()
    }


def wrapped(names: Iterable[str]) -> list[str]:
    """Names in lines of limited length."""
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + len(name) + 2 <= MAX_LETTERS:
            lines[-1] += f"  {name}"
        else:
            lines.append(name)

    return lines


def box_of(folder: Path, name: str) -> Box:
    """A member with the names of what is inside it."""
    path = folder / name
    return Box(name, wrapped(members(path)) if path.is_dir() else [])


def placed(rows: list[list[Box]]) -> tuple[float, float]:
    """Gives every box its place, the first row at the bottom; returns width and height of the picture."""
    short = [row[i : i + MAX_BOXES_OF_A_ROW] for row in rows for i in range(0, len(row), MAX_BOXES_OF_A_ROW)]
    widths = [sum(box.width for box in row) + GAP * (len(row) - 1) for row in short]
    width = max(widths) + 2 * MARGIN
    y = MARGIN

    for row, row_width in zip(reversed(short), reversed(widths), strict=True):
        x = (width - row_width) / 2
        for box in row:
            box.x = x
            box.y = y
            x += box.width + GAP

        y += max(box.height for box in row) + LEVEL_GAP

    return width, y - LEVEL_GAP + MARGIN


def wire(source: Box, target: Box) -> str:
    """A curve from the lower edge of the importing box to the upper edge of the imported one."""
    x = source.x + source.width / 2
    y = source.y + source.height
    to_x = target.x + target.width / 2
    # the head of the arrow takes 6 px
    to_y = target.y - 6
    middle = (y + to_y) / 2
    head = f"M{to_x - 4:.1f} {to_y:.1f}h8l-4 6z"
    curve = f"M{x:.1f} {y:.1f}C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"

    return f'<path class="wire" d="{curve}"/><path class="head" d="{head}"/>'


def drawn_box(box: Box) -> str:
    """A box with its texts."""
    middle = box.x + box.width / 2
    y = box.y + PADDING + NAME_SIZE * 0.85
    texts = [f'<text class="name" x="{middle:.1f}" y="{y:.1f}" text-anchor="middle">{escape(box.name)}</text>']

    for number, line in enumerate(box.lines, 1):
        at = f'x="{middle:.1f}" y="{y + number * LINE:.1f}"'
        texts.append(f'<text class="line" {at} text-anchor="middle">{escape(line)}</text>')

    rect = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="6"'
    return f'<rect class="box" {rect}/>' + "".join(texts)


def picture(folder: Path, title: str) -> str:
    """The members of a folder as an SVG file."""
    graph = imports_between(folder)
    rows = [[box_of(folder, name) for name in row] for row in levels(graph)]
    boxes: Mapping[str, Box] = {box.name: box for row in rows for box in row}
    width, height = placed(rows)
    wires = [wire(boxes[a], boxes[b]) for a, others in without_shortcuts(graph).items() for b in sorted(others)]

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sb-arch" role="img" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}"><title>{escape(title)}</title><style>{STYLE}</style>',
        f'<rect class="paper" width="{width:.0f}" height="{height:.0f}" rx="8"/>',
        *wires,
        *(drawn_box(box) for box in boxes.values()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def pictures() -> dict[Path, str]:
    """Every picture by its file."""
    images = {IMAGES / "architecture-layers.svg": picture(PACKAGE, "The layers of spikebridge")}
    for inside in INSIDES:
        name = inside.rpartition("/")[2]
        images[IMAGES / f"architecture-{name}.svg"] = picture(PACKAGE / inside, f"The folder {inside}")

    return images


def calls_table(results: dict[str, Any]) -> str:
    """Files that a call enters: their number, and their names if they are few."""
    before = results["before"]["entered"]
    now = results["now"]["entered"]
    rows = []

    for name, text in CALLS.items():
        files = ", ".join(f"`{path}`" for path in now[name])
        rows.append((text, str(len(before[name])), str(len(now[name])), files if len(files) < 500 else ""))

    return table(("call", "files before", "files now", "which"), rows)


def layout_table(results: dict[str, Any]) -> str:
    """The layout before the present architecture and now."""
    measures: dict[str, Callable[[dict[str, Any]], float]] = {
        "Python files": lambda column: column["files"],
        "lines": lambda column: column["lines"],
        "code lines": lambda column: column["style"]["code_lines"],
        "blank lines in functions (%)": lambda column: column["style"]["air"],
        "comments in functions (%)": lambda column: column["style"]["comments"],
        "packed assignments in 1,000 lines": lambda column: column["style"]["packed_per_1000"],
        "docstrings that begin with a fragment": lambda column: column["style"]["fragments"],
        "docstring lines of unexported names": lambda column: column["style"]["unexported_docstring_lines"],
        "modules of the widest folder": lambda column: max(column["widest"].values()),
        "levels of folders": lambda column: column["depth"],
        "import circles by file": lambda column: len(column["circles"]),
        "files of one prefix (three siblings or more)": lambda column: column["files_of_one_prefix"],
        "short files that one sibling imports": lambda column: len(column["second_pages"]),
        "public classes and functions": lambda column: column["public_classes_and_functions"],
        "of them used by another file of the package": lambda column: column["used_by_other_files"],
        "exported names": lambda column: column["exported"],
        "class names of two or more classes": lambda column: len(column["class_names_of_several"]),
        "most arguments of a function": lambda column: column["max_arguments"],
    }

    columns = [results["before"], results["now"]]
    rows = [(name, *(f"{measure(column):,}" for column in columns)) for name, measure in measures.items()]
    return table(("measure", "before", "now"), rows)


def slowdown_table(results: dict[str, Any]) -> str:
    """The times of now over those of before: a row for each benchmark."""
    rows = []
    for name, text in SLOWDOWN.items():
        ratios = sorted(row["ratio"] for row in results[name]["rows"].values())
        summary = (results[name]["median_ratio"], ratios[0], ratios[-1])
        rows.append((text, str(len(ratios)), *(f"{ratio:.2f}" for ratio in summary)))

    return table(("benchmark", "rows", "median", "smallest", "largest"), rows)


def answers_table(results: dict[str, Any]) -> str:
    """Equal values in the answers of both trees, and the reason for unequal ones."""
    rows = [
        (
            name,
            f"{answer['num_equal']} of {answer['num_values']}",
            f"{answer['largest_relative_difference']:.0e}" if answer["largest"] else "0",
            answer["why"] if answer["num_equal"] < answer["num_values"] else "",
            str(sum(answer["removed"].values()) or ""),
        )
        for name, answer in sorted(results["commands"].items())
    ]
    return table(("command", "values equal to the last digit", "largest relative difference", "why", "removed"), rows)


def mutations_table(results: dict[str, Any]) -> str:
    """Mutations that the tests caught, drawn in each tree."""
    rows = [
        (name, str(one["n"]), str(one["caught"]), f"{one['share']:.0%}", _interval(one))
        for name, one in ((name, results[name]) for name in ("before", "now"))
    ]
    return table(("tree", "mutations", "caught", "share", "95 % interval"), rows)


def _interval(results: dict[str, Any]) -> str:
    low, high = results["interval"]
    return f"{low:.0%} to {high:.0%}"


def tables() -> dict[str, str]:
    """The tables of the page, from their results."""
    files = (RESULTS, TIMES, ANSWERS, MUTATIONS)
    results, times, answers, mutations = (json.loads(path.read_text(encoding="utf-8")) for path in files)

    return {
        "calls": calls_table(results),
        "layout": layout_table(results),
        "slowdown": slowdown_table(times),
        "answers": answers_table(answers),
        "mutations": mutations_table(mutations),
    }


def draw() -> None:
    """Writes the pictures."""
    for path, text in pictures().items():
        path.write_text(text, encoding="utf-8")


def main() -> int:
    """Writes or checks the pictures and the pages; the exit code."""
    code = write_or_check(Path(__file__), __doc__, tables(), draw)
    old = [path for path, text in pictures().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]

    for path in old:
        print(f"{path.relative_to(PROJECT)} is out of date: python {path_in_project(Path(__file__))}", file=sys.stderr)

    return max(code, int(bool(old)))


if __name__ == "__main__":
    sys.exit(main())
