"""`spikebridge doctor`."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from spikebridge import layout, targets
from spikebridge.commands.command import Answer, Command, Network


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """Examine the networks of a run; without one, the installation."""

    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    """A run folder, or a recipe for its untrained networks."""
    network: Network = None
    """Which of the recipe's networks."""

    def answer(self) -> Answer:
        """Findings, each with a remedy; the exit code is 1 where there are any."""
        if self.run is None:
            from spikebridge.installation import examine_installation

            facts = examine_installation()
            return Answer(facts, layout.facts(facts))
        findings = targets.find(self.run).findings(self.network)
        return Answer({"findings": findings}, layout.findings(findings), code=1 if findings else 0)
