"""Reading of questions that people wrote about videos (CLEVRER-Humans), against programs written by hand.

    python research/reasoning/people_words.py                  # 100 texts of training videos, 60 of validation videos

The programs stand in `question_answering/people_words_*.tsv`, each with the place of its text in the data, which is not
ours to copy. Those of the training texts were written before the grammar, those of the validation texts after it, from
the texts alone. `-` marks a text without one clear event: refused is right, any program is wrong.

Writes results/people_words.json.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from research.reasoning.everyday_questions import Written, outcome, program_of
from spikebridge.data.catalog import find_files
from spikebridge.networks.reasoning.data.clevrer_questions import read_question_texts
from spikebridge.pretrained.perception import shipped_parser

_FOLDER = Path(__file__).with_name("question_answering")
_RESULTS = Path(__file__).with_name("results") / "people_words.json"


def people_texts(name: str, folder: Path) -> list[Written]:
    """The texts of `train` or `validation` with programs by hand."""
    text_at: dict[str, Written] = {}
    numbers: Counter[object] = Counter()
    for question in read_question_texts(folder / f"questions_humans_{name}.jsonl.gz"):
        # questions of a video are numbered in the order of the file
        place = f"{question.video} {numbers[question.video]}"
        numbers[question.video] += 1
        text_at[f"{place} -"] = Written("question", question.text, ())
        for number, choice in enumerate(question.choices):
            text_at[f"{place} {number}"] = Written("cause", choice.text, ())

    lines = (_FOLDER / f"people_words_{name}.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [text_at[place]._replace(program=program_of(short)) for place, short in rows]


def main() -> None:
    """Prints and writes the outcomes of the texts."""
    results = {}
    for name in ("train", "validation"):
        texts = people_texts(name, find_files("clevrer")[0].parent)
        results[name] = dict(Counter(outcome(shipped_parser(), one) for one in texts))
        print(f"{name}: {results[name]}")

    _RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
