"""Accuracy on questions about CLEVRER's videos, from several perceptions, and the budget of errors.

    python research/reasoning/accuracy.py --run runs/reasoning --folds runs/reasoning_folds

Needs the scenes and questions of `SPIKEBRIDGE_DATA`, and a run of `spikebridge train reasoning --preset three`; without
`--run` that is the shipped one. Units for the silver sets are cross-fitted into `--folds` (trained if the folder has
none yet): no video is answered by a unit that was trained on it. Silver answers are generated, not true.

| set | questions |
|---|---|
| real explanatory | 442 real questions, 4 options each; no unit was trained or chosen on their videos |
| silver descriptive, explanatory | generated from near truth with the public program vocabulary |
| silver counterfactual | real texts, simulated collisions, options by the rule of `what_if_texts.py` |
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
from research.reasoning.question_answering.what_if_texts import read_what_if_texts, what_if_questions
from spikebridge.data.catalog import find_files
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.events.collision_inputs import candidate_pairs
from spikebridge.networks.reasoning.events.reader import detect_collisions
from spikebridge.networks.reasoning.executor import execute
from spikebridge.networks.reasoning.graph.run import answer
from spikebridge.networks.reasoning.recipe import Config
from spikebridge.networks.reasoning.scores import score, score_executor, tally
from spikebridge.networks.reasoning.training.labels import SceneSet, collision_labels
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


def question_sets(paths: Mapping[str, Path], scenes: SceneSet, max_questions: int | None) -> dict[str, list[Question]]:
    """The sets by name, each up to a number of questions."""
    silver = read_questions(paths["questions_descriptive_explanatory_silver.jsonl.gz"])
    texts = read_what_if_texts(paths["questions_counterfactual_texts.jsonl.gz"])
    sets = {
        "real explanatory": read_questions(paths["questions_explanatory_real.jsonl.gz"]),
        "silver descriptive": [question for question in silver if question.kind == "descriptive"],
        "silver explanatory": [question for question in silver if question.kind == "explanatory"],
        "silver counterfactual": what_if_questions(texts, {scene.video: scene for scene in scenes.perceived}),
    }

    return {name: questions[:max_questions] for name, questions in sets.items()}


def scenes_of(scenes: SceneSet, questions: Sequence[Question]) -> SceneSet:
    """The scenes of some questions."""
    return scenes.take({question.video for question in questions})


def all_scores(scenes: Sequence[Scene], questions: Sequence[Question]) -> dict[str, Any]:
    """The scores of every preset, and of the executor, alone and with a guess; counterfactual ones also causal."""
    kinds = {question.kind for question in questions}
    shares: dict[str, Any] = {}
    for name, options in FORMS.items():
        shares[name] = next(iter(score_form(scenes, questions, options).values()))

    shares["executor"] = next(iter(score_executor(scenes, questions).values()))
    shares["executor"]["with_guess"] = score_with_guesses(scenes, questions)
    if "counterfactual" in kinds:
        shares["compartment, causal"] = next(iter(score(scenes, questions, causal=True).values()))
        shares["executor, causal"] = next(iter(score_executor(scenes, questions, causal=True).values()))

    return shares


def score_with_guesses(scenes: Sequence[Scene], questions: Sequence[Question]) -> float | None:
    """Expected share of correct options if the executor guesses instead of refusing; None for descriptive questions."""
    answers, _ = execute(scenes, questions)
    if any(question.kind == "descriptive" for question in questions):
        return None

    rows = [
        0.5 if value is None else float(value == truth)
        for question, values in zip(questions, answers, strict=True)
        for value, truth in zip(values, question.answers, strict=True)
    ]
    return round(fmean(rows), 5)


def scores_of_seeds(run: Run, scenes: SceneSet, questions: Sequence[Question]) -> dict[str, Any]:
    """Mean and standard deviation of each preset over the learned units of all seeds."""
    results: dict[str, Any] = {}
    readings = {seed: learned_reader(run, seed)(scenes.perceived) for seed in seeds_of(run)}

    for name, options in FORMS.items():
        by_seed = [score_form(read, questions, options)["explanatory"] for read in readings.values()]
        for measure in ("per_option", "per_question"):
            values = [scores[measure] for scores in by_seed]
            results.setdefault(name, {})[measure] = {
                "mean": round(fmean(values), 5),
                "sd": round(stdev(values), 5) if len(values) > 1 else None,
                "seeds": dict(zip(map(str, readings), [round(value, 5) for value in values], strict=True)),
            }

    return results


def collision_scores(run: Run, videos: set[int | str]) -> dict[str, Any]:
    """F1 of the units of all seeds against the true collisions of some videos: right pairs, at most 5 frames off."""
    perceived = [scene for scene in read_scenes(find_files("clevrer_perceived")[1]) if scene.video in videos]
    perceived = [scene for scene in perceived if scene.truth is not None]
    scenes = SceneSet(perceived, [scene.truth for scene in perceived if scene.truth is not None])
    pairs = candidate_pairs(scenes.perceived)
    labels = collision_labels(pairs, scenes)
    num_true = sum(len(scene.collisions) for scene in scenes.reference)

    values = {}
    for seed in seeds_of(run):
        unit = learned_reader(run, seed).unit
        unit.set_threshold(unit_settings(run, seed)["thresholds"]["descriptive"])
        spikes, frames, _ = detect_collisions(unit, pairs)
        hits = spikes & (labels >= 0) & ((frames.round() - labels).abs() <= 5)
        values[str(seed)] = round(2 * int(hits.sum()) / (int(spikes.sum()) + num_true), 5)

    mean = round(fmean(values.values()), 5)
    return {"num_videos": len(perceived), "f1_5_frames": {"mean": mean, "seeds": values}}


def budget(read: Sequence[Scene], near: Sequence[Scene], questions: Sequence[Question], causal: bool) -> dict[str, Any]:
    """Scores with one part at a time from near truth, preset `compartment`."""
    rows = {}
    for name, repair in REPAIRS.items():
        repaired = [repair(one, true) for one, true in zip(read, near, strict=True)]
        shares = next(iter(score(repaired, questions, causal=causal).values()))
        rows[name] = {measure: round(shares[measure], 5) for measure in ("per_option", "per_question")}
        if "subtypes" in shares:
            rows[name] |= {kind: round(one["per_option"], 5) for kind, one in shares["subtypes"].items()}

    return rows


def confidence_scores(read: Sequence[Scene], questions: Sequence[Question], causal: bool) -> dict[str, Any]:
    """Calibration of the confidence of `compartment`, and its scores if it abstains."""
    answers = answer(read, questions, causal=causal)
    flat = [
        (one.confidence, one.status == "ok", one.value == truth)
        for question, many in zip(questions, answers, strict=True)
        for one, truth in zip(many, question.answers, strict=True)
    ]

    is_right = [right for _, ok, right in flat if ok]
    kept = [[one.value if one.status == "ok" else None for one in many] for many in answers]

    return {
        **calibration([confidence for confidence, _, _ in flat], [right for _, _, right in flat]),
        "share_ok": round(len(is_right) / len(flat), 5),
        "right_where_ok": round(fmean(is_right), 5) if is_right else None,
        "with_abstaining": {
            kind: {measure: round(shares[measure], 5) for measure in ("per_option", "per_question")}
            for kind, shares in tally(questions, kept).items()
        },
    }


def measure(
    run: Run, folds: Path, max_questions: int | None, names: Sequence[str], of_units: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The results of each set, or only those that depend on the learned units."""
    paths = {path.name: path for path in find_files("clevrer")}
    near_of = {scene.video: scene for scene in read_scenes(paths["scenes_near_truth.jsonl.gz"])}
    noisy = [scene for scene in read_scenes(paths["scenes_propnet.jsonl.gz"]) if scene.video in near_of]
    scenes = SceneSet(noisy, [near_of[scene.video] for scene in noisy])
    sets = {name: rows for name, rows in question_sets(paths, scenes, max_questions).items() if name in names}
    best = best_seed(run)
    thresholds = unit_settings(run, best)["thresholds"]
    cross_fitted = None
    # real questions are about videos that no unit saw
    if set(sets) - {"real explanatory"}:
        fold_run = Run.create(folds, "reasoning", run.config_as(Config), resume=True)
        cross_fitted = train_folds(fold_run, scenes, NUM_FOLDS, epochs=FOLD_EPOCHS, quiet=True)

    for name, questions in sets.items():
        start = time.perf_counter()
        some = scenes_of(scenes, questions)
        real = name == "real explanatory"
        causal = name == "silver counterfactual"
        if cross_fitted is not None:
            cross_fitted.set_threshold(thresholds[threshold_kind(questions[0].kind)])
        reader = learned_reader(run) if real or cross_fitted is None else cross_fitted
        read = reader(some.perceived)
        results: dict[str, Any] = {"num_questions": len(questions)}
        results["noisy scenes, learned units"] = all_scores(read, questions)

        if real:
            results["noisy scenes, learned units, every seed"] = scores_of_seeds(run, some, questions)
            results["collisions, every seed"] = collision_scores(run, {question.video for question in questions})

        results["error budget, learned"] = budget(read, some.reference, questions, causal)
        results["confidence, learned"] = confidence_scores(read, questions, causal)

        if not of_units:
            results["noisy scenes"] = all_scores(some.perceived, questions)
            results["noisy scenes, rule"] = all_scores(fixed_reader(run)(some.perceived), questions)
            # near truth has no roll-outs
            if not causal:
                results["near-truth scenes"] = all_scores(some.reference, questions)
            results["error budget, baked"] = budget(some.perceived, some.reference, questions, causal)
            results["confidence, baked"] = confidence_scores(some.perceived, questions, causal)

        results["units"] = {"best_seed": best, "thresholds": thresholds, "folds": NUM_FOLDS, "fold_epochs": FOLD_EPOCHS}
        results["environment, learned units" if of_units else "environment"] = describe_environment()
        main_score = results["noisy scenes, learned units"]["compartment, causal" if causal else "compartment"]
        seconds = time.perf_counter() - start
        print(name, f"{main_score['per_option']:.4f} {main_score['per_question']:.4f}", f"{seconds:.0f} s", flush=True)
        yield name, results


def main() -> None:
    """Measures, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=None, help="run of the reasoning recipe; else the shipped one")
    parser.add_argument("--folds", type=Path, default=Path("runs/reasoning_folds"))
    parser.add_argument(
        "--sets", nargs="+", default=SETS, choices=SETS, help="sets to measure; others keep their results"
    )
    parser.add_argument("--of-units", action="store_true", help="only results that depend on the learned units")
    parser.add_argument("--max-questions", type=int, default=None, help="of each set; nothing is written")
    options = parser.parse_args()
    run = Run.open(options.run) if options.run is not None else shipped_run("reasoning")

    if run is None:
        parser.error("no run is shipped; name one with --run")

    # `scaled` warns where more channels add up than it is exact for; the results show the effect
    warnings.filterwarnings("ignore", message="preset 'scaled'")
    sets = json.loads(RESULTS.read_text())["sets"] if RESULTS.exists() else {}
    for name, results in measure(run, options.folds, options.max_questions, options.sets, options.of_units):
        if options.max_questions is None:
            sets[name] = {**sets.get(name, {}), **results} if options.of_units else results
            RESULTS.write_text(
                json.dumps({"sets": {name: sets[name] for name in SETS if name in sets}}, indent=2) + "\n"
            )


if __name__ == "__main__":
    main()
