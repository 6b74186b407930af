"""Tables of tracking in closed loops: from the first box on."""

from statistics import fmean, stdev

from research.pages.made_page import measured, measured_of
from research.pages.tracking.results import METHODS, Row, cell, load, number, rows_of, title_of, with_sd

LOOPS = "closed_loop/closed_loops"


def closed() -> str:
    """From the first box on, without and with the time that answers take."""
    answers = load("cameras/tracking_baselines").get("answers", {})
    streaming = answers.get("E at the chip's rates", {})
    rows = [
        (
            title_of(method),
            *(number(row[figure]) for figure in ("auc", "mean_distance_px", "precision_20px")),
            number(streaming.get(method, {}).get("auc")),
        )
        for method, row in answers.get("C", {}).items()
    ]
    return measured(("from the first box alone", "AUC", "distance px", "within 20 px", "AUC, streaming"), rows)


def slow() -> str:
    """C by frame rate, of all seeds, for each network and its own ANN."""
    auc = {
        keep_every: {row["tracker"]: f"{row['auc']:.2f} ± {row['sd of auc']:.2f}" for row in results["trackers"]}
        for keep_every, results in cell("slow_loops").items()
    }
    methods = next(iter(auc.values()), {})
    rows = [
        (title_of("network" if method == "learned" else method), *(column[method] for column in auc.values()))
        for method in methods
    ]

    return measured(("C: AUC", *(f"{40 // int(keep_every)} Hz" for keep_every in auc)), rows)


def slower() -> str:
    """Closed loops on the validation part by frame rate, of all seeds together, for each network and its own ANN."""
    results = load(LOOPS).get("slower", [])
    if not results:
        return measured((), [])

    intervals = sorted({row["keep every"] for row in results})
    titles = {"hybrid": METHODS["network"], "hold": METHODS["ann_hold"]}
    titles["constant_velocity"] = METHODS["ann_constant_velocity"]
    rows = [
        (
            title,
            *(_auc_and_lost([row[method] for row in results if row["keep every"] == keep]) for keep in intervals),
        )
        for method, title in titles.items()
    ]

    return measured(("AUC, and loops that lost it", *(f"{40 // keep} Hz" for keep in intervals)), rows)


def _auc_and_lost(seeds: list[Row]) -> str:
    aucs = [seed["auc"] for seed in seeds]
    lost, loops = (sum(seed[name] for seed in seeds) for name in ("lost", "loops"))
    return f"{fmean(aucs):.2f} ± {stdev(aucs):.2f}, {lost} of {loops}"


def loops() -> str:
    """Closed loops from many starts on the validation part."""
    return measured_of(
        rows_of(LOOPS),
        {
            "training": lambda row: str(row["training"]),
            "detector gain": lambda row: str(row["recall"]),
            "AUC": lambda row: str(row["auc"]),
            "as it is": lambda row: number(row["as it is"]),
            "backwards": lambda row: number(row["backwards"]),
            "as it is, mirrored": lambda row: number(row["as it is, mirrored"]),
            "backwards, mirrored": lambda row: number(row["backwards, mirrored"]),
            "loops that lost it": lambda row: f"{row['loops that lost it']} of {row['loops']}",
        },
    )


def halves() -> str:
    """Closed loops through the half of the recording that a detector was not trained on, by its training."""
    return measured_of(
        rows_of("closed_loop/closed_loop_halves"),
        {
            "the detector's training": lambda row: row["training"],
            "AUC": lambda row: with_sd(row["auc"], row["sd"]),
            "loops that lost it": lambda row: f"{row['lost']} of {row['loops']}",
            "left of a size": lambda row: f"{row['size left']:.2f}",
            "left of a place": lambda row: f"{row['place left']:.2f}",
        },
    )


def tumbling() -> str:
    """Closed loops through generated scenes."""
    return measured_of(
        rows_of("closed_loop/tumbling_loops"),
        {
            "training": lambda row: row["training"],
            "AUC": lambda row: f"{row['auc']:.3f}",
            "lost share": lambda row: f"{row['lost share']:.3f}",
            "scenes with 0.1 or more": lambda row: f"{row['lost for a tenth of the time']} of {row['scenes']}",
        },
    )


def rest() -> str:
    """Boxes at which two detectors rest that were trained on different halves."""
    rows = []
    for half, row in load("closed_loop/detectors_at_rest").get("rows", {}).items():
        from_labels = zip(row["with labels"].values(), row["px from labels"].values(), strict=True)
        first, second = (f"{auc:.2f}, {px:.1f} px" for auc, px in from_labels)
        other = f"{row['with each other']:.2f}, {row['px from each other']:.1f} px"
        rows.append((f"the {half} half", first, second, other, f"{row['correlation of what they are off']:.2f}"))

    names = ("one and the label", "the other and the label", "one and the other")
    return measured(("frames of", *names, "correlation of what they are off"), rows)


def often() -> str:
    """C on generated scenes, of three seeds."""
    return measured_of(
        rows_of("between_frames/ann_at_event_rate"),
        {
            "generated scenes, C": lambda row: row["method"],
            "distance px": lambda row: f"{row['distance px']['mean']:.2f} ± {row['distance px']['sd']:.2f}",
            "AUC": lambda row: with_sd(row["auc"]["mean"], row["auc"]["sd"]),
            "lost share": lambda row: f"{row['lost share']['mean']:.3f}",
        },
    )


TABLES = {
    "closed": closed,
    "slow": slow,
    "slower": slower,
    "loops": loops,
    "halves": halves,
    "tumbling": tumbling,
    "rest": rest,
    "often": often,
}
