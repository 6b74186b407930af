"""`spikebridge ask`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from spikebridge import targets
from spikebridge.commands.command import Answer, Command


@dataclass(frozen=True, kw_only=True)
class Ask(Command):
    """Ask a question about a video of rolling objects, or about a scene; a spiking graph answers."""

    seen: Annotated[Path, Positional, arg(metavar="VIDEO_OR_SCENE", help_behavior_hint="")]
    """A video (.npz, .webp, .gif, .mp4, a folder of pictures), or a file of scenes (JSON lines)."""
    question: Annotated[str, Positional, arg(metavar="QUESTION", help_behavior_hint="")]
    """In words: "What color is the first object to enter the scene?"."""
    choices: Annotated[tuple[str, ...], arg(metavar="TEXT", help_behavior_hint="(default: none)")] = ()
    """What to judge, where the question asks which of several: "the presence of the red cube"."""
    video: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the only one)")] = None
    """Which scene of a file with several."""
    explain: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """A page with pictures, the spikes by name, and the chain of reasons (.html)."""

    def answer(self) -> Answer:
        """Looks, reads the question, and answers."""
        from spikebridge.pretrained.perception import shipped_detector, shipped_parser
        from spikebridge.recipes.reasoning_answers import look, reply
        from spikebridge.recipes.reasoning_page import explained_page

        seen = look(self.seen.expanduser(), shipped_detector(), self.video)
        said = reply(seen, shipped_parser(), self.question, self.choices)
        data = {"video": seen.scene.video, **said.plain()}
        text = said.text()
        if self.explain is not None:
            targets.write_text(self.explain, explained_page(seen, said))
            data["page"] = self.explain
            text += f"\nwhy: {self.explain}"
        return Answer(data, text)
