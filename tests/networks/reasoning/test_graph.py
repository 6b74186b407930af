"""The spiking graph says what the executor says, step by step as the design tells, on every path."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_reasoning import Programs, random_scene

from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.reasoning.data.scene import Choice, Question, Scene
from spikebridge.networks.reasoning.executor import Executor
from spikebridge.networks.reasoning.explain.explain import explain
from spikebridge.networks.reasoning.graph.layout import PRESETS, NeuronLayout
from spikebridge.networks.reasoning.graph.run import Execution, Query, RunOptions, answer, assign_slots, batch_stimuli
from spikebridge.networks.reasoning.graph.wiring import wire
from spikebridge.networks.reasoning.graph.worlds import World, build_worlds
from spikebridge.networks.reasoning.parsing.operators import OPERATORS, Operator, OperatorTable, Signature
from spikebridge.neurons import Memoryless

pytestmark = pytest.mark.untyped

PRESET_NAMES = ("scaled", "compartment")
BLUE = ["objects", "blue", "filter_color", "unique"]
FIRST_MEETING = ["events", *BLUE, "filter_collision", "first", "filter_order"]
PARTNER = [*FIRST_MEETING, *BLUE, "query_collision_partner", "query_color"]


def meeting_scene(video: int = 1, **changes: object) -> Scene:
    """A blue cube that meets a red sphere, then a green cylinder; all are there all the time, and lie still."""
    scene = Scene.from_lists(
        video,
        objects=[["blue", "metal", "cube"], ["red", "rubber", "sphere"], ["green", "metal", "cylinder"]],
        trajectory=[[frame, [[o, 10.0 * o, 5.0] for o in range(3)]] for frame in (0, 50, 100, 125)],
        collisions=[[100, 0, 2], [50, 0, 1], [140, 1, 2]],
        what_if={0: [[90, 1, 2]], 1: [[100, 0, 2]], 2: [[50, 0, 1]]},
    )
    return replace(scene, **changes)


def descriptive(program: str | list[str] | tuple[str, ...], video: int = 1) -> Question:
    tokens = program.split() if isinstance(program, str) else program
    return Question(video, "descriptive", tuple(tokens))


def value_of(scene: Scene, program: str | list[str], **settings: object) -> str | None:
    return answer(scene, [descriptive(program)], **settings)[0][0].value


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_the_colour_of_whom_the_blue_one_meets_first_takes_21_steps_as_the_design_tells(preset: str) -> None:
    explanation = explain(meeting_scene(), PARTNER, preset=preset)
    assert explanation.answer.value == "red"

    steps = explanation.steps
    assert len(steps) == 21
    # events in order of time: start, meeting with red, meeting with green, end
    assert (steps[0].events, steps[1].events) == ((), (0, 1, 2, 3))
    assert (steps[2].objects, steps[3].objects, steps[5].objects) == ((), (0, 1, 2), (0,))
    assert (steps[7].events, steps[8].events) == ((0, 1, 2, 3), (1, 2))
    assert (steps[10].events, steps[11].events) == ((1, 2), (1,))
    assert (steps[15].objects, steps[17].objects, steps[18].objects) == ((0,), (), (1,))

    values = set(NeuronLayout().values)
    assert [set(step.fired) & values for step in (steps[19], steps[20])] == [set(), {"red"}]


@pytest.mark.parametrize("preset", PRESET_NAMES)
@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("objects count", "3"),
        ("objects metal filter_material count", "2"),
        ("objects purple filter_color exist", "no"),
        ("events objects filter_collision count", "2"),
        ("objects null filter_stationary count", "3"),
        ("objects events filter_end query_frame filter_stationary count", "3"),
        ("events events objects red filter_color unique filter_collision unique filter_after objects count", None),
        ("events events objects red filter_color unique filter_collision unique filter_after objects "
         "filter_collision count", "1"),
        ("events objects filter_collision second filter_order objects blue filter_color unique "
         "query_collision_partner query_shape", "cylinder"),
        ("objects red filter_color unique events events objects green filter_color unique filter_collision unique "
         "filter_ancestor belong_to", "correct"),
        ("objects green filter_color unique events events objects red filter_color unique filter_collision unique "
         "filter_ancestor belong_to negate", "correct"),
        ("all_events objects red filter_color unique filter_collision objects green filter_color unique "
         "filter_collision unique unseen_events belong_to", "correct"),
        ("all_events objects blue filter_color unique filter_collision objects green filter_color unique "
         "filter_collision unique unseen_events belong_to", "wrong"),
        ("all_events objects red filter_color unique filter_collision objects green filter_color unique "
         "filter_collision unique all_events objects blue filter_color unique filter_counterfact belong_to", "correct"),
        ("all_events objects red filter_color unique filter_collision objects green filter_color unique "
         "filter_collision unique all_events objects red filter_color unique filter_counterfact belong_to negate",
         "correct"),
    ],
)  # fmt: skip
def test_every_kind_of_question_has_its_answer(preset: str, program: str, value: str | None) -> None:
    if value is None:
        with pytest.raises(ConfigError, match="leaves"):
            value_of(meeting_scene(), program, preset=preset)
    else:
        assert value_of(meeting_scene(), program, preset=preset) == value


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=6, deadline=None)
def test_where_the_executor_answers_the_graph_says_the_same_and_elsewhere_it_knows_that_it_guesses(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng, video) for video in range(8)]
    questions = [descriptive(Programs(rng, scene).whole(), scene.video) for scene in scenes for _ in range(30)]
    executors = [Executor(scene) for scene in scenes]

    for question, (graph_answer,) in zip(questions, answer(scenes, questions), strict=True):
        expected = executors[question.video].run(question.program)
        if expected.value is None:
            assert graph_answer.status != "ok", question.program
        else:
            assert (graph_answer.value, graph_answer.status) == (expected.value, "ok"), question.program


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=3, deadline=None)
def test_the_scaled_preset_is_exact_where_few_channels_add_up_and_says_where_they_do_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for video in range(5):
        scene = random_scene(rng, video)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            questions = [descriptive(Programs(rng, scene).whole(), video) for _ in range(20)]
            answers = answer(scene, questions, preset="scaled")

        if caught:
            assert "at most 11 channels" in str(caught[0].message)
            continue

        executor = Executor(scene)
        for question, (graph_answer,) in zip(questions, answers, strict=True):
            expected = executor.run(question.program)
            assert expected.value is None or graph_answer.value == expected.value, question.program


@pytest.mark.parametrize("path", ["dense"])
@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_all_paths_give_equal_spikes(path: str, preset: str) -> None:
    rng = np.random.default_rng(3)
    scenes = [random_scene(rng, video) for video in range(3)]
    runs = []

    for way in ("sparse", path):
        options = RunOptions(PRESETS[preset], execution=Execution(way))
        compiled = explain(meeting_scene(), PARTNER, preset=preset).program
        jobs = [Query(World(number), compiled) for number in (0, 1, 2, 1)]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batch = assign_slots(scenes, jobs, options)

        states = batch.graph.run(batch_stimuli(batch, options), batch.num_columns)
        runs.append(torch.stack([state.spikes for state in states]))

    assert runs[0].any()
    assert torch.equal(runs[0], runs[1])


def test_more_than_16_members_are_counted_by_their_own_spikes() -> None:
    scene = Scene.from_lists(
        1,
        objects=[["blue", "metal", "cube"], ["red", "rubber", "sphere"]],
        trajectory=[[0, [[0, 1.0, 1.0], [1, 2.0, 2.0]]]],
        collisions=[[5 * k, 0, 1] for k in range(25)],
    )
    count = "events objects filter_collision count"
    assert value_of(scene, count) == Executor(scene).run(count.split()).value == "25"


def test_a_neuron_of_the_graph_is_a_memoryless_neuron() -> None:
    scenes = [meeting_scene()]
    options = RunOptions(PRESETS["scaled"])
    batch = assign_slots(scenes, [Query(World(0), explain(scenes[0], PARTNER, "scaled").program)], options)
    states = list(batch.graph.run(batch_stimuli(batch, options), 1))
    neurons = Memoryless(v_threshold=batch.graph.v_threshold)
    spikes, _ = neurons(torch.stack([state.v.T for state in states]))

    assert spikes.any()
    assert torch.equal(spikes, torch.stack([state.spikes.T for state in states]))


def test_no_connection_joins_two_worlds_and_each_world_is_what_it_is_alone() -> None:
    rng = np.random.default_rng(5)
    scenes = [random_scene(rng, video) for video in range(4)]
    layout = NeuronLayout()
    preset = PRESETS["compartment"]
    options = RunOptions()
    program = explain(scenes[0], ["objects", "count"]).program
    together = assign_slots(scenes, [Query(World(number), program) for number in range(4)], options)
    connections = wire(together.worlds, layout, preset)
    world = together.graph.indices.world_of_neuron

    assert (world[connections.source] == world[connections.target]).all()
    for number, scene in enumerate(scenes):
        alone = wire(build_worlds([scene], [World(0)]), layout, preset)
        own = world[connections.source] == number
        place = np.zeros(len(world), dtype=np.int64)
        place[np.flatnonzero(world == number)] = np.arange((world == number).sum())
        here = (place[connections.source[own]], place[connections.target[own]], connections.weight[own])
        found = sorted(zip(*here, strict=True))

        assert found == sorted(zip(alone.source, alone.target, alone.weight, strict=True))


def test_a_stream_cut_anywhere_is_the_whole() -> None:
    options = RunOptions()
    batch = assign_slots([meeting_scene()], [Query(World(0), explain(meeting_scene(), PARTNER).program)], options)
    stimuli = batch_stimuli(batch, options)
    whole = [state.spikes for state in batch.graph.run(stimuli, 1)]

    for cut in (1, 9, 20):
        first = list(batch.graph.run(stimuli[:cut], 1))
        rest = list(batch.graph.run(stimuli[cut:], 1, first[-1]))
        assert all(torch.equal(a, b.spikes) for a, b in zip(whole, [*first, *rest], strict=True))


def test_motion_is_that_of_the_trajectory_even_in_a_collision() -> None:
    question = "objects null filter_moving count"
    assert [value_of(meeting_scene(), question, preset=preset) for preset in PRESET_NAMES] == ["0", "0"]


def test_a_second_of_one_event_is_missing() -> None:
    scene = meeting_scene(collisions=np.array([[50, 0, 1]]))
    program = "events objects filter_collision second filter_order objects blue filter_color unique "
    question = descriptive(program + "query_collision_partner query_color")

    assert answer(scene, [question])[0][0].status == "missing"
    assert answer(scene, [question], abstain=True)[0][0].value is None


def test_short_programs_wait_in_front_and_steps_depend_on_the_program_alone() -> None:
    rng = np.random.default_rng(11)
    scenes = [random_scene(rng, video) for video in range(6)]
    programs = [PARTNER, ["objects", "count"]]
    questions = [descriptive(program, scene.video) for scene in scenes for program in programs]
    together = [graph_answer for (graph_answer,) in answer(scenes, questions)]
    alone = [answer(scenes[q.video], [q])[0][0] for q in questions]

    assert together == alone
    assert {explain(scene, PARTNER).program.num_steps(OperatorTable()) for scene in scenes} == {21}


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("objects metal filter_material unique query_color", "ambiguous"),
        ("objects purple filter_color unique query_shape", "empty"),
        ("events objects filter_in first filter_order query_object query_color", "empty"),
        ("objects blue filter_color unique query_shape", "ok"),
    ],
)
def test_a_status_says_why_an_answer_is_a_guess(program: str, status: str) -> None:
    assert answer(meeting_scene(), [descriptive(program)])[0][0].status == status


def test_meetings_of_one_pair_are_one_answer_whenever_they_happen() -> None:
    scene = meeting_scene(collisions=np.array([[20, 0, 1], [60, 0, 1], [90, 0, 2]]))
    entry = "events objects red filter_color unique filter_collision first filter_order"
    rest = "events events objects red filter_color unique filter_collision first filter_order filter_after belong_to"
    program = f"{entry} {rest}"

    assert value_of(scene, program) == Executor(scene).run(program.split()).value == "correct"


def test_the_causal_option_keeps_what_the_removed_object_had_no_part_in() -> None:
    # the meeting of red and green has nothing to do with blue, but the roll-out without blue missed it
    scene = meeting_scene(collisions=np.array([[30, 1, 2]]), what_if={0: np.zeros((0, 3), dtype=np.int64)})
    program = (
        "all_events objects red filter_color unique filter_collision objects green filter_color unique "
        "filter_collision unique all_events objects blue filter_color unique filter_counterfact belong_to"
    )

    assert (value_of(scene, program), value_of(scene, program, causal=True)) == ("wrong", "correct")
    assert Executor(scene, causal=True).run(program.split()).value == "correct"


def test_a_world_without_an_object_is_built_once_for_all_choices_of_all_questions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[World] = []

    def recorded(scenes: list[Scene], worlds: list[World], *arguments: object, **options: object) -> object:
        built.extend(worlds)
        return build_worlds(scenes, worlds, *arguments, **options)

    monkeypatch.setattr("spikebridge.networks.reasoning.graph.run.build_worlds", recorded)
    scene = meeting_scene(what_if={0: np.array([[30, 1, 2]])})
    one = "objects {} filter_color unique filter_collision"
    pair = f"all_events {one} {one} unique"
    choices = tuple(Choice(tuple(pair.format(*two).split())) for two in (("red", "green"), ("green", "red")))
    without = ("all_events", "objects", "blue", "filter_color", "unique", "filter_counterfact", "belong_to")
    answer([scene], [Question(scene.video, "counterfactual", (*without, *more), choices) for more in ((), ("negate",))])

    assert sorted(str(world.condition) for world in built) == ["0", "observed"]


def test_the_executor_says_why_it_refuses() -> None:
    executor = Executor(meeting_scene())
    assert executor.run(["objects", "unique", "query_color"]) == (None, "ambiguous")
    assert executor.run(["objects", "purple", "filter_color", "unique", "query_color"]) == (None, "empty")
    assert executor.run(["events", "objects", "filter_collision", "count"]) == ("2", None)


def test_a_choice_is_judged_one_by_one_and_questions_find_their_video() -> None:
    choices = tuple(Choice(tuple(f"objects {color} filter_color unique".split())) for color in ("red", "green", "blue"))
    question = "events events objects green filter_color unique filter_collision unique filter_ancestor belong_to"
    scenes = [meeting_scene(7), meeting_scene(9, collisions=np.array([[100, 0, 2]]))]
    questions = [Question(video, "explanatory", tuple(question.split()), choices) for video in (9, 7)]
    first, second = ([a.value for a in answers] for answers in answer(scenes, questions))

    assert (first, second) == (["wrong", "wrong", "wrong"], ["correct", "wrong", "correct"])


def test_confidence_is_the_product_of_what_the_answer_rests_on() -> None:
    scores = np.array([[0.9, 1.0, 1.0], [0.5, 1.0, 1.0], [1.0, 1.0, 1.0]])
    scene = meeting_scene(attribute_scores=scores, collision_scores=np.array([0.7, 0.8]))
    result = answer(scene, [descriptive(PARTNER)])[0][0]

    # the blue cube, the first meeting (listed second), the red sphere
    assert result.confidence == pytest.approx(0.9 * 0.8 * 0.5)


def test_a_new_colour_is_a_new_neuron_and_a_new_operator_is_a_new_row() -> None:
    attributes = {"color": ("blue", "red", "orange"), "material": ("metal", "rubber"), "shape": ("cube", "sphere")}
    scene = Scene.from_lists(
        1,
        objects=[["blue", "metal", "cube"], ["orange", "rubber", "sphere"]],
        trajectory=[[0, [[0, 1.0, 1.0], [1, 2.0, 2.0]]]],
        collisions=[[50, 0, 1]],
        attributes=attributes,
    )

    others = Operator(
        "others",
        (Signature(("object",), "objects"),),
        # the object is excluded, all are lit, and the excluded one is inhibited as they arrive
        (("veto", "dismiss_objects"), ("all_objects",), ()),
    )

    table = OperatorTable((*OPERATORS, others), attributes)
    assert value_of(scene, "objects orange filter_color unique query_shape", table=table) == "sphere"
    assert value_of(scene, "objects blue filter_color unique others unique query_color", table=table) == "orange"


def test_what_cannot_be_asked_is_refused_in_words() -> None:
    scene = meeting_scene()
    question = descriptive("objects count")
    with pytest.raises(ConfigError, match="did you mean 'scaled'"):
        answer(scene, [question], preset="scalled")

    with pytest.raises(ConfigError, match="the preset 'paper' of reasoning left the package"):
        answer(scene, [question], preset="paper")

    with pytest.raises(DataError, match="video 1, but there is no scene"):
        answer([meeting_scene(2)], [question])

    with pytest.raises(DataError, match="two scenes of video 1"):
        answer([scene, scene], [question])

    counterfactual = (
        "all_events objects red filter_color unique filter_collision objects green filter_color unique "
        "filter_collision unique all_events objects blue filter_color unique filter_counterfact belong_to"
    )
    with pytest.raises(DataError, match=r"no what-if roll-out without object 0 .blue metal cube"):
        answer(meeting_scene(what_if={}), [descriptive(counterfactual)])

    crowd = np.array([[k % 125, 0, 1] for k in range(300)])
    with pytest.raises(DataError, match="302 events, but a graph holds at most 256"):
        answer(meeting_scene(collisions=crowd), [question])
