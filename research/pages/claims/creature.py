"""A creature that sees, remembers and answers questions, in several environments."""

import numpy as np

from research.pages.claims.results import Results, load, number, save_figure, spread_over
from research.pages.made_page import table

NAME = "networks/creature"
AT_THE_END = "right_at_the_end"
TITLES = (
    "questions",
    "right 50 ms after [%]",
    "right at the end [%]",
    "changed answers in time",
    "median latency [ms]",
    "contacts found, missed, false",
    "tracks off by [px]",
)


def _share_right(rows: list[Results], key: str = "right") -> str:
    """The share of questions with a right answer, mean and standard deviation over seeds."""
    return spread_over([100 * row[key] / row["questions"] for row in rows])


def _latency(rows: list[Results]) -> tuple[str, str]:
    """Answers in time of all changes of an answer, and the median latency."""
    latencies = sorted(value for row in rows for value in row["latency_ms"]["values"])
    in_time, changes = (sum(row[name] for row in rows) for name in ("in_time", "changes"))
    return f"{in_time} of {changes}", number(float(np.median(latencies)), 0) if latencies else "-"


def _cells(rows: list[Results], shares: list[Results]) -> tuple[str, ...]:
    """The cells of a row; shares of right answers come from rows of one seed each."""
    contacts = [sum(row["collisions"][name] for row in rows) for name in ("found", "missed", "false")]
    return (
        str(sum(row["questions"] for row in rows)),
        _share_right(shares),
        _share_right(shares, AT_THE_END),
        *_latency(rows),
        f"{contacts[0]}, {contacts[1]}, {contacts[2]}",
        number(float(np.mean([row["track_error_px"] for row in rows]))),
    )


def by_environment() -> str:
    """Answers in each environment."""
    seeds = load(NAME)["rows"]
    rows = []
    for name in seeds[0]["environments"]:
        cells = [seed["environments"][name] for seed in seeds]
        rows.append((name, *_cells(cells, cells)))

    every = [one for seed in seeds for one in seed["environments"].values()]
    sums = [
        {key: sum(one[key] for one in seed["environments"].values()) for key in ("questions", "right", AT_THE_END)}
        for seed in seeds
    ]
    rows.append(("all", *_cells(every, sums)))

    return table(("environment", *TITLES), rows)


def without_parts() -> str:
    """Answers without a part of one of the networks."""
    seeds = load(NAME)["rows"]
    cells = {"whole": [seed["whole, the same scenes"] for seed in seeds]}
    cells |= {f"without {part}": [seed["without"][part] for seed in seeds] for part in seeds[0]["without"]}

    return table(("creature", *TITLES), [(name, *_cells(rows, rows)) for name, rows in cells.items()])


def draw_latency() -> None:
    """Latency of every changed answer, by environment."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    seeds = load(NAME)["rows"]
    limits = np.arange(0, 101, 4)
    series = {}

    for name in seeds[0]["environments"]:
        rows = [seed["environments"][name] for seed in seeds]
        latencies = np.array([value for row in rows for value in row["latency_ms"]["values"]])
        changes = sum(row["changes"] for row in rows)
        series[name] = [100 * float((latencies <= limit).sum()) / changes for limit in limits]

    figure = accuracy_lines(limits, series, "time after the event [ms]", "changed answers that are right [%]")
    save_figure("creature", figure)


TABLES = {"creature": by_environment, "creature without": without_parts}
FIGURES = (draw_latency,)
