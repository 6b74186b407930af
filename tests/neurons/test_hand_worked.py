"""Numbers worked by hand: a table for every neuron. All decays are 1/2, so every number is exact.

`v` in a table is the membrane after the reset.
"""

import math

import pytest
import torch

from spikebridge.neurons import (
    IF,
    LIF,
    PLIF,
    AdaptiveLIF,
    AdaptiveLIFState,
    CubaLIF,
    CubaLIFState,
    Integrator,
    IntegratorState,
    Izhikevich,
    IzhikevichState,
    LIFState,
    Memoryless,
    Recurrent,
    Stateful,
    adaptive_lif_step,
    cuba_lif_step,
    integrator_step,
    izhikevich_step,
    lif_step,
)
from spikebridge.neurons.dt import decay_of

HALF = 1 / math.log(2)  # the time constant whose decay over one second is 1/2


def run(layer: Stateful, x: list[float]) -> list[tuple[float, ...]]:
    """One row a step: the output and every tensor of the state after it."""
    signal = torch.tensor(x, dtype=torch.float64).reshape(-1, 1, 1)
    state = layer.initial_state(signal[0])
    rows = []

    for x_t in signal:
        y_t, state = layer.step(x_t, state)
        rows.append((y_t.item(), *[value.item() for value in state if value is not None]))

    return rows


def test_the_decay_of_one_half_is_exact():
    assert decay_of(HALF, 1.0) == 0.5
    assert decay_of(torch.tensor(HALF, dtype=torch.float64), 1.0).item() == 0.5
    assert decay_of(0.02, 0.001) == pytest.approx(math.exp(-0.05))
    assert decay_of(math.inf, None) == 1.0


def test_lif_with_a_hard_reset():
    #    x     charged                  spike    v
    # 0.50     0.5                      0      0.5
    # 0.75     0.25 + 0.75   = 1        1      0       (the threshold itself fires)
    # 0.25     0.25                     0      0.25
    # 1.25     0.125 + 1.25  = 1.375    1      0
    # 0.50     0.5                      0      0.5
    layer = LIF(HALF, dt=1.0)

    assert run(layer, [0.5, 0.75, 0.25, 1.25, 0.5]) == [(0, 0.5), (1, 0), (0, 0.25), (1, 0), (0, 0.5)]


def test_lif_with_a_soft_reset():
    #    x     charged                  spike    v
    # 0.50     0.5                      0      0.5
    # 1.25     0.25 + 1.25   = 1.5      1      0.5
    # 0.50     0.25 + 0.5    = 0.75     0      0.75
    # 2.00     0.375 + 2     = 2.375    1      1.375   (one spike a step, however high)
    # 0.50     0.6875 + 0.5  = 1.1875   1      0.1875
    layer = LIF(HALF, dt=1.0, reset="subtract")

    rows = [(0, 0.5), (1, 0.5), (0, 0.75), (1, 1.375), (1, 0.1875)]
    assert run(layer, [0.5, 1.25, 0.5, 2.0, 0.5]) == rows


def test_lif_with_a_rest_a_reset_and_a_resistance_of_its_own():
    # v_leak 1/4 (the first membrane too), v_reset -1/4, r 2
    #    x     charged                            spike    v
    # 0.25     0.25 + 0     + 0.5 = 0.75          0      0.75
    # 0.25     0.25 + 0.25  + 0.5 = 1             1     -0.25
    # 0.50     0.25 - 0.25  + 1   = 1             1     -0.25
    # 0.00     0.25 - 0.25  + 0   = 0             0      0
    # 0.00     0.25 - 0.125 + 0   = 0.125         0      0.125
    layer = LIF(HALF, dt=1.0, v_leak=0.25, v_reset=-0.25, r=2.0)

    rows = [(0, 0.75), (1, -0.25), (1, -0.25), (0, 0), (0, 0.125)]
    assert run(layer, [0.25, 0.25, 0.5, 0.0, 0.0]) == rows


def test_lif_that_rests_after_a_spike():
    # a refractory time of 2 steps; the last column counts the steps left
    #    x     charged                  spike    v      wait
    # 1.00     1                        1      0      2
    # 1.00     (rests)                  0      0      1
    # 1.00     (rests)                  0      0      0
    # 0.50     0.5                      0      0.5    0
    # 1.00     0.25 + 1      = 1.25     1      0      2
    layer = LIF(HALF, dt=1.0, refractory=2.0)

    rows = [(1, 0, 2), (0, 0, 1), (0, 0, 0), (0, 0.5, 0), (1, 0, 2)]
    assert run(layer, [1.0, 1.0, 1.0, 0.5, 1.0]) == rows


def test_a_resting_membrane_neither_leaks_nor_fires():
    # soft reset: 2.5 - 1 = 1.5 is above the threshold, but waits for a step; then 1.5 / 2 + 0.5 = 1.25
    layer = LIF(HALF, dt=1.0, refractory=1.0, reset="subtract")
    assert run(layer, [2.5, 9.0, 0.5, 0.0]) == [(1, 1.5, 1), (0, 1.5, 0), (1, 0.25, 1), (0, 0.25, 0)]


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, 0), (0.001, 1), (0.0014, 1), (0.0016, 2), (0.0051, 5)])
def test_a_refractory_time_is_rounded_to_whole_steps(seconds, steps):
    spikes, _ = LIF(dt=0.001, refractory=seconds)(torch.ones(10, 1, 1))
    assert spikes.flatten().nonzero()[1].item() == steps + 1


def test_if_adds_up():
    #    x     charged   spike    v
    # 0.50     0.5       0      0.5
    # 0.25     0.75      0      0.75
    # 0.75     1.5       1      0
    # 0.75     0.75      0      0.75
    assert run(IF(), [0.5, 0.25, 0.75, 0.75]) == [(0, 0.5), (0, 0.75), (1, 0), (0, 0.75)]

    assert run(IF(reset="subtract", v_leak=0.25), [0.5, 0.25, 0.75]) == [(0, 0.75), (1, 0), (0, 0.75)]


def test_memoryless_knows_only_the_present():
    layer = Memoryless(v_threshold=0.75, r=2.0)
    assert [row[0] for row in run(layer, [0.25, 0.5, 0.25, 0.375, -1.0])] == [0, 1, 0, 1, 0]


def test_plif_is_lif_with_a_tau_that_is_learned():
    # log 1 = 0 is stored, and exp(-log 2 / 1) is 1/2
    layer = PLIF(1.0, dt=math.log(2)).double()
    assert layer.log_tau.item() == 0
    assert run(layer, [0.5, 0.75, 0.25, 1.25, 0.5]) == [(0, 0.5), (1, 0), (0, 0.25), (1, 0), (0, 0.5)]


def test_the_gradient_of_a_learned_tau():
    # v = v_0 exp(-dt / tau), so dv / d log tau = v_0 exp(-dt / tau) dt / tau = 4 * 1/2 * log 2
    layer = Integrator(HALF, dt=1.0, learn="tau").double()
    y, _ = layer.step(torch.zeros(1, 1, dtype=torch.float64), IntegratorState(torch.full((1, 1), 4.0).double()))
    y.sum().backward()

    assert layer.log_tau.grad.item() == pytest.approx(2 * math.log(2), abs=1e-6)


def test_adaptive_lif_with_a_hard_reset():
    # x = 1 always, a jump of 1/2; `a` decays first, and jumps last
    # threshold             charged        spike    v      a
    # 1                     1              1      0      0.5
    # 1 + 0.25              1              0      1      0.25
    # 1 + 0.125             0.5 + 1 = 1.5  1      0      0.625
    # 1 + 0.3125            1              0      1      0.3125
    # 1 + 0.15625           1.5            1      0      0.65625
    layer = AdaptiveLIF(HALF, HALF, dt=1.0, jump=0.5)

    rows = [(1, 0, 0.5), (0, 1, 0.25), (1, 0, 0.625), (0, 1, 0.3125), (1, 0, 0.65625)]
    assert run(layer, [1.0] * 5) == rows


def test_adaptive_lif_with_a_soft_reset_takes_the_present_threshold():
    # threshold 1.125 at the third step: 1.5 - 1.125 = 0.375
    layer = AdaptiveLIF(HALF, HALF, dt=1.0, jump=0.5, reset="subtract")
    assert run(layer, [1.0] * 3) == [(1, 0, 0.5), (0, 1, 0.25), (1, 0.375, 0.625)]


def test_cuba_lif_with_a_hard_reset():
    #    x     i         charged                  spike    v
    # 1.00     1         1                        1      0
    # 0.00     0.5       0.5                      0      0.5
    # 0.00     0.25      0.25 + 0.25   = 0.5      0      0.5
    # 1.00     1.125     0.25 + 1.125  = 1.375    1      0
    layer = CubaLIF(HALF, HALF, dt=1.0)

    assert run(layer, [1.0, 0.0, 0.0, 1.0]) == [(1, 0, 1), (0, 0.5, 0.5), (0, 0.5, 0.25), (1, 0, 1.125)]


def test_cuba_lif_with_a_soft_reset_and_a_resistance():
    # r 2: the current is 1, then 1/2: charged 2, then 0.5 + 1 = 1.5
    layer = CubaLIF(HALF, HALF, dt=1.0, r=2.0, reset="subtract")
    assert run(layer, [1.0, 0.0]) == [(1, 1, 1), (1, 0.5, 0.5)]


def test_integrator_leaks_and_never_fires():
    assert run(Integrator(HALF, dt=1.0), [4.0, 0.0, 2.0]) == [(4, 4), (2, 2), (3, 3)]
    # rest 1, r 1/2:  1 + 0 + 1 = 2;  1 + 1/2 = 1.5;  1 + 0.25 - 0.5 = 0.75
    assert run(Integrator(HALF, dt=1.0, v_leak=1.0, r=0.5), [2.0, 0.0, -1.0]) == [(2, 2), (1.5, 1.5), (0.75, 0.75)]


def test_izhikevich_in_steps_of_a_millisecond():
    # v = -65, u = 0.2 v = -13:  0.04 v^2 + 5 v + 140 - u = 169 - 325 + 140 + 13 = -3
    # x = 100:  v = -65 - 3 + 100 = 32, a spike: v = -65, u = -13 + 8 = -5
    # x = 0:    v = -65 + 169 - 325 + 140 + 5 = -76,   u = -5 + 0.02 (-13 + 5) = -5.16
    rows = run(Izhikevich(dt=0.001), [100.0, 0.0])
    assert rows[0] == pytest.approx((1, -65, -5))
    assert rows[1] == pytest.approx((0, -76, -5.16))


def test_half_a_step_of_izhikevich_is_half_the_change():
    # -3 mV a millisecond
    assert run(Izhikevich(dt=0.0005), [0.0])[0] == pytest.approx((0, -66.5, -13))


def test_recurrent_feeds_spikes_back_one_step_later():
    # weight 1/2 on the layer's own spikes, decay 1/2
    #    x     fed back   charged                        spike    v
    # 1.00     0          1                              1      0
    # 0.25     0.5        0.75                           0      0.75
    # 0.75     0          0.375 + 0.75        = 1.125    1      0
    # 0.50     0.5        1                              1      0
    # 0.00     0.5        0.5                            0      0.5
    weight = torch.nn.Linear(1, 1, bias=False).double()

    torch.nn.init.constant_(weight.weight, 0.5)
    layer = Recurrent(LIF(HALF, dt=1.0), weight)
    x = torch.tensor([1.0, 0.25, 0.75, 0.5, 0.0], dtype=torch.float64).reshape(-1, 1, 1)
    spikes, state = layer(x)

    assert spikes.flatten().tolist() == [1, 0, 1, 1, 0]
    assert state.layer.v.item() == 0.5
    assert state.y.item() == 0


def test_recurrent_mixes_neurons_by_its_matrix():
    # neuron 0 fires at once and excites neuron 1 by 1, which inhibits neuron 0 by -1 one step later
    weight = torch.nn.Linear(2, 2, bias=False)
    weight.weight.data = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    spikes, _ = Recurrent(Memoryless(), weight)(torch.tensor([[1.0, 0.0]]).expand(4, 1, 2))

    # step 2: neuron 0 sees 1, neuron 1 sees 1;  step 3: neuron 0 sees 1 - 1;  step 4: 1 - 1 (neuron 1 fired at 3)
    assert spikes[:, 0].tolist() == [[1, 0], [1, 1], [0, 1], [0, 0]]


@pytest.mark.parametrize("detach_reset", [False, True])
def test_the_gradient_through_a_reset(detach_reset):
    # v = 1.5 fires; the next membrane is u = (v - s v) / 2, so du / dv = (1 - s - v s') / 2
    # s' of the arctan at distance 0.5 is 1 / (1 + (pi / 2)^2)
    x = torch.tensor([1.5, 0.0]).reshape(2, 1, 1).requires_grad_()
    _, state = LIF(HALF, dt=1.0, detach_reset=detach_reset)(x)
    state.v.sum().backward()
    expected = 0.0 if detach_reset else -1.5 / (1 + (math.pi / 2) ** 2) / 2

    # the membrane of 0 at the second step is a whole threshold away from firing, which adds nothing as it is 0
    assert x.grad[0].item() == pytest.approx(expected, abs=1e-6)


def test_a_step_function_takes_a_value_a_neuron():
    x = torch.ones(1, 2)
    v = torch.zeros(1, 2)
    two = torch.tensor([0.5, 2.0])

    assert lif_step(x, LIFState(v), decay=0.5, v_threshold=two)[0].tolist() == [[1, 0]]

    adaptive = adaptive_lif_step(x, AdaptiveLIFState(v, v), decay=0.5, decay_adaptation=0.5, v_threshold=two)
    assert adaptive[0].tolist() == [[1, 0]]
    assert cuba_lif_step(x, CubaLIFState(v, v), decay=0.5, decay_syn=0.5, v_threshold=two)[0].tolist() == [[1, 0]]
    assert integrator_step(x, IntegratorState(v), decay=0.5, r=two)[0].tolist() == [[0.5, 2]]

    fires = izhikevich_step(x * 100, IzhikevichState(v - 65, v - 13), dt_ms=1.0, v_threshold=two * 30)
    assert fires[0].tolist() == [[1, 0]]


def test_a_membrane_without_reset_keeps_its_value():
    assert run(LIF(HALF, dt=1.0, reset="none"), [1.5, 0.5, 0.0]) == [(1, 1.5), (1, 1.25), (0, 0.625)]
