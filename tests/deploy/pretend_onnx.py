"""ONNX files that are modules kept in memory, for tests that are about time and not about ONNX."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikebridge.deploy.bundle import export as bundle_export
from spikebridge.deploy.bundle import rebuild as bundle_rebuild
from spikebridge.deploy.onnx.session import OnnxSession
from spikebridge.deploy.onnx.writer import _Function, _Step, initial_tensors, signature_of
from spikebridge.deploy.runtime import links as runner_links
from spikebridge.deploy.runtime import parts as runner_parts
from spikebridge.neurons import Stateful

_kept: dict[bytes, Any] = {}


def pretend(patch: pytest.MonkeyPatch) -> None:
    """Nothing is written as ONNX any more."""
    patch.setattr(bundle_export, "write_onnx", _function)
    patch.setattr(bundle_export, "write_onnx_step", _step)

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


def _function(module: nn.Module, signals: Any, *, name: str = "") -> bytes:
    signature = signature_of(signals)
    function = _Function(module, signature)
    return _keep(list(signature.signals), lambda feed: list(function(*[feed[s] for s in signature.signals])))


def _step(part: Stateful, signals: Any, *, name: str = "") -> tuple[bytes, dict[str, Tensor]]:
    signature = signature_of(signals)
    state, tensors = initial_tensors(part, signature, name)
    step = _Step(part, signature, state)
    inputs = [*signature.signals, *(f"state.{key}" for key in tensors)]

    return _keep(inputs, lambda feed: list(step(*[feed[s] for s in inputs]))), {k: t[:1] for k, t in tensors.items()}
