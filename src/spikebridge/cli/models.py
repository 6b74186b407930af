"""`spikebridge models`: the networks that come with the package."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from spikebridge.cli import formatting
from spikebridge.cli.command import Command, CommandResult


@dataclass(frozen=True, kw_only=True)
class Models(Command):
    """List the pretrained networks: size, licences, data, figures, and the command that made each."""

    name: Annotated[str | None, Positional, arg(metavar="[NAME]", help_behavior_hint="(default: all)")] = None
    """Only this network."""

    def execute(self) -> CommandResult:
        """Reads the cards; loads no network."""
        from spikebridge.pretrained.models import ModelCard, model_card, model_cards

        def text(card: ModelCard) -> str:
            data = {name: f"{used}; licence {licence}" for name, used, licence, _ in card.data}
            generated = {"generated": card.generated} if card.generated else {}
            rows: dict[str, Any] = {
                "what": card.about,
                "loaded as": f'spikebridge.load_pretrained("{card.name}"): {card.returns}',
                "size": f"{card.num_values} weights; {card.num_bytes / 1e6:.1f} MB of files",
                "licence of the weights": card.weights_licence,
                "made by": card.command,
                "at commit": card.revision,
                "data": data | generated,
                "figures": dict(card.figures),
            }
            return f"{card.name}\n{formatting.facts(rows, '  ')}"

        cards = model_cards() if self.name is None else [model_card(self.name)]
        return CommandResult({"models": [asdict(card) for card in cards]}, "\n\n".join(map(text, cards)))
