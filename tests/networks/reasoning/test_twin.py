"""The ANN-only twin: its tokens, the permutation of slots, and its training."""

import pytest
import torch

from research.reasoning.question_answering.answer_network import (
    MAX_OBJECTS,
    AnswerNetwork,
    program_tokens,
    scene_tokens,
)
from research.reasoning.question_answering.twin import batches, objective, permute_objects, twin_answers
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import Choice, Question, Scene

RED = ["red", "metal", "cube"]
BLUE = ["blue", "rubber", "sphere"]


def scene_of(video: int, *objects: list[str]) -> Scene:
    places = [[0, [[o, 10.0 * o, 5.0] for o in range(len(objects))]]]
    collisions = [[50, 0, 1], [140, 1, 0]] if len(objects) > 1 else []
    return Scene.from_lists(video, list(objects), places, collisions, {0: [[60, 0, 1]]} if collisions else {})


def test_everything_perceived_is_a_token() -> None:
    tokens = scene_tokens([scene_of(1, RED, BLUE), scene_of(2, RED)])
    assert tokens.there.tolist() == [[True, True, *[False] * 6, True, True, True], [True, *[False] * 10]]
    assert tokens.events[0, :, :4].tolist() == [[1, 0, 0, 50 / 128], [0, 1, 0, 140 / 128], [0, 0, 1, 60 / 128]]
    assert tokens.events[0, :, 4].tolist() == [0, 0, 1]  # object 0 is removed
    assert tokens.members[0, :, :2].tolist() == [[1, 1]] * 3


def test_permuted_objects_change_no_answer() -> None:
    torch.manual_seed(0)
    tokens = scene_tokens([scene_of(1, RED, BLUE)])
    network = AnswerNetwork(16, 1, 2).eval()

    # without a mark of their own, slots differ in who takes part in what alone
    torch.nn.init.ones_(network.slots.weight)
    batch = {**tokens._asdict(), "program": program_tokens([["objects", "count"]])}
    permuted = permute_objects(batch)

    assert not torch.equal(permuted["objects"], batch["objects"])

    torch.testing.assert_close(network(**permuted), network(**batch))


def test_what_cannot_be_meant_is_refused() -> None:
    values = ["gray", "red", "blue", "green", "brown", "yellow", "cyan", "purple"]
    crowd = Scene.from_lists(3, [*([c, "metal", "cube"] for c in values), ["red", "rubber", "cube"]], [], [])
    with pytest.raises(DataError, match=f"9 objects, but the network supports at most {MAX_OBJECTS}"):
        scene_tokens([crowd])

    with pytest.raises(DataError, match="did you mean 'count'"):
        program_tokens([["objects", "cuont"]])

    with pytest.raises(DataError, match="at most 48"):
        program_tokens([["objects"] * 49])


def test_it_learns_to_count_and_answers_choices_with_correct_or_wrong() -> None:
    torch.manual_seed(0)
    scenes = [scene_of(v, *(RED, BLUE)[: 1 + v % 2]) for v in range(8)]
    questions = [Question(v, "descriptive", ("objects", "count"), answer=str(1 + v % 2)) for v in range(8)]
    data = batches(scenes, questions)
    network = AnswerNetwork(16, 1, 2)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)

    for _ in range(40):
        loss, _ = objective(network, data.select(torch.arange(8)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    network.eval()
    assert twin_answers(network, scenes, questions) == [[one.answer] for one in questions]

    judged = Question(1, "explanatory", ("belong_to",), (Choice(("objects", "unique")),))
    assert twin_answers(network, scenes, [judged])[0][0] in ("correct", "wrong")
