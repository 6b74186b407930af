"""The measures of the NeuroBench harness for any network, also a hybrid one, under the harness's own names.

| key | meaning |
|---|---|
| `Footprint` | bytes of parameters and buffers |
| `ParameterCount` | parameters |
| `ConnectionSparsity` | zeros among the weights of linear and convolutional layers, to four decimals |
| `ActivationSparsity` | zeros among the outputs of ReLU, sigmoid and neurons |
| `SynapticOperations` | a sample: `Dense`, `Effective_MACs`, `Effective_ACs` |
| `MembraneUpdates` | a sample: membranes that a step has changed, and all of the first step |
| `ClassificationAccuracy`, `R2`, `SMAPE` | of the answers |

`Dense` is every weight with every value that it meets, without padding. Effective are those pairs without a zero: ACs
if the input of the layer at that step holds 0, 1 and -1 alone, else MACs.

Source: J. Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms and systems", Nature
Communications 16:1545 (2025). A network is stepped tick by tick, as the harness steps a spiking network. One rule is
added for hybrid networks: layers inside hybrid units count as any other. Kernels and discretizers have no weights and
are no layers of neurons, so they do not count; `count_cost` counts them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikebridge.analysis.hooks import Call, Inputs, check_inputs, is_layer, trace_calls, unwrap_vmap
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import HybridNetwork
from spikebridge.neurons import Stateful
from spikebridge.ops.modes import evaluating

Score: TypeAlias = Literal["ClassificationAccuracy", "R2", "SMAPE"]
_CONNECTIONS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ACTIVATIONS = (nn.ReLU, nn.Sigmoid)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


@dataclass
class _Counts:
    """Sums over the calls of one batch."""

    dense: int = 0
    macs: int = 0
    acs: int = 0
    values: int = 0
    nonzero: int = 0
    updates: int = 0
    stepped: set[str] = field(default_factory=set)

    def add(self, call: Call) -> None:
        module = call.module
        if isinstance(module, _CONNECTIONS):
            x = call.args[0]
            self.dense += _pairs(module, _ones(x, everywhere=True), _ones(module.weight, everywhere=True))
            effective = _pairs(module, _ones(x, everywhere=False), _ones(module.weight, everywhere=False))
            if _is_spikes(unwrap_vmap(x)[0]):
                self.acs += effective
            else:
                self.macs += effective
        elif isinstance(module, _ACTIVATIONS):
            self._add_activation(call.output)
        elif isinstance(module, Stateful) and is_layer(module) and hasattr(call.output[1], "v"):
            self._add_activation(call.output[0])
            before: Any = call.args[1] if len(call.args) > 1 else call.kwargs.get("state")
            after = unwrap_vmap(call.output[1].v)[0]
            # at the first step the harness knows no earlier membrane
            is_first = call.path not in self.stepped or before is None
            self.stepped.add(call.path)
            self.updates += after.numel() if is_first else int((after != unwrap_vmap(before.v)[0]).sum())

    def _add_activation(self, y: Tensor) -> None:
        y = unwrap_vmap(y)[0]
        self.values += y.numel()
        self.nonzero += int(torch.count_nonzero(y))


def neurobench(
    network: nn.Module,
    batches: Iterable[tuple[Inputs, Tensor | None]],
    answer: Callable[[Any], Tensor] | None = None,
    scores: Sequence[Score] = (),
) -> dict[str, Any]:
    """Runs a network in evaluation mode and measures it.

    Args:
        network: a hybrid network, a stateful layer or any module.
        batches: inputs and targets `(B, ...)` of each batch; inputs by name for a hybrid network, `(T, B, *N)` for a
            stateful layer, `(B, *N)` for a plain module. A target of None is not scored.
        answer: makes answers `(B, ...)`, in the form of the targets, of the outputs: by name `(K, B, *M)` of a hybrid
            network, `(T, B, *M)` of a stateful layer, the return value of a plain module. None takes the outputs.
        scores: the scores to compute; `R2` is the mean over the columns of targets `(B, columns)`.

    Returns:
        Measures under the names of the harness. `ActivationSparsity`, `ClassificationAccuracy` and `SMAPE` are means
        over batches, weighted by their samples, as in the harness.

    Raises:
        ConfigError: a recurrent layer of PyTorch, whose products cannot be counted, or an unknown score.
        ShapeError: no batch, or answers of another shape than the targets.

    Example:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> _ = nn.init.constant_(layer.weight, 1.0)
        >>> layer.weight.data[0, 0] = 0.0
        >>> measures = neurobench(layer, [(torch.tensor([[0.5, 0.0], [1.0, 0.5]]), None)])
        >>> measures["SynapticOperations"], measures["ConnectionSparsity"]
        ({'Effective_MACs': 2.0, 'Effective_ACs': 0.0, 'Dense': 4.0}, 0.25)
    """
    for name in scores:
        if name not in _SCORES:
            raise ConfigError(f"there is no score {name!r}; known are {', '.join(_SCORES)}")

    for path, module in network.named_modules():
        if isinstance(module, _RECURRENT):
            raise ConfigError(f"the operations of {type(module).__name__} at {path!r} are not counted")

    counts: list[_Counts] = []
    pairs: list[tuple[Tensor, Tensor]] = []
    sizes: list[int] = []

    for inputs, targets in batches:
        counts.append(_Counts())
        with evaluating(network), trace_calls(network, counts[-1].add):
            outputs, size = _run(network, inputs)
        sizes.append(size)
        # answers are kept, outputs are not: they may be as long as the stream
        if targets is not None and scores:
            pairs.append((_checked(outputs if answer is None else answer(outputs), targets), targets))

    if not sum(sizes):
        raise ShapeError("a measure is a mean over samples, but the batches hold none; give at least one")

    total = sum(sizes)
    sparsity = [(c.values - c.nonzero) / c.values if c.values else 0.0 for c in counts]
    operations = {"Effective_MACs": "macs", "Effective_ACs": "acs", "Dense": "dense"}

    return {
        **_static(network),
        "ActivationSparsity": _mean(sparsity, sizes),
        "SynapticOperations": {key: sum(getattr(c, name) for c in counts) / total for key, name in operations.items()},
        "MembraneUpdates": sum(c.updates for c in counts) / total,
        **{name: _SCORES[name](pairs) for name in scores},
    }


def _static(network: nn.Module) -> dict[str, Any]:
    """The measures that need no run."""
    weights = [module.weight for module in network.modules() if isinstance(module, _CONNECTIONS)]
    number = sum(weight.numel() for weight in weights)
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    tensors = [*network.parameters(), *network.buffers()]

    return {
        "Footprint": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        "ParameterCount": sum(parameter.numel() for parameter in network.parameters()),
        # the harness divides tensors of single precision
        "ConnectionSparsity": round((torch.tensor(zeros) / number).item(), 4) if number else 0.0,
    }


def _run(network: nn.Module, inputs: Any) -> tuple[Any, int]:
    """The outputs, and the number of samples; a network with time runs step by step."""
    check_inputs(network, inputs)
    if isinstance(network, HybridNetwork):
        return _run_ticks(network, dict(inputs))
    if not isinstance(network, Stateful):
        return network(inputs), len(inputs)

    # the harness counts by calls, one for each step
    state = None
    rows = []
    for x_t in inputs.split(1):
        y, state = network(x_t, state)
        rows.append(y)

    return torch.cat(rows), inputs.shape[1]


def _run_ticks(network: HybridNetwork, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    clocks = {name: network.clock_of(name) for name in network.inputs}
    for name in clocks:
        if name not in inputs:
            raise ShapeError(f"input {name!r} is missing; there are {', '.join(clocks)}")

    num_ticks = min(clock.phase + len(inputs[name]) * clock.period for name, clock in clocks.items())
    state = None
    rows: list[dict[str, Tensor]] = []

    for tick in range(num_ticks):
        samples = {name: inputs[name][clock.count(tick) : clock.count(tick + 1)] for name, clock in clocks.items()}
        outputs, state = network(samples, state, ticks=1)
        rows.append(outputs)

    size = next(iter(inputs.values())).shape[1]
    return {name: torch.cat([row[name] for row in rows]) for name in (rows[0] if rows else ())}, size


def _ones(x: Tensor, everywhere: bool) -> Tensor:
    """1 for each value that is not zero, or for all values."""
    return torch.ones_like(x, dtype=torch.float64) if everywhere else (x != 0).double()


def _pairs(layer: nn.Module, x: Tensor, weight: Tensor) -> int:
    """The number of pairs of a value and a weight that meet."""
    if isinstance(layer, nn.Linear):
        y = F.linear(x, weight)
    else:
        # this method pads in the mode of the layer
        convolution: Any = layer
        y = convolution._conv_forward(x, weight, None)

    return round(float(unwrap_vmap(y)[0].sum()))


def _is_spikes(x: Tensor) -> bool:
    return bool(((x == 0) | (x == 1) | (x == -1)).all())


def _checked(answers: Tensor, targets: Tensor) -> Tensor:
    if answers.shape != targets.shape:
        raise ShapeError(f"targets have shape {tuple(targets.shape)}, but the answers {tuple(answers.shape)}")
    return answers


def _mean(values: Sequence[float], sizes: Sequence[int]) -> float:
    """The mean weighted by samples, in the order of operations of the harness."""
    total = 0.0
    for value, size in zip(values, sizes, strict=True):
        total += (value * size) / sum(sizes)

    return total


def _accuracy(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    shares = [torch.mean((answers == targets).float()).item() for answers, targets in pairs]
    return _mean(shares, [len(targets) for _, targets in pairs])


def _smape(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    errors = []
    for answers, targets in pairs:
        error = 200 * torch.mean((answers - targets).abs() / (answers.abs() + targets.abs()))
        # 0 / 0 is the largest error in the harness
        errors.append(torch.nan_to_num(error, nan=200.0).item())

    return _mean(errors, [len(targets) for _, targets in pairs])


def _r2(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    all_targets = torch.cat([targets for _, targets in pairs])
    if all_targets.ndim != 2:
        raise ShapeError(f"R2 needs targets (B, columns), but got {tuple(all_targets.shape)}")

    scores = []
    for k, column in enumerate(all_targets.unbind(1)):
        error = sum(((targets - answers)[:, k] ** 2).sum().item() for answers, targets in pairs)
        scores.append(1 - error / (column.var(correction=0) * len(column)))

    return float(sum(scores[1:], scores[0]) / len(scores))


_SCORES: dict[str, Callable[[Sequence[tuple[Tensor, Tensor]]], float]] = {
    "ClassificationAccuracy": _accuracy,
    "R2": _r2,
    "SMAPE": _smape,
}
