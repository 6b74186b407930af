"""Reports: whole, self-contained, and safe with any text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from spikebridge.analysis.plots.figures import accuracy_bars, to_svg
from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.analysis.report import Picture, Section, Table, cell_text, render_report, write_report
from spikebridge.errors import ConfigError

from .conftest import what_where

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Balance(HTMLParser):
    """Checks that every element that opens closes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def full_report() -> str:
    rows = [
        {"network": "hybrid", "accuracy": "94.0 ± 0.3", "parameters": 67690, "energy": 1.1618, "best": True},
        {"network": "ann <only>", "accuracy": "90.1 ± 0.5", "parameters": 67000, "energy": None, "best": False},
    ]

    pictures = [
        Picture(draw_network(what_where()), "The network"),
        Picture(to_svg(accuracy_bars({"a": [1.0, 2.0]})), "Bars"),
        Picture(to_svg(accuracy_bars({"b": [1.0, 3.0]})), "Bars"),
    ]

    sections = [
        Section("Result", ["Good & bad.", "More."], [Table(rows, "Accuracy", marked=[0])]),
        Section("Pictures", pictures=pictures),
        Section("Method", "One paragraph."),
    ]

    facts = {"seed": 3, "git revision": "abc", "device": "cpu"}
    return render_report("Digits", sections, facts, "spikebridge train digits --seed 3", "It works.")


def test_a_report_is_well_formed() -> None:
    parser = Balance()
    parser.feed(full_report())
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))


def test_a_report_asks_for_nothing_outside() -> None:
    html = full_report()
    parser = Balance()
    parser.feed(html)
    targets = [value for _, name, value in parser.attributes if name in ("href", "src", "xlink:href", "action")]

    assert all(value.startswith("#") for value in targets)
    assert not re.search(r"url\(\s*['\"]?(?!#)", html)
    assert "@import" not in html
    assert "<script" not in html

    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"'\s<)]*", html)) <= namespaces


def test_numbers_stand_to_the_right_and_marks_stand_out() -> None:
    html = full_report()
    assert re.findall(r'<th scope="col"( class="number")?>', html) == ["", *[' class="number"'] * 3, ""]
    assert '<td class="number">67,690</td>' in html
    assert '<td class="number">1.162</td>' in html
    assert '<td class="number">–</td>' in html
    assert html.count('<tr class="marked">') == 1


def test_facts_command_and_contents_are_shown() -> None:
    html = full_report()
    assert "<dt>git revision</dt><dd>abc</dd>" in html
    assert "<code>spikebridge train digits --seed 3</code>" in html
    assert '<a href="#method">Method</a>' in html
    assert '<section id="method">' in html
    assert "prefers-color-scheme: dark" in html
    assert '<meta name="viewport"' in html


def test_text_is_never_markup() -> None:
    evil = '<img src=x onerror="alert(1)">'
    table = Table([{evil: evil}], caption=evil)
    html = render_report(evil, [Section(evil, evil, [table])], {evil: evil}, evil, evil)

    assert "<img" not in html
    assert html.count("&lt;img src=x") >= 8


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    path = write_report(tmp_path / "new" / "report.html", "Digits", [Section("Result", "x")])
    assert path.read_text(encoding="utf-8").endswith("</html>")

    before = path.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="a picture of a report is an SVG element"):
        write_report(path, "Digits", [Section("Result", pictures=[Picture("<img>")])])

    assert path.read_text(encoding="utf-8") == before
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_headings_that_share_an_address_are_refused() -> None:
    with pytest.raises(ConfigError, match="two sections of the report have the address 'a-b'"):
        render_report("x", [Section("A b"), Section("a - b")])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (0.5, "0.5"),
        (1e-9, "1e-09"),
        (12345, "12,345"),
        (1234567.8, "1,234,568"),
        (True, "yes"),
        ([1, 2.5], "1, 2.5"),
        (-3, "-3"),
        ("", "–"),
        (None, "–"),
        ("3 ± 1", "3 ± 1"),
    ],
)
def test_cells_are_written_for_readers(value: object, text: str) -> None:
    assert cell_text(value) == text


def test_the_standard_deviation_of_one_seed_is_not_available() -> None:
    assert cell_text(None, "sd") == "n/a (needs 2 seeds)"


def test_an_empty_table_and_an_empty_figure_are_no_faults() -> None:
    html = render_report("x", [Section("A", tables=[Table([])], pictures=[Picture(to_svg(Figure()))])])
    assert "<tbody>" in html
