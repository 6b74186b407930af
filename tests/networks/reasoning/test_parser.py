"""Questions in words to programs: only well-typed ones, slots for values, no word guessed away."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from research.reasoning.training.parser import sample_texts, texts_of
from research.reasoning.training.templates import sample_text
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES
from spikebridge.networks.reasoning.graph.compiler import parse
from spikebridge.networks.reasoning.parsing._grammar import Grammar
from spikebridge.networks.reasoning.parsing.operators import DESCRIBE, OPERATORS, OperatorTable
from spikebridge.networks.reasoning.parsing.parser import Parser, kind_of, read_question
from spikebridge.networks.reasoning.parsing.vocabulary import TEXT_KINDS, Vocabulary
from spikebridge.pretrained.perception import shipped_parser

pytestmark = pytest.mark.untyped

VOCABULARY = Vocabulary()
GRAMMAR = Grammar(VOCABULARY)
CHOICE = {"object": "objects unique", "event": "events unique", "possible event": "all_events unique"}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(TEXT_KINDS)), st.integers(0, 10**6))
def test_whatever_the_grammar_allows_is_well_typed(kind: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    stack = GRAMMAR.start(kind)
    written = []

    for _ in range(60):
        allowed = sorted(GRAMMAR.allowed(stack, kind))
        assert allowed, stack

        token = "<end>" if "<end>" in allowed else allowed[generator.integers(len(allowed))]
        if token == "<end>":
            break
        stack = GRAMMAR.push(stack, token)
        written.append(token)
    else:
        return  # a walk that does not end by itself

    values = {slot: ATTRIBUTES[slot[1:].split(" ")[0]][0] for slot in VOCABULARY.slots}
    program = [values.get(token, token) for token in written]
    table = OperatorTable((*OPERATORS, DESCRIBE))

    if kind == "question" and stack == ("answer",):
        trees = []
        for choice in CHOICE.values():
            try:
                trees.append(parse([*choice.split(), *program], table))
            except ConfigError:
                continue

        assert trees
        assert trees[0].gives == "answer"
    else:
        assert parse(program, table).gives in ("answer", "object", "event", "possible event")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_every_sampled_text_can_be_tokenized_and_its_program_written(seed: int) -> None:
    drawn = sample_text(np.random.default_rng(seed))
    text = VOCABULARY.tokenize(drawn.text, drawn.kind)

    assert text.unknown == ()

    written = VOCABULARY.with_slots(drawn.program, text)
    assert all(token in VOCABULARY.outputs for token in written)

    stack = GRAMMAR.start(drawn.kind)
    for token in written:
        assert token in GRAMMAR.allowed(stack, drawn.kind)
        stack = GRAMMAR.push(stack, token)

    assert "<end>" in GRAMMAR.allowed(stack, drawn.kind)
    assert tuple(text.slots.get(token, token) for token in written) == drawn.program


def test_after_a_color_only_its_filter_is_allowed() -> None:
    stack = GRAMMAR.start("question")
    for token in ("objects", "<color 1>"):
        stack = GRAMMAR.push(stack, token)

    assert stack == ("choice", "objects", "color")
    assert GRAMMAR.allowed(stack, "question") == {"filter_color"}


def test_a_question_becomes_tokens_with_slots() -> None:
    text = VOCABULARY.tokenize("Are there any red cubes?", "question")
    assert text.tokens == ("<question>", "are", "there", "any", "<color 1>", "<shape 1>")
    assert text.slots == {"<color 1>": "red", "<shape 1>": "cube"}
    with pytest.raises(DataError, match="the program has 'blue', which the text does not name"):
        VOCABULARY.with_slots(("objects", "blue", "filter_color"), text)


def test_values_stand_for_themselves_by_their_place() -> None:
    text = VOCABULARY.tokenize("Does the red cube hit a gray cube, or grey spheres?", "question")
    assert text.slots == {"<color 1>": "red", "<shape 1>": "cube", "<color 2>": "gray", "<shape 2>": "sphere"}
    assert text.unknown == ()


def test_unknown_words_are_reported() -> None:
    with pytest.raises(DataError, match="unknown words 'heavy', 'colides'"):
        VOCABULARY.check_known(VOCABULARY.tokenize("what heavy object colides", "question"))

    with pytest.raises(DataError, match="unknown word 'colides'; did you mean 'collides'"):
        VOCABULARY.check_known(VOCABULARY.tokenize("what colides", "question"))

    with pytest.raises(DataError, match="1 to 39 words, but got 0"):
        VOCABULARY.tokenize("?!", "question")

    with pytest.raises(DataError, match="at most 4 different values of a color"):
        VOCABULARY.tokenize("red blue green gray cyan", "question")

    with pytest.raises(ConfigError, match="no kind of text 'choice'"):
        VOCABULARY.tokenize("red", "choice")


def test_batches_do_not_change_what_is_read() -> None:
    parser = shipped_parser()
    texts = sample_texts(1001, 12)
    together = parser.parse([one.text for one in texts], [one.kind for one in texts])

    for one, parsed in zip(texts, together, strict=True):
        assert parser.parse([one.text], [one.kind])[0].program == parsed.program


def test_the_shipped_parser_reads_generated_texts_of_other_seeds() -> None:
    texts = sample_texts(1002, 60)
    parsed = shipped_parser().parse([one.text for one in texts], [one.kind for one in texts])
    right = [one.program == text.program for one, text in zip(parsed, texts, strict=True)]

    assert np.mean(right) >= 0.98
    assert all(0 < one.score <= 1 for one in parsed)


def test_the_shipped_parser_reads_real_questions(real_set: Callable[[str], tuple[Path, ...]]) -> None:
    (path,) = [path for path in real_set("clevrer") if path.name.startswith("questions_explanatory_real")]
    texts = texts_of(read_questions(path)[:25])
    parsed = shipped_parser().parse([one.text for one in texts], [one.kind for one in texts])
    assert [one.program for one in parsed] == [text.program for text in texts]


def test_a_new_value_is_a_word_and_no_weight() -> None:
    words = Vocabulary({**ATTRIBUTES, "color": (*ATTRIBUTES["color"], "orange")})
    parser = shipped_parser().with_vocabulary(words)
    question = parser.question(1, "How many moving orange spheres are there when the video ends?")

    assert question.program[:5] == ("objects", "orange", "filter_color", "sphere", "filter_shape")
    with pytest.raises(DataError, match="unknown word 'orange'"):
        shipped_parser().question(1, "Are there any orange spheres?")

    with pytest.raises(ConfigError, match="the parser supports values of color, material, shape, but got size"):
        shipped_parser().with_vocabulary(Vocabulary({"size": ("large",)}))


def test_questions_and_choices_belong_together() -> None:
    parser = shipped_parser()
    question = read_question(parser, 1, "What will happen next?", ["the red cube hits the sphere"])

    assert question.kind == "predictive"
    assert question.choices[0].program[0] == "all_events"
    with pytest.raises(DataError, match="this question is predictive and needs choices"):
        read_question(parser, 1, "What will happen next?")

    with pytest.raises(DataError, match="has no choices"):
        read_question(parser, 1, "How many collisions happen?", ["the red cube's exit"])

    assert kind_of(("objects", "count")) == "descriptive"
    assert kind_of(("all_events", "filter_counterfact", "belong_to")) == "counterfactual"
    assert kind_of(("events", "filter_ancestor", "belong_to")) == "explanatory"


def test_an_untrained_parser_writes_well_typed_programs_or_none() -> None:
    torch.manual_seed(0)
    parser = Parser(num_features=16, num_layers=1).eval()
    question, cause = parser.parse(["How many red cubes are there?"] * 2, ["question", "cause"])

    assert cause.program == () or parse(cause.program, OperatorTable()).gives
    assert question.program == () or _is_well_typed(question.program)


def _is_well_typed(program: tuple[str, ...]) -> bool:
    """True if a question's program is well typed, alone or after the program of a choice."""
    for choice in ("", *CHOICE.values()):
        try:
            parse([*choice.split(), *program], OperatorTable((*OPERATORS, DESCRIBE)))
        except ConfigError:
            continue

        return True

    return False
