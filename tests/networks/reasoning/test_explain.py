"""An answer's reasons: steps in names, the chain down to perceived facts, silenced neurons, and the pages."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.explain.explain import explain
from spikebridge.networks.reasoning.explain.labels import fact_label, neuron_label, object_labels
from spikebridge.networks.reasoning.explain.page import as_html, as_text

SCENE = Scene.from_lists(
    3,
    objects=[["blue", "metal", "cube"], ["red", "rubber", "sphere"], ["green", "metal", "cylinder"]],
    trajectory=[[frame, [[o, 10.0 * o, 5.0] for o in range(3)]] for frame in (0, 50, 100, 125)],
    collisions=[[50, 0, 1], [100, 0, 2]],
    what_if={0: [[90, 1, 2]]},
)
RED, GREEN, BLUE = (["objects", color, "filter_color", "unique"] for color in ("red", "green", "blue"))
CAUSES_OF_GREEN = ["events", "events", *GREEN, "filter_collision", "unique", "filter_ancestor", "belong_to"]
CAUSE = [*RED, *CAUSES_OF_GREEN]


def test_the_chain_goes_from_the_answer_down_to_what_was_perceived() -> None:
    explanation = explain(SCENE, CAUSE)
    assert explanation.answer.value == "correct"

    chain = explanation.cause_chain
    assert chain[0].neuron == "match"
    assert [reason.step for reason in chain] == sorted((reason.step for reason in chain), reverse=True)

    facts = [one.fact for reason in chain for one in reason.evidence if one.fact]
    assert facts == [
        "red sphere takes part in: blue cube meets red sphere (frame 50)",
        "blue cube meets red sphere (frame 50) comes before, and is tied by objects to: blue cube meets green cylinder "
        "(frame 100)",
        "blue cube meets green cylinder (frame 100) is a collision",
        "green cylinder takes part in: blue cube meets green cylinder (frame 100)",
        "green cylinder is green",
        "red sphere is red",
    ]

    # whatever is not explained further was fired from outside
    named = {(reason.step, reason.neuron) for reason in chain}
    assert all((one.step, one.neuron) in named for reason in chain for one in reason.evidence)
    assert all(reason.instruction for reason in chain if not reason.evidence)


def test_the_text_of_an_explanation_has_every_step_and_every_cause() -> None:
    scene = Scene.from_lists(1, [["red", "metal", "cube"]], [[0, [[0, 9.0, 9.0]]]], [])
    text = """\
answer: red (ok, confidence 1.00)
step 0, objects: all_objects
step 1, objects: objects: red cube
step 2, query_color: kind_color; objects: red cube
step 3, read: objects: red cube
because
  red (step 3): red
    step 2, kind_color
    step 1, object[0]: red cube is red
  kind_color (step 2): kind color, by query_color
  object[0] (step 1): red cube is in the set
    step 0, all_objects
  all_objects (step 0): all objects, by objects"""

    assert as_text(explain(scene, ["objects", "unique", "query_color"])) == text


def test_labels_say_what_neurons_and_connections_mean() -> None:
    events = ["", "red ball enters (frame 5)"]
    assert neuron_label("object_moving[0]", ["blue cube"], []) == "blue cube moves then"
    assert neuron_label("red", [], []) == "red"
    assert fact_label("red", "object[0]", ["red cube"], []) == "red cube is red"
    assert fact_label("event[1]", "object_moving[0]", ["blue cube"], events) == (
        "blue cube moves when red ball enters (frame 5)"
    )


def test_the_material_names_an_object_only_where_it_distinguishes_two() -> None:
    objects = [["red", "metal", "cube"], ["red", "rubber", "cube"], ["red", "metal", "sphere"]]
    assert object_labels(Scene.from_lists(1, objects, [], [])) == ["red metal cube", "red rubber cube", "red sphere"]


def test_facts_carry_how_sure_they_are() -> None:
    scores = np.array([[1.0, 1.0, 1.0], [0.6, 1.0, 1.0], [1.0, 1.0, 1.0]])
    scene = replace(SCENE, attribute_scores=scores, collision_scores=np.array([0.8, 1.0]))
    evidence = [one for reason in explain(scene, CAUSE).cause_chain for one in reason.evidence]
    sure = {one.fact: one.score for one in evidence if one.fact}

    assert sure["red sphere is red"] == pytest.approx(0.6)
    assert sure["red sphere takes part in: blue cube meets red sphere (frame 50)"] == pytest.approx(0.8)
    assert sure["green cylinder is green"] == 1.0


def test_an_answer_that_nothing_fired_has_no_chain_and_says_so() -> None:
    causes_of_red = ["events", "events", *RED, "filter_collision", "unique", "filter_ancestor", "belong_to"]
    explanation = explain(SCENE, [*GREEN, *causes_of_red])
    assert (explanation.answer.value, explanation.cause_chain) == ("wrong", ())
    assert "nothing in memory belongs to the set" in as_text(explanation)


def test_ablation_shows_which_neurons_the_answer_needs_and_critical_lists_them() -> None:
    explanation = explain(SCENE, CAUSE)
    lost, spared = explanation.ablate(["event_cause[1]", "event_later[1]"])

    assert (lost.value, spared.value) == ("wrong", "correct")

    critical = explanation.critical()
    assert {"match", "red", "object_memory[1]", "ask_causes"} <= set(critical)
    assert "event_later[1]" not in critical

    query = explain(SCENE, ["objects", "cube", "filter_shape", "unique", "query_color"])
    assert [step.objects for step in query.steps] == [(), (0, 1, 2), (0, 1, 2), (0,), (0,), (0,)]
    assert query.critical() == ["all_objects", "kind_color", "blue", "cube", "dismiss_objects", "object[0]"]

    with pytest.raises(ConfigError, match=r"no neuron 'event_casue\[1\]'"):
        explanation.ablate(["event_casue[1]"])


def test_a_supposed_world_tells_who_was_removed() -> None:
    pair = ["all_events", *RED, "filter_collision", *GREEN, "filter_collision", "unique"]
    explanation = explain(SCENE, [*pair, "all_events", *BLUE, "filter_counterfact", "belong_to"])

    assert explanation.answer.value == "correct"
    assert explanation.removal is not None
    assert explanation.events == ["red sphere meets green cylinder (frame 90)"]
    assert as_text(explanation, "What if?").splitlines()[:2] == ["What if?", "removed: blue cube"]


class _Balanced(HTMLParser):
    """Collects the elements that are open, and the targets of links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag not in ("meta", "img", "circle", "br", "input"):
            self.open.append(tag)

        self.ids |= {attributes["id"] or ""} if "id" in attributes else set()
        target = attributes.get("href") or attributes.get("src") or ""
        if target.startswith("#"):
            self.links.add(target[1:])
        elif target and not target.startswith("data:"):
            self.outside.append(target)

    def handle_endtag(self, tag: str) -> None:
        if tag != "circle":
            assert self.open.pop() == tag


def test_the_page_stands_alone_and_its_spikes_lead_to_their_causes() -> None:
    explanation = explain(SCENE, CAUSE)
    page = as_html(explanation, "Is <the red one> responsible?", frames=[("frame 50", Image.new("RGB", (4, 3)))])
    reader = _Balanced()
    reader.feed(page)

    assert reader.open == []
    assert reader.outside == []
    assert reader.links <= reader.ids

    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    reasons = json.loads(data)["reasons"]
    names = json.loads(data)["lanes"][0]["names"]
    answer = f"{len(explanation.steps) - 1} {names.index('match')}"

    assert reasons[answer][1]

    pending = [answer]  # each cause has causes of its own, up to an instruction
    roots = 0
    while pending:
        causes = reasons[pending.pop()][1]
        pending += [f"{column} {row}" for column, row, _ in causes]
        roots += not causes

    assert roots > 0
    assert "Is &lt;the red one&gt; responsible?" in page
    assert "red sphere is red" in page and "frame 50" in page
