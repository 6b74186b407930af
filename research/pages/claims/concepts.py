"""New concepts in one shot, and pathways joined at several depths."""

from research.pages.claims.results import load, number, percentage, save_figure, with_spread
from research.pages.made_page import table_of

KINDS = {"color": "colours", "shape": "shapes"}


def concepts() -> str:
    """Accuracy on new and old values."""
    return table_of(
        load("networks/one_shot")["rows"],
        {
            "new": lambda row: f"{row['values']} {KINDS[row['kind']]}",
            "pictures of each": lambda row: str(row["shots"]),
            "way": lambda row: row["way"],
            "new right [%]": lambda row: percentage(row["new"]),
            "old lost [points]": lambda row: percentage(row["old_lost"]),
            "learning a value [ms]": lambda row: number(row["cpu_ms_a_value"], 1),
        },
    )


def draw_concepts() -> None:
    """Accuracy on new colours against pictures of each."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = [row for row in load("networks/one_shot")["rows"] if (row["kind"], row["values"]) == ("color", 5)]
    ways = list(dict.fromkeys(row["way"] for row in rows))
    series = {
        f"{way}, {side}": [[100 * value for value in row[side]["values"]] for row in rows if row["way"] == way]
        for way in ways[:3]
        for side in ("new", "old")
    }

    shots = sorted({row["shots"] for row in rows})
    save_figure("concepts", accuracy_lines(shots, series, "pictures of each of 5 new colours"))


def depths() -> str:
    """Distance and cost by the places of units."""
    return table_of(
        load("units/depths")["rows"],
        {
            "units at depth": lambda row: row["units"],
            "seeds": lambda row: str(len(row["distance_px"]["values"])),
            "distance [px]": lambda row: with_spread(row["distance_px"], 2),
            "in the last bin [px]": lambda row: with_spread(row["last_bin_px"], 2),
            "weights": lambda row: f"{row['weights']['mean']:.0f}",
            "products a bin [thousand]": lambda row: f"{row['macs_a_bin']['mean'] / 1e3:.0f}",
            "additions of spikes a bin [thousand]": lambda row: f"{row['synops_a_bin']['mean'] / 1e3:.0f}",
        },
    )


def draw_depths() -> None:
    """Distance by the places of units."""
    from spikebridge.analysis.plots.figures import accuracy_bars

    values = {f"units: {row['units']}": row["distance_px"]["values"] for row in load("units/depths")["rows"]}
    save_figure("depths", accuracy_bars(values, "distance [px]"))


def concepts_verdict() -> tuple[str, str]:
    """Claim and verdict about new concepts."""
    rows = {(row["kind"], row["values"], row["shots"], row["way"]): row for row in load("networks/one_shot")["rows"]}
    one, five = (rows["color", 5, shots, "new row"] for shots in (1, 5))
    return (
        "New concepts in one shot",
        f"partly: 5 new colours, {percentage(one['new'])} % right after one picture each, {percentage(five['new'])} % "
        f"after five; old colours lose {percentage(one['old_lost'])} and {percentage(five['old_lost'])} points",
    )


def depths_verdict() -> tuple[str, str]:
    """Claim and verdict about depths."""
    distances = {row["units"]: row["distance_px"] for row in load("units/depths")["rows"]}
    best = min(("1", "2", "3"), key=lambda depth: distances[depth]["mean"])
    without, alone, all_three = (with_spread(distances[units], 2) for units in ("none", best, "1, 2, 3"))
    return (
        "Pathways joined at several depths",
        f"one unit helps, more do not help more: distance {without} px without units, {alone} px with one at depth "
        f"{best}, {all_three} px with three",
    )


TABLES = {"concepts": concepts, "depth": depths}
FIGURES = (draw_concepts, draw_depths)
