"""The hybrid network and its twins: an ANN on the same perception, and the executor. Test videos are new.

    python research/reasoning/twins.py

The ANN (`question_answering/answer_network.py`) learns from generated training videos, their true scenes and programs.
All three answer the same questions about test videos 2000 and on, from true scenes and from scenes perceived from
pixels. Programs are the true ones for all; the parser is measured by `videos.py`.

The cost is that of one program, averaged over programs. The graph is counted as a `HybridNetwork` (preset `scaled`,
every neuron updated at every step); the executor has no products to count, so its process time is measured, with one
thread, as those of the other two.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from research.reasoning.graphs.hybrid_graph import network_inputs, reasoning_network
from research.reasoning.question_answering.answer_network import AnswerNetwork, program_tokens
from research.reasoning.question_answering.twin import (
    TwinConfig,
    TwinOfScene,
    train_twin,
    twin_answers,
    videos_with_questions,
)
from spikebridge.analysis import count_cost, energy, hardware_profile
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.executor import execute
from spikebridge.networks.reasoning.graph.layout import PRESETS
from spikebridge.networks.reasoning.graph.run import RunOptions, answer
from spikebridge.networks.reasoning.perception.perceive import perceive
from spikebridge.networks.reasoning.scores import ProgramValues, tally, values
from spikebridge.networks.reasoning.simulation.render import render_frames
from spikebridge.networks.reasoning.simulation.video import generate_video
from spikebridge.pretrained.perception import shipped_detector
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "twins.json"
FIRST = 2000
NUM_COUNTED = 40


def perceived(numbers: Sequence[int]) -> list[Scene]:
    """Perceived scenes of test videos; refused videos are left out."""
    scenes = []
    detector = shipped_detector()

    for number in numbers:
        video = generate_video("test", number)
        try:
            scenes.append(perceive(detector, render_frames(video), video.name).scene)
        except DataError as error:
            print(video.name, error, flush=True)

    return scenes


def compare(network: AnswerNetwork, scenes: list[Scene], questions: list[Question]) -> dict[str, Any]:
    """Accuracy and time of all three on the same scenes and questions."""
    videos = {scene.video for scene in scenes}
    questions = [question for question in questions if question.video in videos]
    methods: dict[str, Callable[[], ProgramValues]] = {
        "hybrid": lambda: values(answer(scenes, questions)),
        "ANN only": lambda: twin_answers(network, scenes, questions),
        "executor only": lambda: execute(scenes, questions)[0],
    }

    programs = sum(len(question.programs) for question in questions)
    rows: dict[str, Any] = {"num_videos": len(scenes), "num_programs": programs}

    for name, method in methods.items():
        start = time.process_time()
        answers = method()
        seconds = time.process_time() - start
        rows[name] = {"ms_a_program": round(1e3 * seconds / programs, 3)}

        for kind, shares in tally(questions, answers).items():
            rounded = {measure: round(shares[measure], 4) for measure in ("per_option", "per_question")}
            rows[name][kind] = {**rounded, "num_questions": shares["num_questions"]}

    return rows


def costs(network: AnswerNetwork, scenes: Sequence[Scene], questions: Sequence[Question]) -> dict[str, Any]:
    """Operations and energy of a descriptive or explanatory program, on average."""
    options = RunOptions(PRESETS["scaled"])
    profile = hardware_profile("45nm")
    scene_of = {scene.video: scene for scene in scenes}
    counted = [question for question in questions if question.kind in ("descriptive", "explanatory")][:NUM_COUNTED]
    counts: dict[str, list[dict[str, float]]] = {"hybrid": [], "ANN only": []}

    for question in counted:
        scene = scene_of[question.video]
        program = question.programs[0]
        graph = reasoning_network(scene, options)
        inputs = network_inputs(scene, [options.compile(program)], graph, options)

        for name, cost in (
            ("hybrid", count_cost(graph.eval(), inputs)),
            ("ANN only", count_cost(TwinOfScene(network, scene).eval(), program_tokens([program]))),
        ):
            total = asdict(cost.total)
            counts[name].append({**total, "energy nJ": energy(cost, profile).total * 1e9})

    return {
        name: {"num_programs": len(rows), **{key: round(fmean(row[key] for row in rows), 1) for key in rows[0]}}
        for name, rows in counts.items()
    }


def main() -> None:
    """Trains the twin, measures all three, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train-videos", type=int, default=TwinConfig.num_videos)
    parser.add_argument("--epochs", type=int, default=TwinConfig.epochs)
    parser.add_argument("--test-videos", type=int, default=60, help="videos of the questions, with true scenes")
    parser.add_argument("--perceived-videos", type=int, default=20, help="the first of them, perceived from pixels too")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = TwinConfig(num_videos=options.train_videos, epochs=options.epochs)
    start = time.process_time()
    network = train_twin(config)
    minutes = (time.process_time() - start) / 60

    numbers = range(FIRST, FIRST + options.test_videos)
    scenes, questions = videos_with_questions("test", numbers, 2, exclude_uncertain=True)
    results = {"from true scenes": compare(network, scenes, questions)}
    print(json.dumps(results, indent=1), flush=True)
    results["from pixels"] = compare(network, perceived(numbers[: options.perceived_videos]), questions)
    twin = {**asdict(config), "num_weights": sum(p.numel() for p in network.parameters()),
            "process_minutes_with_drawing": round(minutes, 1)}  # fmt: skip
    results |= {"cost of a program": costs(network, scenes, questions), "twin": twin}
    print(json.dumps(results, indent=1), flush=True)
    options.out.write_text(json.dumps({**results, "environment": describe_environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
