"""Accuracy of the question parser on questions written by hand in everyday words: right, refused or wrong.

    python research/reasoning/everyday_questions.py

`question_answering/questions_by_hand.tsv` has 201 questions and choices with their programs; 14 have no program. They
were written before the wordings of the training (`training/paraphrases.py`). Even lines were inspected while the
wordings and the checks were written, odd lines were not. A question is refused if a word is
unknown, if the program does not agree with the words, or if its probability is low.

Writes results/everyday_questions.json.
"""

import argparse
import json
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES
from spikebridge.networks.reasoning.parsing.parser import Parser, read_text
from spikebridge.pretrained.perception import shipped_parser

_FILE = Path(__file__).with_name("question_answering") / "questions_by_hand.tsv"
_RESULTS = Path(__file__).with_name("results") / "everyday_questions.json"
_KINDS = {value: kind for kind, values in ATTRIBUTES.items() for value in values}


class Written(NamedTuple):
    """A text with its kind and program; the program is empty where there is none."""

    kind: str
    text: str
    program: tuple[str, ...]


def written_questions(half: int) -> list[Written]:
    """The even (0) or the odd (1) lines."""
    lines = [line.split("\t") for line in _FILE.read_text().splitlines() if not line.startswith("#")]
    return [Written(kind, text, program_of(short)) for kind, text, short in lines[half::2]]


def outcome(parser: Parser, one: Written) -> str:
    """`right`, `wrong`, `refused`, or for a question without a program `refused rightly` or `answered`."""
    try:
        program = read_text(parser, one.text, one.kind).program
    except DataError:
        return "refused" if one.program else "refused rightly"

    if not one.program:
        return "answered"

    return "right" if program == one.program else "wrong"


def program_of(short: str) -> tuple[str, ...]:
    """`[red cube]` selects a set, `<red cube>` one object of it."""
    if short == "-":
        return ()

    tokens: list[str] = []
    for match in re.finditer(r"(?P<set>\[[^\]]*\])|(?P<one><[^>]*>)|\S+", short):
        if match["set"] is None and match["one"] is None:
            tokens.append(match[0])
            continue

        values = match[0][1:-1].split()
        tokens += ["objects", *(token for value in values for token in (value, f"filter_{_KINDS[value]}"))]
        tokens += ["unique"] * (match["one"] is not None)

    return tuple(tokens)


def main() -> None:
    """Prints the results of both halves and writes them."""
    parser = shipped_parser()
    results = {}
    for half, name in enumerate(("looked at", "kept apart")):
        results[name] = dict(Counter(outcome(parser, one) for one in written_questions(half)))
        print(f"{name}: {results[name]}")

    _RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
