"""A neuromorphic chip as data: its limits, the class of its steps, and the sources of both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ChipSpec:
    """The limits and the arithmetic of a chip.

    Args:
        steps: a class with the steps of its neurons, mixed with the integers of `core.py`.
        sources: publications of limits and arithmetic.
        weight: lowest and highest integer of a weight.
        unit: of currents and membranes in those of weights and thresholds.
        max_shift: largest left shift of weights.
        shared_shift: one shift for all hidden connections, as one register holds it.
        threshold_per_neuron: each neuron has a threshold of its own; else one for a layer.
        max_state: largest integer of a current or membrane in units of the threshold.
        reset: of its neurons, "zero" or "subtract".
        needs_synapse: a neuron has a synaptic current with a decay of its own.
        max_input_spikes: spikes of an input channel in a step.
        max_spikes: spikes of a hidden neuron in a step.
        fan_in: connections to a neuron; None where none is published.
        fan_out: connections of a hidden neuron to others; None where none is published.
        outputs: neurons that can be read out; None where all can.
        read_out: the last layer is one of its own kind, with one spike a step.
        input_delay: steps from an input spike to its effect.
        memory: of weights [bytes]; None where none is published.
        convolutions: a kernel can be shared by many neurons.
        costs: of its operations and messages, as `place` takes them; none where none is published.
        assumed: names of the costs that are not published as such.
        board: the numbers of a core as the tools of the chip's board take them.
        loading: lines of Python that load the file with these numbers, `{file}`, with those tools.
    """

    name: str
    steps: type[Any]
    sources: Sequence[str]
    weight: tuple[int, int]
    unit: int
    max_shift: int
    shared_shift: bool
    threshold_per_neuron: bool
    max_threshold: int
    max_state: int
    max_bias: int
    reset: str
    needs_synapse: bool
    max_input_spikes: int
    max_spikes: int
    inputs: int
    neurons: int
    fan_in: int | None
    fan_out: int | None
    outputs: int | None
    read_out: bool
    input_delay: int
    memory: int | None
    convolutions: bool
    costs: Mapping[str, float]
    assumed: tuple[str, ...]
    board: Callable[[Any], dict[str, Any]]
    loading: str
