"""The tables and figures of the pages about the paper's claims: what-hybrid-units-can-do.md and notes of the claims.

python research/pages/claims_page.py           # writes the pages and draws the figures
python research/pages/claims_page.py --check   # exit code 1 where a page differs from the results

Each file of research/pages/claims makes the tables, figures and verdicts of one subject.
"""

import sys
from pathlib import Path

from research.pages.claims import concepts, creature, learning, many_parts, mean_field, neurons, relations, tasks
from research.pages.made_page import table, write_or_check

SUBJECTS = (neurons, learning, relations, mean_field, many_parts, tasks, concepts, creature)
VERDICTS = (
    neurons.verdict,
    learning.verdict,
    relations.uncertain_verdict,
    relations.unknown_verdict,
    relations.approximation_verdict,
    mean_field.verdict,
    many_parts.chips_verdict,
    many_parts.parts_verdict,
    tasks.verdict,
    concepts.concepts_verdict,
    concepts.depths_verdict,
)


def draw() -> None:
    """Draws the figures of the notes."""
    for subject in SUBJECTS:
        for figure in subject.FIGURES:
            figure()


def main() -> int:
    """Writes or checks the pages."""
    tables = {name: make() for subject in SUBJECTS for name, make in subject.TABLES.items()}
    tables["verdicts"] = table(("claim of the paper", "verdict"), [verdict() for verdict in VERDICTS])

    return write_or_check(Path(__file__), __doc__, tables, draw)


if __name__ == "__main__":
    sys.exit(main())
