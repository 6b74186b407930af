"""No argument of a layer, a stage or a coding scheme ends in an error of Python or PyTorch, or is taken in silence."""

import inspect
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from spikebridge import coding, hybrid, neurons
from spikebridge.errors import SpikebridgeError
from spikebridge.hybrid import Alpha, Delay, Exponential, Gaussian, HybridNetwork, Transmission, every
from spikebridge.neurons import IF, LIF, AdaptiveLIF, CubaLIF, Integrator, Sequential

# wrong arguments are refused before their annotations are looked at
pytestmark = pytest.mark.untyped

WRONG = ["x", None, [1.0, 2.0], -1, 1.5, float("nan"), {}, torch.ones(3), True, nn.Identity]
OTHERS = {"HybridNetwork", "CompiledNetwork", "FiringNeuron"}  # built from other objects
KINDS = {
    name: kind
    for folder in (neurons, hybrid, coding)
    for name in folder.__all__
    if inspect.isclass(kind := getattr(folder, name)) and name not in OTHERS and not issubclass(kind, tuple)
}


def arguments(kind: type) -> dict[str, Any]:
    """The arguments of a class with a value for each that has no default."""
    values: dict[str, Any] = {}
    for argument in list(inspect.signature(kind.__init__).parameters.values())[1:]:
        text = str(argument.annotation)
        if argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            usual = (
                5 if "int" in text else 0.02 if "float" in text or "Value" in text else "x" if "str" in text else None
            )
            values[argument.name] = usual if argument.default is argument.empty else argument.default

    return values


@pytest.mark.parametrize("name", KINDS)
def test_a_wrong_argument_is_a_sentence_of_ours(name: str) -> None:
    usual = arguments(KINDS[name])
    for argument in [*usual, *getattr(KINDS[name], "modulable", ())]:
        for value in WRONG:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    KINDS[name](**{**usual, argument: value})
                except SpikebridgeError as error:
                    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: LIF(tau=20.0, dt=0.001), r"LIF has tau=20 s, 20000 steps of 0\.001 s; .* 20 ms is tau=0\.02"),
        (lambda: LIF(refractory=2, dt=0.001), r"LIF has refractory=2 s"),
        (lambda: Integrator(tau=torch.tensor([0.02, 5.0]), dt=0.001), r"Integrator has tau=5 s"),
        (lambda: CubaLIF(tau_syn=5, dt=0.001), r"tau_syn=5 s"),
        (lambda: AdaptiveLIF(tau_adaptation=200, dt=0.001), r"tau_adaptation=200 s"),
        (lambda: Exponential(0.5, dt=0.0001), r"Exponential has tau=0\.5 s, 5000 steps"),
        (lambda: Alpha(10, dt=0.001), r"Alpha has tau=10 s"),
        (lambda: Gaussian(delay=10, sigma=0.002, dt=0.001), r"Gaussian has delay=10 s"),
        (lambda: Delay(2, dt=0.001), r"Delay has delay=2 s"),
        (lambda: Sequential(LIF(20.0), dt=0.001), r"LIF has tau=20 s"),
        (
            lambda: HybridNetwork(
                dt=0.001,
                inputs={"x": every(0.001)},
                parts={"p": LIF(20.0)},
                links=[Transmission("x", "p")],
                outputs=["p"],
            ),
            r"LIF has tau=20 s",
        ),
    ],
)
def test_a_time_in_milliseconds_is_warned_of(build: Any, says: str) -> None:
    with pytest.warns(UserWarning, match=says):
        build()


def test_a_time_that_can_be_meant_is_not_warned_of() -> None:
    LIF(tau=1.0, dt=0.001)
    LIF(tau=20.0, dt=1.0)  # time in a unit of one's own
    LIF(tau=20.0)
    IF(dt=0.001)
