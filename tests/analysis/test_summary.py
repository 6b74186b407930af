"""A network in a few lines."""

from torch import Tensor, nn

from spikebridge.analysis import summarize
from spikebridge.analysis.summary import frequency, kind_of, num_parameters, stages_of
from spikebridge.hybrid import FIR, Clock, HybridNetwork, HybridUnit, Since, Sliding, SpikingLayer
from spikebridge.neurons import IF, Integrator, Sequential


def test_parts_and_links_of_a_network(network: HybridNetwork, inputs: dict[str, Tensor]) -> None:
    summary = summarize(network, inputs)
    assert summary.title == "HybridNetwork, base step 4.167 ms, 2 parts, 4 links, 445 parameters"
    assert summary.inputs[0] == {"input": "frames", "shape": "12", "clock": "40 Hz", "ticks": "6 from 0"}

    what, where = summary.parts
    assert (what["kind"], what["shape"], what["parameters"], what["output"]) == (
        "ANN",
        "5",
        12 * 8 + 8 + 12 * 5 + 5,
        "yes",
    )

    assert (where["kind"], where["shape"], where["clock"]) == ("SNN", "16", "240 Hz")

    motion, gain = summary.links[2:]
    assert (motion["to"], motion["W"], motion["H"], motion["F"], motion["Q"]) == (
        "what (motion)",
        "Tumbling(6)",
        "Mean",
        "Linear 16→4",
        "-",
    )

    assert (gain["to"], gain["acts as"], gain["delay"]) == ("where.lif.v_threshold", "modulation, multiply", 1)
    assert sum(row["parameters"] for row in summary.parts + summary.links) == num_parameters(network)


def test_the_text_is_a_table_with_straight_columns(network: HybridNetwork, inputs: dict[str, Tensor]) -> None:
    text = str(summarize(network, inputs))
    _, _, parts, _ = text.split("\n\n")
    lines = parts.split("\n")
    place = lines[0].index("clock")

    assert [line[place:].split(" ")[0] for line in lines] == ["clock", "40", "240"]

    end = lines[0].index("parameters") + len("parameters")
    assert [line[:end].split()[-1] for line in lines] == ["parameters", "169", "112"]
    assert all(line == line.rstrip() for line in text.split("\n"))


def test_without_inputs_there_are_no_shapes(network: HybridNetwork) -> None:
    assert "shape" not in summarize(network).parts[0]


def test_a_plain_module_is_listed_by_layer() -> None:
    summary = summarize(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    assert summary.parts == [
        {"layer": "0", "class": "Linear", "parameters": 8},
        {"layer": "1", "class": "ReLU", "parameters": 0},
    ]
    assert summary.links == []


def test_stages_are_named_in_words() -> None:
    unit = HybridUnit(
        Since("frames"), FIR(5), nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)), SpikingLayer(IF())
    )
    assert stages_of(unit) == {"W": "Since(frames)", "H": "FIR(5)", "F": "Linear 2→4 + 2", "Q": "SpikingLayer(IF)"}
    assert stages_of(HybridUnit(Sliding(4, 2), FIR(2), nn.Conv2d(2, 8, 3))) == {
        "W": "Sliding(4, 2)",
        "H": "FIR(2)",
        "F": "Conv2d 2→8",
    }

    assert stages_of(None) == {}


def test_a_read_out_that_never_fires_makes_no_snn() -> None:
    assert kind_of(Sequential(nn.Linear(2, 2), Integrator(dt=0.001))) == "ANN"
    assert kind_of(Sequential(IF(), Integrator(dt=0.001))) == "SNN"


def test_clocks_are_frequencies_and_one_without_an_end_is_once() -> None:
    assert frequency(Clock(4, 1), 0.001) == "250 Hz"
    assert frequency(Clock(1, 0), 1 / 1500) == "1.5 kHz"
    assert frequency(Clock(2**30, 0), 0.001) == "once"
