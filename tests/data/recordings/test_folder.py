import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikebridge.data.events.events import make_events
from spikebridge.data.events.files import write_events
from spikebridge.data.recordings.folder import load_recording_folder
from spikebridge.errors import ConfigError, DataError

FIXTURE = Path(__file__).parent.parent / "fixtures" / "dv.aedat4"
START = 1_000_000


def write_folder(folder, **changes):
    """Frames at 0 and 10 ms, an event each millisecond up to 19 ms, a box each 2 ms up to 18 ms; all from 1 s on."""
    (folder / "frames").mkdir(parents=True)
    for k in range(2):
        Image.fromarray(np.full((6, 8), 10 * k, np.uint8)).save(folder / "frames" / f"{k}.png")

    t = START + 1000 * np.arange(20)
    write_events(folder / "events.npz", make_events(t=t, x=np.arange(20) % 8, y=t * 0, p=t % 2), 6, 8)
    boxes = "".join(f"{START + 2000 * i},{i / 2},1,2,3\n" for i in range(10))

    texts = {
        "meta.json": json.dumps({"width": 8, "height": 6}),
        "frames.csv": f"file,t_us\n0.png,{START}\n1.png,{START + 10_000}\n",
        "boxes.csv": "t_us,x,y,w,h\n" + boxes,
    }
    for name, text in {**texts, **changes}.items():
        if text is not None:
            (folder / name).write_text(text)

    return folder


def test_a_folder_becomes_a_recording_on_a_clock_that_begins_with_the_first_frame(tmp_path):
    recording = load_recording_folder(write_folder(tmp_path / "mine"), dt=0.002)
    assert recording.name == "mine" and recording.num_bins == 10
    assert recording.frame_bins.tolist() == [0, 5] and recording.frame_times.tolist() == [0, 0.01]
    assert recording.events.edges.tolist() == list(range(0, 21, 2))

    # the box at the end of bin b is the one at (b + 1) * 2 ms; there is none at 20 ms
    assert (2 * recording.boxes[:9, 0]).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert np.isnan(recording.boxes[9]).all()
    assert recording.frame_boxes[:, 0].tolist() == [0, 2.5]
    assert recording.inputs(5, 6)["frame"][0, 0] == 10


def test_no_box_is_made_up_between_two_boxes(tmp_path):
    """Bins of 0.5 ms: only every fourth has a box at its end."""
    recording = load_recording_folder(write_folder(tmp_path / "mine"), dt=0.0005)
    known = ~np.isnan(recording.boxes).any(axis=1)

    assert np.flatnonzero(known).tolist() == [3, 7, 11, 15, 19, 23, 27, 31, 35]
    assert recording.num_unlabelled == recording.num_bins - 9


def test_without_boxes_nothing_is_labelled(tmp_path):
    recording = load_recording_folder(write_folder(tmp_path / "mine", **{"boxes.csv": None}))
    assert np.isnan(recording.boxes).all() and np.isnan(recording.frame_boxes).all()


def test_a_single_box_labels_its_frame_alone(tmp_path):
    only = f"t_us,x,y,w,h\n{START},1,1,2,3\n"
    recording = load_recording_folder(write_folder(tmp_path / "mine", **{"boxes.csv": only}), dt=0.002)
    assert recording.frame_boxes[0].tolist() == [1, 1, 2, 3] and np.isnan(recording.frame_boxes[1]).all()
    assert np.isnan(recording.boxes).all()


def test_a_frame_between_two_edges_acts_from_the_next_with_its_own_events(tmp_path):
    times = f"file,t_us\n0.png,{START}\n1.png,{START + 9_500}\n"
    recording = load_recording_folder(write_folder(tmp_path / "mine", **{"frames.csv": times}), dt=0.004)

    assert recording.frame_bins.tolist() == [0, 3]

    inputs = recording.inputs(3, 4)
    # events at 10 .. 15 ms
    assert len(inputs["events"].x) == 6 and inputs["frame_age"] == pytest.approx(0.0065)


def test_offsets_move_events_and_boxes(tmp_path):
    meta = {"width": 8, "height": 6, "name": "lab", "event_offset_us": 2000, "box_offset_us": 4000}
    recording = load_recording_folder(write_folder(tmp_path / "mine", **{"meta.json": json.dumps(meta)}), dt=0.002)

    assert recording.name == "lab"
    assert recording.events.edges[:3].tolist() == [0, 0, 2]
    assert np.isnan(recording.frame_boxes[0]).all() and recording.boxes[1].tolist() == [0, 1, 2, 3]


def test_a_silent_camera_is_valid(tmp_path):
    folder = write_folder(tmp_path / "mine")
    write_events(folder / "events.npz", make_events([], [], [], []), 6, 8)
    assert load_recording_folder(folder).inputs(0, 1)["events"].x.tolist() == []


def frames_until(end_us):
    """Frames at 0, and `end_us` later; the last event of `write_folder` comes 19,000 us after the first frame."""
    return {"frames.csv": f"file,t_us\n0.png,{START}\n1.png,{START + end_us}\n"}


def test_events_that_end_well_before_the_frames_are_a_warning(tmp_path):
    # 119,001 us - 19,000 us is more than 100 ms, and more than a tenth of the recording
    folder = write_folder(tmp_path / "mine", **frames_until(119_001))
    said = rf"the last event is at {START + 19_000} us and the last frame at {START + 119_001} us; was the file of eve"
    with pytest.warns(UserWarning, match=said) as caught:
        assert load_recording_folder(folder).num_bins > 0

    assert len(caught) == 1


@pytest.mark.filterwarnings("error")
def test_events_that_end_with_the_frames_or_shortly_before_are_no_warning(tmp_path):
    # of 10 ms and of 100 ms without events at the end neither is more than 100 ms
    for name, end in (("before", 10_000), ("shortly", 29_000), ("just", 119_000)):
        load_recording_folder(write_folder(tmp_path / name, **frames_until(end)))

    # 150 ms are more than 100 ms, but a tenth of 1,500 ms is as much
    folder = write_folder(tmp_path / "long", **frames_until(1_500_000))
    t = START + np.array([0, 1_350_000])
    write_events(folder / "events.npz", make_events(t=t, x=t * 0, y=t * 0, p=t % 2), 6, 8)
    load_recording_folder(folder)
    t[1] -= 1
    write_events(folder / "events.npz", make_events(t=t, x=t * 0, y=t * 0, p=t % 2), 6, 8)

    with pytest.raises(UserWarning, match="was the file of events cut"):
        load_recording_folder(folder)


def test_one_frame_and_the_events_after_it_are_valid(tmp_path):
    folder = write_folder(tmp_path / "mine", **{"frames.csv": f"file,t_us\n0.png,{START - 1}\n"})
    (folder / "frames" / "1.png").unlink()

    assert load_recording_folder(folder, dt=0.002).num_bins == 10

    (folder / "frames.csv").write_text(f"file,t_us\n0.png,{START + 30_000}\n")
    with pytest.raises(DataError, match="expected frames and events of one time"):
        load_recording_folder(folder)


def test_csv_events_are_taken_as_well(tmp_path):
    folder = write_folder(tmp_path / "mine")
    (folder / "events.npz").unlink()
    (folder / "events.csv").write_text(f"t,x,y,p\n{START},3,4,1\n")
    assert load_recording_folder(folder).events.x.tolist() == [3]


def test_repaired_events_are_reported(tmp_path):
    folder = write_folder(tmp_path / "mine")
    (folder / "events.npz").unlink()
    (folder / "events.csv").write_text(f"t,x,y,p\n{START + 5},3,4,1\n{START},1,4,1\n{START},9,4,1\n")

    with pytest.raises(DataError, match="1 outside the sensor of 8 x 6 pixels, first at index 2; 1 earlier"):
        load_recording_folder(folder)

    with pytest.warns(UserWarning, match="dropped 1 events outside the sensor and 0 before time 0; sorted 1"):
        assert load_recording_folder(folder, repair=True).events.x.tolist() == [1, 3]


def test_frames_inside_an_aedat4_file_are_taken(tmp_path):
    pytest.importorskip("aedat")
    (tmp_path / "meta.json").write_text(json.dumps({"width": 34, "height": 20}))
    shutil.copy(FIXTURE, tmp_path / "events.aedat4")
    recording = load_recording_folder(tmp_path, dt=0.0005)

    # frames at 1.5 and 2.5 ms: the events at 2 and 3 ms are after the first one
    assert recording.frame_bins.tolist() == [0, 2]
    assert recording.events.slice_bins(0, 4).x.tolist() == [5, 1]
    assert recording.frames[1][0, 0] == 250


GOOD_META = '"width": 8, "height": 6'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meta.json": None}, r"meta\.json: expected a json file with width and height, but there is no such file"),
        ({"meta.json": "{"}, r"meta\.json: this is no JSON"),
        ({"meta.json": "[1]"}, "expected names and values, but found list"),
        ({"meta.json": '{"width": 8}'}, "height: expected pixels from 1 to 65536, but got None"),
        ({"meta.json": '{"width": 8.5, "height": 6}'}, r"width: expected an integer, but got 8\.5"),
        ({"meta.json": f'{{{GOOD_META}, "event_ofset_us": 1}}'}, "did you mean 'event_offset_us'"),
        ({"meta.json": '{"width": 6, "height": 8}'}, "sensor's 6 x 8 pixels .* but they are 8 x 6. Resize and crop"),
        ({"meta.json": f'{{{GOOD_META}, "event_offset_us": 90000}}'}, "frames are from .* event_offset_us"),
        (
            {"meta.json": f'{{{GOOD_META}, "box_offset_us": {10**30}}}'},
            "box_offset_us: expected at most .* us",
        ),
        ({"frames.csv": None}, r"frames\.csv: expected a csv file that begins with file,t_us"),
        ({"frames.csv": "file,t_us\n"}, "expected at least one frame"),
        ({"frames.csv": "name,t\n0.png,1\n"}, "line 1: expected 'file,t_us', but found 'name,t'"),
        ({"frames.csv": "file,t_us\n0.png,1\n1.png,2\n0.png,3\n"}, "line 4: the image '0.png' is listed twice"),
        ({"frames.csv": "file,t_us\n0.png,1_0\n1.png,20\n"}, "line 2: expected a time in whole microsec.*'1_0'"),
        ({"frames.csv": "file,t_us\n0.png,1\n"}, "frames/ holds 2 images and frames.csv 1 times; '1.png' has no time"),
        ({"frames.csv": "file,t_us\n0.png,1\n1.png,2\n2.png,3\n"}, "'2.png' is not there"),
        ({"frames.csv": "file,t_us\n../0.png,1\n1.png,2\n"}, "'../0.png' is not there"),
        ({"frames.csv": "file,t_us\n0.png,1\n1.png\n"}, "line 3: expected 2 values file,t_us, but got 1"),
        ({"frames.csv": "file,t_us\n0.png,0.5\n1.png,2\n"}, "line 2: expected a time in whole microseconds"),
        ({"frames.csv": "file,t_us\n0.png,5\n1.png,5\n"}, "1 do not, first at index 1: 5 us after 5 us"),
        ({"boxes.csv": "t_us,x,y,w,h\n5,1,1,2\n"}, "line 2: expected 5 values"),
        (
            {"boxes.csv": "t_us,x,y,w,h\n5,1,1,2,wide\n"},
            "line 2: expected numbers t_us,x,y,w,h, but found '1,1,2,wide'",
        ),
        ({"boxes.csv": "t_us,x,y,w,h\n5,1,1,0,2\n"}, "line 2: expected a first box inside the image of 8 x 6"),
        ({"boxes.csv": "t_us,x,y,w,h\n5,1,1,2,2\n4,1,1,2,2\n"}, "1 do not, first at index 1: 4 us after 5 us"),
        ({"boxes.csv": f"t_us,x,y,w,h\n{START},1,1,2,2\n{10**17},1,1,2,2\n"}, "Is a time damaged"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(tmp_path, changes, message):
    folder = write_folder(tmp_path / "mine", **changes)
    with pytest.raises(DataError, match=message) as caught:
        load_recording_folder(folder)
    assert str(folder) in str(caught.value)


def test_later_boxes_that_cannot_be_are_unlabelled_and_counted(tmp_path):
    rows = f"{START},1,1,2,2\n{START + 2000},1,1,nan,2\n{START + 4000},99,1,2,2\n{START + 6000},1,1,2,2\n"
    folder = write_folder(tmp_path / "mine", **{"boxes.csv": "t_us,x,y,w,h\n" + rows})
    recording = load_recording_folder(folder, dt=0.002)

    assert np.isnan(recording.boxes).any(axis=1).tolist()[:4] == [True, True, False, True]
    assert "9 bins and 1 frames without a box" in recording.summary()


def test_one_file_of_events_is_expected(tmp_path):
    folder = write_folder(tmp_path / "mine")
    (folder / "events.csv").write_text("t,x,y,p\n")
    with pytest.raises(DataError, match=r"but there is events\.npz, events\.csv"):
        load_recording_folder(folder)

    (folder / "events.csv").unlink()
    (folder / "events.npz").unlink()
    with pytest.raises(DataError, match=r"expected one file events with \.npz, .* but there is none"):
        load_recording_folder(folder)


def test_bins_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="dt = 1e-6 s or more, but got 0"):
        load_recording_folder(tmp_path, dt=0.0)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b"\n", b"t_us,x,y,w,h\n" + b"1" * 200_000 + b",1,1,2,2\n"])
def test_a_table_of_boxes_that_is_none_is_refused(tmp_path, content):
    folder = write_folder(tmp_path / "mine")
    (folder / "boxes.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"boxes\.csv"):
        load_recording_folder(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frames.csv": f"file,t_us\n0.png,{START}\n1.png,{START + 3_600_000_000}\n"}, "a pause of 60 minutes"),
        ({"frames.csv": f"file,t_us\n0.png,{START - 600_000_000}\n1.png,{START + 10_000}\n"}, "a pause of 10 minutes"),
        ({"boxes.csv": f"t_us,x,y,w,h\n{START},1,1,2,3\n{START + 600_000_000},1,1,2,3\n"}, "a pause of 10 minutes"),
    ],
)
def test_a_pause_of_minutes_is_a_damaged_time(tmp_path, changes, words):
    with (
        warnings.catch_warnings(),
        pytest.raises(DataError, match=f"{words}.*Is a time damaged, or not in microseconds"),
    ):
        # events that end long before the frames
        warnings.simplefilter("ignore")
        load_recording_folder(write_folder(tmp_path / "mine", **changes))


def test_a_camera_that_records_all_the_time_may_wait_for_minutes(tmp_path):
    folder = write_folder(
        tmp_path / "mine", **{"frames.csv": f"file,t_us\n0.png,{START}\n1.png,{START + 90_000_000}\n"}
    )
    t = START + 90_000 * np.arange(1001)
    write_events(folder / "events.npz", make_events(t=t, x=t * 0, y=t * 0, p=t * 0), 6, 8)
    assert load_recording_folder(folder, dt=0.01).num_bins == 9001


@pytest.mark.parametrize("name", ["frames.csv", "boxes.csv"])
def test_a_table_without_its_last_end_of_line_may_be_cut(tmp_path, name):
    folder = write_folder(tmp_path / "mine")
    (folder / name).write_text((folder / name).read_text().removesuffix("\n"))
    with pytest.warns(UserWarning, match=f"{name}: the last line has no end of line; was the file cut"):
        load_recording_folder(folder)
