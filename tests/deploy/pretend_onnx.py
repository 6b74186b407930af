"""ONNX files that are modules kept in memory, for tests that are about time and not about ONNX."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikebridge.deploy.bundle import export as bundle_links
from spikebridge.deploy.bundle import export as bundle_parts
from spikebridge.deploy.bundle import rebuild as bundle_rebuild
from spikebridge.deploy.onnx.session import OnnxSession
from spikebridge.deploy.onnx.writer import _like, tensors_of
from spikebridge.deploy.runtime import links as runner_links
from spikebridge.deploy.runtime import parts as runner_parts
from spikebridge.neurons import Stateful

_kept: dict[bytes, Any] = {}


def pretend(patch: pytest.MonkeyPatch) -> None:
    """Nothing is written as ONNX any more."""
    patch.setattr(bundle_parts, "write_onnx", _function)
    patch.setattr(bundle_links, "write_onnx", _function)
    patch.setattr(bundle_parts, "write_onnx_step", _step)

    for module in (runner_parts, runner_links, bundle_rebuild):
        patch.setattr(module, "OnnxSession", _Session)


class _Session(OnnxSession):
    def __init__(self, content: bytes, name: str) -> None:
        self.name = name
        self.inputs, self.function = _kept[content]

    def run(self, feed: Mapping[str, Any]) -> list[Any]:
        with torch.no_grad():
            y = self.function({name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in feed.items()})
        return [t.numpy() for t in y]


def _keep(inputs: list[str], function: Any) -> bytes:
    content = f"onnx {len(_kept)}".encode()
    _kept[content] = (inputs, function)
    return content


def _function(
    module: nn.Module, signals: Mapping[str, Tensor], into: Mapping[str, str] | None = None, *, name: str = ""
) -> bytes:
    named = dict(into or {})
    by_place = [signal for signal in signals if signal not in named]

    def run(feed: Mapping[str, Tensor]) -> list[Tensor]:
        return [module(*[feed[s] for s in by_place], **{argument: feed[s] for s, argument in named.items()})]

    return _keep(list(signals), run)


def _step(
    part: Stateful, signals: Mapping[str, Tensor], into: Mapping[str, str] | None = None, *, name: str = ""
) -> tuple[bytes, list[Tensor]]:
    named = dict(into or {})
    first = next(iter(signals))
    state = part.initial_state(torch.zeros_like(signals[first]))
    number = len(tensors_of(state, name))

    def run(feed: Mapping[str, Tensor]) -> list[Tensor]:
        before = _like(state, iter([feed[f"state.{i}"] for i in range(number)]))
        y, after = part.step(feed[first], before, **{argument: feed[s] for s, argument in named.items()})
        return [y, *tensors_of(after, name)]

    return _keep(list(signals), run), [t[:1] for t in tensors_of(state, name)]
