"""The LIF family beside four other libraries: equal outputs and gradients wherever conventions match.

"all" means outputs and the gradients of inputs (and of learned numbers, where there are some).

| library | its layer | here | equal |
|---|---|---|---|
| SpikingJelly | `LIFNode(tau, decay_input=False)` | `LIF`, decay `1 - 1 / tau`, any reset, detached or not | all |
| | `LIFNode(tau, decay_input=True)` | the same with `r = 1 / tau` | all |
| | `LIFNode(v_reset=c)` | `v_leak = v_reset = c`: it leaks towards its reset | all |
| | `IFNode` | `IF` | all |
| | `ParametricLIFNode` | `PLIF` (1) | all |
| | `CUBALIFNode` | `CubaLIF` | all |
| snnTorch | `Leaky("subtract", reset_delay=False)` | `LIF`, soft (2) | all |
| | `Leaky("zero", reset_delay=False)` | `LIF`, hard | all |
| | `Leaky("zero")` | `LIF`, hard, reset detached: before the next step is after this one | all |
| | `Leaky("subtract")`, its default | none: the threshold is taken off after the leak, not before | no, shown |
| | `Synaptic("zero", reset_delay=False)` | `CubaLIF`, hard | all |
| | `RLeaky("zero", reset_delay=False)` | `Recurrent(LIF, Linear)` | all |
| Norse | `LIFBox` | `LIF`, decay `1 - dt / tau` (Euler) and `r = dt / tau` | all |
| | `LIF` | `CubaLIF`, both decays by Euler, `r = dt / tau_mem` | all |
| | `LIBox` | `Integrator` | all |
| | `LIFRefrac` | `LIF` with a refractory time | outputs (3) |
| | `LSNN` | `AdaptiveLIF`, hard, its input one step later (4) | all |
| | `Izhikevich` | `Izhikevich` | all |
| sinabs | `LIF(norm_input=False)`, `SingleSpike` | `LIF`, soft; or hard with the reset detached | all |
| | `LIF(norm_input=True)` | the same with `r = 1 - decay` | all |
| | `LIF(tau_syn)` | `CubaLIF` with `r = decay_syn`: its current decays after the input, ours before | all |
| | `IAF` | `IF` | all |
| | `ExpLeak` | `Integrator` | all |
| | `LIFRecurrent` | `Recurrent(LIF, Linear)` | all |
| | `ALIF` | `AdaptiveLIF`, soft, `jump = adapt_scale (1 - b) / b`, b the decay of the threshold | outputs (5) |

Where a membrane is just at its threshold SpikingJelly and sinabs fire as we do; snnTorch and Norse do not.

1. Its parameter is `w` with `1 / tau = sigmoid(w)`, ours is `log tau`: the gradients agree by the chain rule.
2. Below twice the threshold: it leaves out a reset where the membrane is still above the threshold after the last one.
3. Its counter sends surrogate gradients of its own; ours is an integer and sends none.
4. Its membrane reads the current before the input has reached it.
5. Its spikes send no gradient to an adapting threshold.

Not compared, for want of the same equation: SpikingJelly's `IzhikevichNode` (a quadratic neuron with other
parameters), snnTorch's `Alpha` and `Lapicque`, Norse's exponential and conductance neurons.
"""

import math
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.neurons import (
    IF,
    LIF,
    PLIF,
    AdaptiveLIF,
    Arctan,
    CubaLIF,
    FastSigmoid,
    Integrator,
    Izhikevich,
    Rectangle,
    Recurrent,
    Stateful,
)

T = 40
B = 3
N = 5


def tau_of(decay: float) -> float:
    """The time constant whose decay over a step of 1 s is this."""
    return -1 / math.log(decay)


def peer(name: str) -> ModuleType:
    return pytest.importorskip(name, reason="`make test` installs it", exc_type=ImportError)


@pytest.fixture(autouse=True)
def their_warnings_are_theirs() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def x() -> Tensor:
    """Small inputs, so that a membrane seldom jumps over twice the threshold."""
    torch.manual_seed(7)
    return 0.4 * torch.rand(T, B, N)


def both(ours: Stateful, theirs: Any, x: Tensor, gradients: bool = True) -> None:
    """Runs both on one signal and compares outputs and the gradients of a weighted sum of them."""
    weights = torch.linspace(-1, 1, T).reshape(T, 1, 1) * torch.linspace(0.5, 1.5, N)
    results = []

    for run in (lambda leaf: ours(leaf)[0], theirs):
        leaf = x.clone().requires_grad_()
        y = run(leaf)
        (y * weights).sum().backward()
        results.append((y.detach(), leaf.grad))

    (y, y_grad), (expected, expected_grad) = results
    assert y.std() > 0.1

    torch.testing.assert_close(y, expected)
    if gradients:
        assert expected_grad.abs().sum() > 0
        torch.testing.assert_close(y_grad, expected_grad, rtol=1e-4, atol=1e-5)


# --- SpikingJelly --------------------------------------------------------------------------------------------------


@pytest.fixture
def jelly() -> ModuleType:
    return peer("spikingjelly.activation_based.neuron")


def atan(alpha: float = 2.0) -> Any:
    return peer("spikingjelly.activation_based.surrogate").ATan(alpha)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("decay_input", [False, True])
def test_lif_is_that_of_spikingjelly(jelly, x, reset, detach_reset, decay_input):
    node = jelly.LIFNode(
        tau=1.6,
        decay_input=decay_input,
        v_threshold=0.7,
        v_reset=0.0 if reset == "zero" else None,
        surrogate_function=atan(2 / 1.5),
        detach_reset=detach_reset,
        step_mode="m",
    )

    layer = LIF(
        tau_of(1 - 1 / 1.6),
        dt=1.0,
        v_threshold=0.7,
        r=1 / 1.6 if decay_input else 1.0,
        reset=reset,
        surrogate=Arctan(1.5),
        detach_reset=detach_reset,
    )

    both(layer, node, 2.5 * x)
    torch.testing.assert_close(layer(2.5 * x)[1].v, node.v)


def test_lif_with_a_rest_is_that_of_spikingjelly(jelly, x):
    node = jelly.LIFNode(tau=2.0, decay_input=False, v_reset=-0.2, surrogate_function=atan(), step_mode="m")
    both(LIF(tau_of(0.5), dt=1.0, v_reset=-0.2, v_leak=-0.2), node, 3 * x)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_if_is_that_of_spikingjelly(jelly, x, reset):
    v_reset = 0.0 if reset == "zero" else None
    both(IF(reset=reset), jelly.IFNode(v_reset=v_reset, surrogate_function=atan(), step_mode="m"), x)


def test_plif_is_that_of_spikingjelly(jelly, x):
    node = jelly.ParametricLIFNode(init_tau=2.0, decay_input=False, surrogate_function=atan(), step_mode="m")
    layer = PLIF(tau_of(0.5), dt=1.0)
    both(layer, node, 2 * x)

    # decay = 1 - sigmoid(w) = exp(-dt / exp(log_tau)): d decay / d w = -1/4, d decay / d log_tau = 1/2 log 2
    torch.testing.assert_close(node.w.grad / (-1 / 4), layer.log_tau.grad / (math.log(2) / 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_cuba_lif_is_that_of_spikingjelly(jelly, x, reset):
    surrogate = peer("spikingjelly.activation_based.surrogate").Rect(alpha=0.5)
    v_reset = 0.0 if reset == "zero" else None
    node = jelly.CUBALIFNode(c_decay=0.5, v_decay=0.75, v_threshold=0.9, v_reset=v_reset, surrogate_function=surrogate)
    node.step_mode = "m"
    layer = CubaLIF(
        tau_of(0.75), tau_of(0.5), dt=1.0, v_threshold=0.9, reset=reset, surrogate=Rectangle(2.0)
    )  # fmt: skip
    both(layer, node, x)


# --- snnTorch ------------------------------------------------------------------------------------------------------


@pytest.fixture
def snn() -> ModuleType:
    return peer("snntorch")


def snntorch_run(layer: nn.Module, x: Tensor) -> Tensor:
    state = layer.reset_mem()
    spikes = []
    state = state if isinstance(state, tuple) else (state,)

    for x_t in x:
        out = layer(x_t, *state)
        # a recurrent layer gives its spikes once, as output and as state
        spikes.append(out[0])
        state = out if type(layer).__name__.startswith("R") else out[1:]

    return torch.stack(spikes)


@pytest.mark.parametrize(("mechanism", "reset"), [("subtract", "subtract"), ("zero", "zero")])
def test_lif_is_that_of_snntorch(snn, x, mechanism, reset):
    gradient = peer("snntorch.surrogate").fast_sigmoid(slope=4)
    leaky = snn.Leaky(beta=0.8, spike_grad=gradient, reset_mechanism=mechanism, reset_delay=False)
    both(LIF(tau_of(0.8), dt=1.0, reset=reset, surrogate=FastSigmoid(1 / 4)), lambda x: snntorch_run(leaky, x), x)


def test_a_reset_to_zero_before_the_next_step_is_one_after_this(snn, x):
    leaky = snn.Leaky(beta=0.8, spike_grad=peer("snntorch.surrogate").atan(alpha=2), reset_mechanism="zero")
    both(LIF(tau_of(0.8), dt=1.0, detach_reset=True), lambda x: snntorch_run(leaky, x), x)


def test_a_delayed_subtraction_is_another_neuron(snn, x):
    leaky = snn.Leaky(beta=0.8)
    assert not torch.equal(LIF(tau_of(0.8), dt=1.0, reset="subtract")(x)[0], snntorch_run(leaky, x))


def test_learned_decays_and_thresholds_have_the_gradients_of_snntorch(snn, x):
    leaky = snn.Leaky(
        beta=torch.full((N,), 0.8),
        threshold=torch.full((N,), 0.9),
        learn_beta=True,
        learn_threshold=True,
        reset_mechanism="zero",
        reset_delay=False,
    )

    layer = LIF(torch.full((N,), tau_of(0.8)), dt=1.0, v_threshold=torch.full((N,), 0.9), learn=("tau", "v_threshold"))
    both(layer, lambda x: snntorch_run(leaky, x), x)
    torch.testing.assert_close(layer.v_threshold.grad, leaky.threshold.grad, rtol=1e-4, atol=1e-5)

    # d decay / d log_tau = decay dt / tau
    chain = 0.8 / tau_of(0.8)
    torch.testing.assert_close(layer.log_tau.grad, leaky.beta.grad * chain, rtol=1e-4, atol=1e-5)


def test_cuba_lif_is_that_of_snntorch(snn, x):
    synaptic = snn.Synaptic(alpha=0.6, beta=0.8, reset_mechanism="zero", reset_delay=False)
    both(CubaLIF(tau_of(0.8), tau_of(0.6), dt=1.0), lambda x: snntorch_run(synaptic, x), 0.6 * x)


def test_recurrent_is_that_of_snntorch(snn, x):
    torch.manual_seed(3)
    leaky = snn.RLeaky(beta=0.8, linear_features=N, reset_mechanism="zero", reset_delay=False)
    layer = Recurrent(LIF(tau_of(0.8), dt=1.0), nn.Linear(N, N))
    layer.weight.load_state_dict(leaky.recurrent.state_dict())
    both(layer, lambda x: snntorch_run(leaky, x), x)
    torch.testing.assert_close(layer.weight.weight.grad, leaky.recurrent.weight.grad, rtol=1e-4, atol=1e-5)


# --- Norse ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def norse() -> ModuleType:
    return peer("norse.torch.functional")


def norse_run(step: Any, state: Any, p: Any, x: Tensor, dt: float = 0.1) -> Tensor:
    outputs = []
    for x_t in x:
        y, state = step(x_t, state, p, dt)
        outputs.append(y)

    return torch.stack(outputs)


# its SuperSpike in version 1.1 has the width 1 whatever alpha is; with alpha = 1 both readings agree
SUPER = {"method": "super", "alpha": torch.tensor(1.0)}


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_lif_is_that_of_norse(norse, x, reset):
    box = peer("norse.torch.functional.lif_box")
    way = getattr(peer("norse.torch.functional.reset"), "reset_value" if reset == "zero" else "reset_subtract")
    # the reset is to -0.1, the rest at 0.1; dt / tau is 1/4
    p = box.LIFBoxParameters(
        tau_mem_inv=torch.tensor(2.5),
        v_leak=torch.tensor(0.1),
        v_reset=torch.tensor(-0.1),
        reset_method=way,
        **SUPER,
    )

    state = box.LIFBoxFeedForwardState(v=torch.full((B, N), 0.1))
    layer = LIF(tau_of(0.75), dt=1.0, r=0.25, v_leak=0.1, v_reset=-0.1, reset=reset, surrogate=FastSigmoid())
    both(layer, lambda x: norse_run(box.lif_box_feed_forward_step, state, p, x), 8 * x)


def test_cuba_lif_is_that_of_norse(norse, x):
    lif = peer("norse.torch.functional.lif")
    p = lif.LIFParameters(tau_syn_inv=torch.tensor(5.0), tau_mem_inv=torch.tensor(2.5), **SUPER)
    state = lif.LIFFeedForwardState(v=torch.zeros(B, N), i=torch.zeros(B, N))
    layer = CubaLIF(tau_of(0.75), tau_of(0.5), dt=1.0, r=0.25, surrogate=FastSigmoid())
    both(layer, lambda x: norse_run(lif.lif_feed_forward_step, state, p, x), 5 * x)


def test_integrator_is_that_of_norse(norse, x):
    box = peer("norse.torch.functional.leaky_integrator_box")
    p = box.LIBoxParameters(tau_mem_inv=torch.tensor(2.5), v_leak=torch.tensor(0.5))
    state = box.LIBoxState(v=torch.full((B, N), 0.5))
    layer = Integrator(tau_of(0.75), dt=1.0, v_leak=0.5, r=0.25)
    both(layer, lambda x: norse_run(box.li_box_feed_forward_step, state, p, x), 5 * x)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_refractory_time_is_that_of_norse(norse, x, steps):
    lif = peer("norse.torch.functional.lif")
    refrac = peer("norse.torch.functional.lif_refrac")
    # a synapse that forgets within one step passes the input on as it is
    inner = lif.LIFParameters(tau_syn_inv=torch.tensor(10.0), tau_mem_inv=torch.tensor(2.5), **SUPER)
    p = refrac.LIFRefracParameters(lif=inner, rho_reset=torch.tensor(float(steps)))
    zeros = torch.zeros(B, N)
    state = refrac.LIFRefracFeedForwardState(lif.LIFFeedForwardState(v=zeros, i=zeros), zeros)
    layer = LIF(tau_of(0.75), dt=1.0, r=0.25, refractory=float(steps), surrogate=FastSigmoid())
    both(layer, lambda x: norse_run(refrac.lif_refrac_feed_forward_step, state, p, x), 10 * x, gradients=False)


def test_adaptive_lif_is_that_of_norse(norse, x):
    lsnn = peer("norse.torch.functional.lsnn")
    p = lsnn.LSNNParameters(
        tau_syn_inv=torch.tensor(10.0),
        tau_mem_inv=torch.tensor(2.5),
        tau_adapt_inv=torch.tensor(1.0),
        beta=torch.tensor(0.4),
        **SUPER,
    )

    zeros = torch.zeros(B, N)
    state = lsnn.LSNNFeedForwardState(v=zeros, i=zeros, b=torch.ones(B, N))
    layer = AdaptiveLIF(tau_of(0.75), tau_of(0.9), dt=1.0, r=0.25, jump=0.4, surrogate=FastSigmoid())

    class Late(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Any]:
            return layer(torch.cat([torch.zeros_like(x[:1]), x[:-1]]))

    both(Late(), lambda x: norse_run(lsnn.lsnn_feed_forward_step, state, p, x), 10 * x)


def test_izhikevich_is_that_of_norse(norse, x):
    izhikevich = peer("norse.torch.functional.izhikevich")
    p = izhikevich.IzhikevichParameters(a=0.02, b=0.2, c=-65.0, d=8.0, tau_inv=1000.0, **SUPER)
    v = torch.full((B, N), -65.0)
    state = izhikevich.IzhikevichState(v=v, u=0.2 * v)
    layer = Izhikevich(dt=0.0005, surrogate=FastSigmoid())
    both(layer, lambda x: norse_run(izhikevich.izhikevich_feed_forward_step, state, p, x, dt=0.0005), 150 * x)


# --- sinabs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def sinabs() -> ModuleType:
    peer("sinabs.activation")
    return peer("sinabs.layers")


def sinabs_settings(reset: str = "subtract") -> dict[str, Any]:
    activation = peer("sinabs.activation")
    return {
        "spike_fn": activation.SingleSpike,
        "reset_fn": activation.MembraneSubtract() if reset == "subtract" else activation.MembraneReset(),
        "surrogate_grad_fn": lambda v, threshold: Arctan().derivative(v - threshold),
    }


def sinabs_run(layer: nn.Module, x: Tensor) -> Tensor:
    """It has the batch first."""
    layer.reset_states()
    return layer(x.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("norm_input", [False, True])
def test_lif_is_that_of_sinabs(sinabs, x, reset, norm_input):
    tau = tau_of(0.75)
    theirs = sinabs.LIF(tau_mem=tau, norm_input=norm_input, **sinabs_settings(reset))
    layer = LIF(tau, dt=1.0, r=0.25 if norm_input else 1.0, reset=reset, detach_reset=reset == "zero")
    both(layer, lambda x: sinabs_run(theirs, x), 10 * x if norm_input else 2 * x)


def test_a_learned_tau_has_the_gradient_of_sinabs(sinabs, x):
    theirs = sinabs.LIF(tau_mem=tau_of(0.75), norm_input=False, **sinabs_settings())
    layer = PLIF(tau_of(0.75), dt=1.0, reset="subtract")
    both(layer, lambda x: sinabs_run(theirs, x), 2 * x)
    torch.testing.assert_close(layer.log_tau.grad, theirs.tau_mem.grad * tau_of(0.75), rtol=1e-4, atol=1e-5)


def test_cuba_lif_is_that_of_sinabs(sinabs, x):
    theirs = sinabs.LIF(tau_mem=tau_of(0.75), tau_syn=tau_of(0.5), norm_input=False, **sinabs_settings())
    layer = CubaLIF(tau_of(0.75), tau_of(0.5), dt=1.0, r=0.5, reset="subtract")
    both(layer, lambda x: sinabs_run(theirs, x), 2 * x)


def test_if_is_that_of_sinabs(sinabs, x):
    both(IF(reset="subtract"), lambda x: sinabs_run(sinabs.IAF(**sinabs_settings()), x), x)


def test_integrator_is_that_of_sinabs(sinabs, x):
    both(Integrator(tau_of(0.75), dt=1.0), lambda x: sinabs_run(sinabs.ExpLeak(tau_mem=tau_of(0.75)), x), x)


def test_recurrent_is_that_of_sinabs(sinabs, x):
    torch.manual_seed(3)
    weight = nn.Linear(N, N, bias=False)
    theirs = sinabs.LIFRecurrent(tau_mem=tau_of(0.75), rec_connect=weight, norm_input=False, **sinabs_settings())
    both(Recurrent(LIF(tau_of(0.75), dt=1.0, reset="subtract"), weight), lambda x: sinabs_run(theirs, x), 2 * x)


def test_adaptive_lif_is_that_of_sinabs(sinabs, x):
    theirs = sinabs.ALIF(
        tau_mem=tau_of(0.75), tau_adapt=tau_of(0.9), adapt_scale=1.8, norm_input=False, **sinabs_settings()
    )
    layer = AdaptiveLIF(tau_of(0.75), tau_of(0.9), dt=1.0, jump=1.8 * 0.1 / 0.9, reset="subtract")
    both(layer, lambda x: sinabs_run(theirs, x), 3 * x, gradients=False)


# --- the threshold itself --------------------------------------------------------------------------------------------


def test_who_fires_at_the_threshold_itself(jelly, snn, norse, sinabs):
    one = torch.ones(1, 1, 1)
    box = peer("norse.torch.functional.lif_box")
    p = box.LIFBoxParameters(tau_mem_inv=torch.tensor(10.0), **SUPER)

    fires = {
        "here": LIF(tau_of(0.5), dt=1.0)(one)[0],
        "SpikingJelly": jelly.LIFNode(tau=2.0, decay_input=False, step_mode="m")(one),
        "sinabs": sinabs_run(sinabs.LIF(tau_mem=tau_of(0.5), norm_input=False, **sinabs_settings()), one),
        "snnTorch": snntorch_run(snn.Leaky(beta=0.5), one),
        "Norse": norse_run(box.lif_box_feed_forward_step, box.LIFBoxFeedForwardState(v=torch.zeros(1, 1)), p, one),
    }

    assert {name: y.item() for name, y in fires.items()} == {
        "here": 1,
        "SpikingJelly": 1,
        "sinabs": 1,
        "snnTorch": 0,
        "Norse": 0,
    }
