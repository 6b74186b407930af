"""Reading of questions that people wrote about videos (CLEVRER-Humans), against programs written by hand.

    python research/reasoning/question_answering/people_words.py  # 100 texts of training, 60 of validation videos

The programs stand in `people_words.tsv`, each with the place of its text in the data, which is not
ours to copy. Those of the training texts were written before the grammar, those of the validation texts after it, from
the texts alone. `-` marks a text without one clear event: refused is right, any program is wrong.

The answers are those of `spikebridge eval reasoning --words` on the perceived scenes of the same videos.

Writes ../results/people_words.json.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from research.reasoning.everyday_questions import Written, outcome, program_of
from spikebridge.data.catalog import find_files
from spikebridge.errors import DataError
from spikebridge.networks.reasoning import recipe as reasoning
from spikebridge.networks.reasoning.data.clevrer_questions import read_question_texts
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.executor import Event
from spikebridge.networks.reasoning.explain.grounding import ground
from spikebridge.networks.reasoning.parsing.parser import read_question
from spikebridge.networks.reasoning.training.trained_units import learned_reader
from spikebridge.pretrained import shipped_run
from spikebridge.pretrained.perception import shipped_parser

_FOLDER = Path(__file__).parent
_SCENES = {"train": "scenes_train_perceived", "validation": "scenes_masks"}
_RESULTS = _FOLDER.parent / "results" / "people_words.json"


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

    lines = (_FOLDER / "people_words.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [text_at[place]._replace(program=program_of(short)) for videos, place, short in rows if videos == name]


def label_limits(scenes: Sequence[Scene], questions: Sequence[Question]) -> dict[str, float]:
    """The shares of correct labels by order of choice and event, and of a judge that is fitted to the labels.

    The judge knows the order of the events, whether they share an object, and which of them is seen.
    """
    scene_of = {scene.video: scene for scene in scenes}
    labels: dict[tuple[object, ...], Counter[str | None]] = defaultdict(Counter)
    for question in questions:
        try:
            texts = [choice.text for choice in question.choices]
            read = read_question(shipped_parser(), question.video, question.text, texts)
        except DataError:
            continue

        grounded = ground(scene_of[question.video], read)
        for choice, answer in zip(grounded.choices, question.answers, strict=True):
            labels[_relation(grounded.text.events, choice.events)][answer] += 1

    by_order = {}
    for order in ("before", "after"):
        counts = sum((count for (of, *_), count in labels.items() if of == order), Counter[str | None]())
        by_order[f"correct where the choice is {order}"] = counts["correct"] / counts.total()

    number = sum(count.total() for count in labels.values())
    return {**by_order, "fitted judge": sum(max(count.values()) for count in labels.values()) / number}


def _relation(events: Sequence[Event], choices: Sequence[Event]) -> tuple[object, ...]:
    """The order of a choice and the event of the question, and whether they are one, or share an object."""
    if not events or not choices:
        return ("not seen", bool(events), bool(choices))

    event, choice = events[0], choices[0]
    order = "before" if choice.frame < event.frame else "after"
    return (order, event == choice, bool(event.objects & choice.objects))


def main() -> None:
    """Prints and writes the outcomes of the texts."""
    folder = find_files("clevrer")[0].parent
    run = shipped_run("reasoning")
    if run is None:
        raise DataError("the package came without the weights of reasoning")

    results = {}
    for name in ("train", "validation"):
        texts = people_texts(name, folder)
        programs = dict(Counter(outcome(shipped_parser(), one) for one in texts))
        files = (folder / f"{_SCENES[name]}.jsonl.gz", folder / f"questions_humans_{name}.jsonl.gz")
        words = reasoning.evaluate(run, None, reasoning.Evaluation(*files, words=True))["words"]
        # the texts are not ours to copy
        del words["unread"]
        questions = read_question_texts(files[1])
        videos = {question.video for question in questions}
        scenes = learned_reader(run)([scene for scene in read_scenes(files[0]) if scene.video in videos])
        limits = label_limits(scenes, questions)
        results[name] = {"programs by hand": programs, **words, "labels": limits}
        print(f"{name}: {results[name]}")

    _RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
