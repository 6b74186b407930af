"""`spikebridge ask`: a question about a video or a scene."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from spikebridge.cli.command import Command, CommandResult, write_file
from spikebridge.data.io.atomic import check_target

_Source = Annotated[Path, Positional, arg(metavar="VIDEO_OR_SCENE", help_behavior_hint="")]
_Question = Annotated[str, Positional, arg(metavar="QUESTION", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Ask(Command):
    """Ask a question about a video of rolling objects, or about a scene; a spiking graph answers."""

    source: _Source
    """A video (.npz, .webp, .gif, .mp4, a folder of pictures), or a file of scenes (JSON lines)."""
    question: _Question
    """A question in English, such as "What color is the first object to enter the scene?"."""
    choices: Annotated[tuple[str, ...], arg(metavar="TEXT", help_behavior_hint="(default: none)")] = ()
    """Answer options of a multiple-choice question, such as "the presence of the red cube"."""
    video: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the only one)")] = None
    """The scene to use, in a file with several scenes."""
    explain: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Write an .html page with pictures, the spikes of each neuron and the reasoning steps."""

    def execute(self) -> CommandResult:
        """Perceives the scene, parses the question, and answers."""
        from spikebridge.networks.reasoning.explain.ask import answer_question, load_observation
        from spikebridge.networks.reasoning.explain.page import explanation_page
        from spikebridge.pretrained.perception import shipped_detector, shipped_parser

        if self.explain is not None:
            check_target(self.explain)

        observation = load_observation(self.source.expanduser(), shipped_detector(), self.video)
        answer = answer_question(observation, shipped_parser(), self.question, self.choices)
        data = {"video": observation.scene.video, **answer.as_dict()}
        text = answer.text()

        if self.explain is not None:
            write_file(self.explain, explanation_page(observation, answer))
            data["page"] = self.explain
            text += f"\nwhy: {self.explain}"

        return CommandResult(data, text)
