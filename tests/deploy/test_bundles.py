"""Bundles: what is in the folder, what is refused at export, and what a damaged or hostile one is answered with."""

import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.numpy import save
from small_networks import DT, edited, small_inputs, small_network, spiking_network
from torch import Tensor, nn

from spikebridge.cli.main import main
from spikebridge.deploy import Bundle, Runner, Tolerance, compare_bundle, export, quantize
from spikebridge.deploy.bundle.manifest import StageRecord
from spikebridge.deploy.bundle.rebuild import rebuild
from spikebridge.deploy.bundle.stages import stage_of
from spikebridge.deploy.onnx import writer as onnx_writer
from spikebridge.deploy.onnx.session import OnnxSession
from spikebridge.deploy.onnx.writer import write_onnx, write_onnx_step
from spikebridge.deploy.run import output_row, read_arrays, run_bundle, write_arrays
from spikebridge.deploy.stages.discretizers import DISCRETIZERS
from spikebridge.deploy.stages.kernels import KERNELS
from spikebridge.errors import ConfigError, DataError, ExportError, ShapeError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Modulation, Sum, Transmission, every, ticks
from spikebridge.neurons import IF, LIF, AdaptiveLIF, Izhikevich, Sequential

pytestmark = pytest.mark.untyped

Copied = Callable[[], Path]


def test_a_bundle_is_the_folder_that_its_page_says(small: Bundle) -> None:
    names = sorted(path.relative_to(small.path).as_posix() for path in small.path.rglob("*") if path.is_file())
    assert names == [
        "ann/ann.onnx",
        "ann/ann_to_snn.unit.onnx",
        "ann/answer.onnx",
        "ann/snn_to_answer.unit.onnx",
        "manifest.json",
        "sample/sample.safetensors",
        "snn/snn.nir",
        "units/snn_to_answer.safetensors",
    ]

    plain = json.loads((small.path / "manifest.json").read_text())
    assert (plain["schema"], plain["version"], plain["dt"], plain["card"]) == ("spikebridge bundle", 1, DT, {"seed": 0})
    assert plain["parts"]["snn"]["notes"] == ["lif: reset is by subtraction of the threshold; NIR has no field for it"]
    assert plain["links"][3]["emits"] == {"period": 4, "phase": 3}
    assert set(plain["files"]) == set(names) - {"manifest.json"}


def test_every_level_of_a_bundle_agrees_with_the_trained_network(small: Bundle) -> None:
    comparison = compare_bundle(small)
    assert comparison.passed

    levels = {(row.level, row.name) for row in comparison.rows}
    assert {("onnxruntime", "ann"), ("nir", "snn"), ("units", "snn_to_answer"), ("rebuilt", "answer")} <= levels
    assert ("runner", "answer") in levels
    assert next(row.share for row in comparison.rows if row.name == "snn") == 0.0


def test_a_further_level_is_held_against_the_same_network(small: Bundle) -> None:
    def wrong(inputs: dict[str, Any], ticks: int) -> dict[str, dict[str, Any]]:
        numbers = small.numbers(small.manifest.sample.file)
        kinds = {
            kind: {n.partition(".")[2]: x.copy() for n, x in numbers.items() if n.startswith(kind)}
            for kind in ("parts", "links")
        }

        kinds["parts"]["snn"][5, 0, 0] = 1 - kinds["parts"]["snn"][5, 0, 0]
        return kinds

    comparison = compare_bundle(small, further={"integer": (wrong, Tolerance(spikes=0.0))})
    (row,) = [row for row in comparison.rows if not row.passed]

    assert (row.level, row.name, row.first_tick) == ("integer", "snn", 5)
    assert row.share == pytest.approx(1 / (24 * 3 * 5))


def test_a_part_that_says_something_else_is_found(small: Bundle) -> None:
    runner = Runner(small)
    inputs = {name: x.numpy() for name, x in small_inputs().items()}
    with torch.no_grad():
        wanted = small_network()(small_inputs())[0]["answer"].numpy()

    np.testing.assert_allclose(runner.run(inputs)["answer"], wanted, atol=1e-5)
    with torch.no_grad():
        rebuilt = rebuild(small)(small_inputs())[0]["answer"].numpy()

    np.testing.assert_allclose(rebuilt, wanted, atol=1e-5)


def test_a_rest_that_is_modulated_from_the_first_tick_leaves_the_start_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    snn = Sequential(fc=nn.Linear(3, 4), lif=LIF(0.02, v_threshold=0.2, v_leak=0.05))
    network = HybridNetwork(
        dt=DT,
        inputs={"x": every(DT)},
        parts={"ann": nn.Linear(3, 4), "snn": snn},
        links=[
            Transmission("x", "ann"),
            Transmission("x", "snn"),
            Modulation("ann", "snn.lif.v_leak", HybridUnit(nonlinearity=nn.Sigmoid()), by="add"),
        ],
        outputs=["snn"],
    ).eval()

    # membranes begin at the trained rest, not at the modulated one
    comparison = compare_bundle(export(network, {"x": torch.rand(20, 2, 3)}, tmp_path / "rest.bundle"))
    assert [(row.level, row.name) for row in comparison.rows if row.share] == []


def test_a_runner_goes_on_from_its_state(spiking: Bundle) -> None:
    runner = Runner(spiking)
    x = np.random.default_rng(0).random((12, 2, 3), np.float32)
    whole = runner.run({"events": x})["second"]
    state = runner.start(2)
    stepped = []

    for x_t in x:
        outputs, state = runner.step({"events": x_t}, state)
        stepped += list(outputs.values())

    np.testing.assert_array_equal(np.stack(stepped), whole)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "'events' is missing"),
        ({"event": np.zeros((2, 1, 3))}, "'events' is missing"),
        ({"events": np.zeros((2, 1, 4))}, r"needs a step \(1, 3\)"),
        ({"events": np.zeros(3)}, "needs a signal"),
        ({"events": np.full((2, 1, 3), np.nan)}, "not finite"),
        ({"events": torch.zeros(2, 1, 3)}, "needs an array of numpy, but got a Tensor; np.asarray makes one"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(spiking: Bundle, inputs: Any, words: str) -> None:
    with pytest.raises((ShapeError, DataError), match=words):
        Runner(spiking).run(inputs)


@pytest.mark.parametrize(
    ("inputs", "ticks", "words"),
    [
        ({"events": np.zeros((2, 1, 3))}, -1, "ticks must be an integer, 0 or more, but got -1"),
        ({}, 2, "a run needs inputs, to know the batch; there are events"),
        (np.zeros((2, 1, 3)), None, "takes its inputs by name"),
    ],
)
def test_calls_of_a_runner_that_cannot_be_meant_are_refused(
    spiking: Bundle, inputs: Any, ticks: int | None, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Runner(spiking).run(inputs, ticks)


def test_recordings_go_from_file_to_file(spiking: Bundle, tmp_path: Path) -> None:
    for kind in (".npz", ".safetensors"):
        write_arrays(tmp_path / f"x{kind}", {"events": np.ones((4, 1, 3), np.float32)})
        ran = run_bundle(spiking, tmp_path / f"x{kind}")
        assert (ran.ticks, ran.outputs["second"].shape) == (4, (2, 1, 4))

    with pytest.raises(DataError, match=r"should end in \.npz"):
        read_arrays(tmp_path / "manifest.json") if (tmp_path / "manifest.json").touch() is None else None

    (tmp_path / "cut.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:40])
    with pytest.raises(DataError, match="damaged"):
        read_arrays(tmp_path / "cut.npz")

    for shape in ((0, 1, 3), (4, 0, 3)):
        write_arrays(tmp_path / "none.npz", {"events": np.ones(shape, np.float32)})
        with pytest.raises(DataError, match=r"has no samples; expected arrays \(T, B, ...\) with T and B of 1 or more"):
            run_bundle(spiking, tmp_path / "none.npz")


def test_a_recording_shorter_than_the_first_window_is_reported(
    spiking: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_arrays(tmp_path / "short.npz", {"events": np.ones((1, 1, 3), np.float32)})
    assert main(["run", str(spiking.path), "--input", str(tmp_path / "short.npz")]) == 0
    assert "short.npz is shorter than the first window: no value of second" in capsys.readouterr().out


def test_the_last_value_of_classes_is_shown_with_their_names() -> None:
    y = np.array([[[9.0, 0, 0, 0]], [[0.5, -1, 3, 2]]])
    named = output_row("answer", y, ("ann", "ben", "cleo", "dora"))

    assert list(named["last"].items()) == [("cleo", 3.0), ("dora", 2.0), ("ann", 0.5)]
    assert output_row("answer", y, ("ann", "ben"))["last"] == [0.5, -1, 3, 2]


@pytest.mark.parametrize(("name", "words"), [("x.txt", "should end in"), ("missing/x.npz", "there is no folder")])
def test_a_destination_that_cannot_be_written_is_refused_before_the_run(
    tmp_path: Path, spiking: Bundle, name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(spiking.path), "--out", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said and "\n" not in said


def escape(name: str) -> Callable[[dict[str, Any]], None]:
    def change(plain: dict[str, Any]) -> None:
        plain["files"][name] = plain["files"].pop("snn/first.nir")
        plain["parts"]["first"]["file"] = name

    return change


def swap(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(plain: dict[str, Any]) -> None:
        inner: Any = plain
        for key in keys[:-1]:
            inner = inner[int(key)] if isinstance(inner, list) else inner[key]
        inner[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (escape("../first.nir"), "leads out of the bundle"),
        (escape("/etc/passwd"), "leads out of the bundle"),
        (escape("snn/fi\0rst.nir"), "leads out of the bundle, or is no name"),
        (escape("snn/\ud800.nir"), "leads out of the bundle, or is no name"),
        (escape("snn/" + "f" * 300), "leads out of the bundle, or is no name"),
        (escape("snn/lost.nir"), "is missing"),
        (swap("version", value=2), "of version 2, but this program reads version 1"),
        (swap("schema", value="other"), "not the manifest of a spikebridge bundle"),
        (swap("files", "snn/first.nir", "sha256", value="0" * 64), "its SHA-256 is not"),
        (swap("files", "snn/first.nir", "size", value=1 << 40), "but the manifest says 1099511627776"),
        (swap("inputs", "events", "shape", value=[1 << 20, 1 << 20]), "numbers, more than"),
        (swap("parts", "first", "clock", "period", value=0), "a clock has a period"),
        (swap("parts", "first", "shape", value="all"), r"manifest\.parts\.first\.shape should be"),
        (swap("dt", value=-1.0), "dt is a time above 0 s"),
        (swap("order", value=["first"]), "order names"),
        (swap("outputs", value=["nobody"]), "'nobody', which is not there"),
        (swap("links", "0", "source", value="nobody"), "the source of link"),
        (swap("surprise", value=1), "manifest has no field 'surprise'"),
        (lambda plain: plain.pop("links"), "lacks links"),
    ],
)
def test_a_manifest_that_was_written_into_is_refused_in_one_line(copied: Copied, change: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        Bundle.open(edited(copied(), change))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap("links", "1", "unit", "window", "settings", value={"length": 1 << 40}), "from 1 to 1048576"),
        (swap("links", "1", "unit", "kernel", "name", value="Magic"), "there is no kernel 'Magic'"),
        (swap("links", "1", "emits", value={"period": 1, "phase": 0}), "clocks do not fit|has nothing to deliver"),
        (swap("links", "2", "quantity", value="weight"), "which the NIR graph does not have"),
        (swap("dt", value=0.002), r"first\.nir was made for a step of 0\.001 s, but the manifest says 0\.002 s"),
        (swap("links", "1", "shape", value=[7]), "but the manifest says"),
    ],
)
def test_a_bundle_whose_pieces_do_not_fit_is_refused_when_it_runs(copied: Copied, change: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        run_bundle(Bundle.open(edited(copied(), change)))


@pytest.mark.parametrize("stage", ["kernel", "discretizer"])
def test_a_stage_whose_settings_and_numbers_are_missing_is_refused_or_needs_none(copied: Copied, stage: str) -> None:
    forms: dict[str, Any] = KERNELS if stage == "kernel" else DISCRETIZERS
    unit = {"window": {"name": "Tumbling", "settings": {"length": 2}}, "kernel": {"name": "Sum", "settings": {}}}

    for name in forms:
        record = {**unit, stage: {"name": name, "settings": {}}}
        bundle = Bundle.open(edited(copied(), swap("links", "1", "unit", value=record)))
        with suppress(DataError):
            run_bundle(bundle)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (None, "link 'first_to_second' is damaged: it lacks 'weight'"),
        (np.ones((2, 5), np.float32), "link 'first_to_second' cannot run, a number or an input does not fit"),
        (np.ones((), np.float32), "link 'first_to_second' cannot run, a number or an input does not fit"),
        (np.full((2, 4), np.nan, np.float32), "'weight' that are not finite"),
    ],
)
def test_numbers_of_a_link_that_do_not_fit_are_one_line(copied: Copied, weight: Any, words: str) -> None:
    path = copied()
    content = save({} if weight is None else {"kernel.weight": weight})
    name = "units/first_to_second.safetensors"
    (path / "units").mkdir()
    (path / name).write_bytes(content)

    def change(plain: dict[str, Any]) -> None:
        plain["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        plain["links"][1]["numbers"] = name
        plain["links"][1]["unit"]["kernel"] = {"name": "Taps", "settings": {"num_taps": 2, "keep": False}}

    bundle = Bundle.open(edited(path, change))
    with pytest.raises(DataError, match=words):
        run_bundle(bundle)


def test_a_rebuilt_network_takes_no_numbers_that_are_not_finite() -> None:
    with pytest.raises(DataError, match="'weight' that are not finite"):
        stage_of(StageRecord("Taps", {"num_taps": 1, "keep": False}), {"weight": torch.tensor([torch.nan])})


def test_a_rebuilt_network_refuses_what_does_not_fit(copied: Copied) -> None:
    # a held link, whose clock only its unit knows
    with pytest.raises(DataError, match=r"emits .* but its unit has"):
        rebuild(Bundle.open(edited(copied(), swap("links", "2", "emits", value={"period": 2, "phase": 0}))))

    with pytest.raises(DataError, match=r"runs every 0\.002 s, but .* has dt=0\.001 s"):
        rebuild(Bundle.open(edited(copied(), swap("dt", value=0.002))))


def test_damaged_files_are_refused(copied: Copied) -> None:
    for damage in (lambda b: b[:-1], lambda b: b[:-1] + bytes([b[-1] ^ 1])):
        path = copied()
        file = path / "snn" / "first.nir"
        file.write_bytes(damage(file.read_bytes()))

        with pytest.raises(DataError, match=r"first\.nir"):
            Bundle.open(path)

    (path / "manifest.json").write_text("{" * 100_000)
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        Bundle.open(path)


def test_an_onnx_file_whose_names_are_no_text_is_refused() -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "part", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content = model.SerializeToString()
    assert OnnxSession(content, "a.onnx").inputs == ["x"]

    with pytest.raises(DataError, match=r"a\.onnx cannot be loaded"):
        OnnxSession(content.replace(b"batch", b"bat\xffh"), "a.onnx")


def test_a_link_out_of_the_folder_is_refused(copied: Copied, tmp_path: Path) -> None:
    path = copied()
    file = path / "snn" / "first.nir"
    (tmp_path / "elsewhere.nir").write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere.nir")

    with pytest.raises(DataError, match=r"first\.nir leads out of"):
        Bundle.open(path)


def events(value: float = 1.0) -> dict[str, Tensor]:
    return {"events": torch.full((12, 2, 3), value)}


def test_a_folder_that_is_there_is_left_alone_and_nothing_half_written_stays(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(ExportError, match="is there already"):
        export(spiking_network(), events(), tmp_path / "taken")

    with pytest.raises(ExportError, match=r"the layer 'parts\.part' never spikes on the sample"):
        export(one_part(IF()), events(0.0), tmp_path / "silent")

    for wrong in ({}, events()["events"], {"events": torch.zeros(12, 0, 3)}):
        with pytest.raises(ConfigError, match=r"takes its inputs by name|needs samples \(T, B, \*N\)"):
            export(spiking_network(), wrong, tmp_path / "empty")

    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def one_part(part: nn.Module, *more: Any) -> HybridNetwork:
    links = [Transmission("events", "part"), *more]
    return HybridNetwork(dt=DT, inputs={"events": every(DT)}, parts={"part": part}, links=links, outputs=["part"])


def test_weights_of_convolutions_that_change_while_the_network_runs_are_refused_with_their_path(tmp_path: Path) -> None:
    unit = HybridUnit(None, None, nn.Unflatten(-1, (1, 1, 3)))
    part = nn.Sequential(nn.Unflatten(-1, (1, 3)), nn.Conv1d(1, 1, 3))
    network = one_part(part, Modulation("events", "part.1.weight", unit, name="writes"))
    with pytest.raises(ExportError, match=r"'writes' modulates part\.1\.weight, weights that change .* of nn.Linear"):
        export(network, events(2.0), tmp_path / "b")


def test_a_first_modulation_that_comes_late_leaves_the_second_as_it_is_by_hand(tmp_path: Path) -> None:
    links = [
        Transmission("current", "snn"),
        Modulation("factor", "snn.fire.v_threshold", by="multiply", delay=ticks(5)),
        Modulation("raise", "snn.fire.v_threshold", by="add"),
    ]

    parts = {"snn": Sequential(fire=IF(v_threshold=1.0))}
    clocks = {"current": every(DT), "factor": every(DT), "raise": every(DT)}
    network = HybridNetwork(dt=DT, inputs=clocks, parts=parts, links=links, outputs=["snn"]).eval()
    values = {"current": 1.1, "factor": 3.0, "raise": 2.0}
    inputs = {name: torch.full((9, 1, 1), value) for name, value in values.items()}

    # the threshold is 1 + 2, from tick 5 on 1 * 3 + 2; membranes are 1.1, 2.2, 3.3; 1.1, 2.2, 3.3, 4.4, 5.5; 1.1
    wanted = [0, 0, 1, 0, 0, 0, 0, 1, 0]
    assert network(inputs)[0]["snn"].flatten().tolist() == wanted

    outputs = Runner(export(network, inputs, tmp_path / "b")).run({name: x.numpy() for name, x in inputs.items()})
    assert outputs["snn"].flatten().tolist() == wanted
    with pytest.raises(ExportError, match=r"2 links modulate snn\.fire\.v_threshold; an integer model takes one"):
        quantize(network, inputs)


def test_a_kernel_with_a_name_of_its_own_that_gives_every_step_is_refused(tmp_path: Path) -> None:
    class Other(Sum):
        pass

    network = one_part(nn.Identity())
    network = HybridNetwork(
        dt=DT,
        inputs={"events": every(DT)},
        parts={"part": nn.Identity()},
        links=[Transmission("events", "part", HybridUnit(None, Other(keep=True)), name="link")],
        outputs=["part"],
    )
    with pytest.raises(ExportError, match="the kernel of link 'link' is a Other"):
        export(network, events(), tmp_path / "b")


def test_a_spiking_part_that_nir_cannot_hold_becomes_an_onnx_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    part = Sequential(fc=nn.Linear(3, 2), lif=AdaptiveLIF(dt=DT, v_threshold=0.1), out=LIF(dt=DT, v_threshold=0.2))
    with torch.no_grad():
        part[0].weight.abs_()

    bundle = export(one_part(part), events(), tmp_path / "b")
    record = bundle.manifest.parts["part"]

    assert (record.side, record.format, record.file) == ("snn", "onnx", "snn/part.onnx")
    assert record.notes == ("an ONNX step, not NIR: 'lif' is a AdaptiveLIF, for which NIR has no node",)
    assert compare_bundle(bundle).passed


def test_numbers_of_another_precision_and_foreign_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="float64; a bundle holds float32"):
        export(one_part(nn.Linear(3, 1).double()), events(), tmp_path / "b")
    with pytest.raises(ExportError, match="holds a HybridNetwork, but got a Linear"):
        export(nn.Linear(3, 1), events(), tmp_path / "b")  # type: ignore[arg-type]


class FixesTheBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * len(x)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


@pytest.mark.parametrize(
    ("module", "words"), [(FixesTheBatch(), "fixes the size of the batch"), (Branches(), "depends on the values")]
)
def test_modules_that_onnx_cannot_hold_are_refused_with_the_reason(module: nn.Module, words: str) -> None:
    with pytest.raises(ExportError, match=f"part 'x' cannot be written as ONNX: .*{words}"):
        write_onnx(module, {"x": torch.ones(2, 3)}, name="part 'x'")


def test_an_onnx_file_takes_any_batch_and_a_step_passes_its_state() -> None:
    part = Izhikevich(dt=DT)
    content, initial = write_onnx_step(part, {"x": torch.zeros(1, 2)})
    session = OnnxSession(content, "step.onnx")
    x = 40 * torch.rand(5, 4, 2)
    state = [t.repeat(4, 1).numpy() for t in initial.values()]
    stepped = []

    for x_t in x.numpy():
        y_t, *state = session.run({"x": x_t, **{f"state.{i}": t for i, t in enumerate(state)}})
        stepped.append(y_t)

    np.testing.assert_allclose(np.stack(stepped), part(x)[0].numpy())
    with pytest.raises(DataError, match=r"takes \['x', 'state"):
        session.run({"x": x[0].numpy()})

    for cut in (content[:50], content[:-60], b"", b"\xff" * 9):
        with pytest.raises(DataError, match=r"step\.onnx"):
            OnnxSession(cut, "step.onnx")


def test_a_library_of_operators_translated_before_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Softplus(), nn.Dropout()).eval()
    x = {"x": torch.ones(1, 3)}
    files = [write_onnx(module, x), write_onnx(module, x)]

    assert len(onnx_writer._TRANSLATED) == 1

    monkeypatch.setattr(onnx_writer, "_library_translated_once", nullcontext)
    assert files == 2 * [write_onnx(module, x)]


def test_an_onnx_file_of_another_opset_is_refused() -> None:
    import onnx

    model = onnx.load_model_from_string(write_onnx(nn.Identity(), {"x": torch.ones(1, 3)}))
    model.opset_import[0].version = 7
    with pytest.raises(DataError, match=r"of ONNX opset 7, but opsets 13 to 23"):
        OnnxSession(model.SerializeToString(), "old.onnx")

    model.opset_import[0].version = 20
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    with pytest.raises(DataError, match=r"needs operators of com\.example"):
        OnnxSession(model.SerializeToString(), "own.onnx")
