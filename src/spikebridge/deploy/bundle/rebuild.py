"""A hybrid network from its bundle alone: parts read back from NIR and ONNX, units made of their numbers."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.axes import Step
from spikebridge.deploy.bundle.bundle import Bundle, below
from spikebridge.deploy.bundle.manifest import ClockRecord, LinkRecord, Manifest
from spikebridge.deploy.bundle.stages import FUNCTION, FunctionDiscretizer, FunctionKernel, stage_of
from spikebridge.deploy.nir.reader import from_nir
from spikebridge.deploy.onnx.session import LEAK_STEPS, OnnxSession, count_macs
from spikebridge.errors import ConfigError, DataError, ShapeError
from spikebridge.hybrid import (
    Every,
    HybridNetwork,
    HybridUnit,
    Initialisation,
    Modulation,
    Transmission,
    Wake,
    every,
    ticks,
)
from spikebridge.hybrid.network.link import Link
from spikebridge.hybrid.unit.discretizer import SpikingLayer
from spikebridge.neurons import Stateful
from spikebridge.neurons.state import State


class _OnnxModule(nn.Module):
    """An ONNX file as a module without gradients; names of its inputs by position, and by argument (`into`)."""

    def __init__(
        self,
        session: OnnxSession,
        signals: list[str],
        into: Mapping[str, str] | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.session = session
        self.signals = signals
        self.into = dict(into or {})
        self.keys = keys  # of several outputs
        self.empty: list[Tensor] | None = None

    def counted(self, output: Tensor | dict[str, Tensor]) -> dict[str, float]:
        y = next(iter(output.values())) if isinstance(output, dict) else output
        return {"macs": count_macs(self.session.content, self.session.name) * len(y)}

    def forward(self, *signals: Tensor, **named: Tensor) -> Tensor | dict[str, Tensor]:
        feed = dict(zip(self.signals, signals, strict=True)) | {self.into[name]: x for name, x in named.items()}
        first = next(iter(feed.values()))
        if len(first) == 0:
            return _by_key(self.keys, self._empty_outputs(feed))

        outputs = self.session.run({name: x.detach().numpy() for name, x in feed.items()})
        return _by_key(self.keys, [torch.from_numpy(y) for y in outputs])

    def _empty_outputs(self, feed: Mapping[str, Tensor]) -> list[Tensor]:
        if self.empty is None:
            # not every operator takes an empty batch, but one sample shows shape and dtype
            sample = {name: x.new_zeros((1, *x.shape[1:])).numpy() for name, x in feed.items()}
            self.empty = [torch.from_numpy(y)[:0] for y in self.session.run(sample)]
        return self.empty


def _by_key(keys: Sequence[str], outputs: list[Tensor]) -> Tensor | dict[str, Tensor]:
    return dict(zip(keys, outputs, strict=True)) if keys else outputs[0]


class _OnnxStepPart(Stateful):
    """An ONNX step as a stateful part; `initial` is the state of one sample before the first tick, by input."""

    def __init__(
        self,
        session: OnnxSession,
        initial: dict[str, Tensor],
        signal: str,
        into: Mapping[str, str] | None = None,
        keys: Sequence[str] = (),
        leaking: OnnxSession | None = None,
    ) -> None:
        super().__init__()
        self.session = session
        self.initial = initial
        self.leaking = leaking
        self.signal = signal
        self.into = dict(into or {})
        self.keys = keys
        self.step = _with_arguments(self._step, self.into)  # type: ignore[method-assign]

    def initial_state(self, x_t: Step) -> State:
        return {name: t.expand(len(x_t), *t.shape[1:]).clone() for name, t in self.initial.items()}

    def leak(self, state: dict[str, Tensor], num_steps: Tensor) -> State:
        if self.leaking is None:
            raise DataError(f"{self.session.name} has no file of its leak beside it")

        values = {LEAK_STEPS: num_steps, **state}
        after = self.leaking.run({name: x.detach().numpy() for name, x in values.items()})
        return dict(zip(state, map(torch.from_numpy, after), strict=True))

    def state_paths(self) -> list[str]:
        paths = [name.removeprefix("state.") for name in self.initial]
        return [*paths, *(path.removeprefix("neuron.") for path in paths)]

    def state_at(self, state: dict[str, Tensor], path: str) -> Tensor:
        return state[self._input_of(path)]

    def with_state_at(self, state: dict[str, Tensor], path: str, value: Tensor) -> State:
        return {**state, self._input_of(path): value}

    def _input_of(self, path: str) -> str:
        return f"state.{path}" if "." in path else f"state.neuron.{path}"

    def counted(self, output: Any) -> dict[str, float]:
        y = output[0] if isinstance(output, tuple) else output
        y = next(iter(y.values())) if isinstance(y, dict) else y
        return {"macs": count_macs(self.session.content, self.session.name) * y.shape[0] * y.shape[1]}

    def _step(self, x_t: Step, state: dict[str, Tensor], **named: Any) -> tuple[Tensor | dict[str, Tensor], State]:
        feed = {self.signal: x_t, **{self.into[name]: x for name, x in named.items()}, **state}
        values = [torch.from_numpy(y) for y in self.session.run({name: x.detach().numpy() for name, x in feed.items()})]
        number = len(self.keys) or 1

        return _by_key(self.keys, values[:number]), dict(zip(state, values[number:], strict=True))


def _with_arguments(method: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    # a network reads the further inputs of a part from the signature of its step
    def function(x_t: Tensor, state: State, **named: Any) -> Any:
        return method(x_t, state, **named)

    first = list(inspect.signature(method).parameters.values())[:2]
    further = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    function.__signature__ = inspect.Signature([*first, *further])  # type: ignore[attr-defined]

    return function


def rebuild(bundle: Bundle, stages: Sequence[type[nn.Module]] = ()) -> HybridNetwork:
    """The network of a bundle in torch, with classes of user-defined stages; ONNX parts pass no gradient."""
    manifest = bundle.manifest
    try:
        network = HybridNetwork(
            dt=manifest.dt,
            inputs={name: _every(record.clock, manifest.dt) for name, record in manifest.inputs.items()},
            parts={name: _part(bundle, name) for name in manifest.parts},
            links=[_link(bundle, link, stages) for link in manifest.links],
            outputs=list(manifest.outputs),
            clocks={name: _every(record.clock, manifest.dt) for name, record in manifest.parts.items()},
        )
    except (ConfigError, ShapeError) as error:
        raise DataError(f"{bundle.path}: the manifest does not fit together: {error}") from None

    _check_clocks(network, manifest)
    return network.eval()


def _every(clock: ClockRecord, dt: float) -> Every:
    return every(clock.period * dt, clock.phase * dt)


def _session(bundle: Bundle, file: str) -> OnnxSession:
    return OnnxSession(bundle.read(file), f"{bundle.path / file}")


def _part(bundle: Bundle, name: str) -> nn.Module:
    record = bundle.manifest.parts[name]
    if record.format == "nir":
        return from_nir(bundle.read(record.file))

    incoming = bundle.manifest.incoming(name)
    links = [link for link in incoming if link.kind == "transmission"]
    into = {link.into: link.name for link in links if link.into is not None}
    into |= {_effect_argument(bundle.manifest, link): link.name for link in incoming if link.kind == "modulation"}
    signals = [link.name for link in links if link.into is None]
    keys = [signal.removeprefix(f"{name}.") for signal in record.outputs]
    session = _session(bundle, record.file)
    if record.initial is None:
        return _OnnxModule(session, signals, into, keys)

    numbers = bundle.numbers(record.initial)
    initial = {key: torch.from_numpy(numbers[key]) for key in session.inputs if key.startswith("state.")}

    leaking = None if record.leak is None else _session(bundle, record.leak)
    return _OnnxStepPart(session, initial, signals[0], into, keys, leaking)


def _effect_argument(manifest: Manifest, link: LinkRecord) -> str:
    """The argument of an ONNX part that stands for a modulation of it."""
    return f"effect_{manifest.links.index(link)}"


def _link(bundle: Bundle, link: LinkRecord, user_stages: Sequence[type[nn.Module]]) -> Link:
    tensors = {name: torch.tensor(value) for name, value in bundle.numbers(link.numbers).items()}
    other = "mask" if link.mask else "context"
    common: dict[str, Any] = {"delay": ticks(link.delay), other: link.context, "name": link.name}
    unit = _unit(bundle, link, tensors, user_stages)
    target = f"{link.target}.{link.node}.{link.quantity}"
    is_onnx = bundle.manifest.parts[link.target].format == "onnx"
    if link.kind == "modulation" and not is_onnx:
        return Modulation(link.source, target, unit, by=link.by, held=link.held, once=link.once, **common)

    if link.kind == "initialisation":
        return Initialisation(link.source, target, unit, **common)

    if link.wake is not None:
        # flags count, whatever their clock
        stay = ticks(link.wake.num_flags * link.emits.period)
        asleep, state, replay = link.wake.asleep, link.wake.state, link.wake.replay
        return Wake(link.source, link.target, unit, asleep, state, stay=stay, replay=replay, **common)

    # with its shape, so that no loop has to infer it
    initial = tensors["initial"] if link.initial is None else torch.full(link.shape, link.initial)
    into = link.into
    held = link.held
    if link.kind == "modulation":
        into = _effect_argument(bundle.manifest, link)
        # a modulation is read at any tick of its part
        held = not link.once

    return Transmission(link.source, link.target, unit, held, into, initial=initial, once=link.once, **common)


def _unit(
    bundle: Bundle, link: LinkRecord, tensors: Mapping[str, Tensor], user_stages: Sequence[type[nn.Module]]
) -> HybridUnit | None:
    record = link.unit
    if record is None:
        return None

    stages: list[Any] = []
    for stage in ("window", "kernel", "discretizer"):
        stage_record = getattr(record, stage)
        has_name = stage_record is not None and stage_record.name != FUNCTION
        stages.append(stage_of(stage_record, below(f"{stage}.", tensors), user_stages) if has_name else None)

    window, kernel, discretizer = stages
    if record.kernel_function is not None:
        function = _function(bundle, record.kernel_function)
        kernel = FunctionKernel(function, getattr(window, "length", None) or 1, function.session.num_axes - 2)

    if record.discretizer_function is not None and record.discretizer is not None:
        kind = record.discretizer.settings.get("kind")
        discretizer = FunctionDiscretizer(_function(bundle, record.discretizer_function), kind)

    if record.fires is not None:
        discretizer = SpikingLayer(from_nir(bundle.read(record.fires)))

    nonlinearity = None if record.nonlinearity is None else _function(bundle, record.nonlinearity)
    return HybridUnit(window, kernel, nonlinearity, discretizer)


def _function(bundle: Bundle, file: str) -> _OnnxModule:
    session = _session(bundle, file)
    return _OnnxModule(session, session.inputs)


def _check_clocks(network: HybridNetwork, manifest: Manifest) -> None:
    for link, route in zip(manifest.links, network.routes, strict=True):
        if (link.emits.period, link.emits.phase) != tuple(route.clock):
            raise DataError(f"manifest: link {link.name!r} emits {link.emits}, but its unit has {route.clock}")
