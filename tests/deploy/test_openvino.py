"""OpenVINO as a second ONNX runtime, and one network in every form that it can be exported to."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from compiled_c import COMPILER
from torch import nn

from research.deploy import openvino_session, residual_delays
from research.deploy.openvino_session import OpenVinoSession, has_openvino
from spikebridge.deploy import Bundle, Tolerance, compare_bundle
from spikebridge.deploy.onnx.session import OnnxSession
from spikebridge.deploy.onnx.writer import write_onnx
from spikebridge.errors import DataError, ExportError

needs_openvino = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")


def test_a_residual_network_with_delays_and_4_bits_is_the_same_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--jaxtyping-packages"):
        pytest.skip("a network is followed by placeholders, which are no tensors to a type checker")

    monkeypatch.setattr(residual_delays, "TRAIN_STEPS", 2)
    network = residual_delays.trained()
    bundle = residual_delays.bundle_of(network, tmp_path / "residual.bundle")

    assert {name: part.format for name, part in bundle.manifest.parts.items()} == dict.fromkeys(network.parts, "onnx")

    rows = {row["form"]: row for row in residual_delays.compared(bundle)}
    expected = {"onnxruntime", "units", "rebuilt", "runner", "integers", "quantised"}

    assert rows.keys() == expected | ({"openvino", "openvino network"} if has_openvino() else set())
    assert rows.pop("quantised")["passed"] is None
    assert [form for form, row in rows.items() if not row["passed"]] == []
    assert rows["integers"]["largest difference"] == 0
    assert not any(row["spikes that differ"] for row in rows.values())

    # the integers are the weights of the float forms
    layer = network.parts["ann"].first
    whole = layer.weight / layer.weight.abs().amax(1, keepdim=True) * 7

    assert torch.allclose(whole, whole.round(), atol=1e-5)
    if COMPILER is not None:
        row = residual_delays.compared_c(bundle, tmp_path / "residual_c", COMPILER)
        assert row["values that differ"] == 0 and row["compared"] > 0


def test_the_level_of_a_second_runtime_feeds_each_file_the_trained_signals(
    small: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_session, "OpenVinoSession", OnnxSession)
    level = (openvino_session.openvino_level(small), Tolerance())
    rows = [row for row in compare_bundle(small, further={"openvino": level}).rows if row.level == "openvino"]
    alone = [row for row in compare_bundle(small).rows if row.level in ("onnxruntime", "units")]

    assert {row.name: row.largest for row in alone}.items() <= {row.name: row.largest for row in rows}.items()


def test_a_missing_openvino_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ExportError, match="OpenVINO needs the package openvino; install it with"):
        OpenVinoSession(b"", "part.onnx")


@needs_openvino
def test_openvino_gives_what_onnxruntime_gives_and_names_what_is_wrong() -> None:
    torch.manual_seed(0)
    content = write_onnx(nn.Sequential(nn.Linear(3, 4), nn.Tanh()).eval(), {"x": torch.zeros(1, 3)})
    session = OpenVinoSession(content, "part.onnx")
    reference = OnnxSession(content, "part.onnx")

    assert (session.inputs, session.outputs) == (reference.inputs, reference.outputs)
    for batch in (1, 5):
        x = np.random.default_rng(batch).random((batch, 3), np.float32)
        (y,) = session.run({"x": x})
        (wanted,) = reference.run({"x": x})
        assert np.allclose(y, wanted, atol=1e-6)

    with pytest.raises(DataError, match=r"part\.onnx takes \['x'\], but was given \['y'\]"):
        session.run({"y": x})

    with pytest.raises(DataError, match=r"part\.onnx cannot run by OpenVINO"):
        session.run({"x": x[:, :2]})

    with pytest.raises(DataError, match=r"part\.onnx is damaged"):
        OpenVinoSession(content[:40], "part.onnx")
