"""`spikebridge compare`."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from spikebridge import layout
from spikebridge.commands.command import Answer, Command

BundlePath = Annotated[Path, Positional, arg(metavar="BUNDLE", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """Compare every level of a bundle with what the trained network gave."""

    bundle: BundlePath
    """The folder that `spikebridge export` made."""
    tolerance: float = 1e-4
    """Largest difference of values, in parts of the largest value (of 1 where all are smaller)."""
    spikes: float = 1e-3
    """Share of spikes that may differ."""

    def answer(self) -> Answer:
        """Runs every level; the exit code is 1 where one is too far off."""
        from spikebridge.deploy.bundle import Bundle
        from spikebridge.deploy.compare import Tolerance, compare_bundle

        bundle = Bundle.open(self.bundle)
        comparison = compare_bundle(bundle, Tolerance(self.tolerance, self.spikes), progress=_tell)
        rows = [asdict(row) for row in comparison.rows]
        words = "within tolerance" if comparison.passed else "NOT within tolerance"
        text = f"{layout.table(rows)}\n\n{self.bundle}: {words}"
        data = {"bundle": self.bundle, "passed": comparison.passed, "rows": rows}
        return Answer(data, text, code=0 if comparison.passed else 1)


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
