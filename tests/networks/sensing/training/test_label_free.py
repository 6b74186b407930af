"""Training without labels: on a recording that has none, and on one that has them at frames alone."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from spikebridge.data.events.events import make_events
from spikebridge.data.events.files import write_events
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.data.simulation.rotating_disk import RotatingDisk
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing import data as sensing_parts
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.training.datasets import training_data
from spikebridge.networks.sensing.training.objectives import change_objective, events_objective, frames_objective
from spikebridge.networks.sensing.training.objectives import jitter_samples as shaken
from spikebridge.networks.sensing.training.objectives import tracking_objective as objective
from spikebridge.networks.sensing.training.samples import TrackingSamples, cut_unlabelled_samples
from spikebridge.training import Run

DT = 1 / 240
NAN = float("nan")
# of the quick preset, with half the features, on smaller crops


def changed(config: sensing.Config, **changes: Any) -> sensing.Config:
    """The same settings with other values: `detector__epochs=0` for those of a group."""
    for name, value in changes.items():
        group, _, inner = name.partition("__")
        value = dataclasses.replace(getattr(config, group), **{inner: value}) if inner else value
        config = dataclasses.replace(config, **{group: value})

    return config


SMALL = changed(
    sensing.PRESETS["quick"],
    model__num_features=4,
    model__crop=64,
    model__reach=12,
    pathways__epochs=2,
    detector__epochs=0,
    schedule="label_free",
)


@pytest.fixture(scope="module")
def camera() -> Recording:
    """56 frames, of which 2 to 27 are the training part and 34 to 54 the test part."""
    return render_recording(RotatingDisk(height=64, width=64), duration=1.4, dt=DT, image_interval=DT, name="disk")


def write(recording: Recording, folder: Path, boxes: bool) -> str:
    """A folder of one's own; with the boxes of its frames, or without any."""
    (folder / "frames").mkdir(parents=True)
    times = [round(1e6 * float(t)) for t in recording.frame_times]
    for k, frame in enumerate(recording.frames):
        Image.fromarray(frame).save(folder / "frames" / f"{k}.png")

    (folder / "frames.csv").write_text("\n".join(["file,t_us", *(f"{k}.png,{t}" for k, t in enumerate(times))]))
    bins = np.repeat(np.arange(recording.num_bins), np.diff(recording.events.edges))
    x, y, on = recording.events.slice_bins(0, recording.num_bins)
    write_events(folder / "events.npz", make_events(t=((bins + 0.5) * DT * 1e6).astype(int), x=x, y=y, p=on), 64, 64)
    (folder / "meta.json").write_text(json.dumps({"width": 64, "height": 64}))

    if boxes:
        rows = [",".join(map(str, (t, *box))) for t, box in zip(times, recording.frame_boxes.tolist(), strict=True)]
        (folder / "boxes.csv").write_text("\n".join(["t_us,x,y,w,h", *rows]))

    return str(folder)


@pytest.fixture(scope="module")
def unlabelled(camera: Recording, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(camera, tmp_path_factory.mktemp("own") / "unlabelled", boxes=False)


@pytest.fixture
def clips(camera: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clip of twelve frames in the data folder."""
    clip = tmp_path / "data" / "tracking" / "OTB_Disk"
    (clip / "img").mkdir(parents=True)
    for k in range(12):
        Image.fromarray(camera.frames[k]).save(clip / "img" / f"{k:04}.png")

    rows = [",".join(str(number) for number in box) for box in camera.frame_boxes[:12].tolist()]
    (clip / "groundtruth_rect.txt").write_text("\n".join(rows))
    monkeypatch.setenv("SPIKEBRIDGE_DATA", str(tmp_path / "data"))


def trained(config: sensing.Config, path: Path) -> tuple[Run, dict[str, Any]]:
    run = Run.create(path, "sensing", config)
    return run, sensing.train(config, run, quiet=True)


def change_of(network: torch.nn.Module, samples: TrackingSamples) -> float:
    """`L_F`, with the network as a tracker uses it."""
    network.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        return float(change_objective(network, samples._asdict())[0])  # type: ignore[arg-type]


@pytest.mark.usefixtures("clips")
def test_a_recording_without_any_box_trains_and_its_snn_learns_the_change(unlabelled: str, tmp_path: Path) -> None:
    config = changed(SMALL, recording=unlabelled, clips=True)
    run, results = trained(config, tmp_path / "run")

    assert results["recording"] == "scene 2 (unlabelled has no boxes)"
    assert all(np.isfinite(row["distance px"]) for row in results["trackers"])
    assert sensing.evaluate(Run.open(run.path)) == results
    assert "unlabelled has no boxes" in sensing.report(run).read_text()

    # beside the same ANN with an SNN as it was at the start, on frames that it was not trained on
    network = sensing.tracker(run).sensing
    held = sensing_parts.recording_parts(unlabelled, "test", 1, needs_boxes=False)[0]
    samples = cut_unlabelled_samples(*held, config.model.crop, np.random.default_rng(0))
    learned = change_of(network, samples)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        start = config.network("learned").state_dict()

    heard = {name: start[name] for name in start if name.startswith(("parts.where.", "units."))}
    network.load_state_dict({**network.state_dict(), **heard})

    assert learned < 0.8 * change_of(network, samples)


@pytest.mark.usefixtures("clips")
def test_with_clips_no_box_of_the_recording_is_read(
    camera: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = dataclasses.replace(camera, frame_boxes=camera.frame_boxes[::-1], boxes=camera.boxes[::-1])
    config = changed(SMALL, recording=str(tmp_path), clips=True, detector__epochs=1, detector__num_scenes=0)
    seen = []

    for recording in (camera, wrong):
        monkeypatch.setattr(sensing_parts, "load_recording", lambda *_, one=recording, **__: one)
        sensing_parts._loaded.cache_clear()
        seen.append(training_data(config))

    one, other = seen
    assert one.unlabelled is not None and other.unlabelled is not None
    for mine, theirs in ((one.labelled, other.labelled), (one.unlabelled, other.unlabelled)):
        for name in ("frames", "events", "after"):
            assert torch.equal(mine.tensors[name], theirs.tensors[name])

    # ten frames of the clip, forwards and backwards, one bin each
    assert one.labelled.tensors["events"].shape[:2] == (1, 19)
    assert one.detector is not None and len(one.detector) < 20


@pytest.mark.parametrize("schedule", ["joint", "alternate", "label_free"])
def test_boxes_at_frames_alone_train(camera: Recording, schedule: Any, tmp_path: Path) -> None:
    folder = write(camera, tmp_path / "frames alone", boxes=True)
    config = changed(SMALL, recording=folder, schedule=schedule)
    samples = training_data(config).labelled.tensors

    assert samples["truths"][:-1].isnan().all() and samples["truths"][-1].isfinite().all()

    run, results = trained(config, tmp_path / "run")
    assert results["recording"] == "frames alone"
    # the last bin alone has boxes to compare with
    assert [list(row) for row in results["distance by bin"]] == [["tracker", "6"]] * 3
    assert all(parameter.isfinite().all() for parameter in sensing.tracker(run).sensing.parameters())


def test_boxes_are_asked_for_where_nothing_else_can_be_learned_from(unlabelled: str) -> None:
    for schedule in ("joint", "label_free"):
        config = changed(SMALL, recording=unlabelled, schedule=schedule)
        with pytest.raises(DataError, match=r"part 'train' has none\. Without boxes there is --schedule label_free"):
            training_data(config)


def test_missing_clips_are_refused(unlabelled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tracking").mkdir()
    monkeypatch.setenv("SPIKEBRIDGE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="there are no clips"):
        training_data(changed(SMALL, recording=unlabelled, clips=True))


def batch(size: int = 32) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    pictures = {name: 255 * torch.rand(4, 1, size, size) for name in ("frames", "before", "after")}

    return {
        **pictures,
        "events": torch.rand(3, 4, 2, size, size) < 0.2,
        "boxes": torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(4, 1),
        "motion": torch.randn(4, 2),
        "truths": torch.randn(3, 4, 2),
    }


def small() -> sensing.Sensing:
    torch.manual_seed(1)
    return sensing.Sensing(DT, SensingOptions(num_features=4, reach=4, search=6.0, detector=False))


def test_the_loss_is_the_mean_over_the_bins_that_have_a_truth() -> None:
    network = small().eval()
    whole = batch()

    def loss(*bins: int) -> float:
        truths = torch.full_like(whole["truths"], NAN)
        truths[list(bins)] = whole["truths"][list(bins)]
        torch.manual_seed(2)
        return objective(network, {**whole, "truths": truths}, box_noise=1.0)[0].item()

    assert loss(0, 1, 2) == pytest.approx((loss(0) + loss(1) + loss(2)) / 3, rel=1e-5)


def test_where_all_truths_are_known_not_a_bit_is_changed_by_choosing_them() -> None:
    network = small()
    one = batch()

    def plain() -> torch.Tensor:
        told = shaken(network, one, 1.0)
        places, _ = network.track(told.samples.frames, told.samples.events, told.boxes, told.start)
        away = (places + told.here - told.samples.truths).square().sum(-1)
        return (away + 0.25).sqrt().mean()

    found = []
    for loss_of in (plain, lambda: objective(network, one, box_noise=1.0)[0]):
        torch.manual_seed(2)
        network.zero_grad()
        loss = loss_of()
        loss.backward()
        found.append([loss.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)])

    assert all(torch.equal(mine, theirs) for mine, theirs in zip(*found, strict=True))


@pytest.mark.parametrize("of", [objective, events_objective, frames_objective])
def test_a_truth_that_is_not_known_reaches_no_gradient(of: Any) -> None:
    network = small()
    one = batch()
    one["truths"][:-1] = NAN
    loss, shown = of(network, one, box_noise=1.0)
    loss.backward()

    assert all(value.isfinite() for value in (loss, *shown.values()))
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("of", [objective, events_objective, frames_objective, None])
@pytest.mark.parametrize("grey", [0.0, 255.0])
def test_crops_of_one_grey_and_without_events_are_no_trouble(of: Any, grey: float) -> None:
    network = small()
    one = batch()
    flat = {name: torch.full_like(one[name], grey) for name in ("frames", "before", "after")}
    dead = {**one, **flat, "events": torch.zeros_like(one["events"])}
    loss, _ = of(network, dead, box_noise=1.0) if of else change_objective(network, dead)
    loss.backward()

    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_a_network_without_a_unit_is_refused(camera: Recording, tmp_path: Path) -> None:
    config = changed(SMALL, networks=("none",), recording=write(camera, tmp_path / "own", boxes=True))
    with pytest.raises(ConfigError, match="take joint"):
        trained(config, tmp_path / "run")
