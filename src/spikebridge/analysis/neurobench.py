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

`Dense` is every weight with every value that it meets, padding left out. Effective are those pairs without a zero: ACs
where the input of the layer at that step holds 0, 1 and -1 alone, else MACs.

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

from spikebridge.analysis.hooks import Call, evaluating, is_layer, trace_calls, unwrap_vmap
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import HybridNetwork
from spikebridge.neurons import Stateful

Inputs: TypeAlias = Tensor | Mapping[str, Tensor]
Score: TypeAlias = Literal["ClassificationAccuracy", "R2", "SMAPE"]
_CONNECTIONS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ACTIVATIONS = (nn.ReLU, nn.Sigmoid)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


@dataclass
class _Counts:
    """What the calls of one batch add up to."""

    dense: int = 0
    macs: int = 0
    acs: int = 0
    values: int = 0
    nonzero: int = 0
    updates: int = 0
    stepped: set[str] = field(default_factory=set)

    def add(self, call: Call) -> None:
        """One call of a module."""
        module = call.module
        if isinstance(module, _CONNECTIONS):
            x = call.args[0]
            weight = module.weight
            effective, dense = (
                _pairs(module, _ones(x, all_ones), _ones(weight, all_ones)) for all_ones in (False, True)
            )
            self.dense += dense

            if _is_spikes(unwrap_vmap(x)[0]):
                self.acs += effective
            else:
                self.macs += effective
        elif isinstance(module, _ACTIVATIONS):
            self._activation(call.output)
        elif isinstance(module, Stateful) and is_layer(module) and hasattr(call.output[1], "v"):
            self._activation(call.output[0])
            before: Any = call.args[1] if len(call.args) > 1 else call.kwargs.get("state")
            after = unwrap_vmap(call.output[1].v)[0]
            first = call.path not in self.stepped or before is None
            self.stepped.add(call.path)
            self.updates += after.numel() if first else int((after != unwrap_vmap(before.v)[0]).sum())

    def _activation(self, y: Tensor) -> None:
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
            network, `(T, B, *M)` of a stateful layer, what a plain module gives. None takes the outputs as they are.
        scores: which scores there are; `R2` is the mean over the columns of targets `(B, columns)`.

    Returns:
        Measures under the names of the harness. `ActivationSparsity`, `ClassificationAccuracy` and `SMAPE` are means
        over batches, weighted by their samples, as in the harness.

    Raises:
        ConfigError: a recurrent layer of PyTorch, whose products cannot be seen, or an unknown score.
        ShapeError: no batch, or answers of another shape than the targets.

    Example:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> _ = nn.init.constant_(layer.weight, 1.0)
        >>> layer.weight.data[0, 0] = 0.0
        >>> found = neurobench(layer, [(torch.tensor([[0.5, 0.0], [1.0, 0.5]]), None)])
        >>> found["SynapticOperations"], found["ConnectionSparsity"]
        ({'Effective_MACs': 2.0, 'Effective_ACs': 0.0, 'Dense': 4.0}, 0.25)
    """
    for name in scores:
        if name not in _SCORES:
            raise ConfigError(f"there is no score {name!r}; known are {', '.join(_SCORES)}")

    for path, module in network.named_modules():
        if isinstance(module, _RECURRENT):
            raise ConfigError(f"the operations of {type(module).__name__} at {path!r} are not counted")

    counted: list[_Counts] = []
    pairs: list[tuple[Tensor, Tensor]] = []
    sizes: list[int] = []

    for inputs, targets in batches:
        counts = _Counts()
        with evaluating(network), trace_calls(network, counts.add):
            outputs, size = _run(network, inputs)
        counted.append(counts)
        sizes.append(size)
        if targets is not None and scores:
            pairs.append((_checked(outputs if answer is None else answer(outputs), targets), targets))

    if not sum(sizes):
        raise ShapeError("a measure is a mean over samples, but the batches hold none; give at least one")

    total = sum(sizes)
    sparsity = [(c.values - c.nonzero) / c.values if c.values else 0.0 for c in counted]
    operations = {"Effective_MACs": "macs", "Effective_ACs": "acs", "Dense": "dense"}

    return {
        **_static(network),
        "ActivationSparsity": _mean(sparsity, sizes),
        "SynapticOperations": {key: sum(getattr(c, name) for c in counted) / total for key, name in operations.items()},
        "MembraneUpdates": sum(c.updates for c in counted) / total,
        **{name: _SCORES[name](pairs) for name in scores},
    }


def _static(network: nn.Module) -> dict[str, Any]:
    """What needs no run."""
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


def _run(network: nn.Module, inputs: Inputs) -> tuple[Any, int]:
    """The outputs, and the number of samples; whatever has time runs step by step."""
    if isinstance(network, HybridNetwork):
        if not isinstance(inputs, Mapping):
            raise ConfigError("a hybrid network needs its inputs by name, {'frames': ...}, but got one tensor")
        return _run_ticks(network, inputs)

    if not isinstance(inputs, Tensor):
        raise ConfigError(f"{type(network).__name__} needs one tensor, but got {type(inputs).__name__}")
    if not isinstance(network, Stateful):
        return network(inputs), len(inputs)

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

    ticks = min(clock.phase + len(inputs[name]) * clock.period for name, clock in clocks.items())
    state = None
    given = []

    for tick in range(ticks):
        places = {name: (clock.count(tick), clock.count(tick + 1)) for name, clock in clocks.items()}
        outputs, state = network({name: inputs[name][slice(*place)] for name, place in places.items()}, state, ticks=1)
        given.append(outputs)

    size = next(iter(inputs.values())).shape[1]
    return {name: torch.cat([outputs[name] for outputs in given]) for name in (given[0] if given else ())}, size


def _ones(x: Tensor, everywhere: bool) -> Tensor:
    """1 where a value is not zero, or everywhere."""
    return torch.ones_like(x, dtype=torch.float64) if everywhere else (x != 0).double()


def _pairs(layer: nn.Module, x: Tensor, weight: Tensor) -> int:
    """How many pairs of a value and a weight meet."""
    if isinstance(layer, nn.Linear):
        y = F.linear(x, weight)
    else:
        convolution: Any = layer  # with its padding, whatever mode that has
        y = convolution._conv_forward(x, weight, None)

    return round(float(unwrap_vmap(y)[0].sum()))


def _is_spikes(x: Tensor) -> bool:
    return bool(((x == 0) | (x == 1) | (x == -1)).all())


def _checked(answers: Tensor, targets: Tensor) -> Tensor:
    if answers.shape != targets.shape:
        raise ShapeError(f"targets have shape {tuple(targets.shape)}, but the answers {tuple(answers.shape)}")
    return answers


def _mean(values: Sequence[float], sizes: Sequence[int]) -> float:
    """Weighted by samples, in the order of operations of the harness."""
    total = 0.0
    for value, size in zip(values, sizes, strict=True):
        total += (value * size) / sum(sizes)

    return total


def _accuracy(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    right = [torch.mean((answers == targets).float()).item() for answers, targets in pairs]
    return _mean(right, [len(targets) for _, targets in pairs])


def _smape(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    found = []
    for answers, targets in pairs:
        errors = 200 * torch.mean((answers - targets).abs() / (answers.abs() + targets.abs()))
        found.append(torch.nan_to_num(errors, nan=200.0).item())

    return _mean(found, [len(targets) for _, targets in pairs])


def _r2(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    targets = torch.cat([known for _, known in pairs])
    if targets.ndim != 2:
        raise ShapeError(f"R2 needs targets (B, columns), but got {tuple(targets.shape)}")

    errors = [sum(((known - found)[:, k] ** 2).sum().item() for found, known in pairs) for k in range(targets.shape[1])]
    spread = [column.var(correction=0) * len(column) for column in targets.unbind(1)]
    each = [1 - error / own for error, own in zip(errors, spread, strict=True)]

    return float(sum(each[1:], each[0]) / len(each))


_SCORES: dict[str, Callable[[Sequence[tuple[Tensor, Tensor]]], float]] = {
    "ClassificationAccuracy": _accuracy,
    "R2": _r2,
    "SMAPE": _smape,
}
