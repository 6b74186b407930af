"""The tables of docs/reference/models.md, made from the cards and records of the pretrained networks.

python research/pages/models_page.py           # writes the page
python research/pages/models_page.py --check   # exit code 1 where the page differs from the records
"""

import sys
from pathlib import Path

from research.pages.made_page import table, table_of, write_or_check
from spikebridge.pretrained.models import ModelCard, model_cards


def overview(cards: list[ModelCard]) -> str:
    """A row for each network."""
    return table_of(
        cards,
        {
            "name": lambda card: f"`{card.name}`",
            "what it does": lambda card: card.about,
            "weights": lambda card: f"{card.num_values:,}",
            "files": lambda card: f"{card.num_bytes / 1e6:.1f} MB",
            "licence of the weights": lambda card: card.weights_licence,
        },
    )


def data(cards: list[ModelCard]) -> str:
    """A row for each data set of each training."""
    rows = [
        (f"`{card.name}`", name, used, licence, source) for card in cards for name, used, licence, source in card.data
    ]
    rows += [
        (f"`{card.name}`", "generated", card.generated, "none needed", "this package")
        for card in cards
        if card.generated
    ]

    return table(("network", "data set", "used", "licence", "source"), sorted(rows))


def figures(cards: list[ModelCard]) -> str:
    """A row for each figure of the records."""
    rows = [(f"`{card.name}`", what, value) for card in cards for what, value in card.figures]
    return table(("network", "measure", "value"), rows)


def commands(cards: list[ModelCard]) -> str:
    """The command of each training."""
    rows = []
    for card in cards:
        # a training may have run from a tree that was not committed
        commit = f"`{card.revision[:7]}`" + (" with changes" if card.revision.endswith("-dirty") else "")
        rows.append((f"`{card.name}`", f"`{card.command}`", commit))

    return table(("network", "command", "commit"), rows)


def main() -> int:
    """Writes or checks the page."""
    cards = model_cards()
    tables = {block.__name__: block(cards) for block in (overview, data, figures, commands)}
    return write_or_check(Path(__file__), __doc__, tables)


if __name__ == "__main__":
    sys.exit(main())
