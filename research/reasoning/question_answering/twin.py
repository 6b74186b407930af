"""The ANN-only twin of the reasoning network, trained on generated videos.

The twin learns from true scenes of training videos and the programs of questions about them; the slots of objects are
permuted at every step, so that it cannot memorize them. Its inputs are those of the graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from research.reasoning.question_answering.answer_network import (
    ANSWERS,
    MAX_OBJECTS,
    AnswerNetwork,
    program_tokens,
    scene_tokens,
)
from research.reasoning.question_answering.generated_questions import generate_questions
from research.reasoning.question_answering.videos import executor_answers
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.simulation.video import generate_video
from spikebridge.training.batches import Batches
from spikebridge.training.loop import fit
from spikebridge.training.phase import WHOLE, Phase
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings

_BATCH_SIZE = 512


@dataclass(frozen=True)
class TwinConfig:
    """Settings of the twin."""

    num_videos: int = 300  # generated videos to train on, with their true scenes
    first_video: int = 20000  # number of the first of them; the detector was trained on lower ones
    questions: int = 3  # questions of each kind about a video
    num_features: int = 64  # features of a token
    num_layers: int = 3  # layers of the transformer
    epochs: int = 8  # passes over all programs
    batch_size: int = 128  # programs of a step
    lr: float = 2e-3  # highest learning rate of a one-cycle schedule
    seed: int = 0  # seed of weights and order


def videos_with_questions(
    split: str, numbers: Sequence[int], num_each: int, exclude_uncertain: bool = False
) -> tuple[list[Scene], list[Question]]:
    """True scenes of generated videos, and questions about them with answers, a number of each kind."""
    scenes = []
    questions = []
    for number in numbers:
        video = generate_video(split, number)
        scenes.append(video.scene())
        questions += generate_questions(video, executor_answers, num_each=num_each, exclude_uncertain=exclude_uncertain)

    return scenes, questions


def batches(scenes: Sequence[Scene], questions: Sequence[Question]) -> Batches:
    """Every whole program with the tokens of its scene, and its answer."""
    tokens = scene_tokens(scenes)
    place = {scene.video: i for i, scene in enumerate(scenes)}
    of_scene = torch.tensor([place[question.video] for question in questions for _ in question.programs])
    tensors = {name: values[of_scene] for name, values in tokens._asdict().items()}
    tensors["program"] = program_tokens([program for question in questions for program in question.programs])
    tensors["answer"] = torch.tensor([ANSWERS.index(str(a)) for question in questions for a in question.answers])

    return Batches(tensors, batch=dict.fromkeys(tensors, 0))


def objective(network: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the answer; the slots of the objects are permuted."""
    scores = network(**permute_objects({name: values for name, values in batch.items() if name != "answer"}))
    return F.cross_entropy(scores, batch["answer"]), {"accuracy": (scores.argmax(1) == batch["answer"]).float().mean()}


def permute_objects(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same scenes with their objects in other slots, equally in all samples of a batch."""
    order = torch.randperm(MAX_OBJECTS)
    events = batch["events"].clone()
    events[..., -MAX_OBJECTS:] = events[..., -MAX_OBJECTS:][..., order]
    there = torch.cat([batch["there"][:, :MAX_OBJECTS][:, order], batch["there"][:, MAX_OBJECTS:]], 1)

    return {**batch, "objects": batch["objects"][:, order], "events": events,
            "members": batch["members"][..., order], "there": there}  # fmt: skip


def train_twin(config: TwinConfig, run: Run | None = None, quiet: bool = False) -> AnswerNetwork:
    """Trains the twin on generated videos."""
    numbers = range(config.first_video, config.first_video + config.num_videos)
    data = batches(*videos_with_questions("train", numbers, config.questions))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = AnswerNetwork(config.num_features, config.num_layers)

    phase = Phase(
        "twin",
        train=WHOLE,
        objective=objective,
        epochs=config.epochs,
        optimizer=partial(torch.optim.AdamW, lr=config.lr, weight_decay=0.01),
        scheduler=partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=config.lr, total_steps=config.epochs + 1),
        clip=1.0,
        data=data,
    )

    settings = Settings(seed=config.seed, batch_size=config.batch_size, accelerator="cpu", quiet=quiet)
    fit(network, [phase], None, settings=settings, run=run)

    return network.eval()


def twin_answers(
    network: AnswerNetwork, scenes: Sequence[Scene], questions: Sequence[Question]
) -> list[list[str | None]]:
    """The answer of the twin to each whole program of each question: the likeliest one that fits the kind."""
    place = {scene.video: scene for scene in scenes}
    pairs = [(place[question.video], program) for question in questions for program in question.programs]
    has_choices = [bool(question.choices) for question in questions for _ in question.programs]
    answers: list[str | None] = []
    is_judgment = torch.tensor([answer in ("correct", "wrong") for answer in ANSWERS])

    with torch.no_grad():
        for part in np.array_split(np.arange(len(pairs)), -(-len(pairs) // _BATCH_SIZE)):
            tokens = scene_tokens([pairs[i][0] for i in part])
            scores = network(*tokens, program_tokens([pairs[i][1] for i in part]))
            fits = torch.tensor([has_choices[i] for i in part])[:, None] == is_judgment
            answers += [ANSWERS[k] for k in scores.masked_fill(~fits, -torch.inf).argmax(1).tolist()]

    cuts = np.cumsum([0, *(len(question.programs) for question in questions)])
    return [answers[first:last] for first, last in pairwise(cuts.tolist())]


class TwinOfScene(nn.Module):
    """The twin with a fixed scene; its input is a program, as `count_cost` needs it."""

    def __init__(self, network: AnswerNetwork, scene: Scene) -> None:
        super().__init__()
        self.network = network
        self.tokens = scene_tokens([scene])

    def forward(self, program: Tensor) -> Tensor:
        """Scores of all answers from a program's tokens."""
        return self.network(*self.tokens, program)
