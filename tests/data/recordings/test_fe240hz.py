"""The loader and its offsets, on recordings made here and on the real one."""

import shutil
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from spikebridge.data.events.binned import EventBins
from spikebridge.data.io.column import FileColumn
from spikebridge.data.recordings.fe240hz import load_fe240hz, read_sparse_events
from spikebridge.data.recordings.sync import estimate_box_offset, estimate_offset
from spikebridge.data.simulation.event_camera import EventCamera, simulate
from spikebridge.errors import ConfigError, DataError

pytestmark = pytest.mark.untyped

NUM_FRAMES = 30
RATIO = 6
HEIGHT = 48
WIDTH = 64


def truth(j):
    """Box j of 240 Hz: a patch that walks around."""
    return [20 + 12 * np.sin(j / 21), 16 + 9 * np.cos(j / 17), 13 + j / 100, 11.0]


def scene(j):
    x, y, w, h = truth(j)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = ((columns - x - w / 2) / w) ** 2 + ((rows - y - h / 2) / h) ** 2
    return 0.3 + 0.6 * np.exp(-4 * inside) + 0.05 * np.sin(columns / 3)


def write_recording(folder, event_offset=-3, box_offset=-5):
    """Bins between frames k and k + 1 begin at 6 k + event_offset; the box of frame k is box 6 k + box_offset."""
    (folder / "img").mkdir(parents=True)
    num_bins = NUM_FRAMES * RATIO
    for k in range(NUM_FRAMES):
        image = (255 * scene(RATIO * k)).round().astype(np.uint8)
        Image.fromarray(image).save(folder / "img" / f"{k + 1:05d}.png")

    steps = np.arange(-12, num_bins + 12)
    images = np.stack([scene(j) for j in steps])
    # low thresholds: with high ones the events of a slow change come late, and so would the estimate
    camera = EventCamera(threshold_mean=0.03, threshold_sd=0.0, threshold_floor=0.01)
    events = simulate(images, (steps + 12) * 1000, camera, np.random.default_rng(0))
    bins = events["t"] // 1000 - 12 + event_offset
    events, bins = (a[(bins >= 0) & (bins < num_bins)] for a in (events, bins))

    np.savez(
        folder / "events_sparse.npz",
        bin=bins.astype(np.uint16),
        x=events["x"],
        y=events["y"],
        p=~events["p"],
        shape=np.array([NUM_FRAMES, RATIO, HEIGHT, WIDTH]),
    )

    np.savetxt(folder / "groundtruth_rect.txt", [truth(j - box_offset) for j in range(num_bins)], delimiter=",")
    np.savetxt(folder / "groundtruth_rect40.txt", [truth(RATIO * k) for k in range(NUM_FRAMES)], delimiter=",")

    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_recording(tmp_path_factory.mktemp("made") / "walk")


@pytest.fixture
def copy(made, tmp_path):
    """The same to be changed."""
    return shutil.copytree(made, tmp_path / "walk")


@pytest.mark.parametrize(("event_offset", "box_offset"), [(-3, -5), (0, 0), (4, -2), (-7, 3)])
def test_offsets_are_found_whatever_they_are(tmp_path, event_offset, box_offset):
    """A recording is put on the clock so that box and events of a bin are those of the same time."""
    recording = load_fe240hz(write_recording(tmp_path / "walk", event_offset, box_offset))
    first = recording.frame_bins[0]

    assert recording.frame_bins.tolist() == [first + RATIO * k for k in range(NUM_FRAMES)]
    assert first == max(0, event_offset)

    known = ~np.isnan(recording.boxes).any(axis=1)
    assert known.sum() > 150

    # the end of bin b is (b - first + 1) bins after frame 0
    expected = np.array([truth(b - first + 1) for b in range(recording.num_bins)])
    assert recording.boxes[known] == pytest.approx(expected[known])
    assert recording.frame_boxes[1:-1] == pytest.approx(np.array([truth(RATIO * k) for k in range(1, NUM_FRAMES - 1)]))


def test_brighter_pixels_are_on(made):
    """Off is True in the file and ON is True in ours: where the frame became brighter there are ON events."""
    recording = load_fe240hz(made)
    change = recording.frames[11].astype(float) - recording.frames[10]
    first, stop = recording.frame_bins[10:12]
    on, off = recording.events.to_dense(int(first), int(stop), counts=True).sum(0)
    signed = (on - off).numpy()

    assert np.corrcoef(change.ravel(), signed.ravel())[0, 1] > 0.8


def test_the_first_frame_has_its_box_although_the_first_fast_boxes_are_missing(made):
    recording = load_fe240hz(made)
    assert recording.frame_boxes[0] == pytest.approx(np.array(truth(0)))
    assert np.isnan(recording.boxes).any(axis=1).tolist()[:5] == [True] * 4 + [False]

    # four before the first box; at the end the boxes reach as far as the bins
    assert "4 bins and 0 frames without a box" in recording.summary()


def test_given_offsets_are_taken(made):
    recording = load_fe240hz(made, event_offset=2, box_offset=-3)

    assert recording.frame_bins[:2].tolist() == [2, 8]
    assert recording.frame_boxes[1] == pytest.approx(np.array(truth(RATIO - 3 + 5)))


def test_boxes_of_frames_of_another_recording_are_reported(made, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    np.savetxt(copy / "groundtruth_rect40.txt", [(1 + 3 * k % 7, 5, 9, 9) for k in range(NUM_FRAMES)], delimiter=",")

    with pytest.warns(UserWarning, match=r"groundtruth_rect40.txt: its boxes are those of .* at no offset"):
        recording = load_fe240hz(copy, event_offset=2, box_offset=-3)
    assert recording.frame_boxes[1] == pytest.approx(np.array(truth(RATIO - 3 + 5)))


def test_a_flat_maximum_is_reported():
    """Frames that flicker and events that have nothing to do with it."""
    rng = np.random.default_rng(0)
    frames = rng.integers(50, 200, (20, 32, 32)).astype(np.uint8)
    x, y = rng.integers(0, 32, (2, 12000)).astype(np.uint16)
    events = EventBins(x, y, rng.random(12000) < 0.5, np.arange(0, 12001, 100), 32, 32)

    with pytest.warns(UserWarning, match=r"uncertain: its correlation is 0\.\d+.*Give event_offset .* if it is known"):
        estimate = estimate_offset(frames, events, 6)

    assert estimate.correlation < 0.1


def test_the_bin_with_the_change_lies_between_the_two_frames():
    frames = np.zeros((3, 8, 8), np.uint8)
    frames[1:, :4, :4] = 100  # a corner becomes bright between frames 0 and 1
    corner = np.tile(np.arange(16), 2).astype(np.uint16)
    # all events in bin 1 of 6
    edges = np.array([0, 0, 32, 32, 32, 32, 32])
    events = EventBins(corner % 4, corner // 4, np.ones(32, bool), edges, 8, 8)

    assert estimate_offset(frames, events, bins_per_frame=1).offset == 1


def test_where_nothing_moves_the_offset_must_be_given():
    nothing = np.zeros(0, np.uint16)
    silent = EventBins(nothing, nothing, nothing.astype(bool), np.zeros(61, np.int64), 8, 8)
    frames = np.random.default_rng(0).integers(0, 255, (10, 8, 8)).astype(np.uint8)

    with pytest.raises(DataError, match=r"cannot be estimated.*Give event_offset"):
        estimate_offset(frames, silent, 6)


def test_the_estimate_says_how_sharp_it_is(made):
    recording = load_fe240hz(made)
    estimate = estimate_offset(recording.frames, recording.events, RATIO)
    curve = estimate.curve

    assert estimate.offset == 0 and set(curve) == set(range(-12, 13))
    assert estimate.correlation == curve[0] == max(curve.values())
    assert estimate.sharpness == pytest.approx(curve[0] - max(curve[-3], curve[3]))
    assert estimate.margin == pytest.approx(curve[0] - max(value for shift, value in curve.items() if shift != 0))


def test_boxes_that_never_fit_ask_for_the_offset():
    boxes = np.random.default_rng(0).random((120, 4))
    with pytest.raises(DataError, match=r"but none does\. Give box_offset"):
        estimate_box_offset(boxes, boxes[:20] + 0.1, 6)
    assert estimate_box_offset(boxes, boxes[4::6], 6) == 4


def test_rounded_boxes_and_times_without_a_box_are_no_hindrance():
    boxes = 100 * np.random.default_rng(0).random((120, 4))
    boxes[40:70] = np.nan
    assert estimate_box_offset(boxes, boxes[4::6].round(2), 6) == 4


def test_boxes_of_a_target_that_stands_still_ask_for_the_offset():
    with pytest.raises(DataError, match=r"but \d+ shifts do .*Give box_offset"):
        estimate_box_offset(np.ones((120, 4)), np.ones((20, 4)), 6)


def test_a_recording_without_boxes_of_the_frames_asks_for_the_offset(copy):
    (copy / "groundtruth_rect40.txt").unlink()
    with pytest.raises(DataError, match=r"expected groundtruth_rect40\.txt, .* Give box_offset"):
        load_fe240hz(copy)
    assert load_fe240hz(copy, box_offset=-5).frame_boxes[1] == pytest.approx(np.array(truth(RATIO)))


@pytest.mark.parametrize("offset", [10**30, -(10**30), 1000, -1000])
@pytest.mark.parametrize("name", ["event_offset", "box_offset"])
def test_an_offset_without_a_common_time_is_refused(copy, name, offset):
    with pytest.raises(ConfigError, match=rf"{name}: expected a number from -\d+ to \d+, .* but got {offset}"):
        load_fe240hz(copy, **{name: offset})


def test_frames_of_another_size_than_the_events_are_refused(copy):
    for path in (copy / "img").iterdir():
        Image.fromarray(np.zeros((24, 32), np.uint8)).save(path)
    with pytest.raises(DataError, match="frames are 32 x 24 pixels and events 64 x 48; resize or crop"):
        load_fe240hz(copy)


GOOD = {"bin": [0, 1], "x": [0, 1], "y": [0, 1], "p": [True, False], "shape": [1, 6, 2, 2]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bin": [1, 0]}, "of 2 events, 1 in an earlier bin than the one before, first at index 1"),
        ({"bin": [0, 6]}, "of 2 events, 1 with bin outside of 0 to 5, first at index 1"),
        ({"x": [0, 2]}, "of 2 events, 1 with x outside of 0 to 1, first at index 1"),
        ({"y": [0.0, 1.0]}, "y: expected integers, but got float64"),
        ({"p": [True]}, "expected columns of one length"),
        ({"shape": [1, 6, 2]}, "expected frames, bins a frame, rows and columns"),
        ({"shape": [1, 0, 2, 2]}, "expected frames, bins a frame, rows and columns"),
        ({"x": [0, 2**16], "shape": [1, 6, 2, 2**17]}, "expected frames, bins a frame, rows and columns"),
        ({"shape": [2**20, 6, 2, 2]}, "expected at most 4194304 bins, but it declares 6291456"),
    ],
)
def test_events_that_cannot_be_are_refused(tmp_path, changes, message):
    path = tmp_path / "events_sparse.npz"
    np.savez(path, **{key: np.array(value) for key, value in {**GOOD, **changes}.items()})
    with pytest.raises(DataError, match=message) as caught:
        read_sparse_events(path)

    assert str(path) in str(caught.value)


@pytest.fixture(scope="module")
def real(real_set):
    return load_fe240hz(real_set("fe240hz")[0].parent)


def test_the_real_recording_is_read_with_its_offsets(real):
    """560 frames, 3360 bins; bins between the frames begin at 6 k - 3, the box of frame k is box 6 k - 5."""
    assert (real.num_frames, real.num_bins, real.events.num_events) == (560, 3363, 13_446_607)
    assert real.frames[0].shape == (260, 346)
    assert real.frame_bins.tolist() == [6 * k for k in range(560)]

    # the frame's box, and that of the end of the bin before it
    assert np.array_equal(real.frame_boxes[1:], real.boxes[6 * np.arange(1, 560) - 1])
    assert "4 bins and 0 frames without a box" in real.summary()


def test_the_real_offset_stands_out(real):
    estimate = estimate_offset(real.frames, real.events, 6)
    # the loader has put it to 0: bin 3 of the clock was bin 0 of the file
    assert estimate.offset == 0
    assert estimate.correlation > 0.8 and estimate.sharpness > 0.1 and estimate.margin > 0.01


def test_the_real_target_moves_as_fast_as_is_said(real):
    """About 6.2 px a frame on average, and 1.35 px a bin."""
    middle = real.boxes[:, :2] + real.boxes[:, 2:] / 2
    at_frames = real.frame_boxes[1:, :2] + real.frame_boxes[1:, 2:] / 2

    assert np.linalg.norm(np.diff(at_frames, axis=0), axis=1).mean() == pytest.approx(6.2, abs=0.1)
    assert np.nanmean(np.linalg.norm(np.diff(middle, axis=0), axis=1)) == pytest.approx(1.35, abs=0.01)


def write_many_events(path, num_events, bin_type=np.uint16):
    bins = np.sort(np.random.default_rng(0).integers(0, 6000, num_events)).astype(bin_type)
    place = np.arange(num_events) % 64
    columns = {"x": place.astype(np.uint16), "y": place.astype(np.uint8), "p": place % 3 == 0}
    np.savez(path, bin=bins, shape=np.array([1000, 6, 64, 64]), **columns)

    return bins, columns


def test_many_events_are_read_into_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("spikebridge.data.io.npz.CHUNK_ROWS", 777)
    monkeypatch.setattr("spikebridge.data.io.column.MAX_MEMORY_BYTES", 10_000)
    bins, columns = write_many_events(tmp_path / "events_sparse.npz", 10_000)
    events, _ = read_sparse_events(tmp_path / "events_sparse.npz")

    assert isinstance(events.x, FileColumn) and events.num_events == 10_000
    assert np.array_equal(np.diff(events.edges), np.bincount(bins, minlength=6000))

    x, y, on = events.slice_bins(100, 5900)
    inside = (bins >= 100) & (bins < 5900)

    assert np.array_equal(x, columns["x"][inside]) and np.array_equal(y, columns["y"][inside])
    assert np.array_equal(on, ~columns["p"][inside])


def test_a_fault_in_a_later_chunks_is_counted_from_the_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr("spikebridge.data.io.npz.CHUNK_ROWS", 2)
    path = tmp_path / "events_sparse.npz"
    np.savez(path, bin=[0, 1, 0, 2, 3], x=[0, 1, 1, 9, 9], y=[0] * 5, p=[True] * 5, shape=[1, 6, 2, 2])
    words = "of 5 events, 2 with x outside of 0 to 1, first at index 3; 1 in an earlier bin than the one before, first"

    with pytest.raises(DataError, match=rf"{words} at index 2\."):
        read_sparse_events(path)


def test_four_times_the_events_are_read_in_the_same_memory(tmp_path):
    peaks = []
    for num_events in (2_000_000, 8_000_000):
        path = tmp_path / f"{num_events}.npz"
        write_many_events(path, num_events)
        tracemalloc.start()
        events, _ = read_sparse_events(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

        assert events.num_events == num_events

    # the shorter one just fits in memory as it is
    assert peaks[1] < 1.5 * peaks[0] < 60e6


def test_a_missing_image_is_reported_because_all_later_ones_would_be_early(copy):
    """Offsets are then estimated all the same, and every figure would be of frames beside the wrong events."""
    (copy / "img" / "00001.png").unlink()
    with pytest.warns(UserWarning, match=r"a frame for every 6 of 180 bins, but got 29 frames.*give event_offset"):
        load_fe240hz(copy)

    (copy / "img" / "00012.png").unlink()
    with pytest.raises(DataError, match=r"00013\.png: expected an image of number 12 after 00011\.png; is one missing"):
        load_fe240hz(copy)


def cut_lines(path, share):
    """Keeps the first part of a text file."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: int(share * len(lines))]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("groundtruth_rect.txt", r"groundtruth_rect\.txt: expected about 180 boxes, .* but got 90\. Write nan"),
        ("groundtruth_rect40.txt", r"groundtruth_rect40\.txt: expected about 30 frame boxes, .* but got 15\."),
    ],
)
def test_half_of_the_boxes_are_refused(copy, name, message):
    cut_lines(copy / name, 0.5)
    with pytest.raises(DataError, match=message):
        load_fe240hz(copy)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((60, 3, HEIGHT, WIDTH), "shape: expected 6 bins a frame, 240 Hz over 40 Hz, but got 3"),
        ((6, 30, HEIGHT, WIDTH), "shape: expected 6 bins a frame, 240 Hz over 40 Hz, but got 30"),
        ((60, 6, HEIGHT, WIDTH), "img: expected about 60 frames, as events_sparse.npz declares, but got 30"),
        ((30, 6, WIDTH, HEIGHT), "outside of 0 to 47|frames are 64 x 48 pixels and events 48 x 64"),
        ((30, 6, 2 * HEIGHT, 2 * WIDTH), "frames are 64 x 48 pixels and events 128 x 96"),
    ],
)
def test_a_shape_that_is_not_that_of_the_files_is_refused(copy, shape, message):
    path = copy / "events_sparse.npz"
    with np.load(path) as events:
        np.savez(path, **{**events, "shape": np.array(shape)})

    with pytest.raises(DataError, match=message):
        load_fe240hz(copy)


def test_a_recording_without_any_file_of_boxes_is_unlabelled(copy, made):
    """It can be followed from a first box that somebody says."""
    (copy / "groundtruth_rect.txt").unlink()
    with pytest.raises(DataError, match=r"groundtruth_rect\.txt: expected a text file of boxes"):
        load_fe240hz(copy)

    (copy / "groundtruth_rect40.txt").unlink()
    recording = load_fe240hz(copy)

    assert np.isnan(recording.boxes).all() and np.isnan(recording.frame_boxes).all()
    assert recording.frame_bins.tolist() == load_fe240hz(made).frame_bins.tolist()
    assert recording.first_box(np.array([8.0, 25, 13, 11]))[0] == 0
