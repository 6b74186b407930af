"""What quantisation did to a network: where values were clipped, and how much memory is left."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikebridge.deploy.integer.model import IntegerModel
from spikebridge.deploy.quantization.layers import LookupTable, Requantize
from spikebridge.deploy.quantization.network import program_of
from spikebridge.deploy.quantization.neurons import QuantNeuron
from spikebridge.deploy.quantization.program import QuantProgram
from spikebridge.deploy.quantization.quantizer import Quantizer
from spikebridge.deploy.quantization.units import QuantizedUnit, QuantKernel
from spikebridge.hybrid import HybridNetwork
from spikebridge.neurons.state import State


@dataclass(frozen=True)
class Saturation:
    """One signal.

    Attributes:
        path: of the layer, stage or input that it belongs to.
        share: of its values that were clipped.
        scale: of one integer.
        bits: of its width.
    """

    path: str
    share: float
    scale: float
    bits: int


@dataclass(frozen=True)
class _MemoryUse:
    """Bytes of numbers, of the parts and units that are quantised.

    Attributes:
        parameters: before, as real numbers of 32 bits.
        integers: after, with biases, multipliers and shifts.
        state: of one stream's membranes, before.
        integer_state: after.
    """

    parameters: int
    integers: int
    state: int
    integer_state: int


def saturation(network: HybridNetwork, inputs: Mapping[str, Tensor], ticks: int | None = None) -> list[Saturation]:
    """How often each signal of a quantised network was clipped in a run, those that were most often first.

    Args:
        network: of `quantize`.
        inputs: `(T, B, *N)` each.
        ticks: base ticks; None means the most for which every input has exactly the samples given.

    Example:
        >>> from torch import nn
        >>> from spikebridge.deploy.quantization.network import quantize
        >>> quantized = quantize(nn.Sequential(nn.Linear(1, 1)), {"signal": torch.rand(9, 1, 1)})
        >>> saturation(quantized, {"signal": 9 + torch.rand(9, 1, 1)})[0].share
        1.0
    """
    with _counting(network) as known, torch.no_grad():
        network(inputs, ticks=ticks)
        rows = []

        for path, quantizer in known.items():
            clipped, number = quantizer.counts or [0, 0]
            if number:
                qparams = quantizer.qparams
                bits = (qparams.high - qparams.low).bit_length()
                rows.append(Saturation(path, clipped / number, qparams.scale, bits))

    return sorted(rows, key=lambda row: -row.share)


def memory(
    before: HybridNetwork, quantized: HybridNetwork, model: IntegerModel, inputs: Mapping[str, Tensor]
) -> _MemoryUse:
    """Memory of what is quantised.

    Args:
        before: the network that was quantised.
        quantized: of `quantize`.
        model: of `integer_model`.
        inputs: signals that show its shapes.
    """
    paths = quantized_paths(quantized)
    parts = [path for path in paths if path in before.parts]
    modules = [before.parts[path] if path in before.parts else before.get_submodule(path) for path in paths]
    parameters = sum(p.numel() for module in modules for p in module.parameters())
    one = {name: x[:, :1] for name, x in inputs.items()}
    state = before.initial_state(one)
    whole = quantized.initial_state(one)
    numbers = sum(_numbers(state.parts[name]) for name in parts)
    bits = 0

    for name in parts:
        program = program_of(quantized.parts[name])
        if program is not None and program.stateful_steps:
            states = zip(program.stateful_steps, whole.parts[name].layers, strict=True)
            bits += sum(program.bits_of(path) * _numbers(mine) for path, mine in states)

    return _MemoryUse(4 * parameters, model.num_bytes, 4 * numbers, -(-bits // 8))


def quantized_paths(network: HybridNetwork) -> list[str]:
    """The parts (`NAME`) and units (`units.LINK`) of a network that are quantised."""
    parts = [name for name, part in network.parts.items() if program_of(part) is not None]
    return parts + [f"units.{name}" for name, unit in network.units.items() if isinstance(unit, QuantizedUnit)]


def _quantizers(network: HybridNetwork) -> dict[str, Quantizer]:
    """Every grid of a quantised network by path, each once."""
    found: dict[str, Quantizer] = {}
    programs = {name: program_of(part) for name, part in network.parts.items()}
    for name, program in programs.items():
        if program is not None:
            found |= _of_program(name, program)

    for name, unit in network.units.items():
        if not isinstance(unit, QuantizedUnit):
            continue

        if unit.quant_kernel is not None:
            found |= _of_kernel(f"units.{name}.kernel", unit.quant_kernel)

        if unit.program is not None:
            found |= _of_program(f"units.{name}.nonlinearity", unit.program)

        if unit.quant_discretizer is not None:
            found[f"units.{name}.discretizer"] = unit.quant_discretizer.own
            if unit.quant_discretizer.neuron is not None:
                found[f"units.{name}.discretizer.membranes"] = unit.quant_discretizer.neuron.membranes

    return found


def _of_program(path: str, program: QuantProgram) -> dict[str, Quantizer]:
    found = {f"{path}:input {name}": program.input_quantizer(name) for name in program.inputs}
    for step in program.steps:
        operation: Any = program.operations["/" + step.name.replace(".", "/")]
        name = step.name.removesuffix(":narrow")
        if isinstance(operation, Requantize | LookupTable):
            found[f"{path}.{name}"] = operation.quantizer
        elif isinstance(operation, QuantNeuron):
            found[f"{path}.{name}.membranes"] = operation.membranes

    return found


def _of_kernel(path: str, kernel: QuantKernel) -> dict[str, Quantizer]:
    return {f"{path}:input": kernel.input_quantizer, f"{path}.sums": kernel.sums, path: kernel.out}


@contextmanager
def _counting(network: HybridNetwork) -> Iterator[dict[str, Quantizer]]:
    known = _quantizers(network)
    network.forget_shapes()
    for quantizer in known.values():
        quantizer.counts = [0, 0]

    try:
        yield known
    finally:
        for quantizer in known.values():
            quantizer.counts = None


def _numbers(state: State) -> int:
    if isinstance(state, Tensor):
        return state.numel()
    if isinstance(state, tuple | list):
        return sum(_numbers(one) for one in state)
    return sum(_numbers(one) for one in state.values()) if isinstance(state, dict) else 0
