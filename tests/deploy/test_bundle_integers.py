"""The integer model in a bundle: added, compared to the bit, run; and what is refused of a damaged one."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from small_networks import edited, small_inputs, small_network, with_integers

from spikebridge.cli.main import main
from spikebridge.deploy import Bundle, QConfig, QConfigMapping, add_integers, compare_bundle, integer_runner, quantize
from spikebridge.deploy.integer.bundle import integers_of
from spikebridge.deploy.run import run_bundle
from spikebridge.errors import DataError, ExportError

pytestmark = pytest.mark.untyped


@pytest.fixture
def copy(whole: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.path, tmp_path / "copy"))


def test_compare_holds_the_integer_model_to_the_bit(whole: Bundle) -> None:
    comparison = compare_bundle(whole)
    rows = {(row.level, row.name): row for row in comparison.rows}

    assert comparison.passed
    for name in ("ann", "snn", "answer", "ann_to_snn", "snn_to_answer"):
        assert rows["integers", name].largest == 0.0 and rows["integers", name].passed
        assert rows["quantised", name].passed is None

    assert 0 < rows["quantised", "answer"].largest < 0.1


def test_an_integer_model_that_says_something_else_does_not_pass(copy: Path) -> None:
    def nudge(numbers: dict[str, Any]) -> None:
        numbers["parts/answer/layer/bias"] += 40

    change_numbers(copy, nudge)
    failed = [(row.level, row.name) for row in compare_bundle(Bundle.open(copy)).rows if row.passed is False]

    assert failed == [("integers", "answer")]


def test_a_bundle_runs_in_integers(whole: Bundle) -> None:
    quantized = whole.numbers(whole.manifest.integers.sample if whole.manifest.integers else None)
    assert np.array_equal(run_bundle(whole, integers=True).outputs["answer"], quantized["parts.answer"])

    runner = integer_runner(whole)
    x = small_inputs()
    state = runner.start(3)

    for tick in range(8):
        samples = {"events": x["events"][tick].numpy()} | (
            {} if tick % 4 else {"frames": x["frames"][tick // 4].numpy()}
        )
        _, state = runner.step(samples, state)

    assert state.tick == 8


def test_what_stays_real_runs_beside_what_is_whole(small: Bundle, whole: Bundle, tmp_path: Path) -> None:
    plan = QConfigMapping((QConfig("snn"), QConfig("units.ann_to_snn")))
    bundle = with_integers(small, tmp_path / "bundle", plan)

    assert integers_of(bundle).record.left_out == ("ann", "answer")
    assert compare_bundle(bundle).passed

    wanted = quantize(small_network(), small_inputs(), plan)(small_inputs())[0]["answer"]
    answer = integer_runner(bundle).run({name: x.numpy() for name, x in small_inputs().items()})["answer"]
    np.testing.assert_allclose(answer, wanted.detach().numpy(), atol=1e-5)


def test_a_sample_without_a_signal_that_enters_the_integer_model_is_one_line(
    small: Bundle, whole: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = with_integers(small, tmp_path / "bundle", QConfigMapping((QConfig("snn"), QConfig("units.ann_to_snn"))))
    sample = bundle.path / "integers" / "sample.safetensors"
    save_file({name: x for name, x in load_file(sample).items() if name != "parts.ann"}, sample)
    rehash(bundle.path)

    for words in (["compare", str(bundle.path)], ["export", str(bundle.path), "--target", "c"]):
        assert main(words) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert "the sample of the integer model has no values of 'ann'" in said[-1] and "Traceback" not in "".join(said)


def test_integers_of_other_weights_are_refused(small: Bundle, whole: Bundle, tmp_path: Path) -> None:
    folder = shutil.copytree(small.path, tmp_path / "bundle")
    network = small_network()
    with torch.no_grad():
        network.parts["answer"].weight += 0.1

    with pytest.raises(ExportError, match="holds other weights than those that were quantised: its part 'answer'"):
        add_integers(Bundle.open(folder), network, quantize(network, small_inputs()))

    assert not (folder / "integers").exists()
    with pytest.raises(ExportError, match="has an integer model already"):
        add_integers(whole, small_network(), quantize(small_network(), small_inputs()))


def test_a_bundle_without_integers_says_so(small: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(small.path), "--integers"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "has no integer model; `spikebridge quantize RUN --bundle" in line


def rehash(folder: Path) -> None:
    """As somebody would who changes files and wants not to be found out."""
    words = folder / "integers" / "integer.json"
    plain = json.loads(words.read_text())
    numbers = (folder / "integers" / "integer.safetensors").read_bytes()
    plain["numbers"] = {"size": len(numbers), "sha256": hashlib.sha256(numbers).hexdigest()}
    words.write_text(json.dumps(plain))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]

    for name in ("integers/integer.json", "integers/integer.safetensors", "integers/sample.safetensors"):
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    (folder / "manifest.json").write_text(json.dumps(manifest))


def change_words(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    words = folder / "integers" / "integer.json"
    plain = json.loads(words.read_text())
    change(plain)
    words.write_text(json.dumps(plain))
    rehash(folder)


def change_numbers(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "integers" / "integer.safetensors"
    numbers = dict(load_file(file))
    change(numbers)
    save_file(numbers, file)
    rehash(folder)


def operation(plain: dict[str, Any], part: str = "answer") -> dict[str, Any]:
    record: dict[str, Any] = plain["parts"][part]["program"]["operations"][0]
    return record


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda plain: operation(plain).update(operation="exec"), "there is no operation 'exec'"),
        (lambda plain: operation(plain).update(sources=["#7"]), "takes '#7', which does not come before it"),
        (lambda plain: operation(plain, "snn").update(sources=[]), "takes no signal"),
        (lambda plain: plain.update(version=9), "is of version 9, but this program reads version 2"),
        (lambda plain: plain["links"][0].update(argument="other"), r"part 'ann' takes \['#0'\], but its links lead to"),
        (lambda plain: plain["links"][0].update(delay=3), "the integer model is of another network"),
        (lambda plain: plain["links"][2].update(quantity="tau"), "modulates lif.tau, which is not in 'snn'"),
        (
            lambda plain: plain["links"].append({**plain["links"][2], "name": "second"}),
            "2 links modulate lif.v_threshold of 'snn'; an integer model takes one",
        ),
        (lambda plain: plain["parts"]["ann"].update(scale=-1.0), "a part needs a scale above 0"),
        (lambda plain: plain["inputs"]["frames"].update(grid={"scale": 0.0, "low": 0, "high": 1}), "a grid needs a"),
        (
            lambda plain: plain["inputs"]["frames"].update(grid={"scale": 1.0, "low": 0, "high": 2**70}),
            "grid.high should be int",
        ),
        (
            lambda plain: operation(plain)["settings"].update(padding_0=2**40),
            "padding_0 = 1099511627776; expected an integer from 0 to 1024",
        ),
        (lambda plain: plain.update(left_out=3), "integer.json.left_out should be"),
    ],
)
def test_damaged_words_are_one_line(change: Any, line: str, copy: Path) -> None:
    change_words(copy, change)
    with pytest.raises(DataError, match=line):
        integers_of(Bundle.open(copy))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda q: q.pop("parts/answer/layer/weight"), "operation 'layer' lacks 'weight'"),
        (lambda q: q.update({"parts/answer/layer/weight": np.ones((2, 9), np.int8)}), "does not fit"),
        (lambda q: q.update({"parts/answer/layer/weight": np.ones((2, 3), np.float32)}), "expected integers"),
        (lambda q: q.update({"parts/answer/layer:narrow/shift_0": np.array(99, np.int8)}), "a shift of 99"),
        (lambda q: q.pop("links/snn_to_answer/kernel/taps"), "lacks 'taps'"),
    ],
)
def test_damaged_numbers_are_one_line(change: Any, line: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_numbers(copy, change)
    assert main(["run", str(copy), "--integers"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert line in said[-1] and "Traceback" not in "".join(said)


def test_integers_of_a_link_into_another_argument_are_refused(copy: Path) -> None:
    # the program takes it by position
    edited(copy, lambda manifest: manifest["links"][0].update(into="other"))
    with pytest.raises(DataError, match=r"the integer model is of another network: 'frames_to_ann'"):
        integers_of(Bundle.open(copy))


def test_integers_that_lead_out_of_the_folder_are_refused(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["sha256"]
    manifest["integers"]["folder"] = "../elsewhere"
    (copy / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(DataError, match=r"manifest: a file is '\.\./elsewhere/integer.json', which is not there"):
        Bundle.open(copy)

    for name in list(manifest["files"]):
        if name.startswith("integers/integer"):
            manifest["files"][name.replace("integers", "../elsewhere")] = manifest["files"][name]

    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="leads out of the bundle"):
        Bundle.open(copy)
