"""`spikebridge report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from spikebridge import targets
from spikebridge.commands.command import Answer, Command


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Write the report of a run again."""

    run: Annotated[Path, Positional, arg(metavar="RUN", help_behavior_hint="")]
    """A run folder."""

    def answer(self) -> Answer:
        """Opens the run and lets its recipe write the report."""
        target = targets.find_run(self.run)
        report = target.module.report(target.trained_run())
        return Answer({"report": report}, f"report: {report}")
