"""Effects of a quantisation: clipped values, and memory before and after."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from spikebridge.deploy.integer.model import IntegerModel
from spikebridge.deploy.quantization.layers import LookupTable, Requantize
from spikebridge.deploy.quantization.network import programs_of, quantized_units_of
from spikebridge.deploy.quantization.neurons import QuantNeuron
from spikebridge.deploy.quantization.program import QuantProgram
from spikebridge.deploy.quantization.quantizer import Quantizer
from spikebridge.deploy.quantization.units import QuantizedUnit
from spikebridge.hybrid import HybridNetwork
from spikebridge.hybrid.network.wake import WakeState
from spikebridge.neurons.state import State


@dataclass(frozen=True)
class Saturation:
    """The share of a signal's values that were clipped, the scale of its integers, and their bits."""

    path: str
    share: float
    scale: float
    bits: int


@dataclass(frozen=True)
class _MemoryUse:
    """Bytes of the quantised parts and units, before (32 bits a float) and after; the state of one stream."""

    parameters: int
    integers: int
    state: int
    integer_state: int


def saturation(network: HybridNetwork, inputs: Mapping[str, Tensor]) -> list[Saturation]:
    """The share of clipped values of each signal of a quantised network in a run, the largest first.

    Args:
        network: the result of `quantize`.
        inputs: `(T, B, *N)` each.

    Example:
        >>> from torch import nn
        >>> from spikebridge.deploy.quantization.network import quantize
        >>> quantized = quantize(nn.Sequential(nn.Linear(1, 1)), {"signal": torch.rand(9, 1, 1)})
        >>> saturation(quantized, {"signal": 9 + torch.rand(9, 1, 1)})[0].share
        1.0
    """
    rows = []
    with _counting(network) as quantizers, torch.no_grad():
        network(inputs)
        for path, quantizer in quantizers.items():
            clipped, number = quantizer.counts or [0, 0]
            if number:
                qparams = quantizer.qparams
                bits = (qparams.high - qparams.low).bit_length()
                rows.append(Saturation(path, clipped / number, qparams.scale, bits))

    return sorted(rows, key=lambda row: -row.share)


def memory(
    before: HybridNetwork, quantized: HybridNetwork, model: IntegerModel, inputs: Mapping[str, Tensor]
) -> _MemoryUse:
    """Memory of the quantised parts and units, before and after; the inputs show the shapes."""
    paths = quantized_paths(quantized)
    parts = [path for path in paths if path in before.parts]
    modules = [before.parts[path] if path in before.parts else before.get_submodule(path) for path in paths]
    # before: floats of 32 bits, after: the integers of the model as they are stored
    num_parameters = sum(p.numel() for module in modules for p in module.parameters())

    one_stream = {name: x[:, :1] for name, x in inputs.items()}
    # a part with a wake has its state from its first waking on
    state = before(one_stream)[1]
    num_floats = sum(_num_numbers(state.parts[name]) for name in parts)
    bits = _state_bits(quantized, one_stream)

    return _MemoryUse(4 * num_parameters, model.num_bytes, 4 * num_floats, -(-bits // 8))


def _state_bits(quantized: HybridNetwork, inputs: Mapping[str, Tensor]) -> int:
    state = quantized(inputs)[1]
    bits = 0
    for name, program in programs_of(quantized).items():
        own = state.parts[name]
        own = own.part if isinstance(own, WakeState) else own
        if program.stateful_steps and own is not None:
            states = zip(program.stateful_steps, own.layers, strict=True)
            bits += sum(program.bits_of(path) * _num_numbers(layer_state) for path, layer_state in states)

    return bits


def quantized_paths(network: HybridNetwork) -> list[str]:
    """The parts (`NAME`) and units (`units.LINK`) of a network that are quantised."""
    return [*programs_of(network), *(f"units.{name}" for name in quantized_units_of(network))]


def _quantizers(network: HybridNetwork) -> dict[str, Quantizer]:
    quantizers: dict[str, Quantizer] = {}
    for name, program in programs_of(network).items():
        quantizers |= _program_quantizers(name, program)
    for name, unit in quantized_units_of(network).items():
        quantizers |= _unit_quantizers(f"units.{name}", unit)

    return quantizers


def _unit_quantizers(path: str, unit: QuantizedUnit) -> dict[str, Quantizer]:
    quantizers: dict[str, Quantizer] = {}
    kernel = unit.quant_kernel
    if kernel is not None:
        name = f"{path}.kernel"
        quantizers |= {f"{name}:input": kernel.input_quantizer, f"{name}.sums": kernel.sums, name: kernel.out}

    if unit.program is not None:
        quantizers |= _program_quantizers(f"{path}.nonlinearity", unit.program)

    discretizer = unit.quant_discretizer
    if discretizer is not None:
        quantizers[f"{path}.discretizer"] = discretizer.own
        if discretizer.neuron is not None:
            quantizers[f"{path}.discretizer.membranes"] = discretizer.neuron.membranes

    return quantizers


def _program_quantizers(path: str, program: QuantProgram) -> dict[str, Quantizer]:
    quantizers = {f"{path}:input {name}": program.input_quantizer(name) for name in program.inputs}
    for step in program.steps:
        operation = program.operation(step.name)
        # a requantized sum is the output of its layer to a reader
        name = step.name.removesuffix(":narrow")
        if isinstance(operation, Requantize | LookupTable):
            quantizers[f"{path}.{name}"] = operation.quantizer
        elif isinstance(operation, QuantNeuron):
            quantizers[f"{path}.{name}.membranes"] = operation.membranes

    return quantizers


@contextmanager
def _counting(network: HybridNetwork) -> Iterator[dict[str, Quantizer]]:
    quantizers = _quantizers(network)
    network.forget_shapes()
    for quantizer in quantizers.values():
        quantizer.counts = [0, 0]

    try:
        yield quantizers
    finally:
        for quantizer in quantizers.values():
            quantizer.counts = None


def _num_numbers(state: State) -> int:
    if isinstance(state, Tensor):
        return state.numel()
    if isinstance(state, tuple | list):
        return sum(_num_numbers(item) for item in state)
    return sum(_num_numbers(item) for item in state.values()) if isinstance(state, dict) else 0
