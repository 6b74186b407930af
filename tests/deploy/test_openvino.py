"""OpenVINO as a second ONNX runtime, and one network in every form that it can be exported to."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from research.deploy import residual_delays
from spikebridge.cli.main import main
from spikebridge.deploy import Bundle, compare_bundle
from spikebridge.deploy import compare as comparing
from spikebridge.deploy.onnx.openvino import OpenVinoSession, has_openvino
from spikebridge.deploy.onnx.session import OnnxSession
from spikebridge.deploy.onnx.writer import write_onnx
from spikebridge.errors import DataError

needs_openvino = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")
COMPILER = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


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


def test_a_missing_openvino_is_one_line(
    small: Bundle, spiking: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(comparing, "has_openvino", lambda: False)
    assert main(["compare", str(small.path)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("openvino")] == [
        "openvino: not installed; pip install 'spikebridge[openvino]' adds this second ONNX runtime"
    ]
    # there is nothing for it in a bundle without ONNX files
    assert compare_bundle(spiking).left_out == ()


def test_a_file_that_openvino_cannot_load_is_one_line_and_the_others_run(
    small: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_all_but_one(content: bytes, name: str) -> Any:
        if name.endswith("answer.onnx"):
            raise DataError(f"{name} cannot be loaded by OpenVINO: no such operator")
        return OnnxSession(content, name)

    monkeypatch.setattr(comparing, "has_openvino", lambda: True)
    monkeypatch.setattr(comparing, "OpenVinoSession", open_all_but_one)
    comparison = compare_bundle(small)

    assert comparison.passed

    (line,) = comparison.left_out
    assert line.startswith("openvino: ") and line.endswith("answer.onnx cannot be loaded by OpenVINO: no such operator")

    found = [(row.kind, row.name) for row in comparison.rows if row.level == "openvino"]
    assert found == [("part", "ann"), *[("link", link.name) for link in small.manifest.links if link.unit is not None]]


@needs_openvino
def test_openvino_gives_what_onnxruntime_gives_and_names_what_is_wrong() -> None:
    torch.manual_seed(0)
    content = write_onnx(nn.Sequential(nn.Linear(3, 4), nn.Tanh()).eval(), {"x": torch.zeros(1, 3)})
    session = OpenVinoSession(content, "part.onnx")
    known = OnnxSession(content, "part.onnx")

    assert (session.inputs, session.outputs) == (known.inputs, known.outputs)
    for batch in (1, 5):
        x = np.random.default_rng(batch).random((batch, 3), np.float32)
        (y,), (wanted,) = session.run({"x": x}), known.run({"x": x})
        assert np.allclose(y, wanted, atol=1e-6)

    with pytest.raises(DataError, match=r"part\.onnx takes \['x'\], but was given \['y'\]"):
        session.run({"y": x})

    with pytest.raises(DataError, match=r"part\.onnx cannot run by OpenVINO"):
        session.run({"x": x[:, :2]})

    with pytest.raises(DataError, match=r"part\.onnx is damaged"):
        OpenVinoSession(content[:40], "part.onnx")
