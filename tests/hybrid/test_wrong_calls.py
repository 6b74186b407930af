"""Wrong calls that people make: each is one of our errors, which names what is wrong, what came and what to do.

A row is a call and what its message has to say. Raw errors of torch or Python, which name no part, do not count.
"""

# ruff: noqa: E501

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import SpikebridgeError
from spikebridge.hybrid import (
    FIR,
    Alpha,
    Bernoulli,
    Burst,
    Count,
    Difference,
    Exponential,
    FirstSpike,
    Gaussian,
    Hold,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    PhaseCode,
    SignedDelta,
    Since,
    Sliding,
    SpikingLayer,
    Sum,
    Threshold,
    ThresholdModulation,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import (
    IF,
    LIF,
    PLIF,
    AdaptiveLIF,
    Arctan,
    CubaLIF,
    Effect,
    Integrator,
    Izhikevich,
    Memoryless,
    Recurrent,
    Sequential,
)
from spikebridge.neurons.dt import bind_dt

T = Transmission
X = {"x": every(0.001)}


def net(part: Any = None, *links: Any, **changes: Any) -> HybridNetwork:
    """One input x, one part p, as changed."""
    settings: dict[str, Any] = {
        "dt": 0.001,
        "inputs": X,
        "parts": {"p": nn.Identity() if part is None else part},
        "links": list(links) or [T("x", "p")],
        "outputs": ["p"],
    }
    return HybridNetwork(**{**settings, **changes})


def two(*links: Any, a: Any = None, b: Any = None, **changes: Any) -> HybridNetwork:
    """One input x, two parts a and b."""
    parts = {"a": a or nn.Identity(), "b": b or nn.Identity()}
    return net(None, *(links or (T("x", "a"), T("a", "b"))), **{"parts": parts, "outputs": ["b"], **changes})


def run(part: Any = None, x: Any = None, *links: Any, **changes: Any) -> Any:
    return net(part, *links, **changes)({"x": torch.ones(4, 2, 3) if x is None else x})


class Flat(nn.Module):
    """Drops the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0)


class Scalar(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum()


class Add(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Pair(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return x, x


class Text(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return "spikes"


def ones(*shape: int, **kind: Any) -> Tensor:
    return torch.ones(*shape, **kind)


lif = LIF(dt=0.001)
CALLS: list[tuple[str, Callable[[], Any], str]] = [
    # clocks
    ("a rate as text", lambda: every("40 Hz"), r"every takes a period in seconds.*'40 Hz'.*every\(1 / 40\)"),
    ("a period as text", lambda: every("0.001"), r"every takes a period in seconds.*'0\.001'"),
    ("no period", lambda: every(None), r"every takes a period in seconds.*None"),
    ("a list as period", lambda: every([0.001]), r"every takes a period in seconds"),
    ("a flag as period", lambda: every(True), r"every takes a period in seconds.*True"),
    ("period zero", lambda: every(0), r"a period > 0 s"),
    ("a negative period", lambda: every(-0.1), r"a period > 0 s.*-0\.1"),
    ("a phase as text", lambda: every(0.1, "0"), r"phase in seconds.*'0'"),
    ("a negative phase", lambda: every(0.1, -0.1), r"a phase >= 0 s"),
    ("a period below the base step", lambda: net(inputs={"x": every(0.0001)}), r"'x' is 0\.0001 s.*for example dt=0\.0001"),
    ("a period that dt does not divide", lambda: net(inputs={"x": every(1 / 240)}), r"'x'.*4\.16667 base steps.*for example dt="),
    ("a phase that dt does not divide", lambda: net(inputs={"x": every(0.002, 0.0005)}), r"the phase of 'x'.*0\.5 base"),
    ("a number as clock", lambda: net(inputs={"x": 0.001}), r"the clock of 'x' is given as every\(seconds\).*every\(0\.001\)"),
    ("a text as clock", lambda: net(inputs={"x": "1 kHz"}), r"the clock of 'x' is given as every\(seconds\)"),
    ("inputs as a list", lambda: net(inputs=["x"]), r"inputs.*\{'x': every\(0\.001\)\}.*list"),
    ("inputs as one clock", lambda: net(inputs=every(0.001)), r"inputs.*mapping.*Every"),
    ("no inputs", lambda: net(inputs={}), r"the source of the link 'x' -> 'p' is no signal"),
    ("a declared clock as number", lambda: net(clocks={"p": 0.001}), r"the clock of 'p' is given as every"),
    ("declared clocks as list", lambda: net(clocks=[every(0.001)]), r"clocks.*mapping.*list"),
    ("a clock of no part", lambda: net(clocks={"q": every(0.001)}), r"a clock is declared for 'q'"),
    ("a base step of zero", lambda: net(dt=0), r"a base step dt > 0 s"),
    ("a base step as text", lambda: net(dt="1 ms"), r"a base step dt > 0 s, but got '1 ms'"),
    ("no base step", lambda: net(dt=None), r"a base step dt > 0 s, but got None"),
    ("a base step as tensor", lambda: net(dt=ones(2)), r"a base step dt > 0 s"),
    ("an unlike clock", lambda: two(T("x", "a"), T("a", "b"), clocks={"b": every(0.004)}), r"brings a value every 1 ticks.*Tumbling\(4\)"),
    ("an unknown clock", lambda: two(T("x", "a"), T("a", "b", held=True)), r"the clock of 'b' is not known.*clocks="),
    # parts
    ("a class as part", lambda: net(nn.Identity, T("x", "p")), r"part 'p' .*the class Identity.*Identity\(\.\.\.\)"),
    ("a function as part", lambda: net(torch.relu), r"part 'p' needs to be a module"),
    ("a text as part", lambda: net("lif"), r"part 'p' needs to be a module, but is .*'lif'"),
    ("a list of layers as part", lambda: net([nn.Identity()]), r"part 'p' needs to be a module.*list.*Sequential"),
    ("parts as a list", lambda: net(parts=[nn.Identity()]), r"parts.*mapping.*list"),
    ("one module as parts", lambda: net(parts=nn.Identity()), r"parts.*mapping.*Identity"),
    ("a name that is a number", lambda: net(parts={1: nn.Identity()}), r"a part cannot be called 1"),
    ("a name with a dot", lambda: net(parts={"a.b": nn.Identity()}), r"a part cannot be called 'a\.b'"),
    ("a spiking layer in a plain container", lambda: net(nn.Sequential(lif)), r"'p' is a plain Sequential.*neurons\.Sequential"),
    ("a part without an input", lambda: two(T("x", "a")), r"part 'b' has no input"),
    ("a recurrent layer of torch", lambda: run(nn.LSTM(3, 3)), r"part .p. would run torch.s LSTM without memory.*neurons\.Memory"),
    ("an input and a part of one name", lambda: net(parts={"x": nn.Identity()}, outputs=["x"]), r"inputs and parts need different names"),
    # links
    ("a link without brackets", lambda: net(links=T("x", "p")), r"links.*Transmission.*links=\[\.\.\.\]"),
    ("links as text", lambda: net(links="x -> p"), r"links.*'x -> p'"),
    ("links as dict", lambda: net(links={"x": "p"}), r"links.*dict"),
    ("a pair as link", lambda: net(None, ("x", "p")), r"a link is a Transmission, a Modulation, an Initialisation or a Wake, but got the tuple"),
    ("a class as link", lambda: net(None, Transmission), r"a link is a Transmission, a Modulation, an Initialisation or a Wake"),
    ("a module as source", lambda: T(nn.Identity(), "p"), r"source.*name.*Identity"),
    ("a module as target", lambda: T("x", nn.Identity()), r"target.*name.*Identity"),
    ("no source", lambda: T(None, "p"), r"source.*name.*None"),
    ("a misspelt source", lambda: net(None, T("xx", "p")), r"'xx' -> 'p' is no signal: did you mean 'x'"),
    ("a misspelt target", lambda: net(None, T("x", "pp")), r"leads to no part: did you mean 'p'"),
    ("a module in the place of a unit", lambda: T("x", "p", nn.Linear(3, 3)), r"HybridUnit.*Linear.*HybridUnit\(None, None, "),
    ("a kernel in the place of a unit", lambda: T("x", "p", Mean()), r"HybridUnit.*Mean.*HybridUnit\(None, Mean"),
    ("a window in the place of a unit", lambda: T("x", "p", Tumbling(2)), r"HybridUnit.*Tumbling.*HybridUnit\(Tumbling"),
    ("a class in the place of a unit", lambda: T("x", "p", HybridUnit), r"HybridUnit.*the class HybridUnit"),
    ("a bare delay", lambda: T("x", "p", delay=1), r"delay=1: write ticks\(1\) or seconds"),
    ("a delay as text", lambda: T("x", "p", delay="1 ms"), r"delay in seconds.*'1 ms'"),
    ("a negative delay", lambda: T("x", "p", delay=-0.1), r"delay in seconds, 0 or more.*-0\.1"),
    ("a delay that dt does not divide", lambda: net(None, T("x", "p", delay=0.0015)), r"the delay of the link.*1\.5 base"),
    ("ticks as float", lambda: ticks(1.0), r"ticks needs an integer.*1\.0"),
    ("held as text", lambda: T("x", "p", held="yes"), r"held=True or False.*'yes'"),
    ("into as number", lambda: T("x", "p", into=1), r"into=.*name.*1"),
    ("into with a space", lambda: T("x", "p", into="a b"), r"into=.*'a b'"),
    ("initial as text", lambda: T("x", "p", initial="zero"), r"initial=.*'zero'"),
    ("initial as list", lambda: T("x", "p", initial=[0.0]), r"initial=.*\[0\.0\].*torch\.tensor"),
    ("an unknown context", lambda: net(None, T("x", "p", HybridUnit(None, None, Add()), context="y")), r"the context of"),
    ("a context without nonlinearity", lambda: T("x", "p", HybridUnit(), context="x"), r"no nonlinearity"),
    ("a name with a dot", lambda: net(None, T("x", "p", name="a.b")), r"a link needs a name.*'a\.b'"),
    ("a name that is a number", lambda: T("x", "p", name=3), r"name=.*text.*3"),
    ("two links of one name", lambda: two(T("x", "a", name="n"), T("a", "b", name="n")), r"a link needs a name.*'n'"),
    ("parallel links", lambda: net(Add(), T("x", "p"), T("x", "p")), r"two links lead from 'x' to 'p'.*name="),
    ("an input that nothing reads", lambda: net(inputs={**X, "y": every(0.001)}), r"input 'y' .*read"),
    ("a loop without delay", lambda: two(T("x", "a"), T("b", "a"), T("a", "b"), a=Add()), r"loop without a delay.*ticks\(1\)"),
    ("a modulation without quantity", lambda: Modulation("x", "p"), r"path to a quantity.*'p'"),
    ("a modulation of nothing", lambda: net(lif, T("x", "p"), Modulation("x", "p.threshold", name="m")), r"no quantity 'threshold'.*'v_threshold'"),
    ("a modulation that divides", lambda: Modulation("x", "p.tau", by="divide"), r"add, multiply, replace.*'divide'"),
    ("a modulation by list", lambda: Modulation("x", "p.tau", by=["add"]), r"add, multiply, replace"),
    ("a modulation alone", lambda: net(lif, Modulation("x", "p.tau")), r"part 'p' has no input; add a Transmission"),
    ("too many signals", lambda: net(None, T("x", "p", name="1st"), T("x", "p", name="2nd")), r"part 'p' bring 2 signals"),
    ("too few signals", lambda: net(Add()), r"part 'p' bring 1 signals"),
    ("an unknown argument", lambda: net(Add(), T("x", "p", name="n"), T("x", "p", into="z")), r"part 'p' bring.*\['z'\]"),
    ("a transmission to a quantity", lambda: net(lif, T("x", "p"), T("x", "p", into="tau", name="n")), r"Modulation\(\.\.\., 'p\.tau'"),
    # outputs
    ("an output as text", lambda: net(outputs="p"), r"\['p'\]"),
    ("an unknown output", lambda: net(outputs=["q"]), r"the output 'q' is not a part"),
    ("an input as output", lambda: net(outputs=["x"]), r"the output 'x' is not a part"),
    ("no outputs", lambda: net(outputs=None), r"outputs is a list of parts, but got None"),
    ("a module as output", lambda: net(outputs=[nn.Identity()]), r"the output .* is not a part"),
    # steps
    ("a neuron of another step", lambda: net(LIF(dt=0.002)), r"runs every 0\.001 s, but its LIF has dt=0\.002"),
    ("a neuron without a step", lambda: LIF()(ones(1, 1, 1)), r"LIF depends on dt"),
    ("a kernel without a step", lambda: HybridUnit(None, Alpha(0.1))(ones(1, 1, 1)), r"Alpha depends on dt"),
    # calls of a network
    ("one tensor as inputs", lambda: net()(ones(4, 2, 3)), r"inputs by name.*\{'x': \.\.\.\}.*Tensor"),
    ("a list as inputs", lambda: net()([ones(4, 2, 3)]), r"inputs by name.*list"),
    ("a list as signal", lambda: run(x=[1.0, 2.0]), r"input 'x' needs a signal \(T, B, \*N\).*list"),
    ("an array as signal", lambda: run(x=ones(4, 2, 3).numpy()), r"input 'x' needs a signal.*ndarray.*torch\.from_numpy"),
    ("a signal without batch", lambda: run(x=ones(4)), r"input 'x' needs a signal \(T, B, \*N\), but got \(4,\)"),
    ("complex numbers", lambda: run(x=ones(4, 2, 3, dtype=torch.complex64)), r"input 'x' .*complex64"),
    ("a missing input", lambda: net()({}), r"'x' is missing"),
    ("an unknown input", lambda: net()({"x": ones(4, 2, 3), "y": ones(4, 2, 3)}), r"there is no input 'y'"),
    ("values that are not numbers", lambda: run(x=ones(4, 2, 3) * torch.nan), r"input 'x' has 24 values that are not finite"),
    ("ticks of half", lambda: net()({"x": ones(4, 2, 3)}, ticks=1.5), r"ticks must be an integer.*1\.5"),
    ("more ticks than samples", lambda: net()({"x": ones(4, 2, 3)}, ticks=5), r"'x' has 5 samples in the 5 ticks.*4 were given"),
    ("outputs and state as state", lambda: net()({"x": ones(4, 2, 3)}, net()({"x": ones(4, 2, 3)})), r"not NetworkState; it looks like \(output, state\): give its second item"),
    ("outputs as state", lambda: net()({"x": ones(4, 2, 3)}, {"p": ones(1)}), r"got dict as its state, not NetworkState"),
    ("a state of another network", lambda: net()({"x": ones(4, 2, 3)}, two()({"x": ones(4, 2, 3)})[1]), r"state is of another network"),
    ("a tick number as state", lambda: net()({"x": ones(4, 2, 3)}, 4), r"got int as its state, not NetworkState"),
    ("another batch", lambda: net()({"x": ones(4, 5, 3)}, net()({"x": ones(4, 2, 3)})[1]), r"'x' has a batch of 5, but the stream has 2"),
    ("batch first", lambda: net(Add(), T("x", "p"), T("y", "p", held=True), inputs={**X, "y": every(0.004)})({"x": ones(3, 24, 2), "y": ones(3, 6, 2)}), r"batch of 6, but.*24.*time first, \(T, B, \*N\).*transpose\(0, 1\)"),
    ("other neurons", lambda: net()({"x": ones(4, 2, 5)}, net()({"x": ones(4, 2, 3)})[1]), r"needs a signal \(T, 2, 3\).*\(4, 2, 5\)"),
    ("another dtype", lambda: net()({"x": ones(4, 2, 3).double()}, net()({"x": ones(4, 2, 3)})[1]), r"torch\.float64.*torch\.float32"),
    ("a step with time", lambda: net().step({"x": ones(1, 2, 3)}, net()({"x": ones(1, 2, 3)})[1]), r"input 'x' needs a signal"),
    ("a step of an unknown input", lambda: net().step({"y": ones(2, 3)}, net()({"x": ones(1, 2, 3)})[1]), r"there is no input 'y'"),
    ("a step of a list", lambda: net().step({"x": [1.0]}), r"input 'x'.*list"),
    ("a clock of nothing", lambda: net().clock_of("q"), r"there is no signal 'q'"),
    # parts that do not fit
    ("a part of the wrong width", lambda: run(nn.Linear(9, 2)), r"part 'p'.*Linear\(in_features=9.*\(3,\)"),
    ("a wrong width inside", lambda: run(Sequential(a=nn.Linear(3, 4), b=nn.Linear(5, 2))), r"part 'p'.*in_features=5.*'b' got \(4,\)"),
    ("a wrong width behind neurons", lambda: run(Sequential(a=nn.Linear(3, 4), l=IF(), b=nn.Linear(5, 2))), r"part 'p'.*in_features=5.*'b' got \(4,\)"),
    ("wrong channels", lambda: run(nn.Conv2d(2, 4, 3), ones(4, 2, 1, 8, 8)), r"part 'p'.*Conv2d\(2, 4.*\(1, 8, 8\)"),
    ("a picture that is too small", lambda: run(nn.Conv2d(1, 4, 5), ones(4, 2, 1, 3, 3)), r"part 'p'.*Conv2d\(1, 4.*\(1, 3, 3\)"),
    ("a wrong width of a second part", lambda: two(a=nn.Linear(3, 4), b=nn.Linear(5, 2))({"x": ones(4, 2, 3)}), r"part 'b'.*in_features=5.*\(4,\)"),
    ("a wrong width of a unit", lambda: run(None, None, T("x", "p", HybridUnit(None, None, nn.Linear(9, 2)))), r"the unit of the link 'x' -> 'p'.*in_features=9.*\(3,\)"),
    ("doubles into a float part", lambda: run(nn.Linear(3, 2), ones(4, 2, 3).double()), r"part 'p'.*float32.*float64.*\.float\(\)"),
    ("doubles into a float part inside", lambda: run(Sequential(a=nn.Linear(3, 2), l=IF()), ones(4, 2, 3).double()), r"part 'p'.*float32.*float64"),
    ("floats into a double part", lambda: run(nn.Linear(3, 2).double()), r"part 'p'.*float64.*float32"),
    ("a part that drops the batch", lambda: run(Flat()), r"part 'p'.*Flat was given.*rows.*it must keep the first axis"),
    ("a part that gives one number", lambda: run(Scalar()), r"part 'p'.*Scalar.*must keep the first axis"),
    ("a part that gives a tuple", lambda: run(Pair()), r"part 'p'.*tuple"),
    ("a part that gives text", lambda: run(Text()), r"part 'p'.*str"),
    ("signals that cannot be added", lambda: net(Add(), T("x", "p"), T("y", "p"), inputs={**X, "y": every(0.001)})({"x": ones(4, 2, 3), "y": ones(4, 2, 5)}), r"part 'p'.*\(3,\).*\(5,\)"),
    ("an initial value of another shape", lambda: run(None, None, T("x", "p", delay=ticks(1), initial=ones(5))), r"initial value of shape \(5,\).*\(3,\)"),
    ("an in-place part", lambda: run(nn.ReLU(inplace=True)), r"part 'p'.*inplace=False"),
    ("floats as trigger of a part", lambda: two(T("x", "a"), T("x", "b", HybridUnit(Since("a"), Sum(keep=True))))({"x": ones(4, 2, 3)}), r"trigger 'a'.*floats"),
    # neurons
    ("beta of snnTorch", lambda: LIF(beta=0.9, dt=0.001), r"LIF has no 'beta'.*tau.*-dt / log\(beta\).*0\.00949"),
    ("beta of an integrator", lambda: Integrator(beta=0.9, dt=0.001), r"Integrator has no 'beta'.*tau"),
    ("beta of the others", lambda: CubaLIF(beta=0.9), r"CubaLIF has no 'beta'.*tau"),
    ("alpha of snnTorch", lambda: CubaLIF(alpha=0.9), r"CubaLIF has no 'alpha'.*tau_syn"),
    ("threshold of snnTorch", lambda: LIF(threshold=1.0), r"LIF has no 'threshold'.*v_threshold"),
    ("reset_mechanism of snnTorch", lambda: LIF(reset_mechanism="zero"), r"LIF has no 'reset_mechanism'.*reset="),
    ("spike_grad of snnTorch", lambda: LIF(spike_grad=None), r"LIF has no 'spike_grad'.*surrogate="),
    ("learn_beta of snnTorch", lambda: LIF(learn_beta=True), r"LIF has no 'learn_beta'.*learn="),
    ("init_hidden of snnTorch", lambda: LIF(init_hidden=True), r"LIF has no 'init_hidden'.*state"),
    ("tau_mem of others", lambda: LIF(tau_mem=0.02), r"LIF has no 'tau_mem'.*tau"),
    ("v_th of others", lambda: IF(v_th=1.0), r"IF has no 'v_th'.*v_threshold"),
    ("surrogate_function of SpikingJelly", lambda: LIF(surrogate_function=None), r"LIF has no 'surrogate_function'.*surrogate="),
    ("step_mode of SpikingJelly", lambda: LIF(step_mode="m"), r"LIF has no 'step_mode'.*time first"),
    ("a word of nobody", lambda: LIF(colour="red"), r"LIF has no 'colour'"),
    ("a misspelt quantity", lambda: LIF(v_treshold=1.0), r"LIF has no 'v_treshold'; did you mean 'v_threshold'"),
    ("tau as text", lambda: LIF("20 ms"), r"LIF needs tau as a number.*'20 ms'"),
    ("tau in milliseconds", lambda: LIF(-20), r"tau > 0 s.*-20"),
    ("tau as a list", lambda: LIF([0.02]), r"LIF needs tau as a number or a tensor.*\[0\.02\].*torch\.tensor"),
    ("a threshold as integers", lambda: IF(v_threshold=torch.ones(3, dtype=torch.int64)), r"v_threshold as floating"),
    ("a reset in other words", lambda: IF(reset="hard"), r"reset='zero'.*'hard' is now 'zero'"),
    ("a reset as list", lambda: IF(reset=["zero"]), r"reset='zero'.*\['zero'\]"),
    ("a surrogate as class", lambda: IF(surrogate=Arctan), r"surrogate.*the class Arctan.*Arctan\(\.\.\.\)"),
    ("a surrogate as text", lambda: IF(surrogate="arctan"), r"surrogate.*'arctan'"),
    ("a surrogate of a memoryless neuron", lambda: Memoryless(surrogate="arctan"), r"surrogate.*'arctan'"),
    ("a refractory time as text", lambda: IF(refractory="2 ms"), r"refractory time >= 0 s.*'2 ms'"),
    ("an unknown quantity to learn", lambda: LIF(learn="beta"), r"cannot learn 'beta'"),
    ("a number to learn", lambda: LIF(learn=True), r"learn=.*names.*True"),
    ("a step as text", lambda: PLIF(dt="1 ms"), r"dt > 0 s.*'1 ms'"),
    ("a negative width", lambda: Arctan(width=-1.0), r"width > 0"),
    ("a width as text", lambda: Arctan(width="1"), r"width > 0.*'1'"),
    ("spikes as flags into a neuron", lambda: lif(ones(4, 2, 3, dtype=torch.bool)), r"LIF needs a floating signal.*bool"),
    ("a signal without time", lambda: lif(ones(3)), r"LIF needs a signal \(T, B, \*N\)"),
    ("a list into a neuron", lambda: lif([1.0, 2.0]), r"LIF needs a signal.*list"),
    ("a threshold of another layer", lambda: IF(v_threshold=ones(4))(ones(2, 2, 3)), r"v_threshold of shape \(4,\).*\(3,\)"),
    ("an unknown modulation", lambda: lif(ones(4, 2, 3), beta=0.9), r"LIF has no quantity 'beta'"),
    ("a modulation of no quantity type", lambda: lif(ones(4, 2, 3), tau="0.02"), r"a number, a tensor or an Effect for tau"),
    ("an effect of a number", lambda: Effect(0.5), r"a modulating signal is a tensor"),
    ("an effect that divides", lambda: Effect(ones(1, 1), "divide"), r"add, multiply, replace"),
    ("layers as a list", lambda: Sequential([nn.Linear(3, 3), IF()]), r"Sequential needs modules.*list.*Sequential\(\*layers\)"),
    ("a class as layer", lambda: Sequential(nn.Linear(3, 3), IF), r"'1'.*the class IF.*IF\(\.\.\.\)"),
    ("a layer under a method's name", lambda: Sequential(forward=IF()), r"a layer cannot be called 'forward'"),
    ("an unknown layer's modulation", lambda: Sequential(l=IF())(ones(1, 1, 1), **{"m.r": 2.0}), r"no layer 'm'"),
    ("a class in a loop", lambda: Recurrent(IF, nn.Linear(3, 3)), r"Recurrent needs a Stateful layer.*the class IF"),
    ("a spiking weight", lambda: Recurrent(IF(), IF()), r"a plain module as its weight"),
    ("a recurrent weight that does not fit", lambda: Recurrent(IF(), nn.Linear(3, 2))(ones(2, 2, 3)), r"Recurrent's weight gives \(2, 2\)"),
    ("a negative adaptation", lambda: AdaptiveLIF(tau_adaptation=-0.1), r"tau_adaptation > 0 s.*0\.1"),
    ("a recovery of zero", lambda: Izhikevich(a=0.0), r"Izhikevich needs a > 0"),
    # units
    ("a class as window", lambda: HybridUnit(Tumbling, Mean()), r"window.*the class Tumbling.*Tumbling\(\.\.\.\)"),
    ("a class as kernel", lambda: HybridUnit(Tumbling(2), Mean), r"kernel.*the class Mean.*Mean\(\.\.\.\)"),
    ("a number as window", lambda: HybridUnit(4, Mean()), r"window.*4.*Tumbling\(4\)"),
    ("a text as window", lambda: HybridUnit("tumbling"), r"window is a Window, but got 'tumbling'"),
    ("a kernel in the window's place", lambda: HybridUnit(Mean()), r"window is a Window, but got .*Mean.*kernel="),
    ("a module in the window's place", lambda: HybridUnit(nn.Linear(3, 3)), r"window is a Window.*Linear.*nonlinearity="),
    ("a function as nonlinearity", lambda: HybridUnit(None, None, torch.relu), r"nonlinearity is a Module, but got .*relu"),
    ("a spiking nonlinearity", lambda: HybridUnit(None, None, lif), r"nonlinearity has no state.*SpikingLayer"),
    ("a spiking discretizer", lambda: HybridUnit(None, None, None, lif), r"discretizer is a Discretizer.*SpikingLayer\("),
    ("a class in a spiking layer", lambda: SpikingLayer(IF), r"SpikingLayer needs a Stateful layer.*the class IF"),
    ("a window of floats", lambda: Tumbling(2.0), r"Tumbling needs its length as an integer.*2\.0"),
    ("a window of zero", lambda: Hold(0), r"Hold needs its length.*at least 1.*0"),
    ("a stride that is too long", lambda: Sliding(2, 3), r"stride <= length"),
    ("a trigger that is a number", lambda: Since(4), r"Since needs the name of a signal.*4"),
    ("a trigger that is not there", lambda: net(None, T("x", "p", HybridUnit(Since("y"), Sum(keep=True)))), r"the trigger of.*no signal"),
    ("overlapping windows that keep", lambda: HybridUnit(Sliding(4), Mean(keep=True)), r"overlapping windows have no kept steps"),
    ("a count without a window", lambda: HybridUnit(None, None, None, Count()), r"Count reduces.*without a window"),
    ("a hold that is reduced", lambda: HybridUnit(Hold(4), Mean()), r"Hold makes steps of one value"),
    ("spikes of kept values", lambda: HybridUnit(Tumbling(4), None, None, Burst()), r"Burst makes the spikes of one value"),
    ("a time constant of zero", lambda: Exponential(0.0, dt=0.001), r"Exponential needs tau > 0 s"),
    ("a time constant as text", lambda: Alpha("10 ms"), r"Alpha needs tau as a number.*'10 ms'"),
    ("a kernel that sees the future", lambda: Gaussian(-0.1, 0.1), r"Gaussian needs delay >= 0 s"),
    ("taps of half", lambda: FIR(2.5), r"FIR needs num_taps as an integer"),
    ("a lag of zero", lambda: Difference(0), r"Difference needs its lag"),
    ("a seed as text", lambda: Bernoulli("0"), r"Bernoulli needs an integer"),
    ("a quantum of zero", lambda: SignedDelta(0.0), r"SignedDelta needs quantum > 0"),
    ("a quantum as text", lambda: SignedDelta("0.1"), r"SignedDelta needs quantum > 0.*'0\.1'"),
    ("a threshold as text", lambda: Threshold("1"), r"Threshold needs v_threshold as a number"),
    ("a surrogate of a threshold", lambda: Threshold(surrogate=Arctan), r"surrogate.*the class Arctan"),
    ("a surrogate of a code", lambda: PhaseCode(surrogate="arctan"), r"surrogate.*'arctan'"),
    ("keep as text", lambda: Sum(keep="last"), r"keep=True or False.*'last'"),
    ("a unit on flags", lambda: HybridUnit(None, Sum(keep=True))(ones(4, 2, 3, dtype=torch.bool)), r"a hybrid unit needs a signal of floats"),
    ("a unit on a list", lambda: HybridUnit()([1.0]), r"a hybrid unit needs a signal of floats.*list"),
    ("a unit that triggers alone", lambda: HybridUnit(Since("x"), Sum(keep=True))(ones(4, 2, 3)), r"needs starts="),
    ("starts without a trigger", lambda: HybridUnit()(ones(4, 2, 3), starts=[True] * 4), r"starts= says where windows of Since"),
    ("a context without a map", lambda: HybridUnit()(ones(4, 2, 3), context=ones(4, 2, 3)), r"a context is for the nonlinearity"),
    ("a unit's output that expands later", lambda: net(None, T("x", "p", HybridUnit(Tumbling(3), Mean(), None, FirstSpike()))).clock_of("q"), r"no signal 'q'"),
    ("a clock that a hold does not divide", lambda: net(None, T("x", "p", HybridUnit(Hold(2)))), r"gives 2 values every 1 base ticks"),
    ("a negative closing", lambda: ThresholdModulation(-1.0), r"v_t > 0"),
    ("a closing as text", lambda: ThresholdModulation("1"), r"v_t > 0.*'1'"),
    # recurrent layers, states and signals of another kind
    ("a recurrent cell in a row", lambda: net(nn.Sequential(nn.Linear(3, 3), nn.GRUCell(3, 3))), r"GRUCell at '1' without memory"),
    ("a recurrent cell as nonlinearity", lambda: HybridUnit(None, None, nn.RNNCell(3, 3)), r"RNNCell without memory"),
    ("numbers in a list as thresholds", lambda: lif(ones(3, 1, 1), v_threshold=[1.0, 2.0]), r"LIF takes a number, a tensor or an Effect for v_threshold, but got \[1\.0, 2\.0\]"),
    ("numbers in a list as a weight", lambda: Sequential(fc=nn.Linear(3, 3))(ones(3, 1, 3), **{"fc.weight": [1.0]}), r"modulated by a number, a tensor or an Effect, but got \[1\.0\]"),
    ("an array of flags", lambda: HybridUnit(Since("f"), Sum(keep=True))(ones(2, 1, 1), starts=(ones(2) > 0).numpy()), r"starts needs flags.*ndarray"),
    ("integers as flags", lambda: HybridUnit(Since("f"), Sum(keep=True))(ones(2, 1, 1), starts=[1, 0]), r"starts needs True, False.*got the list \[1, 0\]"),
    ("flags of another batch", lambda: HybridUnit(Since("f"), Sum(keep=True))(ones(2, 1, 1), starts=[True, ones(3) > 0]), r"flags \(1,\) a step, but got"),
    ("a nested signal", lambda: run(x=torch.nested.nested_tensor([ones(3, 2)], layout=torch.jagged)), r"input 'x' needs a signal.*nested.*to_padded_tensor"),
    ("a nested signal of a layer", lambda: lif(torch.nested.nested_tensor([ones(3, 2)], layout=torch.jagged)), r"LIF needs a signal.*nested"),
    ("integers into weights", lambda: run(nn.Linear(3, 3), ones(4, 2, 3, dtype=torch.int64)), r"keeps torch\.float32.*\.double\(\)\)$"),
    ("a signal without batch into weights", lambda: run(nn.Linear(3, 3), ones(4, 3)), r"lacks the batch: give x\.unsqueeze\(1\)"),
    ("a smaller batch with a state", lambda: net()({"x": ones(4, 1, 3)}, net()({"x": ones(4, 2, 3)})[1]), r"batch of 1, but the stream has 2.*neurons\.select"),
    ("the batch first with a state", lambda: net()({"x": ones(2, 4, 3)}, net()({"x": ones(4, 2, 3)})[1]), r"batch of 4, but the stream has 2|transpose"),
    ("two inputs of unlike length", lambda: net(Add(), T("x", "p"), T("y", "p"), inputs={**X, "y": every(0.001)})({"x": ones(4, 2, 3), "y": ones(5, 2, 3)}), r"'y' has 4 samples.*5 were given; the shortest input is 'x', whose 4 last to tick 3"),
    ("a period of four digits", lambda: net(inputs={"x": every(0.0333)}), r"33\.3 base steps.*for example dt=0\.0001$"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "says"), [pytest.param(call, says, id=name) for name, call, says in CALLS])
def test_a_wrong_call_says_what_to_do(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(SpikebridgeError, match=rf"(?s){says}"):
        call()


@pytest.mark.parametrize("kept", ["part", "unit"])
def test_a_state_made_in_inference_mode_names_the_mode_in_training(kept: str) -> None:
    unit = HybridUnit(None, Exponential(0.01, keep=True, learn="tau")) if kept == "unit" else None
    part = Sequential(fc=nn.Linear(3, 3), lif=PLIF()) if kept == "part" else nn.Linear(3, 3)
    network = net(part, T("x", "p", unit))
    x = {"x": ones(4, 2, 3)}
    with torch.inference_mode():
        _, state = network(x)

    with pytest.raises(SpikebridgeError, match=r"made in torch\.inference_mode\(\).*no_grad"):
        network(x, state)

    with torch.no_grad():
        _, state = network(x)
    network(x, state)[0]["p"].sum().backward()


def test_a_training_stream_shorter_than_a_window_is_warned_of() -> None:
    network = two(T("x", "a"), T("a", "b", HybridUnit(Tumbling(10), Mean())))
    with pytest.warns(
        UserWarning, match=r"the 4 ticks .* too short for a value of 'b'.* closes at tick 9; give 10 ticks"
    ):
        network({"x": ones(4, 2, 3)})

    network({"x": ones(10, 2, 3)})
    network.eval()({"x": ones(4, 2, 3)})


def test_there_are_enough_of_them() -> None:
    assert len(CALLS) >= 150


def test_every_advice_on_a_step_can_be_followed() -> None:
    for rate in range(1, 1001):
        with pytest.raises(SpikebridgeError, match="for example dt=") as refused:
            every(1 / rate).clock(0.7 / rate, "x")

        advised = eval(str(refused.value).partition("for example dt=")[2])
        assert every(1 / rate).clock(advised, "x").period == 2

        part = LIF(dt=0.5 / rate)
        with pytest.raises(SpikebridgeError, match="set dt=") as unlike:
            bind_dt("p", part, 1 / rate)

        part.dt = eval(str(unlike.value).partition("set dt=")[2].partition(",")[0])
        bind_dt("p", part, 1 / rate)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_signals_of_another_dtype_are_explained_after_a_stream_of_the_right_one_too(dtype: torch.dtype) -> None:
    network = net(nn.Linear(3, 2))
    network({"x": ones(4, 2, 3)})
    with pytest.raises(SpikebridgeError, match=r"part 'p' keeps torch\.float32 in its Linear.*, but its signal is"):
        network({"x": ones(4, 2, 3, dtype=dtype)})


def test_a_step_without_a_state_begins_a_stream() -> None:
    network = two(T("x", "a"), T("y", "b"), inputs={**X, "y": every(0.001, phase=0.001)})
    outputs, state = network.step({"x": ones(2, 3), "y": ones(0, 2, 3)})

    assert state.ticks == 1

    outputs, state = network.step({"x": ones(2, 3), "y": 2 * ones(2, 3)}, state)
    assert torch.equal(outputs["b"], 2 * ones(2, 3))


def test_a_network_shows_how_its_links_are_read() -> None:
    links = [
        T("x", "p", held=True, delay=0.002, initial=0.5),
        T("x", "p", into="extra", name="n", initial=ones(3)),
        Modulation("x", "p.0.v_threshold", by="add", delay=ticks(1), name="m"),
    ]

    class Two(Sequential):
        def forward(self, x: Tensor, state: Any = None, *, extra: Tensor | None = None, **effects: Any) -> Any:
            return super().forward(x, state, **effects)

    text = repr(net(Two(IF()), *links, clocks={"p": every(0.001)}))
    assert "'x' -> 'p' every 1 ticks from tick 0 (1000 Hz), held, delay=ticks(2), initial=0.5" in text
    assert ", initial=(3,), into='extra'" in text
    assert "'x' -> 'p.0.v_threshold' every 1 ticks from tick 0 (1000 Hz), held, delay=ticks(1), by='add'" in text
