"""Report of the reasoning recipe: accuracy by source of the collisions, and how the units were chosen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

from spikebridge.analysis.learning_curves import learning_curves
from spikebridge.analysis.report import Section, Table, write_report
from spikebridge.networks.reasoning.training.trained_units import UnitSettings, seeds_of
from spikebridge.training.run.run import Run

_Row = TypedDict("_Row", {"from": str, "per option %": float})


class _Results(TypedDict):
    questions: str
    collisions: Annotated[list[_Row], "sources"]
    units: list[dict[str, Any]]


_METHOD = (
    "Each option of an explanatory question is judged correct or wrong by the spiking graph (preset `compartment`); a "
    "question counts where all its options are right. The executor runs the same programs on lists; where it refuses, "
    "it counts as wrong. Only the source of the collisions differs between rows; the learned units also read entrances "
    "and exits, and motion.",
    "No unit was trained or chosen on a test video. The thresholds of the learned unit and the limits "
    "of the rule were chosen on validation videos, by generated questions with near-truth answers.",
)


def write(run: Run, config: Mapping[str, Any], command: str) -> Path:
    """Writes report.html into a finished run; the command reproduces it."""
    # a run of the last release may have trained other parts alone
    seeds_of(run)
    results = run.results(_Results)
    by_source = Table(results["collisions"], f"{results['questions']}, by source of the collisions.")
    thresholds = Table(_thresholds(run), "Options judged rightly at each threshold, on validation videos.")
    units = Table(results["units"], "On validation videos; late is the share of frames off by more than 2.5.")
    sections = [
        Section("Result", "", [by_source]),
        Section("The units", "", [units, thresholds]),
        learning_curves({path: child.metrics.rows() for path, child in run.children().items()}),
        Section("How it was measured", _METHOD, folded=True),
    ]
    facts = {name: config[name] for name in ("scenes", "num_validation", "num_features", "epochs", "jitter")}
    facts |= run.versions()

    return write_report(run.file("report.html"), "Reasoning about collisions", sections, facts, command, _lead(results))


def _lead(results: Mapping[str, Any]) -> str:
    share = {row["from"]: row["per option %"] for row in results["collisions"]}
    if not {"learned", "baked"} <= share.keys():
        return ""

    return (
        f"From learned collisions the graph judges {share['learned']:.2f} % of the options rightly, "
        f"from baked-in ones {share['baked']:.2f} %."
    )


def _thresholds(run: Run) -> list[dict[str, Any]]:
    return [
        {"seed": name.rpartition("-")[2], "questions": kind, **tried}
        for name, child in run.children().items()
        if name.startswith("thresholds/")
        for kind, tried in child.results(UnitSettings)["tried"].items()
    ]
