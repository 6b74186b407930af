"""Variants of the network in research: maps of the change by hand, the kernel form, no memory, and no labels."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from research.sensing.variants import label_free
from research.sensing.variants import recipe as variants
from research.sensing.variants.films import film_parts
from research.sensing.variants.networks import CorrelationHead, JoinedMap, TargetKernel, VariantOptions, read_at
from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.events.events import make_events
from spikebridge.data.events.files import write_events
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing.recipe import DetectorTraining, ModelConfig, PathwayTraining
from spikebridge.neurons.stateless import modulated
from spikebridge.training import Run

DT = 1 / 240
SMALL = {
    "recording": "generated",
    "num_scenes": 1,
    "model": ModelConfig(num_features=4, crop=64, reach=12),
    "pathways": PathwayTraining(epochs=2),
    "detector": DetectorTraining(epochs=0),
}
FORMS = [(name, "linear") for name in variants.VARIANTS] + [("learned", "tanh"), ("learned", "joined")]


def some_inputs(size: int = 32) -> dict[str, Tensor]:
    torch.manual_seed(0)
    boxes = torch.tensor([[[0.0, 0.0, 12.0, 8.0], [0.3, -0.2, 9.0, 9.0]]])
    share = torch.linspace(0.02, 0.5, 6).reshape(-1, 1, 1, 1, 1)
    events = (torch.rand(6, 2, 2, size, size) < share).float()
    return {"frames": 255 * torch.rand(1, 2, 1, size, size), "boxes": boxes, "events": events}


def network(name: str, unit_map: Any = "linear") -> Any:
    torch.manual_seed(0)
    return variants.Config(unit_map=unit_map, **SMALL).network(name).eval()


@pytest.mark.parametrize(("name", "unit_map"), FORMS)
def test_steps_are_the_whole_and_no_answer_depends_on_later_events(name: str, unit_map: str) -> None:
    sensing = network(name, unit_map)
    inputs = some_inputs()

    with torch.no_grad():
        whole, _ = sensing.respond(inputs, None)
        first, state = sensing.respond({**inputs, "events": inputs["events"][:2]}, None)
        later, state = sensing.respond({"events": inputs["events"][2:]}, state)
        again, _ = sensing.respond({"events": inputs["events"]}, sensing.restart_events(state))
        changed = torch.cat([inputs["events"][:3], 1 - inputs["events"][3:]])
        other, _ = sensing.respond({**inputs, "events": changed}, None)

    torch.testing.assert_close(torch.cat([first, later]), whole, atol=1e-4, rtol=1e-3)
    assert torch.equal(again, whole)
    assert torch.equal(other[:3], whole[:3])
    assert torch.equal(other, whole) is (variants.VARIANTS[name].get("unit") == "none")


@pytest.mark.parametrize(
    ("unit_map", "weights", "expected"),
    [
        # tanh(1), and tanh(1.5) - tanh(0.5)
        ("tanh", {"0.weight": 2.0}, 0.761594),
        ("joined", {"change.weight": 2.0, "features.weight": -0.25}, 0.443031),
    ],
)
def test_each_map_gives_the_number_worked_out_by_hand(
    unit_map: str, weights: dict[str, float], expected: float
) -> None:
    change_map = network("learned", unit_map).units["unit"].nonlinearity
    own = {name: torch.zeros_like(value) for name, value in change_map.state_dict().items()}
    for name, value in weights.items():
        own[name][0, 0, 1, 1] = value

    change_map.load_state_dict(own)
    summed = torch.full((1, 4, 3, 3), 0.5)
    features = [torch.full((1, 4, 3, 3), -2.0)] if unit_map == "joined" else []
    with torch.no_grad():
        assert change_map(summed, *features)[0, 0, 1, 1].item() == pytest.approx(expected, abs=1e-5)
        assert not change_map(torch.zeros_like(summed), *features).any()


def test_a_joined_map_starts_as_the_tanh() -> None:
    inputs = some_inputs()
    joined = network("learned", "joined")
    assert isinstance(joined.units["unit"].nonlinearity, JoinedMap)
    with torch.no_grad():
        assert torch.equal(joined.respond(inputs, None)[0], network("learned", "tanh").respond(inputs, None)[0])


def test_without_memory_the_order_of_bins_changes_nothing() -> None:
    events = some_inputs()["events"]
    sums = {}
    for name in ("learned", "memoryless"):
        where = network(name).parts["where"]
        with torch.no_grad():
            sums[name] = [where.spiking(x)[0].sum(0) for x in (events, events.flip(0))]

    torch.testing.assert_close(*sums["memoryless"], atol=1e-4, rtol=1e-4)
    assert (sums["learned"][0] - sums["learned"][1]).abs().max() > 1e-3


def test_a_learned_kernel_starts_as_the_bare_cut() -> None:
    features = torch.rand(2, 4, 20, 20)
    box = torch.tensor([[0.0, 1.0, 9, 9], [-3.0, 2.5, 9, 9]])
    torch.testing.assert_close(TargetKernel(4, 5, is_mapped=True)(features, box), TargetKernel(4, 5)(features, box))


def test_a_kernel_cut_at_the_target_detects_it_at_its_new_place() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 4, 24, 24)
    # on the cell of pixel 24, of 48
    box = torch.tensor([[0.5, 0.5, 12.0, 12.0]])
    kernel = TargetKernel(4, size=5)(features, box)[0]
    moved = features.roll((1, -2), (2, 3))
    head = CorrelationHead(4, reach=4, size=5)
    score = modulated(head, {"weight": kernel.unsqueeze(0)}, box[None], change=moved[None])[0, 0]
    row, column = divmod(int(score.argmax()), score.shape[-1])

    # one cell of two pixels down, two to the left
    assert (column - 8, row - 8) == (-4, 2)


def test_pixels_and_cells_agree() -> None:
    # a cell of stride 2 is on every second pixel: cell = (px + (n s - 1) / 2) / s; the value of a cell is its column
    ramp = torch.arange(10.0).expand(1, 1, 10, 10)
    pixel = torch.arange(20.0)
    read = read_at(ramp, (pixel - 9.5)[None], torch.zeros(1, 1), stride=2).flatten()
    torch.testing.assert_close(read, (pixel / 2).clamp(max=9))


def test_a_map_of_another_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match="learned unit, but got unit='fixed'"):
        network("fixed", "tanh")
    with pytest.raises(ConfigError, match="did you mean 'kernel'"):
        variants.Config(networks=("kernle",))
    assert VariantOptions(mode="kernel").unit == "learned"


@pytest.mark.untyped
def test_films_are_frames_alone_in_which_the_target_stays_in_sight() -> None:
    pytest.importorskip("skimage")
    for recording, frames in film_parts("validation", 2):
        assert recording.events.num_events == 0 and (recording.frames.shape, frames) == ((60, 180, 240), range(1, 60))
        center = recording.frame_boxes[:, :2] + recording.frame_boxes[:, 2:] / 2
        assert ((center > 0) & (center < (240, 180))).all()


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of frames and events without boxes: 56 frames, of which 2 to 27 are the training part."""
    folder = tmp_path_factory.mktemp("own") / "unlabelled"
    recording = disk()
    (folder / "frames").mkdir(parents=True)
    times = [round(1e6 * float(t)) for t in recording.frame_times]
    for k, frame in enumerate(recording.frames):
        Image.fromarray(frame).save(folder / "frames" / f"{k}.png")

    rows = ["file,t_us", *(f"{k}.png,{t}" for k, t in enumerate(times))]
    (folder / "frames.csv").write_text("\n".join(rows) + "\n")
    bins = np.repeat(np.arange(recording.num_bins), np.diff(recording.events.edges))
    x, y, on = recording.events.slice_bins(0, recording.num_bins)
    write_events(folder / "events.npz", make_events(t=((bins + 0.5) * DT * 1e6).astype(int), x=x, y=y, p=on), 64, 64)
    (folder / "meta.json").write_text(json.dumps({"width": 64, "height": 64}))

    return str(folder)


def disk() -> Recording:
    return render_recording(RotatingDisk(height=64, width=64), duration=1.4, dt=DT, image_interval=DT, name="disk")


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clip of twelve frames in the data folder."""
    clip = tmp_path / "data" / "tracking" / "OTB_Disk"
    (clip / "img").mkdir(parents=True)
    recording = disk()
    for k in range(12):
        Image.fromarray(recording.frames[k]).save(clip / "img" / f"{k:04}.png")

    rows = [",".join(str(number) for number in box) for box in recording.frame_boxes[:12].tolist()]
    (clip / "groundtruth_rect.txt").write_text("\n".join(rows) + "\n")
    monkeypatch.setenv("SPIKEBRIDGE_DATA", str(tmp_path / "data"))


@pytest.mark.untyped
@pytest.mark.usefixtures("clips")
def test_a_recording_without_any_box_trains_and_its_snn_learns_the_change(unlabelled: str, tmp_path: Path) -> None:
    config = label_free.Config(**{**SMALL, "recording": unlabelled, "num_scenes": 2, "clips": True})
    run = Run.create(tmp_path / "run", "label_free", config)
    results = label_free.train(config, run, quiet=True)

    assert results["recording"] == "scene 2 (unlabelled has no boxes)"
    assert all(np.isfinite(row["distance px"]) for row in results["trackers"])
    assert label_free.evaluate(Run.open(run.path)) == results

    # the same ANN with an SNN as it was at the start, on frames that it was not trained on
    trained = label_free.tracker(run).sensing.eval()
    start = config.network("learned").state_dict()
    untrained = config.network("learned").eval()
    snn = {name: start[name] for name in start if name.startswith(("parts.where.", "units."))}
    untrained.load_state_dict({**trained.state_dict(), **snn})

    (held,) = label_free.recording_without_boxes(config, "test")
    samples = label_free.unlabelled_samples(held, config.model.crop, np.random.default_rng(0))
    assert samples.boxes.isnan().all() and samples.truths.isnan().all()

    losses = []
    for network in (trained, untrained):
        torch.manual_seed(0)
        with torch.no_grad():
            losses.append(label_free.change_objective(network, samples._asdict())[0].item())

    assert losses[0] < 0.8 * losses[1]


def test_without_boxes_clips_are_needed(unlabelled: str, tmp_path: Path) -> None:
    config = label_free.Config(**{**SMALL, "recording": unlabelled})
    with pytest.raises(DataError, match="its part 'train' has none"):
        label_free.train(config, Run.create(tmp_path / "run", "label_free", config), quiet=True)
    with pytest.raises(ConfigError, match="the network 'none' has none"):
        dataclasses.replace(config, networks=("none",))


def test_the_goal_of_a_change_gets_no_gradient_so_that_features_cannot_collapse() -> None:
    change, before, after = (torch.randn(3, requires_grad=True) for _ in range(3))
    loss = label_free.feature_change(change, before, after)
    loss.backward()

    assert loss.item() == pytest.approx((change - (after - before)).square().mean().item())
    assert change.grad is not None and before.grad is None and after.grad is None
