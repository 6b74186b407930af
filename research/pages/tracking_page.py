"""The tables of the tracking pages in docs/explanation, made from files of benchmarks/results.

python research/pages/tracking_page.py           # writes the pages
python research/pages/tracking_page.py --check   # exit code 1 if a page differs from the results
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from research.pages.made_page import MISSING, measured, result_file, write_or_check

WORDS = {"network": "**hybrid**", "ann_hold": "its ANN, held", "ann_constant_velocity": "its ANN, constant velocity"}
WORDS |= {"events": "its SNN alone", "decay_0": "its membranes reset in every bin", "kcf": "KCF", "csrt": "CSRT"}
WAYS = ("as it is", "backwards", "as it is, mirrored", "backwards, mirrored")
SHOWN = ("A", "A, shaken by 1 px", "A, shaken by 2 px", "A at 20 Hz", "A at 10 Hz", "A at 5 Hz")


def targets(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """What was aimed at, and what came out."""
    rows = [
        (
            _figure(row["figure"]),
            _number(row["measured"]),
            row["target"],
            {True: "yes", False: "no", None: "-"}[row["met"]],
        )
        for row in sensing.get("targets", [])
    ]
    return measured(("figure", "measured", "target", "met"), rows)


def seeds(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """Three seeds of the shipped settings beside hold and constant velocity."""
    rows = [
        (
            row["tracker"],
            f"{row['distance px']:.3f}" + _spread(row["sd"]),
            *(_number(row[name]) for name in ("auc", "within 3 px", "shaken 1 px", "shaken 2 px", "closed loop auc")),
        )
        for row in _cell(sensing, "main").get("trackers", [])
    ]
    return measured(("tracker", "distance px", "AUC", "within 3 px", "noise 1 px", "noise 2 px", "C: AUC"), rows)


def between(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """Mean distance of every method in every form of A."""
    answers = {name: one for name, one in beside.get("answers", {}).items() if name in SHOWN}
    methods = list(next(iter(answers.values()), {}))
    rows = [
        (_spoken(method), *(_number(answers[name][method]["mean_distance_px"]) for name in answers))
        for method in methods
    ]

    titles = (name.replace("shaken by", "noise of") for name in answers)
    return measured(("mean distance [px]", *titles), rows)


def rates(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """Error against frame rate: A, and C of the hybrid, of the first seed."""
    found = _cell(sensing, "protocols").get("D", {})
    methods = {"**hybrid**": found, **found.get("baselines", {})}
    asked = {name: one["by_frame_rate"] for name, one in methods.items() if "by_frame_rate" in one}
    if not asked:
        return MISSING

    rows = [(_spoken(name), *(_number(row["mean_distance_px"]) for row in answers)) for name, answers in asked.items()]
    rows.append(("hybrid, C: AUC", *(_number(row["closed_loop"]["auc"]) for row in asked["**hybrid**"])))

    return measured(("mean distance [px]", *(f"{row['frame_rate_hz']:.0f} Hz" for row in asked["**hybrid**"])), rows)


def slow(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """C by frame rate, of all seeds, beside each network's own ANN."""
    cells = _cell(sensing, "slow_loops")
    said = {
        keep: {row["tracker"]: f"{row['auc']:.2f} ± {row['sd of auc']:.2f}" for row in one["trackers"]}
        for keep, one in cells.items()
    }

    names = next(iter(said.values()), {})
    rows = [(_spoken("network" if name == "learned" else name), *(x[name] for x in said.values())) for name in names]

    return measured(("C: AUC", *(f"{40 // int(keep)} Hz" for keep in said)), rows)


def drift(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """A where frames are rare, with and without a doubt where streams began."""
    names = {"hybrid": "**hybrid**", "as if it were there": "the old rule"}

    def said(row: dict[str, Any], name: str) -> str:
        return f"{row[name]['distance px']:.2f} ± {row[name]['sd']:.2f}"

    rows = [
        (
            f"{row['part']}, {40 // row['keep every']} Hz",
            *(said(row, name) for name in names),
            _number(row["constant velocity"]),
        )
        for row in beside["drift"].get("rows", [])
    ]
    return measured(("mean distance [px]", *names.values(), "constant velocity"), rows)


def closed(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """The first box alone, without and with the time that answers take."""
    answers = beside.get("answers", {})
    plain = answers.get("C", {})
    late = answers.get("E at the chip's rates", {})

    rows = [
        (
            _spoken(method),
            *(_number(one[figure]) for figure in ("auc", "mean_distance_px", "precision_20px")),
            _number(late.get(method, {}).get("auc")),
        )
        for method, one in plain.items()
    ]
    return measured(("from the first box alone", "AUC", "distance px", "within 20 px", "AUC, streaming"), rows)


def ablation(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """Unit, form, prior and memory, at equal training and seeds."""
    found = _cell(sensing, "ablation")
    rare = {row["tracker"]: f"{row['distance px']:.2f} ± {row['sd']:.2f}" for row in found.get("at 10 Hz", [])}
    rows = [
        (
            row["tracker"],
            f"{row['distance px']:.3f}" + _spread(row["sd"]),
            _number(row["of constant velocity"]),
            _number(row["shaken 2 px"]),
            rare.get(row["tracker"], "-"),
        )
        for row in found.get("trackers", [])
    ]

    return measured(("network", "distance px", "of constant velocity", "noise 2 px", "10 Hz, px"), rows)


def elsewhere(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """Trained on one kind of recording, measured on another."""
    rows = []
    cell = _cell(sensing, "generated")
    for protocol, one in ((name, cell[name]) for name in ("A", "C") if name in cell):
        others = (one["baselines"][name]["mean_distance_px"] for name in ("hold", "constant_velocity"))
        rows.append((f"generated, real, {protocol}", _number(one["mean_distance_px"]), *map(_number, others)))

    found = {row["tracker"]: row for row in _cell(sensing, "left_out").get("trackers", [])}
    if found:
        names = ("learned", "hold", "constant velocity")
        rows.append(("real, generated, A", *(_number(found[name]["distance px"]) for name in names)))

    return measured(("trained on, measured on, protocol", "hybrid px", "hold px", "constant velocity px"), rows)


def unseen(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """A on recordings that no training has seen, offsets found."""
    found = _cell(sensing, "unseen").get("seeds", [])
    rows = []

    for piece in dict.fromkeys(one["piece"] for one in found):
        ours = [one for one in found if one["piece"] == piece]
        distances = [one["mean_distance_px"] for one in ours]
        others = (ours[0]["baselines"][name]["mean_distance_px"] for name in ("hold", "constant_velocity"))
        offsets = f"{ours[0]['offsets']['events']}, {ours[0]['offsets']['boxes']}"
        rows.append((piece, offsets, f"{fmean(distances):.3f} ± {stdev(distances):.3f}", *map(_number, others)))

    return measured(("recording", "offsets found", "hybrid px", "hold px", "constant velocity px"), rows)


def slower(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """Closed loops on the validation part by frame rate, of all seeds together, beside each network's own ANN."""
    found = beside.get("loops", {}).get("slower", [])
    rates = sorted({row["keep every"] for row in found})
    methods = {"hybrid": "**hybrid**", "hold": WORDS["ann_hold"], "constant_velocity": WORDS["ann_constant_velocity"]}
    rows = []

    for method, spoken in methods.items():
        seeds = [[row[method] for row in found if row["keep every"] == keep] for keep in rates]
        rows.append((spoken, *(_loops_won(each) for each in seeds)))

    return measured(("AUC, and loops that lost it", *(f"{40 // keep} Hz" for keep in rates)), rows if found else [])


def _loops_won(seeds: list[dict[str, Any]]) -> str:
    aucs = [one["auc"] for one in seeds]
    lost, number = (sum(one[name] for one in seeds) for name in ("lost", "loops"))
    return f"{fmean(aucs):.2f} ± {stdev(aucs):.2f}, {lost} of {number}"


def loops(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """Closed loops from many starts on the validation part."""
    rows = [
        tuple(str(row[name]) for name in ("training", "recall", "auc"))
        + tuple(_number(row[name]) for name in WAYS)
        + (f"{row['loops that lost it']} of {row['loops']}",)
        for row in beside.get("loops", {}).get("rows", [])
    ]
    return measured(("training", "detector gain", "AUC", *WAYS, "loops that lost it"), rows)


def halves(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """Closed loops through the half of the recording that a detector was not trained on, by how it was trained."""
    rows = [
        (
            row["training"],
            f"{row['auc']:.3f}" + _spread(row["sd"]),
            f"{row['lost']} of {row['loops']}",
            f"{row['size left']:.2f}",
            f"{row['place left']:.2f}",
        )
        for row in beside.get("halves", {}).get("rows", [])
    ]
    return measured(("the detector's training", "AUC", "loops that lost it", "left of a size", "left of a place"), rows)


def tumbling(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """Closed loops through generated scenes."""
    rows = [
        (
            row["training"],
            f"{row['auc']:.3f}",
            f"{row['lost share']:.3f}",
            f"{row['lost for a tenth of the time']} of {row['scenes']}",
        )
        for row in beside.get("tumbling", {}).get("rows", [])
    ]
    return measured(("training", "AUC", "lost share", "scenes with 0.1 or more"), rows)


def rest(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """Where two detectors come to rest that were trained on different halves."""
    rows = []
    for half, row in beside.get("rest", {}).get("rows", {}).items():
        own = zip(row["with labels"].values(), row["px from labels"].values(), strict=True)
        first, second = (f"{auc:.2f}, {px:.1f} px" for auc, px in own)
        other = f"{row['with each other']:.2f}, {row['px from each other']:.1f} px"
        rows.append((f"the {half} half", first, second, other, f"{row['correlation of what they are off']:.2f}"))

    names = ("one and the label", "the other and the label", "one and the other")
    return measured(("frames of", *names, "correlation of what they are off"), rows)


def cost(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """Operations and energy of a frame and the bins after it, beside an ANN that sees a frame at every bin."""
    rows = []
    for bins in ("6 bins", "24 bins"):
        for loop in ("closed loop", "told boxes"):
            one = _cell(sensing, "cost").get(bins, {}).get(loop)
            if one is not None:
                millions = (f"{sum(one[who].values()) / 1e6:.1f}" for who in ("ours", "ANN in every bin"))
                saved = (f"{one[figure]:.2f} x" for figure in ("operations saved", "energy saved"))
                rows.append((f"{loop.replace('told', 'given')}, {bins}", *millions, *saved))

    return measured(("a frame and its bins", "operations [M]", "ANN in every bin [M]", "saved", "energy saved"), rows)


def labels(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """A on both parts, of three seeds each, by the boxes that were learned from."""
    rows = [
        (
            row["training"],
            row["part"],
            f"{row['distance px']:.3f} ± {row['sd']:.3f}",
            f"{row['auc']:.3f}",
            f"{row['constant velocity']:.2f}",
            f"{row['hold']:.2f}",
        )
        for row in beside.get("labels", {}).get("rows", [])
    ]
    return measured(("learned from", "part", "distance px", "AUC", "constant velocity px", "hold px"), rows)


def often(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """C on generated scenes, of three seeds."""
    rows = [
        (
            row["method"],
            f"{row['distance px']['mean']:.2f} ± {row['distance px']['sd']:.2f}",
            f"{row['auc']['mean']:.3f} ± {row['auc']['sd']:.3f}",
            f"{row['lost share']['mean']:.3f}",
        )
        for row in beside.get("often", {}).get("rows", [])
    ]
    return measured(("generated scenes, C", "distance px", "AUC", "lost share"), rows)


def family_errors(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """A of networks on families that they were not trained on, as a ratio to constant velocity."""
    found = beside["families"].get("rows", {})
    rows = [
        (family, *(f"{row['A'] / row['A constant velocity']:.2f}" for row in by.values()))
        for family, by in found.items()
    ]

    titles = (_changed(case) for case in next(iter(found.values()), {}))
    return measured(("A, ratio to constant velocity", *titles), rows)


def family_loops(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """C of the same networks: the mean over cases, and of the hybrid as made and with most events lost."""
    names = ("C", "C own ANN", "C own ANN with the filter", "C own ANN with the filter, half", "C KCF", "C CSRT")
    found = beside["families"].get("rows", {})
    rows = [
        (
            family,
            *(f"{fmean(row[name] for row in by.values()):.3f}" for name in names),
            *(f"{by[case]['C']:.3f}" for case in ("as made", "90 % of the events lost")),
        )
        for family, by in found.items()
    ]
    if rows:
        means = [f"{fmean(float(row[i]) for row in rows):.3f}" for i in range(1, len(rows[0]))]
        rows.append(("**mean**", *means))

    titles = ("**hybrid**", "own ANN", "with filter", "with filter, half", "KCF", "CSRT", "as made", "90 % lost")
    return measured(("C, AUC", *titles), rows)


CONVOLUTIONS = "ms of the detector's convolutions"


def steps(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """Milliseconds of the three kinds of steps, by detector and path."""
    names = ("ms a bin", "ms a frame and bin", "ms a bin with the finder")
    goals = ("at most 0.5", "at most 4", "at most 4")
    found = {(row["detector"], row["path"]): row for row in beside["steps"].get("rows", [])}
    rows = [(f"`{detector}`", path, *(f"{row[name]:.2f}" for name in names)) for (detector, path), row in found.items()]
    titles = ("detector", "runs in", "ms a bin", "ms a frame and bin", "ms a bin with the detector")

    if not rows:
        return measured(titles, ())

    alone = beside["steps"][CONVOLUTIONS].items()
    rows += [("convolutions of `learned` alone", path, "", "", f"{spent:.2f}") for path, spent in alone]

    return measured(titles, [*rows, ("goal", "", *goals)])


def weights(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """The default weights, with and without the factor of the detector's claims, and those for research."""
    found = beside["weights"]
    names = ("sensing", "without the factor", "sensing_research")
    if not found:
        return measured((), ())

    rows: list[tuple[str, ...]] = []
    for case, row in found["A"].items():
        cells = (row["sensing"], None, row["sensing_research"], row["constant velocity"])
        rows.append((f"A, {case} [px]", *("-" if one is None else f"{one:.3f}" for one in cells)))

    test, train, clips = (
        found[name] for name in ("C, test part", "C, training part of sensing_research", "mean of the clips")
    )

    def searchless(part: dict[str, Any], figure: str) -> list[float | None]:
        return [part.get(f"{name}, without the search", {}).get(figure) for name in names]

    for spoken, aucs in (
        ("test part", [test[name]["from the box"] for name in names]),
        ("test part, six boxes .5 px off: mean", [test[name]["boxes beside it"] for name in names]),
        ("the same: least", [test[name]["least of them"] for name in names]),
        ("the same, without the search: mean", searchless(test, "boxes beside it")),
        ("the same, without the search: least", searchless(test, "least of them")),
        (
            "test part, trained detector alone",
            [test[f"{name}, trained detector alone"]["from the box"] for name in names],
        ),
        ("training part of `sensing_research`", [train[name]["whole"] for name in names]),
        ("the same, from every 20th frame: mean", [train[name]["starts"] for name in names]),
        ("the same: least", [train[name]["least of them"] for name in names]),
        ("the same, without the search: mean", searchless(train, "starts")),
        ("the same, without the search: least", searchless(train, "least of them")),
        ("the same, pieces of 60 frames", [train[name]["pieces"] for name in names]),
        ("six clips", [clips[name] for name in names]),
        ("six clips, filter alone", [clips.get(f"{name}, filter alone") for name in names]),
    ):
        rows.append((f"C, {spoken} [AUC]", *("-" if auc is None else f"{auc:.3f}" for auc in aucs), "-"))

    return measured(("figure", *names, "constant velocity"), rows)


def clips(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """From the first box on ordinary clips, by detector; the last row is the recording."""
    found = beside["clips"].get("rows", {})
    names = ("both", "filter", "learned", "csrt", "kcf")
    if not found:
        return measured((), ())

    rows = [
        (case.replace("_", " "), *(f"{found[name][case]['auc']:.3f}" for name in names))
        for case in found["both"]
        if case != "FE240hz"
    ]

    rows.append(("mean", *(f"{_auc_of_clips(beside['clips'], name):.3f}" for name in names)))
    rows.append(("FE240hz, test part", *(f"{_auc(beside['clips'], name):.3f}" for name in names)))

    return measured(("clip", "both", "filter", "learned", "CSRT", "KCF"), rows)


def pedestrians(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """From the first box on people of a real film that no weights were trained on."""
    rows = beside["pedestrians"].get("rows", {})
    found = [(f"`{name}`", f"{row['mean']:.3f}", f"{min(row['each']):.2f}") for name, row in rows.items()]
    return measured(("tracker, detector", "C, AUC: mean of 14 people", "least"), found)


def photographs(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """From the first box on photographs that no weights were trained on."""
    rows = beside["photographs"].get("rows", {})
    kinds = tuple(next(iter(rows.values()), {}))
    return measured(("C, AUC", *kinds), [(name, *(f"{row[kind]:.3f}" for kind in kinds)) for name, row in rows.items()])


def _auc(clips: dict[str, Any], detector: str) -> float:
    """Of the recording, default weights."""
    return float(clips["rows"][detector]["FE240hz"]["auc"])


def _auc_of_clips(clips: dict[str, Any], detector: str) -> float:
    """Mean of the clips, default weights."""
    return fmean(row["auc"] for name, row in clips["rows"][detector].items() if name != "FE240hz")


def _changed(case: str) -> str:
    return case.replace(" of the events lost", " lost").replace("100,000 noise events a second", "noise")


UNIT_ROWS = {
    "linear": "linear map",
    "tanh": "its tanh",
    "joined": "the tanh of it and the features",
    "yes or no": "generated scenes, any event",
    "counts": "generated scenes, events counted",
}
SPLITS = ("validation", "test")
UNIT_FIGURES = {"distance px": "px", "auc": "AUC", "shaken 1 px": "noise 1 px", "10 Hz px": "10 Hz, px"}


def units(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """A on both parts, of three seeds each."""
    found = beside.get("units", {})
    rows = [
        (spoken, *(_mean_and_sd(found[name][part][figure]) for part in SPLITS for figure in UNIT_FIGURES))
        for name, spoken in UNIT_ROWS.items()
        if name in found
    ]

    return measured(
        ("map, events", *(f"{part}: {figure}" for part in SPLITS for figure in UNIT_FIGURES.values())), rows
    )


def _mean_and_sd(figure: dict[str, Any]) -> str:
    return f"{figure['mean']:.3f} ± {figure['sd']:.3f}"


Block = Callable[[dict[str, Any], dict[str, Any]], str]
BLOCKS: dict[str, Block] = {
    "seeds": seeds,
    "rates": rates,
    "between": between,
    "closed": closed,
    "cost": cost,
    "loops": loops,
    "slower": slower,
    "slow": slow,
    "often": often,
    "halves": halves,
    "tumbling": tumbling,
    "rest": rest,
    "drift": drift,
    "steps": steps,
    "clips": clips,
    "family-errors": family_errors,
    "family-loops": family_loops,
    "weights": weights,
    "pedestrians": pedestrians,
    "photographs": photographs,
    "ablation": ablation,
    "units": units,
    "elsewhere": elsewhere,
    "unseen": unseen,
    "labels": labels,
    "targets": targets,
}


def _cell(sensing: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = sensing.get("cells", {}).get(name, {})
    return found


def _figure(name: str) -> str:
    """A figure of the results in the words of the page."""
    return (
        name.replace("told boxes", "given boxes")
        .replace("A shaken", "A, noise of")
        .replace("with the finder", "with the detector")
    )


def _spoken(name: str) -> str:
    return WORDS.get(name, name.replace("_", " "))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _spread(sd: float | None) -> str:
    return "" if sd is None else f" ± {sd:.3f}"


def _read(name: str) -> dict[str, Any]:
    path = result_file(f"sensing/{name}")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def main() -> int:
    """Writes or checks the pages."""
    results = _read("between_frames/pathways"), _read("cameras/tracking_baselines")
    files = {
        "loops": "closed_loop/closed_loops",
        "halves": "closed_loop/closed_loop_halves",
        "rest": "closed_loop/detectors_at_rest",
    }

    files |= {
        "tumbling": "closed_loop/tumbling_loops",
        "drift": "closed_loop/rare_frames",
        "units": "between_frames/units",
    }

    files |= {
        "labels": "between_frames/label_free",
        "often": "between_frames/ann_at_event_rate",
        "families": "cameras/families",
    }

    files |= {
        "weights": "cameras/weights",
        "calibration": "cameras/calibration",
        "clips": "closed_loop/clips",
    }

    files |= {"steps": "between_frames/cost", "photographs": "closed_loop/photograph_loops"}
    files |= {"pedestrians": "closed_loop/pedestrian_loops"}
    results[1].update({name: _read(file) for name, file in files.items()})
    tables = {name: block(*results) for name, block in BLOCKS.items()}

    return write_or_check(Path(__file__), __doc__, tables)


if __name__ == "__main__":
    sys.exit(main())
