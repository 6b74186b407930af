"""Programs: tokens and types, the plan for two sets, and what is refused."""

import pytest

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.graph._units import program_spikes, program_unit
from spikebridge.networks.reasoning.graph.compiler import compile_program
from spikebridge.networks.reasoning.graph.layout import NeuronLayout
from spikebridge.networks.reasoning.parsing.operators import OPERATORS, Operator, OperatorTable, Signature, with_blanks

TABLE = OperatorTable()
RED = "objects red filter_color unique"
BLUE = "objects blue filter_color unique"


@pytest.mark.parametrize(
    ("program", "names"),
    [
        (f"{RED} query_shape", "objects/filter_red/query_shape"),
        ("objects null filter_moving count", "objects/null/filter_moving/count"),
        # what leads to the frame comes first, or its events would put the objects away
        (
            f"objects metal filter_material events {RED} filter_in unique query_frame filter_stationary count",
            "events/objects/filter_red/filter_in/objects/filter_metal/filter_stationary/count",
        ),
        # the full set of events is where before starts from anyway
        (
            f"events events {RED} filter_in unique filter_before objects filter_out exist",
            "events/objects/filter_red/filter_in/filter_before/objects/filter_out/exist",
        ),
        # the choice's object goes to memory as the question's events are lit
        (
            f"{RED} events events {BLUE} filter_out unique filter_ancestor belong_to",
            "objects/filter_red/events, storing objects/objects/filter_blue/filter_out/filter_ancestor/belong_to",
        ),
        # nothing of the question lights the objects, so the choice's one has to go, or it would vouch for itself
        (
            f"{RED} events events filter_end filter_before belong_to",
            "objects/filter_red/events, storing objects/filter_end/filter_before/forget objects/belong_to",
        ),
    ],
)  # fmt: skip
def test_a_program_becomes_instructions_in_an_order_that_two_sets_can_bear(program: str, names: str) -> None:
    assert "/".join(compile_program(program.split(), TABLE).names) == names


def test_probes_stand_where_a_set_has_settled() -> None:
    program = compile_program(
        f"events {RED} filter_collision second filter_order query_object query_color".split(), TABLE
    )
    # red is left at 5, its collisions at 8, then two are needed; one object after the question at 17
    assert [(p.step, p.group, p.min_size, p.max_size == 1) for p in program.probes] == [
        (5, "object", 1, True),
        (8, "event", 2, False),
        (17, "object", 1, True),
    ]


def test_the_removed_object_is_found_by_a_program_of_its_own() -> None:
    choice = f"all_events {RED} filter_collision {BLUE} filter_collision unique"
    tokens = f"{choice} all_events objects cyan filter_color unique filter_counterfact belong_to negate".split()
    program = compile_program(tokens, TABLE)

    assert program.removal is not None
    assert program.removal.names == ("objects", "filter_cyan")
    assert (program.negated, program.world) == (True, "counterfactual")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("objects red filter_colour count", "unknown token 'filter_colour' at place 2; did you mean 'filter_color'"),
        ("objects metalic filter_material count", "unknown token 'metalic' at place 1; did you mean 'metal'"),
        ("objects red filter_shape count", r"at place 2 takes \(objects, shape\), but finds \(objects, color\)"),
        ("red filter_color count", r"takes \(objects, color\), but finds \(color\)"),
        ("events query_color", r"'query_color' at place 1 takes \(object\), but finds \(events\)"),
        ("objects objects count", "leaves one value, but this one leaves objects, answer"),
        ("", "leaves nothing"),
    ],
)  # fmt: skip
def test_a_program_that_is_not_well_typed_is_refused_with_its_place(program: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compile_program(program.split(), TABLE)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (f"events {RED} filter_in events filter_end filter_before count", "two sets of events"),
        (f"events {RED} filter_in events first filter_order query_object filter_out count", "two sets of"),
        ("objects unique", "gives an answer, but this one gives object"),
        ("objects exist negate", "negate inverts belong_to only"),
        (f"all_events {RED} filter_collision unique unseen_events belong_to", "collision of two objects"),
        (f"all_events {RED} filter_in {BLUE} filter_collision unique unseen_events belong_to", "collision of two"),
    ],
)  # fmt: skip
def test_what_a_graph_cannot_hold_is_refused(program: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compile_program(program.split(), TABLE)


def test_a_program_with_blanks_is_compiled_once_for_all_values() -> None:
    tokens = ["objects", "red", "filter_color", "cube", "filter_shape", "count"]
    blank, words = with_blanks(tokens, TABLE)

    assert blank == ("objects", "{0:color}", "filter_color", "{1:shape}", "filter_shape", "count")
    assert words == ["red", "cube"]
    assert compile_program(blank, TABLE).filled(words) == compile_program(tokens, TABLE)


def test_the_spike_train_of_a_program_is_the_rows_of_its_operators_behind_each_other() -> None:
    layout = NeuronLayout()
    programs = [compile_program(p.split(), TABLE) for p in (f"{RED} query_shape", "objects count")]
    spikes = program_spikes(programs, TABLE, program_unit(TABLE, layout))
    trains = [[{layout.shared[g] for g in row.nonzero()} for row in spikes[:, p]] for p in range(2)]

    assert trains[0] == [{"all_objects"}, set(), {"red", "dismiss_objects"}, set(), {"kind_shape"}, set()]
    # one step shorter, so silence comes in front
    assert trains[1] == [set(), {"all_objects"}, set(), set(), set(), set()]


def test_an_operator_that_stimulates_what_is_no_neuron_is_refused() -> None:
    wrong = Operator("hop", (Signature(("objects",), "objects"),), (("dismis_objects",), ()))
    table = OperatorTable((*OPERATORS, wrong))
    with pytest.raises(ConfigError, match=r"'hop' stimulates 'dismis_objects'.*did you mean 'dismiss_objects'"):
        program_unit(table, NeuronLayout())
