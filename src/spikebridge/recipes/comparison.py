"""The page that compares runs; their recipes are neither needed nor executed."""

from collections.abc import Sequence
from pathlib import Path

from spikebridge.analysis.comparison import RunRecord, compare_runs
from spikebridge.analysis.report import write_report
from spikebridge.data.io.atomic import check_target
from spikebridge.training.run.run import Run


def write_comparison(folders: Sequence[Path], path: Path) -> None:
    """Writes results, settings that differ and learning curves of run folders as one page."""
    check_target(path)
    names = [folder.resolve().name for folder in folders]
    records = []

    for folder, name in zip(folders, names, strict=True):
        run = Run.open(folder)
        metrics = {child: inner.metrics.rows() for child, inner in run.children().items()}
        rows = run.metrics.rows()
        if rows:
            metrics[run.recipe] = rows

        results = run.results() if run.finished else None
        title = name if names.count(name) == 1 else str(folder)
        records.append(RunRecord(title, run.config, results, run.environment(), metrics))

    title = "Comparison of " + ", ".join(record.name for record in records)
    write_report(path, title, compare_runs(records), command=f"spikebridge report {' '.join(map(str, folders))}")
