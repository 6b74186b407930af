"""`spikebridge track` and `spikebridge eval sensing` on the command line, with untrained weights."""

import csv
import json
import os
import re
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from research.sensing.baselines.evaluate import evaluate as evaluate_with_rivals
from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.cli.main import main
from spikebridge.data.events.events import make_events
from spikebridge.data.events.files import write_events
from spikebridge.data.recordings.recording import Inputs, Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.evaluation import evaluate as sensing_evaluation
from spikebridge.networks.sensing.evaluation.metrics import TrackingScore
from spikebridge.networks.sensing.track import _status_line, _TrackedBox
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackingState
from spikebridge.training import Run

pytestmark = pytest.mark.untyped

START = 7_000_000
CONFIG = sensing.Config(
    recording="generated",
    num_scenes=1,
    model=sensing.ModelConfig(crop=48, reach=8),
    detector=sensing.DetectorTraining(epochs=0),
)


@pytest.fixture(scope="module")
def rotating() -> Recording:
    """0.25 s: ten frames, 60 bins."""
    return render_recording(RotatingDisk(height=64, width=64), duration=0.25, dt=1 / 240)


@pytest.fixture(scope="module")
def saved(rotating: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a folder, on a clock that begins at 7 s."""
    folder = tmp_path_factory.mktemp("data") / "disk"
    (folder / "frames").mkdir(parents=True)
    rows = []

    for k, (frame, t) in enumerate(zip(rotating.frames, rotating.frame_times, strict=True)):
        Image.fromarray(frame).save(folder / "frames" / f"{k}.png")
        rows.append(f"{k}.png,{START + round(1e6 * t)}")

    bins = np.repeat(np.arange(rotating.num_bins), np.diff(rotating.events.edges))
    t = START + np.round((bins + 0.5) * rotating.dt * 1e6).astype(np.int64)
    events = make_events(t=t, x=rotating.events.x, y=rotating.events.y, p=rotating.events.on)
    write_events(folder / "events.npz", events, 64, 64)
    (folder / "meta.json").write_text(json.dumps({"width": 64, "height": 64}))
    (folder / "frames.csv").write_text("\n".join(["file,t_us", *rows]) + "\n")
    ends = START + np.round((np.arange(rotating.num_bins) + 1) * rotating.dt * 1e6).astype(int)
    boxes = [f"{START},{','.join(map(str, rotating.frame_boxes[0]))}"]
    boxes += [f"{t},{','.join(map(str, box))}" for t, box in zip(ends, rotating.boxes, strict=True)]
    (folder / "boxes.csv").write_text("\n".join(["t_us,x,y,w,h", *boxes]) + "\n")

    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose network was never trained."""
    whole = Run.create(tmp_path_factory.mktemp("runs") / "untrained", "sensing", CONFIG)
    torch.manual_seed(0)
    child = whole.child("learned/seed-0")
    child.save_weights(sensing.build(CONFIG)["learned"])
    child.save_results({})
    whole.save_results({"recording": "elsewhere"})

    return str(whole.path)


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A copy of the folder that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "disk"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line on stderr of a command that is refused with exit code 2."""
    assert main([str(word) for word in words]) == 2

    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("spikebridge: error: ") and captured.err.count("\n") == 1
    return captured.err


def test_a_track_is_written_into_a_file_and_an_animation(
    saved: Path, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "track.csv"
    animation = tmp_path / "track.webp"
    words = ["track", saved, "--network", run, "--out", out, "--animation", animation, "--json"]

    assert main([str(word) for word in words]) == 0

    summary = json.loads(capsys.readouterr().out)
    rows = rows_of(out)

    assert list(rows[0]) == ["t_us", "x", "y", "w", "h", "confidence", "lost"]
    # a box at the end of each of 60 bins, in the time of the files
    assert len(rows) == summary["num_boxes"] == 60
    assert [int(row["t_us"]) for row in rows[:3]] == [START + 4167, START + 8333, START + 12500]
    assert summary["last_t_us"] == START + 250_000 and summary["first_frame"] == 0
    assert all(0 <= float(row["confidence"]) <= 1 and row["lost"] in ("0", "1") for row in rows)
    assert summary["boxes_per_second"] > 0 and summary["against_truth"]["num_outputs"] == 60

    # the share that the tracker reports and the true one have different names; `eval` has the second name, too
    assert summary["reported_lost_share"] == round(sum(row["lost"] == "1" for row in rows) / 60, 4)
    assert set(summary["against_truth"]) == set(TrackingScore._fields) and "lost_share" not in summary
    with Image.open(animation) as picture:
        assert picture.format == "WEBP" and picture.n_frames == 30 and picture.size == (128, 128)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["track.csv", "track.webp"]


def test_a_track_is_written_into_a_page(
    saved: Path, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "track.html"
    assert main(["track", str(saved), "--network", run, "--page", str(page), "--quiet", "--json"]) == 0

    summary = json.loads(capsys.readouterr().out)
    assert summary["page"] == str(page)

    html = page.read_text()
    assert "60 bins, 0.25 s" in html
    assert f"{summary['against_truth']['mean_distance_px']:.2f} px off on average" in html

    for lane in ("distance to the true centre", "overlap with the true box", "confidence", "events in a bin"):
        assert f"<b>{lane}</b>" in html

    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', html)
    film = json.loads(data)["film"]

    assert [len(boxes) for boxes in film["boxes"]] == [60, 60]
    assert film["boxes"][0][-1] == pytest.approx(summary["last_box"], abs=0.06)
    assert "a file each" in refusal(capsys, "track", saved, "--network", run, "--out", page, "--page", page)


def test_a_track_is_written_for_the_viewer(
    saved: Path, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "track.rrd"
    logged: list[tuple[str, tuple[Any, ...]]] = []
    pieces = iter([b"RRF2", b""])

    class Stream:
        """The part of a recording stream of rerun-sdk that is used."""

        def __init__(self, name: str, recording_id: str) -> None:
            assert (name, bool(recording_id)) == ("spikebridge", True)

        def binary_stream(self) -> Any:
            return SimpleNamespace(read=lambda: next(pieces))

        def set_time(self, timeline: str, **at: float) -> None:
            logged.append((timeline, tuple(at.items())))

        def log(self, name: str, value: Any) -> None:
            logged.append((name, value))

    def shape(*values: Any, **options: Any) -> tuple[Any, ...]:
        return (*values, options)

    fake = SimpleNamespace(RecordingStream=Stream, **dict.fromkeys(("Image", "Points2D", "Boxes2D", "Scalars"), shape))
    monkeypatch.setitem(sys.modules, "rerun", fake)
    words = ["track", str(saved), "--network", run, "--viewer", str(path), "--quiet", "--json"]

    assert main(words) == 0

    summary = json.loads(capsys.readouterr().out)
    assert summary["viewer"] == str(path)
    assert path.read_bytes() == b"RRF2"

    counts = Counter(name for name, _ in logged)
    assert counts["bin"] == counts["camera/events"] == counts["camera/tracker"] == counts["distance [px]"] == 60
    assert counts["camera/frame"] == 10
    assert next(value for name, value in logged if name == "time") == (("duration", pytest.approx(1 / 240)),)

    distances = [value[0] for name, value in logged if name == "distance [px]"]
    assert np.mean(distances) == pytest.approx(summary["against_truth"]["mean_distance_px"], rel=1e-4)

    monkeypatch.setitem(sys.modules, "rerun", None)
    assert main(words) == 2
    assert "install -e '.[viewer]'" in capsys.readouterr().err


def test_the_first_box_can_be_an_option(saved: Path, run: str, tmp_path: Path) -> None:
    out = tmp_path / "track.csv"
    assert main(["track", str(saved), "--network", run, "--init", "20,30,9,7", "--out", str(out), "--quiet"]) == 0

    first = rows_of(out)[0]
    assert (float(first["w"]), float(first["h"])) == (9.0, 7.0)
    assert abs(float(first["x"]) - 20) < 8 and abs(float(first["y"]) - 30) < 8


def test_without_any_box_the_largest_moving_region_is_taken(
    copy: Path, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "boxes.csv").unlink()
    assert main(["track", str(copy), "--network", run, "--quiet", "--json"]) == 0

    printed = capsys.readouterr()
    x, y, w, h = json.loads(printed.out)["first_box"]

    assert f"the largest moving region is taken: --init {x:g},{y:g},{w:g},{h:g}" in printed.err
    assert x >= 0 and x + w <= 64 and y >= 0 and y + h <= 64


def test_a_box_is_drawn_in_a_browser(
    copy: Path, run: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def drawn(picture: np.ndarray, start: np.ndarray, port: int, report: object) -> np.ndarray:
        calls.append((picture.shape, port))
        return np.array([20.0, 30, 9, 7])

    monkeypatch.setattr("spikebridge.analysis.pick_box.pick_box", drawn)
    for words, port in (("pick", 0), ("pick:8123", 8123)):
        assert main(["track", str(copy), "--network", run, "--init", words, "--quiet", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["first_box"] == [20, 30, 9, 7]
        assert calls[-1] == ((64, 64), port)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("1,2,3", "x,y,w,h: four numbers in pixels"),
        ("1,2,0,5", "w and h above 0"),
        ("a,b,c,d", "four numbers"),
        ("nan,1,2,3", "four numbers"),
        ("pick:0", "such as --init pick:5000, but got '0'"),
        ("pick:", "such as --init pick:5000"),
        ("picks", "four numbers"),
        ("70,1,5,5", "expected a first box inside the image of 64 x 64 pixels, but got [70.0"),
    ],
)
def test_a_first_box_that_cannot_be_is_refused(
    saved: Path, run: str, init: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(capsys, "track", saved, "--network", run, "--init", init)


def test_a_wrong_path_is_refused(run: str, tmp_path: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nowhere"
    assert f"{missing}: expected the folder of a recording" in refusal(capsys, "track", missing, "--network", run)
    assert "there is no folder" in refusal(capsys, "track", saved, "--network", run, "--out", missing / "a.csv")
    assert "this is a folder" in refusal(capsys, "track", saved, "--network", run, "--out", tmp_path)
    assert "ends in .webp, .gif, .mp4" in refusal(capsys, "track", saved, "--network", run, "--animation", "a.avi")
    assert "is not a tracker" in refusal(capsys, "track", saved, "--network", "digits")

    one = tmp_path / "a.webp"
    same = tmp_path / ".." / tmp_path.name / "a.webp"

    assert "a file each" in refusal(capsys, "track", saved, "--network", run, "--out", one, "--animation", same)

    os.mkfifo(pipe := tmp_path / "pipe")
    assert f"{pipe}: expected the name of a file" in refusal(capsys, "track", saved, "--network", run, "--out", pipe)
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["boxes.csv", "frames.csv", "events.csv", "frames/new.csv"])
@pytest.mark.parametrize("is_there", [True, False])
def test_no_file_of_the_recording_is_written_over_or_added(
    copy: Path, run: str, name: str, is_there: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / name
    path.write_bytes(b"mine") if is_there else path.unlink(missing_ok=True)
    assert "a file of the recording itself" in refusal(capsys, "track", copy, "--network", run, "--out", path)
    assert path.read_bytes() == b"mine" if is_there else not path.exists()


def test_damaged_events_are_refused(copy: Path, run: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (copy / "events.npz").read_bytes()
    (copy / "events.npz").write_bytes(whole[: len(whole) // 2])
    for words in (("track", copy, "--network", run), ("eval", run, "--data", copy)):
        assert "events.npz" in refusal(capsys, *words)

    (copy / "events.npz").write_bytes(b"")
    assert "the file is empty" in refusal(capsys, "track", copy, "--network", run)


def test_sizes_that_differ_are_refused(copy: Path, run: str, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "meta.json").write_text(json.dumps({"width": 32, "height": 64}))
    line = refusal(capsys, "track", copy, "--network", run)
    assert "32 x 64 pixels (meta.json), but they are 64 x 64. Resize and crop" in line


def test_an_empty_first_box_is_refused(copy: Path, run: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (copy / "boxes.csv").read_text().splitlines()
    (copy / "boxes.csv").write_text("\n".join([lines[0], f"{START},1,1,0,5", *lines[2:]]))

    assert "boxes.csv, line 2: expected a first box inside the image" in refusal(
        capsys, "track", copy, "--network", run
    )


def test_events_out_of_order_are_refused_and_repaired_when_asked(
    copy: Path, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(copy / "events.npz") as file:
        arrays = dict(file)

    arrays["t"][[100, 2000]] = arrays["t"][[2000, 100]]
    np.savez(copy / "events.npz", **arrays)

    assert "events.npz" in refusal(capsys, "track", copy, "--network", run)
    assert main(["track", str(copy), "--network", run, "--repair", "--json", "--quiet"]) == 0
    assert "sorted" in json.loads(capsys.readouterr().out)["warnings"][0]


def test_the_progress_has_rate_confidence_and_whether_the_target_is_lost() -> None:
    tracked = _TrackedBox(0, np.zeros(4), 0.5, lost=True, seconds=0.0)
    assert _status_line(tracked, 240.0) == "240 boxes/s  confidence 0.50  LOST"
    assert _status_line(tracked._replace(lost=False), 239.6) == "240 boxes/s  confidence 0.50"


def test_a_stopped_tracking_leaves_no_file(
    saved: Path, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C at the twentieth bin; what was there before is still there."""
    step = SensingTracker.step
    num_steps = [0]

    def interrupted(self: SensingTracker, inputs: Inputs, state: TrackingState | None) -> Any:
        num_steps[0] += 1
        if num_steps[0] == 20:
            raise KeyboardInterrupt
        return step(self, inputs, state)

    monkeypatch.setattr(SensingTracker, "step", interrupted)
    out = tmp_path / "track.csv"
    animation = tmp_path / "track.webp"
    out.write_text("of yesterday")
    words = ["track", saved, "--network", run, "--out", out, "--animation", animation]

    assert main([str(word) for word in words]) == 130
    assert capsys.readouterr().err == "spikebridge: stopped\n"
    assert [path.name for path in tmp_path.iterdir()] == ["track.csv"] and out.read_text() == "of yesterday"


@pytest.mark.parametrize("protocol", ["A", "B", "C", "D", "E"])
def test_every_protocol_gives_every_figure_for_the_network_and_each_baseline(
    protocol: str, saved: Path, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--baselines", "hold,constant_velocity,kalman", "--latency", "tianjic", "--json"]
    assert main(["eval", run, "--data", str(saved), "--protocol", protocol, *words]) == 0

    results = json.loads(capsys.readouterr().out)
    figures = {"mean_distance_px", "auc", "precision_3px", "precision_5px", "precision_20px", "miou", "per_bin"}

    assert figures <= set(results)
    assert set(results["baselines"]) == {"hold", "constant_velocity", "kalman"}
    for one in results["baselines"].values():
        assert figures <= set(one) and one["num_outputs"] == results["num_labels"]

    assert (results["protocol"], results["recording"], results["seed"]) == (protocol, "disk", 0)
    assert results["split"] == "all" and results["frames"] == [{"A": 2, "D": 2}.get(protocol, 0), 10]
    assert results["first_frame"] == results["frames"][0]
    # A answers after each of 8 frames, the others from the first frame to the end
    assert results["num_labels"] == {"A": 48, "D": 48}.get(protocol, 60)
    assert [row["bin"] for row in results["per_bin"]] == [1, 2, 3, 4, 5, 6]

    if protocol == "B":
        assert [row["every"] for row in results["by_every"]] == [1, 2, 4, 8, 16, None]

    if protocol == "D":
        assert [row["frame_rate_hz"] for row in results["by_frame_rate"]][:3] == [40, 20, 10]
        assert figures | {"closed_loop"} <= set(results["by_frame_rate"][0])


def test_fewer_frames_begin_where_a_box_is_known_and_too_few_are_left_out(
    copy: Path, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "boxes.csv"
    first, *rows = path.read_text().splitlines()
    # frames 4 and later have a box; of every fourth frame these are 4 and 8
    path.write_text("\n".join([first, *(row for row in rows if int(row.split(",")[0]) >= START + 99_000), ""]))

    assert main(["eval", run, "--data", str(copy), "--protocol", "D", "--baselines", "hold", "--json"]) == 0

    results = json.loads(capsys.readouterr().out)
    assert [row["keep_every"] for row in results["by_frame_rate"]] == [1, 2, 4]
    assert [row["keep_every"] for row in results["baselines"]["hold"]["by_frame_rate"]] == [1, 2, 4]

    (warning,) = (text for text in results["warnings"] if not text.startswith("first box: "))
    assert warning == "8 times fewer frames are left out of by_frame_rate: no two that follow one another have boxes."


def test_the_training_part_of_a_recording_of_the_run_is_left_out(
    rotating: Recording, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = render_recording(
        RotatingDisk(height=64, width=64), duration=1.4, dt=1 / 240, image_interval=1 / 240, name="elsewhere"
    )
    monkeypatch.setattr(sensing_evaluation, "load_recording", lambda *_: longer)
    options = sensing.Evaluation(baselines="hold", protocol="C")
    results = sensing.evaluate(Run.open(run), tmp_path, options)

    # 56 frames: the test part is frames 34 to 54
    assert results["split"] == "test" and results["frames"] == [34, 55]


def test_a_frame_rate_has_a_row_if_a_tracker_can_start_at_it(
    rotating: Recording, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = rotating.frame_boxes.copy()
    # of frames 0, 4 and 8 no two neighbours have boxes, of 0 and 8 both
    boxes[4] = np.nan
    partly = replace(rotating, frame_boxes=boxes)
    monkeypatch.setattr(sensing_evaluation, "load_recording", lambda *_: partly)
    results = sensing.evaluate(Run.open(run), tmp_path, sensing.Evaluation(baselines="none", protocol="D"))

    assert [row["keep_every"] for row in results["by_frame_rate"]] == [1, 2, 8]


def test_networks_are_compared_with_one_of_the_same_seed(
    rotating: Recording, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensing_evaluation, "load_recording", lambda *_: rotating)
    tracker = sensing.tracker(Run.open(run))
    calls = []

    def load(network: str | None, seed: int | None) -> SensingTracker:
        calls.append((network, seed))
        return tracker

    options = sensing.Evaluation(protocol="C", baselines="learned", weights_seed=3)
    sensing_evaluation.evaluate_recording(Run.open(run), tmp_path, options, load)

    assert calls == [(None, 3), ("learned", 3)]


def test_words_that_cannot_be_meant_are_refused(
    saved: Path, copy: Path, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def line(*words: str) -> str:
        return refusal(capsys, "eval", run, "--data", saved, *words)

    assert "no baseline 'kalmann': did you mean 'kalman'" in line("--baselines", "kalmann")
    assert "--protocol has no choice 'F'" in line("--protocol", "F")
    assert "no trained lerned" in line("--network", "lerned")
    assert "three parts with gaps need 40 frames or more, but got 10" in line("--split", "test")
    assert "box_noise needs to be 0 px or more" in line("--box-noise", "-1")
    assert "keep_every needs to be 1 or more" in line("--keep-every", "0")
    assert "every needs to be 1 or more" in line("--every", "0")

    (copy / "boxes.csv").unlink()
    assert "expected two neighbouring frames with boxes" in refusal(capsys, "eval", run, "--data", copy)


def test_further_baselines_are_made_before_anything_is_measured(
    saved: Path, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr(sensing_evaluation, "_evaluate_tracker", lambda *_: pytest.fail("something was measured"))
    with pytest.raises(ConfigError, match=r"install -e '\.\[opencv\]'"):
        evaluate_with_rivals(Run.open(run), saved, sensing.Evaluation(baselines="hold,csrt"))


def test_a_run_without_data_is_measured_on_generated_scenes(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SPIKEBRIDGE_DATA", raising=False)
    monkeypatch.setattr(sensing_evaluation, "_NUM_SCENES", 1)

    assert main(["eval", run, "--protocol", "A", "--keep-every", "4", "--baselines", "hold", "--json"]) == 0

    results = json.loads(capsys.readouterr().out)
    assert results["split"] == "generated" and results["recording"].startswith("scene ")
    assert results["frame_rate_hz"] == 10 and len(results["per_bin"]) == 24
