"""Units that are designed or learned: on digits, between frames, and on collisions."""

from research.pages.claims.results import load, number, percentage, save_figure, with_spread
from research.pages.made_page import table, table_of

RATES = (40, 10)  # frames a second


def on_digits() -> str:
    """Accuracy, loss with an exchanged neighbour, and time."""
    return table_of(
        load("units/ways_to_learn")["rows"],
        {
            "units": lambda row: row["way"],
            "accuracy [%]": lambda row: percentage(row["accuracy"]),
            "lost when the SNN is exchanged [points]": lambda row: percentage(row["lost"]),
            "training [s of one core]": lambda row: number(row["cpu_s"]["mean"], 1),
        },
    )


def between_frames() -> str:
    """Distance from the truth at both rates of frames, and the loss with an exchanged neighbour."""
    results = load("units/ways_in_sensing")
    cells = {(row["rate_hz"], row["way"]): row for row in results["rows"]}
    rows = [
        (
            way,
            *(with_spread(cells[rate, way][key], 2) for rate in RATES for key in ("distance_px", "lost_px")),
            number(cells[RATES[0], way]["cpu_s"], 0),
        )
        for way in dict.fromkeys(row["way"] for row in results["rows"])
    ]

    baselines = [results["baselines_px"][str(rate)]["constant velocity"] for rate in RATES]
    rows.append(("(constant velocity)", number(baselines[0]), "-", number(baselines[1]), "-", "-"))
    titles = [part for rate in RATES for part in (f"{rate} Hz: distance [px]", "more when the SNN is exchanged [px]")]

    return table(("unit", *titles, "training [s of one core]"), rows)


def on_collisions() -> str:
    """Collisions found, and counts of collisions that are right, with the detector of the training and another."""
    return table_of(
        load("units/ways_in_reasoning")["rows"],
        {
            "unit": lambda row: row["way"],
            "seeds": lambda row: str(row["seeds"]),
            "found [%]": lambda row: percentage(row["as in training"]["recall"]),
            "of those, true [%]": lambda row: percentage(row["as in training"]["precision"]),
            "off by [frames]": lambda row: with_spread(row["as in training"]["timing_frames"]),
            "counts right [%]": lambda row: percentage(row["as in training"]["counts_right"]),
            "counts right, other detector [%]": lambda row: percentage(row["exchanged"]["counts_right"]),
            "training [s of one core]": lambda row: number(row["cpu_s"], 0),
        },
    )


def draw_on_digits() -> None:
    """Accuracy of each way."""
    from spikebridge.analysis.plots.figures import accuracy_bars

    rows = load("units/ways_to_learn")["rows"]
    values = {row["way"]: [100 * value for value in row["accuracy"]["values"]] for row in rows}
    save_figure("ways-to-learn", accuracy_bars(values))


def draw_between_frames() -> None:
    """Distance of each way at both rates."""
    from spikebridge.analysis.plots.figures import accuracy_bars

    rows = load("units/ways_in_sensing")["rows"]
    values = {f"{row['way']}, {row['rate_hz']} Hz": row["distance_px"]["values"] for row in rows}
    save_figure("ways-in-sensing", accuracy_bars(values, "distance [px]"))


def verdict() -> tuple[str, str]:
    """Claim and verdict."""
    digits = {row["way"]: row["accuracy"] for row in load("units/ways_to_learn")["rows"]}
    rows = load("units/ways_in_sensing")["rows"]
    sensing = {row["way"]: row["distance_px"] for row in rows if row["rate_hz"] == RATES[0]}
    best = max(digits, key=lambda way: digits[way]["mean"])
    nearest = min(sensing, key=lambda way: sensing[way]["mean"])

    return (
        "Units may be designed or learned in three ways",
        f"yes; most accurate: {best} ({percentage(digits[best])} %), designed {percentage(digits['designed'])} %, "
        f"alone {percentage(digits['alone'])} % on digits; {nearest} between frames, "
        f"{with_spread(sensing[nearest], 2)} px, designed {with_spread(sensing['designed'], 2)} px",
    )


TABLES = {"ways": on_digits, "ways in sensing": between_frames, "ways in reasoning": on_collisions}
FIGURES = (draw_on_digits, draw_between_frames)
