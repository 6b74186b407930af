"""A bundle, or its integer model, as the network that a tracker runs between frames.

The bundle computes the parts of its graph: the ANN's features of a frame, the template, the SNN, the unit and the head.
The modules outside the graph (the motion prior, the detector) have their numbers in the bundle too, and run as in a
tracker of the trained network. So does calibration: it needs the head's answers alone. Its sums are part of the
tracker's state, which splits and resumes as that of the trained network does.

The head's gain g and scale s are read off its answers to a template of one cell: far away from it they are `- s g`
without a change, and `- s (1 + g)` if the change is the template itself.
"""

from math import log
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.integer.bundle import integer_runner
from spikebridge.deploy.runtime.runner import Runner, RunnerState
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing.model.heads import ChangeHead
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.tracker.fused_detector import FusedDetector
from spikebridge.networks.sensing.tracker.inference import EagerInference, EagerState, InferenceModel

_PARTS = {"what", "template", "where", "head"}
_UNIT = "unit"
_GRAPH = ("parts.", "units.")


class _BundlePart(nn.Module):
    """A part of a bundle without memory, called as a layer."""

    def __init__(self, runner: Runner, name: str) -> None:
        super().__init__()
        self.part = runner.parts[name]
        self.links = [link.name for link in runner.manifest.incoming(name)]

    def forward(self, *signals: Tensor) -> Tensor:
        inputs = {name: x.numpy() for name, x in zip(self.links, signals, strict=True)}
        return torch.from_numpy(self.part.step(inputs, {}, None)[0])


class _BundleInference(EagerInference):
    """A bundle, stepped bin by bin; see `Inference`.

    `sensing` has the form of the bundle's network, and the numbers of the modules outside the graph; its parts are
    replaced by those of the bundle.
    """

    def __init__(self, sensing: Sensing, runner: Runner) -> None:
        head: Any = sensing.parts["head"]
        gain, scale = _read_head(_BundlePart(runner, "head"), runner.manifest.shape("template"))
        with torch.no_grad():
            head.g.fill_(gain)
            head.log_scale.fill_(log(scale))

        sensing.parts["what"] = _BundlePart(runner, "what")
        sensing.cut = _BundlePart(runner, "template")  # type: ignore[assignment]
        super().__init__(sensing)
        self.runner = runner

    def _respond(self, events: Tensor, state: EagerState) -> tuple[Tensor, EagerState]:
        opening = {name: x[0].numpy() for name, x in state.opening.items()} if state.network is None else {}
        before = self.runner.start(1) if state.network is None else state.network
        outputs, network = self.runner.step({**opening, "events": events.numpy()}, before)
        return torch.from_numpy(outputs["head"])[None], state._replace(network=network)

    def _restarted(self, network: RunnerState) -> RunnerState:
        fresh = self.runner.start(1)
        link = network.links[_UNIT]._replace(unit=fresh.links[_UNIT].unit)
        parts = {**network.parts, "where": fresh.parts["where"]}
        return network._replace(parts=parts, links={**network.links, _UNIT: link})


def bundle_model(bundle: Bundle, sensing: Sensing, integers: bool = False) -> InferenceModel:
    """The network of a bundle as a tracker runs it; with `integers` the quantised parts compute with integers.

    `sensing` has the form of the bundle's network, and gets the numbers of the modules outside the graph.
    """
    manifest = bundle.manifest
    if set(manifest.parts) != _PARTS or not isinstance(sensing.parts["head"], ChangeHead):
        raise ConfigError(
            f"{bundle.path}: a tracker needs a bundle of the parts {', '.join(sorted(_PARTS))} with a change head, but "
            f"got {', '.join(manifest.parts)}"
        )

    _load_outside_graph(bundle, sensing)
    runner = integer_runner(bundle) if integers else Runner(bundle)
    detector = None if sensing.detector is None else FusedDetector(sensing.detector.eval())

    return InferenceModel(_BundleInference(sensing.eval(), runner), detector)


def _load_outside_graph(bundle: Bundle, sensing: Sensing) -> None:
    """Loads the numbers of the modules outside the graph."""
    numbers = bundle.numbers(bundle.manifest.left_out_numbers)
    own = sensing.state_dict()
    needed = {name: x for name, x in own.items() if not name.startswith(_GRAPH)}

    for name, x in needed.items():
        if name not in numbers or numbers[name].shape != tuple(x.shape):
            shape = "not there" if name not in numbers else numbers[name].shape
            raise DataError(
                f"{bundle.path}: expected numbers {name!r} of shape {tuple(x.shape)} of a module outside the graph, "
                f"but they are {shape}; export the bundle again"
            )

    sensing.load_state_dict({**own, **{name: torch.from_numpy(numbers[name].copy()) for name in needed}})


def _read_head(head: _BundlePart, shape: tuple[int, ...]) -> tuple[float, float]:
    """Gain and scale of a change head."""
    template = torch.zeros(1, *shape, dtype=torch.float32)
    template[:, 0, shape[1] // 2, shape[2] // 2] = 1.0
    without, with_change = (-float(head(template, change)[0, 0, 0]) for change in (0 * template, template))
    scale = with_change - without

    if not (np.isfinite(without) and scale > 0):
        raise DataError(
            f"a head with the answers {without:g} and {with_change:g} to a template of one cell has no scale"
        )

    return without / scale, scale
