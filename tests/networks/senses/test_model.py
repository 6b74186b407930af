"""Networks of several senses: silence, looks, and the same numbers in training and in a stream."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from spikebridge.deploy import integer_model, quantize
from spikebridge.deploy.c.export import write_c
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.senses.data.sampling import Sampled, sample_trials
from spikebridge.networks.senses.data.sets import generated_trials
from spikebridge.networks.senses.evaluation.evaluate import energies
from spikebridge.networks.senses.model.execution import at_end, run_network
from spikebridge.networks.senses.model.network import VARIANTS, SenseShape, SensesShape, senses_network
from spikebridge.networks.senses.model.parts import Eye, LookGate, PooledEvidence, Seen
from spikebridge.networks.senses.training.train import (
    MemoryData,
    RememberingSense,
    SensesLearning,
    SpikingSense,
    teach_eye,
    train_memory,
    train_spiking,
)
from tests.deploy.compiled_c import COMPILER, same

WRIST = SenseShape("wrist", "snn", 1, (6,))
EYE = SenseShape("eye", "ann", 5, (1, 8, 8))
SHAPE = SensesShape(0.02, (WRIST, EYE), 4, hidden=12, features=8, min_wait=3)
DATA = sample_trials(generated_trials(num_people=1, num_each=2), {"wrist": 1, "eye": 5}, 0.02)


def network_of(variant: str, shape: SensesShape = SHAPE) -> HybridNetwork:
    torch.manual_seed(0)
    return senses_network(variant, shape).eval()


def looked(outputs: dict[str, Tensor]) -> Tensor:
    """The ticks of looks: each comes one tick after its decision."""
    looks = outputs["gate.look"][..., 0] > 0
    return torch.cat([torch.zeros_like(looks[:1]), looks[:-1]])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_network_answers_at_the_clock_of_the_eye(variant: str) -> None:
    outputs = run_network(network_of(variant), DATA)

    assert outputs["answer"].shape == (20, 8, 4)
    assert 0 < outputs["gate.look"].sum() < outputs["gate.look"].numel()


ANKLE = SenseShape("ankle", "snn", 1, (3,))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("senses", "looks"),
    [((WRIST,), False), ((EYE,), False), ((WRIST, ANKLE), False), ((WRIST, ANKLE, EYE), True), ((EYE, EYE), False)],
)
def test_any_number_of_senses_makes_a_network(variant: str, senses: tuple[SenseShape, ...], looks: bool) -> None:
    named = tuple(one._replace(name=f"sense{place}") for place, one in enumerate(senses))
    network = network_of(variant, SensesShape(0.02, named, 4, hidden=4, features=4))
    signals = {one.name: torch.rand(20 // one.period, 2, *one.shape) for one in named}
    lengths = {name: torch.full((2,), len(x)) for name, x in signals.items()}
    outputs = run_network(network, Sampled(signals, lengths, torch.zeros(2), np.zeros(2, int)))

    assert outputs["answer"].shape == (20 // max(one.period for one in named), 2, 4)
    assert ("gate.look" in outputs) == looks


def test_a_sense_that_is_silent_says_nothing() -> None:
    network = network_of("hybrid")
    silent = {"wrist": torch.zeros(100, 2, 6), "eye": torch.zeros(20, 2, 1, 8, 8)}
    network.parts["gate"].kind = "always"  # type: ignore[assignment]
    outputs, _ = network(silent)

    assert outputs["gate.look"].all()
    for name in ("answer", "wrist_evidence", "eye_evidence"):
        assert not outputs[name].any()


def test_a_look_that_brings_no_picture_leaves_the_answer_to_the_others() -> None:
    network = network_of("hybrid")
    blind = {"wrist": DATA.signals["wrist"], "eye": torch.zeros_like(DATA.signals["eye"])}
    outputs, _ = network(blind)

    assert outputs["gate.look"].any()
    torch.testing.assert_close(outputs["answer"], outputs["wrist_evidence"][4::5])


def test_training_sees_the_numbers_of_the_network() -> None:
    network = network_of("hybrid")
    outputs = run_network(network, DATA)
    heard = SpikingSense(network, "wrist").eval()(DATA.signals["wrist"])
    torch.testing.assert_close(heard, outputs["wrist_evidence"])

    eye = network.parts["eye_features"]
    features = torch.stack([eye(picture) for picture in DATA.signals["eye"]])
    looks = looked(outputs)
    seen = RememberingSense(network, "eye").eval()(looks, features)
    torch.testing.assert_close(seen, outputs["eye_evidence"])


@pytest.mark.parametrize("variant", ["ann", "early"])
def test_training_on_blocks_sees_the_numbers_of_the_network(variant: str) -> None:
    network = network_of(variant)
    outputs = run_network(network, DATA)
    eye = network.parts["eye_features"]
    features = torch.stack([eye(picture) for picture in DATA.signals["eye"]])
    looks = looked(outputs)
    name = "wrist" if variant == "ann" else "senses"
    given = {} if variant == "ann" else {"features": features}
    said = RememberingSense(network, name, "wrist").eval()(looks, samples=DATA.signals["wrist"], **given)

    torch.testing.assert_close(said, outputs[f"{name}_evidence"])


def test_a_memory_learns_from_trials_that_are_shorter_than_those_of_people_left_out() -> None:
    lengths = {"wrist": torch.full((8,), 60), "eye": torch.full((8,), 12)}
    short = Sampled(DATA.signals, lengths, DATA.label, DATA.person)
    network = network_of("ann")
    data = MemoryData(short, "eye", block="wrist")

    train_memory(network, "wrist", data, SensesLearning(epochs=1, batch_size=8), 0)

    batch = data.batches().select(torch.arange(8))
    assert len(batch["samples"]) == 5 * len(batch["moving"])


class Insisting(RememberingSense):
    """A teacher that takes everything for the third class."""

    def forward(self, looks: Tensor, features: Tensor | None = None, samples: Tensor | None = None) -> Tensor:
        return torch.tensor([0.0, 0.0, 9.0, 0.0]).expand(*looks.shape, -1)


@pytest.mark.parametrize("variant", ["hybrid", "ann"])
def test_a_sense_learns_what_its_teachers_say(variant: str) -> None:
    network = network_of(variant)
    teachers = [Insisting(network_of("ann"), "wrist", "wrist")]
    config = SensesLearning(epochs=25, batch_size=8, lr=0.02)
    if variant == "hybrid":
        train_spiking(network, "wrist", DATA, config, 0, teachers=teachers)
    else:
        train_memory(network, "wrist", MemoryData(DATA, "eye", block="wrist"), config, 0, teachers=teachers)

    said = at_end(run_network(network, DATA)["wrist_evidence"], DATA)
    assert (said.argmax(-1) == 2).all()


def test_an_eye_learns_from_any_number_of_small_pictures() -> None:
    eye = Eye((8, 8), 4)
    before = eye.dense.weight.clone()
    teach_eye(eye, torch.rand(129, 1, 8, 8), torch.arange(129) % 4, SensesLearning(eye_epochs=1), seed=0, quiet=True)
    assert (eye.dense.weight != before).any()


def test_two_halves_make_the_whole() -> None:
    network = network_of("link")
    whole, _ = network(DATA.signals)
    state = None
    halves = []
    for part in range(2):
        cut = {name: x.chunk(2)[part] for name, x in DATA.signals.items()}
        outputs, state = network(cut, state)
        halves.append(outputs["answer"])

    torch.testing.assert_close(torch.cat(halves), whole["answer"])


def looks_of(gate: LookGate, motion: list[float], answer: Tensor) -> list[float]:
    values = torch.zeros(len(motion), 1, 3)
    values[:, 0, 0] = torch.tensor(motion)
    outputs, _ = gate(values, answer=answer.expand(len(motion), 1, -1))
    return [float(one) for one in outputs["look"].flatten()]


UNSURE = torch.zeros(4)
SURE = torch.tensor([9.0, 0.0, 0.0, 0.0])


def test_the_rule_looks_while_something_moves_and_not_too_often() -> None:
    gate = LookGate("rule", 4, 3, threshold=0.4, min_wait=2)
    assert looks_of(gate, [0.0, 1.0, 1.1, 1.0, 0.1, 1.0], UNSURE) == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("answer", [UNSURE, SURE])
def test_a_sensor_without_any_change_is_dead_and_the_eye_looks_twice_as_often_and_is_never_sure(answer: Tensor) -> None:
    gate = LookGate("rule", 4, 3, min_wait=5, hold=2)
    assert looks_of(gate, [0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.1], answer) == [0, 0, 1, 0, 1, 0, 1, 0]


def test_a_picture_that_comes_again_is_not_seen_twice() -> None:
    pictures = torch.tensor([0.0, 0.5, 0.5, 0.7, 0.0, 0.7]).reshape(6, 1, 1, 1, 1)
    assert Seen()(pictures)[0].flatten().tolist() == [0, 1, 0, 1, 0, 1]


def test_there_is_no_look_once_the_answer_is_sure() -> None:
    assert looks_of(LookGate("rule", 4, 3, min_wait=1, hold=2), [1.0, 1.1, 1.0, 1.1], SURE) == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("kind", "looks"), [("always", [1, 1, 1, 1]), ("every", [1, 0, 1, 0]), ("never", [0, 0, 0, 0])]
)
def test_other_gates_look_whatever_moves(kind: str, looks: list[float]) -> None:
    gate = LookGate("rule", 4, 3, min_wait=2, hold=1)
    gate.kind = kind  # type: ignore[assignment]
    assert looks_of(gate, [0.0] * 4, SURE) == looks


def test_evidence_of_many_looks_grows_with_the_root() -> None:
    evidence, _ = PooledEvidence()(torch.ones(9, 1, 2))
    assert evidence[:, 0, 0].tolist() == pytest.approx([n**0.5 for n in range(1, 10)])


def test_evidence_in_integers_is_that_of_the_quantised_network_past_its_last_count(tmp_path: Path) -> None:
    x = {"signal": torch.randn(300, 2, 3)}
    quantized = quantize(PooledEvidence(), x, dt=0.1)
    model = integer_model(quantized, x)
    entered = model.quantize({"signal": x["signal"].numpy()})
    bits = torch.from_numpy(model.dequantize(model.run(entered))["network"])

    assert torch.equal(bits, quantized(x)[0]["network"])
    assert (bits - PooledEvidence()(x["signal"])[0]).abs().max() < 0.1
    files = write_c(model, entered, 300, tmp_path / "evidence")
    if COMPILER is not None:
        assert same(files) == 900


def test_the_end_of_a_trial_is_its_own() -> None:
    x = torch.arange(20.0)[:, None].expand(20, 8)
    assert at_end(x, DATA).tolist() == [float(length) - 1 for length in DATA.lengths["eye"]]


def test_energy_is_that_of_each_trial_up_to_its_end() -> None:
    lengths = {"wrist": torch.tensor([100, 60]), "eye": torch.tensor([20, 12])}
    signals = {name: x[:, :2] for name, x in DATA.signals.items()}
    both = Sampled(signals, lengths, DATA.label[:2], DATA.person[:2])
    network = network_of("hybrid")
    long, short = (sum(energies(network, both.select(torch.tensor([trial]))).values()) for trial in range(2))

    assert short < long
    assert sum(energies(network, both).values()) == pytest.approx((long + short) / 2)


def test_a_variant_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="there is no senses network 'hybrids'; did you mean 'hybrid'"):
        senses_network("hybrids", SHAPE)
