"""The creature: its scenes, its memory and graph against the symbolic executor, and the whole network as a stream."""

import json
import time
from dataclasses import replace
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest
import torch

import research.creature.watch as script
from research.creature.conversation import AskedQuestion, Conversation, questions_of
from research.creature.evaluation import RunAnswer, Watched, score_question, true_memory
from research.creature.live import LiveAnswer, LiveCreature, converse
from research.creature.memory import (
    EVENT_SIZE,
    MEMORY_SIZE,
    NUM_EVENTS,
    EventMemory,
)
from research.creature.model import Creature, CreatureOptions, Follow
from research.creature.perception import NearestGate, PairDistances, Slots
from research.creature.report import scene_page
from research.creature.scene import CreatureScene, SceneRanges, generate_scene, simulate_table
from spikebridge.errors import ConfigError, DataError, ShapeError
from spikebridge.training.run.weights import save_weights

pytestmark = pytest.mark.untyped

SMALL = CreatureOptions(num_objects=4, num_readout=8, num_features=2, num_copies=2, num_collisions=4)


@pytest.fixture(scope="module")
def creature() -> Creature:
    torch.manual_seed(0)
    return Creature(SMALL).eval()


@pytest.fixture(scope="module")
def scene() -> CreatureScene:
    return generate_scene(3, "neon", SceneRanges(seconds=3.0, contacts=(2, 5)))


def test_equal_discs_exchange_their_velocity_but_for_the_bounce() -> None:
    course, touches = simulate_table(np.array([[30.0, 50], [60, 50]]), np.array([[48.0, 0], [0, 0]]), 0.0, 240)
    speeds = 240 * (course[-1] - course[-2])[:, 0]

    assert len(touches) == 1

    # 48 px/s and a restitution of 0.9: 48 (1 - 0.9) / 2 and 48 (1 + 0.9) / 2
    np.testing.assert_allclose(speeds, [2.4, 45.6], rtol=1e-6)


def test_one_seed_is_one_scene_and_an_unknown_environment_is_refused(scene: CreatureScene) -> None:
    again = generate_scene(3, "neon", SceneRanges(seconds=3.0, contacts=(2, 5)))
    assert again.objects == scene.objects

    np.testing.assert_array_equal(again.positions, scene.positions)
    assert len({color for color, _, _ in scene.objects}) == len(scene.objects)
    with pytest.raises(ConfigError, match="did you mean 'neon'"):
        generate_scene(3, "noen")


def test_frames_and_events_are_of_the_same_moment() -> None:
    scene = generate_scene(1, "daylight", SceneRanges(seconds=0.2, contacts=(0, 5)))
    frames = scene.frames()
    events = scene.events()

    assert frames.shape == (2, 3, 96, 144)

    changed = (frames[1] - frames[0]).abs().mean(0) > 0.15
    assert set(events.unique().tolist()) == {0.0, 1.0}
    assert bool(events[:24].amax((0, 1))[changed].float().mean() > 0.9)


def test_with_a_true_memory_the_graph_answers_as_the_executor_does(creature: Creature, scene: CreatureScene) -> None:
    graph = creature.graph
    stimuli = creature.parts["stimuli"]
    asked = [one for seed in range(3) for one in questions_of(scene, seed)]

    assert len(asked) >= 6
    for one in asked:
        for when, truth in one.truths:
            talk = Conversation(creature)
            talk.ask(one.question.program)
            program, runs = talk.advance(80)
            spikes, _ = graph(stimuli(program)[0], memory=true_memory(scene, when).expand(80, 1, -1))

            assert [talk.answer(run, spikes[run.tick, 0]) for run in runs] == [truth] * len(runs), one.question.text


def test_the_memory_writes_each_collision_and_exit_once() -> None:
    spikes = torch.zeros(90, 1, 1, 28, 1)
    tracks = torch.zeros(90, 1, 8, 4)
    slots = torch.zeros(90, 1, 8, 9)
    slots[..., :2, 3] = 1.0
    tracks[..., :2] = 50.0
    tracks[..., :2, 2] = 1.0
    spikes[35:39] = 1.0  # every pair, but only gray and red are known
    tracks[50:, :, 0, 0] = -1.0  # gray is beyond the left border
    memory, _ = EventMemory()(spikes, tracks=tracks, slots=slots)
    events = memory[:, 0, : NUM_EVENTS * EVENT_SIZE].unflatten(1, (NUM_EVENTS, EVENT_SIZE))

    assert events[..., :2].sum((1, 2)).tolist() == [0.0] * 35 + [1.0] * 15 + [2.0] * 40
    assert events[-1, 0].tolist() == [1, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    assert events[-1, 1].tolist() == [0, 1, 1, 0, 0, 0, 0, 0, 0, 0]


def test_a_run_begins_from_rest(creature: Creature) -> None:
    program = torch.zeros(12, 1, 2)
    numbers = {name: number for number, name in enumerate(creature.operators.trains, start=1)}
    program[0, 0] = torch.tensor([float(numbers["objects"]), 1.0])
    program[6, 0] = torch.tensor([0.0, 1.0])
    memory = torch.zeros(12, 1, MEMORY_SIZE)
    memory[..., NUM_EVENTS * EVENT_SIZE] = 1.0  # gray is known
    spikes, _ = creature.graph(creature.parts["stimuli"](program)[0], memory=memory)

    assert spikes[:, 0, creature.graph.objects].sum(1).tolist() == [0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_two_halves_of_a_stream_make_the_whole(creature: Creature) -> None:
    torch.manual_seed(1)
    inputs = {
        "frames": torch.rand(2, 1, 3, 96, 144),
        "events": (torch.rand(48, 1, 2, 96, 144) < 0.01).float(),
        "program": torch.zeros(480, 1, 2),
    }

    with torch.no_grad():
        whole, _ = creature(inputs, ticks=480)
        cuts = {"frames": 2, "events": 30, "program": 300}
        first, state = creature({name: x[: cuts[name]] for name, x in inputs.items()}, ticks=300)
        second, _ = creature({name: x[cuts[name] :] for name, x in inputs.items()}, state, ticks=180)

    for name in whole:
        assert torch.allclose(torch.cat([first[name], second[name]]), whole[name], atol=1e-3), name


def test_the_object_that_is_active_for_longest_is_followed() -> None:
    active = torch.zeros(3, 1, 8)
    active[0] = 1.0  # all objects at first
    active[1:, :, 2] = 1.0
    tracks = torch.arange(64.0).reshape(1, 1, 8, 8)[..., :4].expand(3, -1, -1, -1)
    followed, _ = Follow()(active, tracks=tracks)

    assert followed[0].abs().sum() == 0
    assert followed[2, 0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 16.0, 17.0]


def test_the_gate_of_the_nearest_environment_is_opened_whole() -> None:
    nearest = NearestGate(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    assert nearest(torch.tensor([[2.0, -3.0, -3.0], [-3.0, -3.0, 0.5]])).tolist() == [[1, 1, 0], [0, 0, 1]]


def test_an_object_whose_colour_is_mistaken_in_some_frames_is_no_second_object() -> None:
    maps = torch.zeros(8, 1, 18, 24, 36)
    maps[:, :, 0] = -9.0
    maps[:, :, 0, 10, 10] = 4.0
    maps[[0, 1, 3, 4, 6, 7], :, 5 + 1, 10, 10] = 9.0  # red
    maps[[2, 5], :, 5 + 6, 10, 11] = 9.0  # purple, in the next cell
    maps[[2, 5], :, 0, 10, 11] = 4.0
    maps[:, :, 0, 20, 30] = 4.0
    maps[:, :, 5, 20, 30] = 9.0  # gray, far away
    slots, _ = Slots()(maps)

    assert slots[3:, 0, :, 3].sum(1).tolist() == [2.0] * 5
    assert slots[-1, 0, [0, 1], 3].tolist() == [1.0, 1.0]
    assert slots[:, 0, 6, 2].sum() == 0


def test_pairs_that_are_not_in_view_do_not_touch() -> None:
    tracks = torch.zeros(1, 8, 4)
    tracks[0, 1, 0] = 14.0  # outlines of gray and red touch
    tracks[0, :2, 2] = 1.0
    pairs = PairDistances(1)(tracks)[0, :, :, 0]

    assert pairs[0, 0].item() == pytest.approx(1.0, abs=1e-5)
    assert pairs[:, 1:].abs().max() == 0


def test_a_question_about_motion_is_refused_in_words(creature: Creature) -> None:
    with pytest.raises(DataError, match="about motion"):
        Conversation(creature).ask(("objects", "null", "filter_moving", "count"))


def test_sizes_below_two_are_refused() -> None:
    with pytest.raises(ConfigError, match="sizes of 2 or more"):
        CreatureOptions(num_features=1)


def test_a_question_is_right_if_it_is_answered_in_time(scene: CreatureScene) -> None:
    question = questions_of(scene)[0].question
    asked = AskedQuestion(question, first=0, last=144, truths=((0, "0"), (49, "1")))  # 200 ms
    late = Watched(scene, [asked], [RunAnswer(60, 0, "0"), RunAnswer(480, 0, "0"), RunAnswer(700, 0, "1")])

    # 700 ticks of 1 / 2400 s, and a bin for its events, after 200 ms
    assert score_question(late, 0).latencies == pytest.approx((0.7 / 2.4 + 1 / 240 - 0.2,))
    assert not score_question(late, 0).right
    assert score_question(late, 0).ends_right

    early = Watched(scene, [asked], [RunAnswer(60, 0, "0"), RunAnswer(560, 0, "1")])
    assert score_question(early, 0).right


def test_a_live_creature_answers_bin_after_bin_and_refuses_in_words(creature: Creature) -> None:
    live = LiveCreature(creature)
    live.ask_program(("objects", "count"), "How many objects are there?")
    heard = live.see(torch.zeros(2, 96, 144), torch.rand(3, 96, 144))

    # objects, count, and a silent step: answers at the steps 4 and 9, a bin later
    assert heard[0] == LiveAnswer(4 / 2400 + 1 / 240, "How many objects are there?", "0")
    with pytest.raises(ShapeError, match="bin 1 needs no frame"):
        live.see(torch.zeros(2, 96, 144), torch.rand(3, 96, 144))

    short = generate_scene(1, "daylight", SceneRanges(seconds=0.02, contacts=(0, 5)))
    lines: list[str] = []
    converse(LiveCreature(creature), short, lambda time: "How many?" if time == 0 else None, lines.append)

    assert lines == [" 0.000 s  How many?  a question in words needs a parser; give one, or ask_program"]


def test_the_page_of_a_scene_shows_answers_with_the_truth(scene: CreatureScene) -> None:
    asked = AskedQuestion(questions_of(scene)[0].question, first=0, last=48, truths=((0, "7"),))
    short = replace(scene, positions=scene.positions[:49], touches=())
    seen = Watched(
        short, [asked], [RunAnswer(60, 0, "5")], torch.ones(48, 8, 4), torch.zeros(48, 10), torch.zeros(48, 12, 10)
    )
    page = scene_page(seen)

    assert f"{asked.question.text} 5 (true: 7)" in page


def test_the_script_shows_a_scene_and_prints_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "creature.safetensors"
    torch.manual_seed(0)
    save_weights(weights, Creature())
    short = generate_scene(1, "daylight", SceneRanges(seconds=0.02, contacts=(0, 5)))
    monkeypatch.setattr(script, "generate_scene", lambda *_: short)

    assert script.main([str(weights), "--ask", "How many objects are there?", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    # no object is known before the first frame has been read
    assert found["answers"][0] == "0.006 s  How many objects are there?  0"
    assert len(found["objects"]) == len(short.objects)

    for words, reason in (
        ([str(weights), "--train"], "is there"),
        ([str(tmp_path / "none")], "--train makes one"),
        ([str(weights), "--page", "a.html", "--ask", "How many?"], "leave out --ask or --page"),
        ([str(weights), "--seconds", "0"], "1 to 60 seconds"),
    ):
        assert script.main(words) == 2
        message = capsys.readouterr().err
        assert reason in message
        assert message.count("\n") == 1


def test_the_newest_typed_line_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"How many?\n\nIs there a cube?\n")))
    asked = script.typed()
    for _ in range(1000):
        if (text := asked(0.0)) is not None:
            break
        time.sleep(1e-3)

    assert text in ("How many?", "Is there a cube?")


def test_each_question_is_asked_at_the_start_of_its_part() -> None:
    asked = script.spread(("one", "two"), 4.0)
    assert [asked(t) for t in (0.0, 1.9, 2.0, 3.0)] == ["one", None, "two", None]
