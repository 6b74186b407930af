"""An answer's reasons: steps in names, the chain down to perceived facts, silenced neurons, and the pages."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.explain.explain import explain
from spikebridge.networks.reasoning.explain.page import as_html, as_json, as_text

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
    told = explain(SCENE, CAUSE)
    assert told.answer.value == "correct"

    chain = told.cause_chain
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
    told = explain(SCENE, [*GREEN, *causes_of_red])
    assert (told.answer.value, told.cause_chain) == ("wrong", ())
    assert "nothing in memory belongs to the set" in as_text(told)


def test_ablation_shows_which_neurons_the_answer_needs_and_critical_lists_them() -> None:
    told = explain(SCENE, CAUSE)
    lost, spared = told.ablate(["event_cause[1]", "event_later[1]"])

    assert (lost.value, spared.value) == ("wrong", "correct")

    critical = told.critical()
    assert {"match", "red", "object_memory[1]", "ask_causes"} <= set(critical)
    assert "event_later[1]" not in critical

    with pytest.raises(ConfigError, match=r"no neuron 'event_casue\[1\]'"):
        told.ablate(["event_casue[1]"])


def test_a_supposed_world_tells_who_was_removed() -> None:
    pair = ["all_events", *RED, "filter_collision", *GREEN, "filter_collision", "unique"]
    told = explain(SCENE, [*pair, "all_events", *BLUE, "filter_counterfact", "belong_to"])

    assert told.answer.value == "correct"
    assert told.removal is not None
    assert told.events == ["red sphere meets green cylinder (frame 90)"]
    assert as_text(told, "What if?").splitlines()[:2] == ["What if?", "removed: blue cube"]


class _Balanced(HTMLParser):
    """Whether every element is closed, and what it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in ("meta", "img", "circle", "br", "input"):
            self.open.append(tag)

        self.ids |= {given["id"] or ""} if "id" in given else set()
        target = given.get("href") or given.get("src") or ""
        if target.startswith("#"):
            self.links.add(target[1:])
        elif target and not target.startswith("data:"):
            self.outside.append(target)

    def handle_endtag(self, tag: str) -> None:
        if tag != "circle":
            assert self.open.pop() == tag


def test_the_page_stands_alone_and_its_spikes_lead_to_their_causes() -> None:
    told = explain(SCENE, CAUSE)
    page = as_html(told, "Is <the red one> responsible?", frames=[("frame 50", "data:image/png;base64,AAAA")])
    reader = _Balanced()
    reader.feed(page)

    assert reader.open == []
    assert reader.outside == []
    assert reader.links <= reader.ids

    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    reasons = json.loads(data)["reasons"]
    names = json.loads(data)["lanes"][0]["names"]
    answer = f"{len(told.steps) - 1} {names.index('match')}"

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


def test_the_json_has_a_schema_with_a_version_and_every_step() -> None:
    told = explain(SCENE, CAUSE)
    plain = json.loads(as_json(told, "Why?"))

    assert (plain["schema"], plain["version"]) == ("spikebridge.explanation", 1)
    assert plain["answer"] == {"value": "correct", "status": "ok", "confidence": 1.0, "margin": 0.5}
    assert [step["step"] for step in plain["steps"]] == list(range(len(told.steps)))
    assert plain["reasons"][0]["neuron"] == "match"
    assert plain["objects"] == ["blue cube", "red sphere", "green cylinder"]
