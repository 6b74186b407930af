"""The ANN-only twin of the reasoning network, trained on generated videos, and its answers beside the graph's.

The twin learns from true scenes of training videos and the programs of questions about them; slots of objects are dealt
anew at every step, so that it cannot learn them by heart. It sees what the graph sees, and nothing else.
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
    MOST_OBJECTS,
    AnswerNetwork,
    program_tokens,
    seen_tokens,
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

_AT_ONCE = 512


@dataclass(frozen=True)
class TwinConfig:
    """Settings of the twin."""

    num_videos: int = 300
    """Generated videos to learn from, with their true scenes."""
    first_video: int = 20000
    """Number of the first of them; the detector learned from lower ones."""
    questions: int = 3
    """Questions of each kind about a video."""
    num_features: int = 64
    """Of a token."""
    num_layers: int = 3
    """Of the transformer."""
    epochs: int = 8
    """Passes over all programs."""
    batch_size: int = 128
    """Programs of a step."""
    lr: float = 2e-3
    """Highest learning rate of a one-cycle schedule."""
    seed: int = 0
    """Of weights and order."""


def asked_of_videos(
    split: str, numbers: Sequence[int], num_each: int, exclude_uncertain: bool = False
) -> tuple[list[Scene], list[Question]]:
    """True scenes of generated videos, and questions about them with answers.

    Args:
        split: of the videos.
        numbers: of the videos.
        num_each: questions of each kind.
        exclude_uncertain: leave out choices whose outcome is uncertain, which takes longer.
    """
    scenes = []
    questions = []
    for number in numbers:
        video = generate_video(split, number)
        scenes.append(video.scene())
        questions += generate_questions(video, executor_answers, num_each=num_each, exclude_uncertain=exclude_uncertain)

    return scenes, questions


def batches(scenes: Sequence[Scene], questions: Sequence[Question]) -> Batches:
    """Every whole program with what is known of its scene, and its answer.

    Args:
        scenes: that are asked about.
        questions: with answers.
    """
    seen = seen_tokens(scenes)
    place = {scene.video: i for i, scene in enumerate(scenes)}
    of_scene = torch.tensor([place[question.video] for question in questions for _ in question.programs])
    tensors = {name: values[of_scene] for name, values in seen._asdict().items()}
    tensors["program"] = program_tokens([program for question in questions for program in question.programs])
    tensors["answer"] = torch.tensor([ANSWERS.index(str(a)) for question in questions for a in question.answers])

    return Batches(tensors, batch=dict.fromkeys(tensors, 0))


def objective(network: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the answer; the slots of the objects are permuted.

    Args:
        network: the twin.
        batch: from `batches`.
    """
    scores = network(**permute_objects({name: values for name, values in batch.items() if name != "answer"}))
    return F.cross_entropy(scores, batch["answer"]), {"accuracy": (scores.argmax(1) == batch["answer"]).float().mean()}


def permute_objects(known: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same scenes with their objects in other slots, in all samples of a batch alike.

    Args:
        known: fields of `SceneTokens`, and `program`.
    """
    order = torch.randperm(MOST_OBJECTS)
    events = known["events"].clone()
    events[..., -MOST_OBJECTS:] = events[..., -MOST_OBJECTS:][..., order]
    there = torch.cat([known["there"][:, :MOST_OBJECTS][:, order], known["there"][:, MOST_OBJECTS:]], 1)

    return {**known, "objects": known["objects"][:, order], "events": events,
            "members": known["members"][..., order], "there": there}  # fmt: skip


def train_twin(config: TwinConfig, run: Run | None = None, quiet: bool = False) -> AnswerNetwork:
    """Trains the twin on generated videos.

    Args:
        config: its settings.
        run: folder of the training; None keeps nothing.
        quiet: no progress.
    """
    numbers = range(config.first_video, config.first_video + config.num_videos)
    data = batches(*asked_of_videos("train", numbers, config.questions))
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
    """What the twin says of each whole program of each question: the likeliest answer of the kind that fits.

    Args:
        network: trained.
        scenes: that are asked about.
        questions: any.
    """
    place = {scene.video: scene for scene in scenes}
    pairs = [(place[question.video], program) for question in questions for program in question.programs]
    judged = [bool(question.choices) for question in questions for _ in question.programs]
    said: list[str | None] = []
    choices = torch.tensor([answer in ("correct", "wrong") for answer in ANSWERS])

    with torch.no_grad():
        for some in np.array_split(np.arange(len(pairs)), -(-len(pairs) // _AT_ONCE)):
            known = seen_tokens([pairs[i][0] for i in some])
            scores = network(*known, program_tokens([pairs[i][1] for i in some]))
            fits = torch.tensor([judged[i] for i in some])[:, None] == choices
            said += [ANSWERS[k] for k in scores.masked_fill(~fits, -torch.inf).argmax(1).tolist()]

    cuts = np.cumsum([0, *(len(question.programs) for question in questions)])
    return [said[first:last] for first, last in pairwise(cuts.tolist())]


class AboutScene(nn.Module):
    """The twin with one scene before it; what is asked is its one input, as the common counter of costs needs it.

    Args:
        network: the twin.
        scene: that is asked about.
    """

    def __init__(self, network: AnswerNetwork, scene: Scene) -> None:
        super().__init__()
        self.network = network
        self.known = seen_tokens([scene])

    def forward(self, program: Tensor) -> Tensor:
        """Scores of all answers from a program's tokens."""
        return self.network(*self.known, program)
