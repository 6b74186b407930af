"""Tables of tracking between frames with given boxes: errors, ablations, costs."""

from statistics import fmean, stdev

from research.pages.made_page import MISSING, measured, measured_of
from research.pages.tracking.results import Row, cell, load, number, rows_of, title_of, with_sd

PATHWAYS = "between_frames/pathways"
FORMS = ("A", "A, shaken by 1 px", "A, shaken by 2 px", "A at 20 Hz", "A at 10 Hz", "A at 5 Hz")


def targets() -> str:
    """Targets, and the figures that meet them or do not."""
    return measured_of(
        load(PATHWAYS).get("targets", []),
        {
            "figure": lambda row: _figure(row["figure"]),
            "measured": lambda row: number(row["measured"]),
            "target": lambda row: row["target"],
            "met": lambda row: {True: "yes", False: "no", None: "-"}[row["met"]],
        },
    )


def _figure(name: str) -> str:
    """A figure of the results in the words of the page."""
    # the results of the last measurement have earlier names
    return (
        name.replace("told boxes", "given boxes")
        .replace("A shaken", "A, noise of")
        .replace("with the finder", "with the detector")
    )


def seeds() -> str:
    """Three seeds of the shipped settings, hold and constant velocity."""
    return measured_of(
        cell("main").get("trackers", []),
        {
            "tracker": lambda row: row["tracker"],
            "distance px": lambda row: with_sd(row["distance px"], row["sd"]),
            "AUC": lambda row: number(row["auc"]),
            "within 3 px": lambda row: number(row["within 3 px"]),
            "noise 1 px": lambda row: number(row["shaken 1 px"]),
            "noise 2 px": lambda row: number(row["shaken 2 px"]),
            "C: AUC": lambda row: number(row["closed loop auc"]),
        },
    )


def between() -> str:
    """Mean distance of every method in every form of A."""
    answers = load("cameras/tracking_baselines").get("answers", {})
    answers = {name: methods for name, methods in answers.items() if name in FORMS}
    methods = list(next(iter(answers.values()), {}))
    rows = [
        (title_of(method), *(number(answers[name][method]["mean_distance_px"]) for name in answers))
        for method in methods
    ]

    titles = (name.replace("shaken by", "noise of") for name in answers)
    return measured(("mean distance [px]", *titles), rows)


def rates() -> str:
    """Error against frame rate: A, and C of the hybrid, of the first seed."""
    results = cell("protocols").get("D", {})
    methods = {"**hybrid**": results, **results.get("baselines", {})}
    by_rate = {name: method["by_frame_rate"] for name, method in methods.items() if "by_frame_rate" in method}
    if not by_rate:
        return MISSING

    hybrid = by_rate["**hybrid**"]
    rows = [(title_of(name), *(number(row["mean_distance_px"]) for row in rows)) for name, rows in by_rate.items()]
    rows.append(("hybrid, C: AUC", *(number(row["closed_loop"]["auc"]) for row in hybrid)))

    return measured(("mean distance [px]", *(f"{row['frame_rate_hz']:.0f} Hz" for row in hybrid)), rows)


def drift() -> str:
    """A where frames are rare, with the default rule and the old one."""

    def distance(row: Row, name: str) -> str:
        return f"{row[name]['distance px']:.2f} ± {row[name]['sd']:.2f}"

    return measured_of(
        rows_of("closed_loop/rare_frames"),
        {
            "mean distance [px]": lambda row: f"{row['part']}, {40 // row['keep every']} Hz",
            "**hybrid**": lambda row: distance(row, "hybrid"),
            "the old rule": lambda row: distance(row, "as if it were there"),
            "constant velocity": lambda row: number(row["constant velocity"]),
        },
    )


def ablation() -> str:
    """Unit, form, prior and memory, at equal training and seeds."""
    results = cell("ablation")
    rare = {row["tracker"]: f"{row['distance px']:.2f} ± {row['sd']:.2f}" for row in results.get("at 10 Hz", [])}
    return measured_of(
        results.get("trackers", []),
        {
            "network": lambda row: row["tracker"],
            "distance px": lambda row: with_sd(row["distance px"], row["sd"]),
            "of constant velocity": lambda row: number(row["of constant velocity"]),
            "noise 2 px": lambda row: number(row["shaken 2 px"]),
            "10 Hz, px": lambda row: rare.get(row["tracker"], "-"),
        },
    )


def elsewhere() -> str:
    """Trained on one kind of recording, measured on another."""
    rows = []
    generated = cell("generated")
    for protocol in (name for name in ("A", "C") if name in generated):
        row = generated[protocol]
        baselines = (row["baselines"][name]["mean_distance_px"] for name in ("hold", "constant_velocity"))
        rows.append((f"generated, real, {protocol}", number(row["mean_distance_px"]), *map(number, baselines)))

    trackers = {row["tracker"]: row for row in cell("left_out").get("trackers", [])}
    if trackers:
        names = ("learned", "hold", "constant velocity")
        rows.append(("real, generated, A", *(number(trackers[name]["distance px"]) for name in names)))

    return measured(("trained on, measured on, protocol", "hybrid px", "hold px", "constant velocity px"), rows)


def unseen() -> str:
    """A on recordings that are in no training, with estimated offsets."""
    results = cell("unseen").get("seeds", [])
    rows = []

    for piece in dict.fromkeys(row["piece"] for row in results):
        of_piece = [row for row in results if row["piece"] == piece]
        distances = [row["mean_distance_px"] for row in of_piece]
        # baselines and offsets do not depend on the seed
        first = of_piece[0]
        baselines = (first["baselines"][name]["mean_distance_px"] for name in ("hold", "constant_velocity"))
        offsets = f"{first['offsets']['events']}, {first['offsets']['boxes']}"
        rows.append((piece, offsets, with_sd(fmean(distances), stdev(distances)), *map(number, baselines)))

    return measured(("recording", "offsets found", "hybrid px", "hold px", "constant velocity px"), rows)


def cost() -> str:
    """Operations and energy of a frame and the bins after it, and of an ANN with a frame in every bin."""
    rows = []
    for bins in ("6 bins", "24 bins"):
        for key, title in {"closed loop": "closed loop", "told boxes": "given boxes"}.items():
            costs = cell("cost").get(bins, {}).get(key)
            if costs is not None:
                millions = (f"{sum(costs[name].values()) / 1e6:.1f}" for name in ("ours", "ANN in every bin"))
                saved = (f"{costs[figure]:.2f} x" for figure in ("operations saved", "energy saved"))
                rows.append((f"{title}, {bins}", *millions, *saved))

    return measured(("a frame and its bins", "operations [M]", "ANN in every bin [M]", "saved", "energy saved"), rows)


def labels() -> str:
    """A on both parts, of three seeds each, by the boxes of the training."""
    return measured_of(
        rows_of("between_frames/label_free"),
        {
            "learned from": lambda row: row["training"],
            "part": lambda row: row["part"],
            "distance px": lambda row: with_sd(row["distance px"], row["sd"]),
            "AUC": lambda row: f"{row['auc']:.3f}",
            "constant velocity px": lambda row: f"{row['constant velocity']:.2f}",
            "hold px": lambda row: f"{row['hold']:.2f}",
        },
    )


def steps() -> str:
    """Milliseconds of the three kinds of steps, by detector and path."""
    times = {
        "ms a bin": ("ms a bin", "at most 0.5"),
        "ms a frame and bin": ("ms a frame and bin", "at most 4"),
        "ms a bin with the detector": ("ms a bin with the finder", "at most 4"),
    }
    results = load("between_frames/cost")
    # of rows with the same detector and path the last one is shown
    cells = {(row["detector"], row["path"]): row for row in results.get("rows", [])}
    rows = [
        (f"`{detector}`", path, *(f"{row[key]:.2f}" for key, _ in times.values()))
        for (detector, path), row in cells.items()
    ]

    if rows:
        convolutions = results["ms of the detector's convolutions"]
        rows += [("convolutions of `learned` alone", path, "", "", f"{ms:.2f}") for path, ms in convolutions.items()]
        rows.append(("goal", "", *(goal for _, goal in times.values())))

    return measured(("detector", "runs in", *times), rows)


def units() -> str:
    """A on both parts, of three seeds each, by the map of the unit and the events."""
    maps = {
        "linear": "linear map",
        "tanh": "its tanh",
        "joined": "the tanh of it and the features",
        "yes or no": "generated scenes, any event",
        "counts": "generated scenes, events counted",
    }
    figures = {"distance px": "px", "auc": "AUC", "shaken 1 px": "noise 1 px", "10 Hz px": "10 Hz, px"}
    cells = [(part, figure) for part in ("validation", "test") for figure in figures]

    results = load("between_frames/units")

    def cell_of(name: str, part: str, figure: str) -> str:
        seeds = results[name][part][figure]
        return with_sd(seeds["mean"], seeds["sd"])

    rows = [
        (title, *(cell_of(name, part, figure) for part, figure in cells))
        for name, title in maps.items()
        if name in results
    ]

    return measured(("map, events", *(f"{part}: {figures[figure]}" for part, figure in cells)), rows)


TABLES = {
    "targets": targets,
    "seeds": seeds,
    "between": between,
    "rates": rates,
    "drift": drift,
    "ablation": ablation,
    "elsewhere": elsewhere,
    "unseen": unseen,
    "cost": cost,
    "labels": labels,
    "steps": steps,
    "units": units,
}
