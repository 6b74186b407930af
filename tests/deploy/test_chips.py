"""Parts on a chip: the arithmetic by hand and recorded, torch and numpy to the bit, limits, bundles, boards."""

import copy
import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from small_networks import small_inputs, small_network
from torch import Tensor, nn

from research.deploy.recorded_chips import compare_loihi, compare_xylo, xylo_core
from spikebridge.cli.main import main
from spikebridge.data.io.npz import read_npz
from spikebridge.deploy import Bundle, Runner, compare_bundle, export, from_nir, to_nir
from spikebridge.deploy.chips.bundle import bundle_runner, chip_models, chip_runner
from spikebridge.deploy.chips.catalog import CHIPS, chip_of
from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.chips.code import InputCode
from spikebridge.deploy.chips.core import Connection, Core, Population
from spikebridge.deploy.chips.export import write_board
from spikebridge.deploy.chips.loihi import LOIHI
from spikebridge.deploy.chips.network import ChipPair, add_chip, part_on_chip, to_chip
from spikebridge.deploy.chips.part import ChipPart
from spikebridge.deploy.chips.xylo import XYLO, registers
from spikebridge.deploy.quantization.config import QConfig, qconfigs_for
from spikebridge.deploy.quantization.lowering import add_integers
from spikebridge.deploy.quantization.network import quantize
from spikebridge.errors import ConfigError, DataError, ExportError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, SignedDelta, Transmission, Tumbling, every
from spikebridge.networks.signals import Shape, signals_network
from spikebridge.neurons import IF, LIF, AdaptiveLIF, CubaLIF, Sequential
from spikebridge.recipes.bundle import load_of_bundle

DT = 0.01
HALVING = -DT / math.log(0.5)  # time constant of a dash of 1 [s]
chips = pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)


def chain(chip: ChipSpec, *sizes: int) -> Sequential:
    """Layers that fit a chip, with weights that make spikes."""
    torch.manual_seed(0)
    layers: dict[str, nn.Module] = {}
    for k, (before, after) in enumerate(itertools.pairwise(sizes)):
        linear = nn.Linear(before, after, bias=not chip.needs_synapse)
        with torch.no_grad():
            linear.weight *= 4

        settings: Any = {"tau": 3 * HALVING, "reset": chip.reset}
        neurons = CubaLIF(tau_syn=HALVING, **settings) if chip.needs_synapse else LIF(**settings)
        layers |= {f"fc{k}": linear, f"lif{k}": neurons}

    return Sequential(dt=DT, **layers)


def counts(*shape: int, highest: int = 3) -> Tensor:
    """Signed counts of spikes, most of them 0."""
    torch.manual_seed(1)
    return torch.randint(-highest, highest + 1, shape).float() * (torch.rand(shape) < 0.3)


def network(chip: ChipSpec, part: nn.Module | None = None) -> HybridNetwork:
    """A spiking part between a code and a window."""
    return HybridNetwork(
        dt=DT,
        inputs={"signal": every(DT)},
        parts={"snn": part or chain(chip, 4, 12, 6), "answer": nn.Linear(6, 2)},
        links=[
            Transmission("signal", "snn", HybridUnit(None, None, None, SignedDelta(0.5, 3))),
            Transmission("snn", "answer", HybridUnit(Tumbling(5), Mean())),
        ],
        outputs=["answer"],
    ).eval()


def signal() -> dict[str, Tensor]:
    torch.manual_seed(2)
    return {"signal": 0.6 * torch.randn(40, 2, 4).cumsum(0)}


def spikes_of_both(part: ChipPart, x: Tensor) -> float:
    """The mean of the spikes of a part, which are the same in torch and in numpy."""
    y, _ = part(x)
    model = part.model("snn", DT)
    state = None
    for x_t, y_t in zip(x, y, strict=True):
        spikes, state = model.step({"signal": x_t.numpy()}, {}, state)
        assert np.array_equal(spikes, y_t.detach().numpy())

    return float(y.detach().mean())


def core(chip: ChipSpec, weight: Any, max_spikes: int = 1, shift: int = 0, **numbers: Any) -> Core:
    """One population behind the input."""
    weight = np.asarray(weight)
    one = np.ones(weight.shape[1], np.int64)
    quantities = {"v_threshold": 10 * one, "bias": 0 * one, "decay": one, "decay_syn": one}
    quantities |= {name: np.asarray(value) for name, value in numbers.items()}
    named = {f"n/{name}": value for name, value in {**quantities, "weight_0": weight}.items()}

    return Core(chip, [Population("n", (Connection("input", shift),), max_spikes)], named)


def run_core(core: Core, x: Any) -> tuple[list[Any], Any]:
    state = core.start(1)
    spikes = []
    for step in x:
        y, state = core.step(np.array([step]), state)
        spikes.append(y[0].tolist())

    return spikes, state.membranes["n"]


def test_currents_of_xylo_saturate_spike_by_spike() -> None:
    # 3 x 16256 stops at 32767, and 16256 less is 16511; half of it, 8255, decays
    _, state = run_core(core(XYLO, [[127], [-127]], shift=7, v_threshold=[32767]), [[3, 1]])

    assert state.i.tolist() == [[8256]]


def test_decays_of_xylo_reach_zero_from_both_sides() -> None:
    weights = [[1, -1, 8, -8]]
    _, state = run_core(core(XYLO, weights, v_threshold=[100] * 4, decay=[3] * 4, decay_syn=[3] * 4), [[1]])

    # 1 loses 1 and -1 gains 1; 8 and -8 lose an eighth
    assert state.i.tolist() == [[0, 0, 7, -7]]


def test_a_neuron_of_xylo_spikes_once_for_each_threshold() -> None:
    spikes, state = run_core(core(XYLO, [[100]], max_spikes=31, v_threshold=[12]), [[1]])

    # 100 decays to 50: four times 12, and 2 left
    assert spikes == [[4]] and state.v.tolist() == [[2]]


def test_a_neuron_of_loihi_spikes_a_step_late_above_its_threshold() -> None:
    spikes, state = run_core(core(LOIHI, [[10, 11]], decay=[4096, 4096], decay_syn=[0, 0]), [[1], [0], [0]])

    # 10 is no more than 10, so that the first one waits for more
    assert spikes == [[0, 0], [0, 1], [0, 0]] and state.v.tolist() == [[640, 0]]


def test_an_alias_adds_spikes_to_a_later_and_to_an_earlier_neuron() -> None:
    # 20, 20 and 20 spikes: neuron 0 fills neuron 2, and neuron 2 then adds to neuron 1
    weights = [[400, 400, 400]]
    threshold = [10, 10, 10]
    spikes, state = run_core(core(XYLO, weights, 31, v_threshold=threshold, alias=[2, -1, 1]), [[1]])

    assert spikes == [[20, 31, 31]]
    # 11 of its own 20 spikes fit; nine thresholds stay
    assert state.v.tolist() == [[0, 0, 90]]


def test_recorded_numbers_of_both_chips_are_the_same(real_set: Callable[[str], tuple[Path, ...]]) -> None:
    loihi, xylo = (read_npz(file) for file in real_set("chips"))
    short = {name: x[:, :200] if name.startswith("dense_") and x.ndim == 2 else x for name, x in loihi.items()}
    short["dense_weight"] = loihi["dense_weight"]
    values = sum(xylo[f"{k}/{name}"].size for k in range(12) for name in ("spikes_out", "spikes", "v", "i"))

    assert compare_loihi(short)["differ"] == 0
    assert compare_xylo({**xylo, "count": np.array(12)}) == {"differ": 0, "values": values, "networks": 12}


@chips
def test_torch_and_numpy_give_the_same_spikes(chip: ChipSpec) -> None:
    x = counts(40, 3, 4)
    part = part_on_chip(chain(chip, 4, 12, 8, 6), x, chip)

    assert 0.02 < spikes_of_both(part, x) < 0.9


@chips
def test_every_tensor_of_a_part_moves_with_it_to_a_device(chip: ChipSpec) -> None:
    part = part_on_chip(chain(chip, 4, 12, 6), counts(5, 2, 4), chip)
    loose = [name for one in part.modules() for name, value in vars(one).items() if isinstance(value, Tensor)]

    assert not loose and len(list(part.buffers())) == 18


@chips
def test_a_signals_network_for_a_chip_fits_it(chip: ChipSpec) -> None:
    shape = Shape(DT, frame_period=5, num_channels=10, num_features=3, num_classes=2, chip=chip.name)
    net = signals_network("learned", shape)
    inputs = {"signal": counts(10, 1, 10), "frames": torch.ones(2, 1, 3)}
    pair = to_chip(net, inputs, chip)

    assert list(pair.parts) == ["snn"] and not pair.misfits


@chips
def test_the_choices_of_a_layer_state_what_rounding_changes(chip: ChipSpec) -> None:
    net = chain(chip, 4, 12, 6)
    x = counts(5, 1, 4)
    changes = [row["change of weights"] for row in part_on_chip(net, x, chip).choices("snn")]
    assert all(0 < change < 0.05 for change in changes)

    with torch.no_grad():
        net.get_submodule("fc0").weight[0] *= 1e-4
    lost = part_on_chip(net, x, chip).choices("snn")[0]["change of weights"]
    # a threshold has a largest integer, so that weights far below it have few bits left
    assert lost > 0.1


@chips
def test_the_choices_of_a_layer_state_how_often_its_neurons_fire_in_a_step(chip: ChipSpec) -> None:
    net = chain(chip, 4, 12, 6)
    with torch.no_grad():
        net.get_submodule("fc0").weight *= 8
    hidden, *_ = part_on_chip(net, counts(20, 2, 4), chip).choices("snn")

    assert (hidden["spikes a step"] == "0 to 1") == (chip.max_spikes == 1)


@chips
def test_two_halves_make_the_whole(chip: ChipSpec) -> None:
    x = counts(20, 2, 4)
    part = part_on_chip(chain(chip, 4, 12, 6), x, chip)
    first, state = part(x[:7])
    second, _ = part(x[7:], state)

    assert torch.equal(torch.cat([first, second]), part(x)[0])


def test_a_convolution_on_loihi_gives_the_same_spikes() -> None:
    x = counts(12, 2, 2, 6, 6).abs()
    conv = nn.Conv2d(2, 4, 3, 2, 1)
    with torch.no_grad():
        conv.weight *= 4
    net = Sequential(conv=conv, lif1=LIF(tau=0.05), flat=nn.Flatten(), fc=nn.Linear(36, 5), lif2=LIF(tau=0.05), dt=DT)

    assert spikes_of_both(part_on_chip(net, x, LOIHI), x) > 0.02


def test_spikes_on_loihi_are_those_in_floats_some_steps_later() -> None:
    x = counts(60, 4, 4)
    net = chain(LOIHI, 4, 12, 6)
    part = part_on_chip(net, x, LOIHI)
    same = part(x)[0][part.delay :] == net(x)[0][: -part.delay]

    assert part.delay == 2 and float(same.float().mean()) > 0.97


@chips
def test_weights_learn_with_the_steps_of_the_chip(chip: ChipSpec) -> None:
    pair = to_chip(network(chip), signal(), chip)
    optimizer = torch.optim.Adam(pair.network.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        loss = (pair.network(signal())[0]["answer"] - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    moved = pair.float_network().parts["snn"].get_submodule("fc0").weight
    assert losses[-1] < losses[0]
    assert not torch.equal(moved, network(chip).parts["snn"].get_submodule("fc0").weight)


@pytest.mark.parametrize(("signed", "copies", "limit"), [(True, 3, 1), (True, 1, 15), (False, 2, 2), (False, 1, 4)])
def test_channels_carry_the_counts_of_an_input(signed: bool, copies: int, limit: int) -> None:
    code = InputCode((5,), signed, copies, limit)
    generator = np.random.default_rng(0)
    highest = copies * limit
    x = generator.integers(-highest if signed else 0, highest + 1, (7, 5))
    weight = generator.integers(-9, 10, (5, 3))
    channels = code.encode(x.astype(np.float32), "x")

    assert channels.shape == (7, code.channels) and channels.min() >= 0 and channels.max() <= limit
    assert np.array_equal(channels @ code.weights(weight, 0), x @ weight)


@pytest.mark.parametrize(
    ("value", "line"),
    [(0.5, "got 0.5"), (4.0, "at most 3 in a step, but got 4"), (-1.0, "negative counts, but got -1")],
)
def test_counts_that_a_chip_cannot_take_are_refused(value: float, line: str) -> None:
    with pytest.raises(DataError, match=line):
        InputCode((2,), False, 3, 1).encode(np.array([[0.0, value]]), "x")


def _changed(**layers: nn.Module) -> Sequential:
    return Sequential(dt=DT, **layers)


@pytest.mark.parametrize(
    ("chip", "part", "line"),
    [
        (XYLO, _changed(a=nn.Linear(4, 4), b=LIF(tau=0.02)), r"snn.b: LIF has no synaptic.*CubaLIF\(tau_syn=0.01"),
        (XYLO, chain(XYLO, 4, 5, 9), "snn.lif1: 9 neurons are read out, but xylo has 8 outputs; nearest: a last"),
        (XYLO, chain(XYLO, 4, 6), "snn: 1 layer, but xylo has hidden and read-out neurons; nearest: 2 layers"),
        (XYLO, chain(XYLO, 4, 8, 70, 6), "snn.lif1: a hidden neuron leads to 70 others, but on xylo to 64"),
        (XYLO, chain(XYLO, 4, 1001, 6), "snn: 1001 neurons, but xylo has 1000"),
        (LOIHI, _changed(a=nn.Linear(4, 6), b=LIF(reset="subtract")), "snn.b: reset 'subtract', but loihi has 'zero'"),
        (LOIHI, _changed(a=nn.Linear(4, 6), b=LIF(v_leak=0.1)), "snn.b: v_leak 0.1, but loihi has 0; nearest"),
        (LOIHI, _changed(a=nn.Linear(4, 6), b=LIF(refractory=0.03)), "snn.b: 3 refractory steps"),
        (LOIHI, _changed(a=nn.Linear(4, 6), b=AdaptiveLIF()), "snn.b: AdaptiveLIF has no form on loihi"),
        (LOIHI, _changed(a=nn.Linear(4, 6), b=nn.ReLU(), c=IF()), "snn.b: ReLU has no form on loihi"),
        (LOIHI, _changed(a=nn.Linear(4, 6), b=IF(v_threshold=1e-6)), r"snn.b: a weight of .* at a threshold of 1"),
        (LOIHI, _changed(a=nn.Linear(4, 6), b=IF(), c=nn.Linear(6, 6)), "it does not end with neurons"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_with_layer_limit_and_number(chip: ChipSpec, part: Any, line: str) -> None:
    with pytest.raises(ExportError, match=line) as raised:
        part_on_chip(part, counts(5, 1, 4), chip, "snn")

    assert "\n" not in str(raised.value)


def test_modulated_thresholds_real_inputs_and_too_many_channels_are_refused() -> None:
    with pytest.raises(ExportError, match=r"snn.lif.v_threshold: modulated by .* has no modulated quantity"):
        to_chip(small_network(), small_inputs(), LOIHI)
    with pytest.raises(ExportError, match=r"it reads 0.* but loihi takes whole spikes; nearest"):
        to_chip(small_network(), small_inputs(), LOIHI, ["snn"])
    with pytest.raises(ExportError, match="18 channels for 9 inputs, but xylo has 16; nearest: 8"):
        part_on_chip(chain(XYLO, 9, 5, 4), counts(5, 1, 9), XYLO)
    with pytest.raises(ConfigError, match="there is no part 'sn'; did you mean 'snn'"):
        to_chip(network(XYLO), signal(), XYLO, ["sn"])
    with pytest.raises(ConfigError, match="there is no chip 'xilo'; did you mean 'xylo'"):
        chip_of("xilo")


def test_a_nir_file_with_another_reset_is_refused_and_a_fitting_one_has_the_same_numbers() -> None:
    x = counts(20, 1, 4)
    net = chain(XYLO, 4, 12, 6)
    part = from_nir(to_nir(net, x, dt=DT).graph)
    numbers = [part_on_chip(one, x, XYLO).model("snn", DT).core.numbers for one in (net, part)]

    assert all(np.array_equal(a, b) for a, b in zip(*(one.values() for one in numbers), strict=True))
    with pytest.raises(ExportError, match="reset 'subtract', but loihi has 'zero'"):
        part_on_chip(part, x, LOIHI)


def test_weights_out_of_range_are_refused_without_samples_too() -> None:
    part = _changed(a=nn.Linear(4, 6), b=IF(v_threshold=1e-6))
    with pytest.raises(ExportError, match=r"network.b: a weight of .* at a threshold of 1"):
        part_on_chip(part, torch.ones(1, 1, 4), LOIHI)


def test_a_graph_with_branches_is_refused() -> None:
    node = {"tau": np.full(2, 0.02), "r": np.ones(2), "v_leak": np.zeros(2), "v_threshold": np.ones(2)}
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "a": nir.Linear(np.eye(2)),
        "b": nir.Linear(np.eye(2)),
        "lif": nir.LIF(**node),
        "output": nir.Output({"output": np.array([2])}),
    }
    edges = [("input", "a"), ("input", "b"), ("a", "lif"), ("b", "lif"), ("lif", "output")]
    part = from_nir(nir.NIRGraph(nodes, edges), dt=DT, reset="zero")

    with pytest.raises(ExportError, match=r"network.b: it reads input, not a alone"):
        part_on_chip(part, torch.ones(1, 1, 2), LOIHI)


def test_the_registers_of_xylo_hold_the_whole_chain() -> None:
    x = counts(30, 1, 4)
    model = part_on_chip(chain(XYLO, 4, 12, 8, 6), x, XYLO).model("snn", DT)
    flat = xylo_core(registers(model.core))
    states = model.core.start(1), flat.start(1)
    for x_t in x.numpy():
        channels = model.record.input.encode(x_t, "x")
        y, first = model.core.step(channels, states[0])
        z, second = flat.step(channels, states[1])
        states = first, second
        assert np.array_equal(y, z)


@pytest.fixture(scope="module", params=CHIPS.values(), ids=CHIPS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ChipPair, Bundle]:
    """A pair and its bundle."""
    if request.config.getoption("--jaxtyping-packages"):
        pytest.skip("a network is followed by placeholders, which are no tensors to a type checker")
    made = to_chip(network(request.param), signal(), request.param)
    bundle = export(made.float_network(), signal(), tmp_path_factory.mktemp("chips") / "bundle")
    return made, add_chip(bundle, made)


def test_a_bundle_runs_the_pair_and_shows_its_level(pair: tuple[ChipPair, Bundle]) -> None:
    made, bundle = pair
    comparison = compare_bundle(bundle)
    levels = {row["level"]: row["passed"] for row in comparison.summary()}
    assert comparison.passed
    assert levels[made.chip.name] == "stated" and levels[f"{made.chip.name} integers"] == "yes"

    inputs = {name: x.numpy() for name, x in signal().items()}
    answer = chip_runner(bundle, made.chip.name).run(inputs)["answer"]
    expected = made.network(signal())[0]["answer"].detach().numpy()
    assert np.allclose(answer, expected, atol=1e-5)
    assert not np.allclose(answer, Runner(bundle).run(inputs)["answer"], atol=1e-5)


def test_a_bundle_without_the_chip_or_with_a_damaged_record_is_one_line(
    pair: tuple[ChipPair, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, bundle = pair
    other = next(name for name in CHIPS if name != made.chip.name)
    with pytest.raises(DataError, match=f"no parts on the chip '{other}', but on {made.chip.name}"):
        chip_models(bundle, other)
    with torch.no_grad():
        changed = copy.deepcopy(made)
        changed.parts["snn"].layers[0].weights.weight.zero_()
    with pytest.raises(ExportError, match="holds other weights"):
        add_chip(Bundle(bundle.path, dataclasses.replace(bundle.manifest, chips=())), changed)
    with pytest.raises(DataError, match="has no integer model"):
        bundle_runner(bundle, integers=True, chip=made.chip)
    with pytest.raises(ExportError, match=r"has parts on .* already"):
        add_chip(bundle, made)

    monkeypatch.setattr(Bundle, "read", lambda self, name: b'{"schema": "other"}')
    with pytest.raises(DataError, match="is no part on a chip of version 1"):
        chip_models(bundle, made.chip)


@chips
def test_the_host_in_integers_gives_the_same_bits_in_torch_and_beside_the_chip(chip: ChipSpec, tmp_path: Path) -> None:
    made = to_chip(network(chip), signal(), chip)
    floats = made.float_network()
    host = quantize(floats, signal(), qconfigs_for(["answer", "units.signal_to_snn", "units.snn_to_answer"], QConfig()))
    bundle = add_integers(add_chip(export(floats, signal(), tmp_path / "bundle"), made), floats, host)
    inputs = {name: x.numpy() for name, x in signal().items()}
    both = bundle_runner(bundle, integers=True, chip=chip).run(inputs)["answer"]

    assert np.array_equal(both, made.placed_in(host)(signal())[0]["answer"].detach().numpy())
    assert not np.array_equal(both, bundle_runner(bundle, chip=chip).run(inputs)["answer"])
    assert not np.array_equal(both, bundle_runner(bundle, integers=True).run(inputs)["answer"])
    levels = {row["level"]: row["passed"] for row in compare_bundle(bundle).summary()}
    assert levels[f"{chip.name}, integers"] == "stated" and levels["integers"] == "yes"


def test_the_folder_of_a_board_holds_numbers_host_and_the_lines_that_load_them(
    pair: tuple[ChipPair, Bundle], tmp_path: Path
) -> None:
    made, bundle = pair
    files = {str(file.relative_to(tmp_path / "board")) for file in write_board(bundle, made.chip, tmp_path / "board")}
    numbers = json.loads((tmp_path / "board" / "snn.json").read_text())
    readme = (tmp_path / "board" / "README.md").read_text()

    assert {"snn.json", "snn.nir", "README.md", "host/manifest.json"} <= files
    assert numbers["chip"] == made.chip.name and numbers["input"]["signed"]
    assert 'json.load(open("snn.json"))' in readme and "```python" in readme
    if made.chip is XYLO:
        assert np.array(numbers["weights_in"]).shape == (8, 12, 2) and np.array(numbers["weights_out"]).shape == (12, 6)
    else:
        assert np.array(numbers["layers"][0]["synapses"]["weights"]).shape == (12, 24)
        assert numbers["layers"][1]["neurons"]["du"] == [4095] * 6

    with pytest.raises(ExportError):
        write_board(bundle, made.chip, tmp_path / "board")


def test_commands_take_a_chip(
    pair: tuple[ChipPair, Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, bundle = pair
    own = tmp_path / "own.py"
    own.write_text("from spikebridge.deploy.chips.catalog import CHIPS\n\nCHIP = CHIPS['" + made.chip.name + "']\n")

    assert main(["run", str(bundle.path), "--chip", made.chip.name, "--json"]) == 0
    named = json.loads(capsys.readouterr().out)["outputs"]
    assert main(["run", str(bundle.path), "--chip", str(own), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"] == named

    placed = main(["place", str(bundle.path), "--chip", made.chip.name, "--json"])
    answer = capsys.readouterr()
    if made.chip is LOIHI:
        assert placed == 0
        chip = json.loads(answer.out)["chip"]
        assert (chip["memory"], chip["neurons"]) == (LOIHI.memory, LOIHI.neurons)
        assert load_of_bundle(bundle).parts["snn"].neurons == 12 + 6
        assert chip["assumed"] == ["operations", "latency", "energy_of_an_event"]
    else:
        assert placed == 2 and "no speed or memory of xylo is published" in answer.err

    board = ["export", str(bundle.path), "--target", made.chip.name, "--out", str(tmp_path / "board")]
    assert main(board) == 0
    file = tmp_path / "snn.nir"
    file.write_bytes((tmp_path / "board" / "snn.nir").read_bytes())
    assert main(["export", str(file), "--target", made.chip.name, "--out", str(tmp_path / "chain")]) == 0
    assert json.loads((tmp_path / "chain" / "snn.json").read_text())["part"] == "snn"
    capsys.readouterr()

    wrong = [
        (["run", str(bundle.path), "--chip", "xilo"], "did you mean 'xylo'"),
        (["live", "digits", "--events", "-", "--chip", "xylo"], "--chip is of a bundle"),
        (["quantize", "digits", "--epochs", "1"], "give --chip NAME"),
        (["quantize", "sensing", "--chip", "loihi"], "where: WherePathway is no chain of layers"),
        (["export", str(bundle.path), "--target", "akida"], "there is no chip 'akida'"),
    ]
    for words, line in wrong:
        assert main(words) == 2
        assert line in capsys.readouterr().err.splitlines()[-1]
