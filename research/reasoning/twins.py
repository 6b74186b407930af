"""The hybrid beside its twins: an ANN alone on the same perception, and the plain executor alone. Fresh test videos.

    python research/reasoning/twins.py

The ANN (`networks/answer_network.py`) learns from generated training videos, their true scenes and programs. All answer
the same questions about test videos 2000 and on, from true scenes and from scenes perceived from pixels. Programs are
the true ones for all; how well words are read is a figure of its own (`reasoning_videos.py`).

Cost is that of one program, averaged over programs, by the common counter. The graph is counted as the network of the
core's layers that it is (preset `scaled`, every neuron updated at every step); the executor has no products to count,
so its time stands beside those of the other two, one thread, process time.
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
from research.reasoning.question_answering.twin import AboutScene, TwinConfig, asked_of_videos, train_twin, twin_answers
from spikebridge.analysis import count_cost, energy, hardware_profile
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.evaluation.scores import ProgramValues, tally, values
from spikebridge.networks.reasoning.executor import execute
from spikebridge.networks.reasoning.graph.layout import PRESETS
from spikebridge.networks.reasoning.graph.run import RunOptions, answer
from spikebridge.networks.reasoning.perception.perceive import perceive
from spikebridge.networks.reasoning.simulation.render import render_frames
from spikebridge.networks.reasoning.simulation.video import generate_video
from spikebridge.pretrained.perception import shipped_detector
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "twins.json"
FIRST = 2000
NUM_COUNTED = 40


def perceived(numbers: Sequence[int]) -> list[Scene]:
    """Scenes of test videos as the detector sees them; refused videos are left out."""
    scenes = []
    detector = shipped_detector()

    for number in numbers:
        video = generate_video("test", number)
        try:
            scenes.append(perceive(detector, render_frames(video), video.name).scene)
        except DataError as error:
            print(video.name, error, flush=True)

    return scenes


def side_by_side(network: AnswerNetwork, scenes: list[Scene], questions: list[Question]) -> dict[str, Any]:
    """The three on the same scenes and questions."""
    there = {scene.video for scene in scenes}
    asked = [question for question in questions if question.video in there]
    said: dict[str, Callable[[], ProgramValues]] = {
        "hybrid": lambda: values(answer(scenes, asked)),
        "ANN only": lambda: twin_answers(network, scenes, asked),
        "executor only": lambda: execute(scenes, asked)[0],
    }

    programs = sum(len(question.programs) for question in asked)
    rows: dict[str, Any] = {"num_videos": len(scenes), "num_programs": programs}

    for name, ask in said.items():
        begun = time.process_time()
        spoken = ask()
        took = time.process_time() - begun

        rows[name] = {
            "ms_a_program": round(1e3 * took / programs, 3),
            **{kind: {what: round(shares[what], 4) if isinstance(shares[what], float) else shares[what]
                      for what in ("per_option", "per_question", "num_questions")}
               for kind, shares in tally(asked, spoken).items()},
        }  # fmt: skip

    return rows


def costs(network: AnswerNetwork, scenes: Sequence[Scene], questions: Sequence[Question]) -> dict[str, Any]:
    """Operations and energy of one program, for descriptive and explanatory ones."""
    options = RunOptions(PRESETS["scaled"])
    profile = hardware_profile("45nm")
    scene_of = {scene.video: scene for scene in scenes}
    asked = [question for question in questions if question.kind in ("descriptive", "explanatory")][:NUM_COUNTED]
    found: dict[str, list[dict[str, float]]] = {"hybrid": [], "ANN only": []}

    for question in asked:
        scene = scene_of[question.video]
        program = question.programs[0]
        graph = reasoning_network(scene, options)
        inputs = network_inputs(scene, [options.compile(program)], graph, options)

        for name, cost in (
            ("hybrid", count_cost(graph.eval(), inputs)),
            ("ANN only", count_cost(AboutScene(network, scene).eval(), program_tokens([program]))),
        ):
            total = asdict(cost.total)
            found[name].append({**total, "energy nJ": energy(cost, profile).total * 1e9})

    return {
        name: {"num_programs": len(rows), **{key: round(fmean(row[key] for row in rows), 1) for key in rows[0]}}
        for name, rows in found.items()
    }


def main() -> None:
    """Trains the twin, measures all three, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train-videos", type=int, default=TwinConfig.num_videos)
    parser.add_argument("--epochs", type=int, default=TwinConfig.epochs)
    parser.add_argument("--test-videos", type=int, default=60, help="asked about from true scenes")
    parser.add_argument("--seen-videos", type=int, default=20, help="of these, asked about from pixels too")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = TwinConfig(num_videos=given.train_videos, epochs=given.epochs)
    begun = time.process_time()
    network = train_twin(config)
    minutes = (time.process_time() - begun) / 60
    scenes, questions = asked_of_videos("test", range(FIRST, FIRST + given.test_videos), 2, exclude_uncertain=True)
    found = {"from true scenes": side_by_side(network, scenes, questions)}
    print(json.dumps(found, indent=1), flush=True)
    found["from pixels"] = side_by_side(network, perceived(range(FIRST, FIRST + given.seen_videos)), questions)
    twin = {**asdict(config), "num_weights": sum(p.numel() for p in network.parameters()),
            "process_minutes_with_drawing": round(minutes, 1)}  # fmt: skip
    found |= {"cost of a program": costs(network, scenes, questions), "twin": twin}
    print(json.dumps(found, indent=1), flush=True)
    given.out.write_text(json.dumps({**found, "environment": describe_environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
