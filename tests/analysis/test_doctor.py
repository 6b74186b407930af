"""One broken network a fault; the remedy that the doctor names clears it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from spikebridge.analysis import diagnose
from spikebridge.analysis.doctor.finding import Finding
from spikebridge.errors import ShapeError
from spikebridge.hybrid import (
    Bernoulli,
    HybridNetwork,
    HybridUnit,
    Integrate,
    Mean,
    Modulation,
    Threshold,
    Transmission,
    Tumbling,
    every,
)
from spikebridge.neurons import IF, LIF, Arctan, Integrator, Memoryless, Rectangle, Sequential

from .conftest import DT, What, what_where

pytestmark = pytest.mark.untyped

Outputs = dict[str, Tensor]


def loss(outputs: Outputs) -> Tensor:
    return outputs["what"].square().mean() + outputs["where"].mean()


def kinds(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.kind, finding.where) for finding in findings]


def test_a_healthy_hybrid_network_gives_no_findings(network: HybridNetwork, inputs: Outputs) -> None:
    assert diagnose(network, inputs, loss) == []
    assert diagnose(network.train(), inputs, loss) == []


def test_healthy_plain_networks_give_no_findings() -> None:
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 3)).eval()

    assert diagnose(ann, torch.randn(8, 4), lambda y: y.square().mean()) == []

    snn = Sequential(fc=nn.Linear(4, 16), lif=LIF(dt=0.001), out=nn.Linear(16, 3), read=Integrator(dt=0.001))
    assert diagnose(snn, torch.randn(20, 8, 4), lambda y: y[-1].square().mean()) == []


def test_a_diagnosis_leaves_the_network_as_it_is(inputs: Outputs) -> None:
    class Normed(What):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(12)

        def forward(self, x: Tensor, motion: Tensor) -> Tensor:
            return super().forward(self.norm(x), motion)

    network = what_where(what=Normed())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    diagnose(network.train(), inputs, loss)

    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_a_layer_that_never_spikes_is_dead(network: HybridNetwork, inputs: Outputs) -> None:
    lif = network.parts["where"].lif
    lif.v_threshold = 50.0
    (finding,) = diagnose(network, inputs)

    assert (finding.kind, finding.where) == ("dead", "where.lif")
    assert finding.what.startswith("never spikes: its membranes reach ")

    remedy, _, number = finding.remedy.partition("about ")
    value = float(number.split(",")[0])
    assert remedy == "lower v_threshold to "

    lif.v_threshold = value
    assert diagnose(network, inputs) == []


def test_a_rectifier_that_lets_nothing_through_is_dead() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    nn.init.constant_(network[0].bias, -100.0)
    (finding,) = diagnose(network, torch.randn(5, 4))

    assert (finding.kind, finding.where) == ("dead", "1")
    assert "give that layer a positive bias" in finding.remedy

    nn.init.constant_(network[0].bias, 0.5)
    assert diagnose(network, torch.randn(5, 4)) == []


def test_membranes_that_only_fall_are_distinguished_from_those_that_rise_too_little() -> None:
    layer = Sequential(fc=nn.Linear(2, 3, bias=True), fire=IF())
    nn.init.constant_(layer.fc.weight, -1.0)
    nn.init.constant_(layer.fc.bias, 0.0)
    x = torch.rand(6, 2, 2) + 0.1
    (finding,) = diagnose(layer, x)

    assert "never rise above 0" in finding.what

    nn.init.constant_(layer.fc.bias, 1.5)
    assert diagnose(layer, x) == []


def test_only_the_first_of_a_chain_of_silent_layers_is_dead() -> None:
    layers = Sequential(fire1=IF(v_threshold=100.0), fc=nn.Linear(2, 2, bias=False), fire2=IF())
    assert kinds(diagnose(layers, torch.rand(5, 1, 2))) == [("dead", "fire1")]
    (finding,) = diagnose(Sequential(fire=IF()), torch.zeros(5, 1, 2))
    assert finding.what == "gets nothing but zeros"


def test_a_layer_that_always_spikes_is_saturated(network: HybridNetwork, inputs: Outputs) -> None:
    lif = network.parts["where"].lif
    nn.init.constant_(network.parts["where"].fc.bias, 2.0)
    lif.v_threshold = 0.01
    (finding,) = diagnose(network, inputs)

    assert (finding.kind, finding.where) == ("saturated", "where.lif")
    assert finding.remedy.startswith("raise v_threshold to about ")

    lif.v_threshold = float(finding.remedy.split("about ")[1].split(",")[0])
    assert diagnose(network, inputs) == []


def test_a_discretizer_that_always_spikes_is_saturated() -> None:
    unit = HybridUnit(Tumbling(2), Mean(), nn.Linear(3, 2), Bernoulli())
    nn.init.constant_(unit.nonlinearity.bias, 9.0)
    (finding,) = diagnose(unit.eval(), torch.rand(4, 2, 3))

    assert (finding.kind, finding.where) == ("saturated", "discretizer")
    assert "scale its input down in the layer or the nonlinearity before it" in finding.remedy

    nn.init.constant_(unit.nonlinearity.bias, 0.5)
    assert diagnose(unit, torch.rand(4, 2, 3)) == []


class Cut(nn.Module):
    """A nonlinearity that no gradient passes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).round().detach()


def test_a_cut_gradient_is_found(inputs: Outputs) -> None:
    def only_what(outputs: Outputs) -> Tensor:
        return outputs["what"].square().mean()

    network = what_where(motion=HybridUnit(Tumbling(6), Mean(), Cut()))
    nn.init.normal_(network.units["where_to_what"].nonlinearity.linear.weight, std=5.0)
    findings = diagnose(network, inputs, only_what)

    # the modulation acts on the answers through the same unit, in both directions of time
    assert set(kinds(findings)) == {
        ("no gradient", "where"),
        ("no gradient", "where_to_what"),
        ("no gradient", "what_to_where"),
    }

    assert all(
        "by one that passes it: Threshold, SpikingLayer or a surrogate" in finding.remedy for finding in findings
    )

    unit = HybridUnit(Tumbling(6), Mean(), nn.Linear(16, 4), Threshold(0.0, Arctan()))
    assert diagnose(what_where(motion=unit), inputs, only_what) == []


def test_a_surrogate_that_is_too_narrow_gives_a_gradient_of_zero() -> None:
    def layers(surrogate: Rectangle | Arctan) -> Sequential:
        torch.manual_seed(0)
        return Sequential(fc=nn.Linear(3, 8), fire=IF(v_threshold=0.5, surrogate=surrogate), out=nn.Linear(8, 2))

    def mean(y: Tensor) -> Tensor:
        return y.mean()

    x = torch.rand(6, 4, 3)
    (finding,) = diagnose(layers(Rectangle(width=1e-6)), x, mean)

    assert (finding.kind, finding.where, finding.severity) == ("no gradient", "fc", "error")
    assert "widen the surrogate's width" in finding.remedy
    assert diagnose(layers(Rectangle(width=1.0)), x, mean) == []


def test_a_vanishing_gradient_is_found() -> None:
    def network(scale: float) -> nn.Sequential:
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        nn.init.constant_(layers[0].bias, scale)  # tanh is flat there
        return layers.double()

    x = torch.rand(4, 3, dtype=torch.float64)
    (finding,) = diagnose(network(9.0), x, lambda y: y.square().mean())

    assert (finding.kind, finding.where) == ("vanishing gradient", "0")
    assert "shrink the saturated layers behind it" in finding.remedy
    assert diagnose(network(0.1), x, lambda y: y.square().mean()) == []


def test_a_frozen_module_needs_no_gradient(network: HybridNetwork, inputs: Outputs) -> None:
    network.parts["where"].requires_grad_(False)
    network.units["what_to_where"].requires_grad_(False)
    network.units["where_to_what"].requires_grad_(False)
    assert diagnose(network, inputs, lambda outputs: outputs["what"].mean()) == []


def test_batch_normalisation_in_training_mixes_samples() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    (finding,) = diagnose(network, torch.randn(5, 3))

    assert (finding.kind, finding.where, finding.severity) == ("batch-dependent", "1", "error")
    assert "call .eval() before you judge the network, or use nn.GroupNorm" in finding.remedy
    assert diagnose(network.eval(), torch.randn(5, 3)) == []

    network[1] = nn.GroupNorm(1, 4)
    assert diagnose(network.train(), torch.randn(5, 3)) == []


class Centred(nn.Module):
    """Subtracts the mean over samples or over features."""

    def __init__(self, over_batch: bool) -> None:
        super().__init__()
        self.axis = 0 if over_batch else -1

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(self.axis, keepdim=True)


def test_a_mean_over_the_batch_is_found(inputs: Outputs) -> None:
    def network(over_batch: bool) -> HybridNetwork:
        unit = HybridUnit(Tumbling(6), Mean(), nn.Sequential(nn.Linear(16, 4), Centred(over_batch)))
        return what_where(motion=unit)

    findings = diagnose(network(True), inputs)
    assert [finding.kind for finding in findings] == ["batch-dependent"]
    assert "leave out the operation that mixes samples" in findings[0].remedy
    assert diagnose(network(False), inputs) == []


def test_inputs_and_parts_that_reach_no_output_are_unused(inputs: Outputs) -> None:
    def network(*more: Transmission) -> HybridNetwork:
        torch.manual_seed(0)
        return HybridNetwork(
            dt=DT,
            inputs={"frames": every(6 * DT), "events": every(DT)},
            parts={"ann": nn.Linear(12, 4), "snn": Sequential(nn.Linear(6, 4), IF(v_threshold=0.3)), "out": Add()},
            links=[Transmission("frames", "ann"), Transmission("events", "snn"), Transmission("ann", "out"), *more],
            outputs=["out"],
        ).eval()

    findings = diagnose(network(), inputs, lambda outputs: outputs["out"].square().mean())
    assert set(kinds(findings)) == {("unused", "events"), ("unused", "snn")}
    assert findings[0].remedy == "link it to a part that reaches one of the outputs (out), or leave it out"

    link = Transmission("snn", "out", HybridUnit(Tumbling(6), None, None, Integrate()), held=True)
    assert diagnose(network(link), inputs, lambda outputs: outputs["out"].square().mean()) == []


class Add(nn.Module):
    """Adds its inputs."""

    def forward(self, *signals: Tensor) -> Tensor:
        return torch.stack(signals).sum(0)


def test_a_transmission_through_zero_weights_is_unused(network: HybridNetwork, inputs: Outputs) -> None:
    nonlinearity = network.units["where_to_what"].nonlinearity
    nn.init.zeros_(nonlinearity.weight)
    nn.init.zeros_(nonlinearity.bias)
    (finding,) = diagnose(network, inputs)

    assert (finding.kind, finding.where) == ("unused", "where_to_what")
    assert "initialise the weights of its nonlinearity again" in finding.remedy

    nonlinearity.reset_parameters()
    assert diagnose(network, inputs) == []


class Deaf(What):
    """Ignores the events."""

    def forward(self, x: Tensor, motion: Tensor) -> Tensor:
        return super().forward(x, torch.ones_like(motion))


def test_a_link_that_its_target_ignores_is_unused(inputs: Outputs) -> None:
    findings = diagnose(what_where(what=Deaf()), inputs, loss)
    assert ("unused", "where_to_what") in kinds(findings)
    assert all("check" in f.remedy and "uses its values" in f.remedy for f in findings if f.kind == "unused")


def test_a_modulation_that_leaves_its_target_as_it_is_is_unused(inputs: Outputs) -> None:
    class NearOne(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1 + 1e-5 * x[:, :1].clamp(-1, 1)

    (finding,) = diagnose(what_where(gain=HybridUnit(None, None, NearOne())), inputs)
    assert (finding.kind, finding.where) == ("unused", "what_to_where")
    assert "it leaves where.lif.v_threshold as it is" in finding.what


def test_a_part_whose_only_link_is_a_constant_modulation_is_no_finding_of_its_own(inputs: Outputs) -> None:
    torch.manual_seed(0)
    gain = HybridUnit(None, None, nn.Linear(12, 1))
    nn.init.zeros_(gain.nonlinearity.weight)

    network = HybridNetwork(
        dt=DT,
        inputs={"frames": every(6 * DT), "events": every(DT)},
        parts={
            "what": nn.Identity(),
            "where": Sequential(fc=nn.Linear(6, 16), lif=LIF(tau=0.01, dt=DT, v_threshold=0.4)),
        },
        links=[
            Transmission("frames", "what"),
            Transmission("events", "where"),
            Modulation("what", "where.lif.v_threshold", gain, by="add"),
        ],
        outputs=["where"],
    ).eval()

    assert kinds(diagnose(network, inputs)) == [("constant modulation", "what_to_where")]

    nn.init.normal_(gain.nonlinearity.weight, std=0.1)
    assert diagnose(network, inputs) == []


@pytest.mark.parametrize("layers", [lambda: nn.Linear(5, 16), lambda: nn.Sequential(nn.Linear(5, 16), nn.Softplus())])
def test_a_constant_modulation_is_found(inputs: Outputs, layers: Callable[[], nn.Module]) -> None:
    network = what_where(gain=HybridUnit(None, None, layers()))
    linear = next(m for m in network.units["what_to_where"].modules() if isinstance(m, nn.Linear))
    nn.init.zeros_(linear.weight)
    nn.init.constant_(linear.bias, 0.7)
    (finding,) = diagnose(network, inputs)

    assert (finding.kind, finding.where) == ("constant modulation", "what_to_where")
    assert "initialise the weights of its nonlinearity again" in finding.remedy

    nn.init.normal_(linear.weight, std=0.3)
    assert diagnose(network, inputs) == []


def test_a_constant_signal_without_a_unit_is_found(inputs: Outputs) -> None:
    network = HybridNetwork(
        dt=DT,
        inputs={"events": every(DT), "level": every(DT)},
        parts={"snn": Sequential(fc=nn.Linear(6, 8), fire=Memoryless(v_threshold=0.2))},
        links=[Transmission("events", "snn"), Modulation("level", "snn.fire.v_threshold")],
        outputs=["snn"],
    )

    level = torch.full((24, 3, 1), 0.5)
    assert kinds(diagnose(network, {"events": inputs["events"], "level": level})) == [
        ("constant modulation", "events_to_snn".replace("events", "level"))
    ]
    assert diagnose(network, {"events": inputs["events"], "level": torch.rand(24, 3, 1)}) == []


def test_a_layer_that_is_never_called_is_unused() -> None:
    class Forgetful(nn.Module):
        def __init__(self, uses: bool) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3)
            self.second = nn.Linear(3, 3)
            self.uses = uses

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x)) if self.uses else self.first(x)

    (finding,) = diagnose(Forgetful(False), torch.randn(4, 3))
    assert (finding.kind, finding.where, finding.remedy) == ("unused", "second", "call it in forward, or leave it out")
    assert diagnose(Forgetful(True), torch.randn(4, 3)) == []


def test_empty_inputs_and_losses_of_many_numbers_are_refused(network: HybridNetwork, inputs: Outputs) -> None:
    with pytest.raises(ShapeError, match="an input is empty; give a few samples"):
        diagnose(network, inputs | {"frames": inputs["frames"][:0]})
    with pytest.raises(ShapeError, match=r"a loss gives one number, but this one gave \(4, 3, 5\); take its mean"):
        diagnose(network, inputs, lambda outputs: outputs["what"])
