"""Tables of tracking with other weights, cameras and scenes: families, clips, people, photographs."""

from statistics import fmean

from research.pages.made_page import measured, measured_of
from research.pages.tracking.results import Row, load, three_digits

FAMILIES = "cameras/families"
LEFT_OUT = "closed_loop/left_out_clips"
_OWN = ("hybrid", "own ANN", "own SNN")


def family_errors() -> str:
    """A of networks on families that they were not trained on, as a ratio to constant velocity."""
    families = load(FAMILIES).get("rows", {})
    rows = [
        (
            family,
            *(f"{_ratio(row):.2f}" for row in cases.values()),
            *(f"{max(_ratio(row, rate) for row in cases.values()):.2f}" for rate in (", 20 Hz", ", 10 Hz")),
        )
        for family, cases in families.items()
    ]

    titles = (_change(case) for case in next(iter(families.values()), {}))
    return measured(("A, ratio to constant velocity", *titles, "20 Hz, largest", "10 Hz, largest"), rows)


def _ratio(row: Row, rate: str = "") -> float:
    return float(row[f"A{rate}"] / row[f"A constant velocity{rate}"])


def _change(case: str) -> str:
    """A short name of a case."""
    return case.replace(" of the events lost", " lost").replace("100,000 noise events a second", "noise")


def family_loops() -> str:
    """C of the same networks: the mean over cases, and of the hybrid without changes and with most events lost."""
    trackers = {
        "**hybrid**": "C",
        "own ANN": "C own ANN",
        "with filter": "C own ANN with the filter",
        "with filter, half": "C own ANN with the filter, half",
        "KCF": "C KCF",
        "CSRT": "C CSRT",
    }
    rows = [
        (
            family,
            *(f"{fmean(row[name] for row in cases.values()):.3f}" for name in trackers.values()),
            *(f"{cases[case]['C']:.3f}" for case in ("as made", "90 % of the events lost")),
        )
        for family, cases in load(FAMILIES).get("rows", {}).items()
    ]
    if rows:
        rows.append(("**mean**", *(f"{fmean(map(float, column)):.3f}" for column in list(zip(*rows, strict=True))[1:])))

    return measured(("C, AUC", *trackers, "as made", "90 % lost"), rows)


def weights() -> str:
    """The default weights, with and without the factor of the detector's claims, and those for research."""
    results = load("cameras/weights")
    names = ("sensing", "without the factor", "sensing_research")
    if not results:
        return measured((), ())

    rows: list[tuple[str, ...]] = []
    for case, row in results["A"].items():
        cells = (row["sensing"], None, row["sensing_research"], row["constant velocity"])
        rows.append((f"A, {case} [px]", *map(three_digits, cells)))

    test = results["C, test part"]
    train = results["C, training part of sensing_research"]
    clips = results["mean of the clips"]

    def auc(part: Row, figure: str, suffix: str = "") -> list[float | None]:
        return [part.get(f"{name}{suffix}", {}).get(figure) for name in names]

    searchless = ", without the search"
    figures = {
        "test part": auc(test, "from the box"),
        "test part, six boxes .5 px off: mean": auc(test, "boxes beside it"),
        "the same: least": auc(test, "least of them"),
        "the same, without the search: mean": auc(test, "boxes beside it", searchless),
        "the same, without the search: least": auc(test, "least of them", searchless),
        "test part, trained detector alone": auc(test, "from the box", ", trained detector alone"),
    }
    rows += [_auc_row(figure, values) for figure, values in figures.items()]

    # some of these rows have the names of rows above
    figures = {
        "training part of `sensing_research`": auc(train, "whole"),
        "the same, from every 20th frame: mean": auc(train, "starts"),
        "the same: least": auc(train, "least of them"),
        "the same, without the search: mean": auc(train, "starts", searchless),
        "the same, without the search: least": auc(train, "least of them", searchless),
        "the same, pieces of 60 frames": auc(train, "pieces"),
        "six clips": [clips[name] for name in names],
        "six clips, filter alone": [clips.get(f"{name}, filter alone") for name in names],
    }
    rows += [_auc_row(figure, values) for figure, values in figures.items()]

    return measured(("figure", *names, "constant velocity"), rows)


def _auc_row(figure: str, values: list[float | None]) -> tuple[str, ...]:
    # constant velocity has no closed loop
    return (f"C, {figure} [AUC]", *map(three_digits, values), "-")


def clips() -> str:
    """From the first box on ordinary clips, frames alone: with settings that the other clips choose, and by others."""
    found = load(LEFT_OUT)
    names = {"left out": "left out", "track": "`track`", "before": "before", "csrt": "CSRT", "kcf": "KCF"}
    auc = found.get("auc", {})
    rows = [
        (clip.replace("_", " "), *(three_digits(auc[name][clip]) for name in names)) for clip in auc.get("track", {})
    ]
    if rows:
        rows.append(("mean", *(three_digits(found["mean"][name]) for name in names)))

    return measured(("clip", *names.values()), rows)


def material(is_chosen_on: bool) -> str:
    """Hybrid, own ANN and own SNN by material and frame rate: A and C; clips have no events."""
    cells: dict[tuple[str, int], list[str]] = {}
    for row in load("cameras/seen_and_unseen").get("rows", []):
        if row["chosen on"] == is_chosen_on:
            figures = [f"{row[name]:.2f}" for name in _OWN]
            cells.setdefault((row["material"], row["keep_every"]), []).extend(figures)

    rows = [(f"{name}, {40 // keep} Hz", *figures) for (name, keep), figures in cells.items()]
    clips_of_choice = load(LEFT_OUT).get("auc", {}).get("track", {})
    if rows and is_chosen_on and clips_of_choice:
        # without events all three have the filter alone
        mean = f"{fmean(clips_of_choice.values()):.2f}"
        rows.append((f"{len(clips_of_choice)} clips", "-", "-", "-", mean, mean, mean))

    titles = (f"{protocol}, {name}" for protocol in ("A [px]", "C [AUC]") for name in _OWN)
    return measured(("", *titles), rows)


def pedestrians() -> str:
    """From the first box on people of a real film that no weights were trained on."""
    return measured_of(
        list(load("closed_loop/pedestrian_loops").get("rows", {}).items()),
        {
            "tracker, detector": lambda row: f"`{row[0]}`",
            "C, AUC: mean of 14 people": lambda row: f"{row[1]['mean']:.3f}",
            "least": lambda row: f"{min(row[1]['each']):.2f}",
        },
    )


def photographs() -> str:
    """From the first box on photographs that no weights were trained on."""
    results = load("closed_loop/photograph_loops").get("rows", {})
    kinds = tuple(next(iter(results.values()), {}))
    rows = [(name, *(f"{row[kind]:.3f}" for kind in kinds)) for name, row in results.items()]
    return measured(("C, AUC", *kinds), rows)


TABLES = {
    "family-errors": family_errors,
    "family-loops": family_loops,
    "weights": weights,
    "clips": clips,
    "chosen-on": lambda: material(True),
    "chose-nothing": lambda: material(False),
    "pedestrians": pedestrians,
    "photographs": photographs,
}
