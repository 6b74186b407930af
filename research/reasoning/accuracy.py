"""How many questions about CLEVRER's videos are answered rightly, from which perception, and where errors come from.

    python research/reasoning/accuracy.py --run runs/reasoning --folds runs/reasoning_folds

Needs the scenes and questions of `SPIKEBRIDGE_DATA`, and a run of `spikebridge train reasoning --preset three`; without
`--run` that is the one that comes with the package. Units for the silver sets are cross-fitted into `--folds` (trained
where the folder has none yet): no video is answered by a unit that saw it. Silver answers are made, not true.

| set | questions |
|---|---|
| real explanatory | 442 real questions, 4 options each; no unit was trained or chosen on their videos |
| silver descriptive, explanatory | made from near truth with the public program vocabulary |
| silver counterfactual | real texts, simulated collisions, options by the rule of `data/clevrer_what_if.py` |
"""

import argparse
import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from research.reasoning.graphs.published_graph import FORMS, score_form
from research.reasoning.question_answering.budget import REPAIRS
from research.reasoning.question_answering.calibration import calibration
from research.reasoning.question_answering.folds import train_folds
from spikebridge.data.catalog import find_files
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.data.what_if_texts import what_if_questions
from spikebridge.networks.reasoning.evaluation.scores import score, score_executor, tally
from spikebridge.networks.reasoning.executor import execute
from spikebridge.networks.reasoning.graph.run import answer
from spikebridge.networks.reasoning.recipe import Config
from spikebridge.networks.reasoning.training.labels import SceneSet
from spikebridge.networks.reasoning.training.trained_units import (
    best_seed,
    fixed_reader,
    learned_reader,
    seeds_of,
    unit_settings,
)
from spikebridge.networks.reasoning.training.units import threshold_kind
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
NUM_FOLDS = 2
FOLD_EPOCHS = 15
SETS = ("real explanatory", "silver descriptive", "silver explanatory", "silver counterfactual")


def question_sets(paths: Mapping[str, Path], scenes: SceneSet, most: int | None) -> dict[str, list[Question]]:
    """The sets by name; `most` cuts each, for a look."""
    silver = read_questions(paths["questions_descriptive_explanatory_silver.jsonl.gz"]).questions
    texts = read_questions(paths["questions_counterfactual_texts.jsonl.gz"]).what_if_texts
    sets = {
        "real explanatory": read_questions(paths["questions_explanatory_real.jsonl.gz"]).questions,
        "silver descriptive": [question for question in silver if question.kind == "descriptive"],
        "silver explanatory": [question for question in silver if question.kind == "explanatory"],
        "silver counterfactual": what_if_questions(texts, {scene.video: scene for scene in scenes.perceived}),
    }

    return {name: questions[:most] for name, questions in sets.items()}


def asked_about(scenes: SceneSet, questions: Sequence[Question]) -> SceneSet:
    """The scenes that some questions are about."""
    return scenes.take({question.video for question in questions})


def everyone(scenes: Sequence[Scene], questions: Sequence[Question]) -> dict[str, Any]:
    """Every preset, with what-if events from roll-outs and causal ones, and the executor, alone and with a guess."""
    kinds = {question.kind for question in questions}
    shares: dict[str, Any] = {}
    for name, options in FORMS.items():
        shares[name] = next(iter(score_form(scenes, questions, options).values()))

    shares["executor"] = next(iter(score_executor(scenes, questions).values()))
    shares["executor"]["with_guess"] = guessed(scenes, questions)
    if "counterfactual" in kinds:
        shares["compartment, causal"] = next(iter(score(scenes, questions, causal=True).values()))
        shares["executor, causal"] = next(iter(score_executor(scenes, questions, causal=True).values()))

    return shares


def guessed(scenes: Sequence[Scene], questions: Sequence[Question]) -> float | None:
    """Expected share of right options where the executor guesses instead of refusing; for two-way questions alone."""
    said, _ = execute(scenes, questions)
    if any(question.kind == "descriptive" for question in questions):
        return None

    rows = [
        0.5 if value is None else float(value == truth)
        for question, values in zip(questions, said, strict=True)
        for value, truth in zip(values, question.answers, strict=True)
    ]
    return round(fmean(rows), 5)


def over_seeds(run: Run, scenes: SceneSet, questions: Sequence[Question]) -> dict[str, Any]:
    """The learned units of every seed: mean and spread of each preset."""
    found: dict[str, Any] = {}
    readings = {seed: learned_reader(run, seed)(scenes.perceived) for seed in seeds_of(run)}

    for name, options in FORMS.items():
        by_seed = [score_form(read, questions, options)["explanatory"] for read in readings.values()]
        for what in ("per_option", "per_question"):
            values = [one[what] for one in by_seed]
            found.setdefault(name, {})[what] = {
                "mean": round(fmean(values), 5),
                "sd": round(stdev(values), 5) if len(values) > 1 else None,
                "seeds": dict(zip(map(str, readings), [round(value, 5) for value in values], strict=True)),
            }

    return found


def budget(read: Sequence[Scene], near: Sequence[Scene], questions: Sequence[Question], causal: bool) -> dict[str, Any]:
    """Shares right with one part at a time from near truth, preset `compartment`."""
    rows = {}
    for name, repair in REPAIRS.items():
        repaired = [repair(one, true) for one, true in zip(read, near, strict=True)]
        shares = next(iter(score(repaired, questions, causal=causal).values()))
        rows[name] = {what: round(shares[what], 5) for what in ("per_option", "per_question")}
        if "subtypes" in shares:
            rows[name] |= {kind: round(one["per_option"], 5) for kind, one in shares["subtypes"].items()}

    return rows


def sureness(read: Sequence[Scene], questions: Sequence[Question], causal: bool) -> dict[str, Any]:
    """Calibration of the confidence of `compartment`, and what is left where it abstains."""
    answers = answer(read, questions, causal=causal)
    flat = [
        (one.confidence, one.status == "ok", one.value == truth)
        for question, many in zip(questions, answers, strict=True)
        for one, truth in zip(many, question.answers, strict=True)
    ]

    sure = [right for _, ok, right in flat if ok]
    kept = [[one.value if one.status == "ok" else None for one in many] for many in answers]

    return {
        **calibration([confidence for confidence, _, _ in flat], [right for _, _, right in flat]),
        "share_ok": round(len(sure) / len(flat), 5),
        "right_where_ok": round(fmean(sure), 5) if sure else None,
        "with_abstaining": {
            kind: {what: round(shares[what], 5) for what in ("per_option", "per_question")}
            for kind, shares in tally(questions, kept).items()
        },
    }


def measure(
    run: Run, folds: Path, most: int | None, names: Sequence[str], of_units: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything, or what depends on the learned units alone, set by set, as it comes."""
    paths = {path.name: path for path in find_files("clevrer")}
    near_of = {scene.video: scene for scene in read_scenes(paths["scenes_near_truth.jsonl.gz"])}
    noisy = [one for one in read_scenes(paths["scenes_propnet.jsonl.gz"]) if one.video in near_of]
    scenes = SceneSet(noisy, [near_of[one.video] for one in noisy])
    sets = {name: asked for name, asked in question_sets(paths, scenes, most).items() if name in names}
    best = best_seed(run)
    thresholds = unit_settings(run, best)["thresholds"]
    fold_run = Run.create(folds, "reasoning", run.config_as(Config), resume=True)
    crossed = train_folds(fold_run, scenes, NUM_FOLDS, epochs=FOLD_EPOCHS, quiet=True)

    for name, questions in sets.items():
        begun = time.perf_counter()
        some = asked_about(scenes, questions)
        real = name == "real explanatory"
        causal = name == "silver counterfactual"
        crossed.set_threshold(thresholds[threshold_kind(questions[0].kind)])
        read = learned_reader(run)(some.perceived) if real else crossed(some.perceived)
        found: dict[str, Any] = {"num_questions": len(questions)}
        found["noisy scenes, learned units"] = everyone(read, questions)

        if real:
            found["noisy scenes, learned units, every seed"] = over_seeds(run, some, questions)

        found["error budget, learned"] = budget(read, some.reference, questions, causal)
        found["confidence, learned"] = sureness(read, questions, causal)

        if not of_units:
            found["noisy scenes"] = everyone(some.perceived, questions)
            found["noisy scenes, rule"] = everyone(fixed_reader(run)(some.perceived), questions)
            if not causal:  # near truth has no roll-outs
                found["near-truth scenes"] = everyone(some.reference, questions)
            found["error budget, baked"] = budget(some.perceived, some.reference, questions, causal)
            found["confidence, baked"] = sureness(some.perceived, questions, causal)

        found["units"] = {"best_seed": best, "thresholds": thresholds, "folds": NUM_FOLDS, "fold_epochs": FOLD_EPOCHS}
        found["environment, learned units" if of_units else "environment"] = describe_environment()
        shown = found["noisy scenes, learned units"]["compartment, causal" if causal else "compartment"]
        seconds = time.perf_counter() - begun
        print(name, f"{shown['per_option']:.4f} {shown['per_question']:.4f}", f"{seconds:.0f} s", flush=True)
        yield name, found


def main() -> None:
    """Measures, and writes the figures down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=None, help="of the reasoning recipe; else the shipped one")
    parser.add_argument("--folds", type=Path, default=Path("runs/reasoning_folds"))
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, help="the others stay as they were measured")
    parser.add_argument("--of-units", action="store_true", help="only what depends on the learned units")
    parser.add_argument("--most", type=int, default=None, help="questions of each set, for a look")
    options = parser.parse_args()
    run = Run.open(options.run) if options.run is not None else shipped_run("reasoning")

    if run is None:
        parser.error("no run is shipped; name one with --run")

    # `scaled` says where more channels add up than it is exact for; the figures show what that costs
    warnings.filterwarnings("ignore", message="preset 'scaled'")
    sets = json.loads(RESULTS.read_text())["sets"] if RESULTS.exists() else {}
    for name, found in measure(run, options.folds, options.most, options.sets, options.of_units):
        if options.most is None:
            sets[name] = {**sets.get(name, {}), **found} if options.of_units else found
            RESULTS.write_text(
                json.dumps({"sets": {name: sets[name] for name in SETS if name in sets}}, indent=2) + "\n"
            )


if __name__ == "__main__":
    main()
