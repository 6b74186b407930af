"""Event files: reading, writing and every kind of damage. `../fixtures/dv.aedat4` was written with dv-processing."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nmnist_files import write_nmnist
from spikebridge.data.catalog import data_folder
from spikebridge.data.events.events import EVENT, make_events
from spikebridge.data.events.files import buffer_events, read_events, write_events
from spikebridge.data.events.formats.aedat4 import aedat4_frames
from spikebridge.data.io.column import FileColumn
from spikebridge.errors import ConfigError, DataError

FIXTURE = Path(__file__).parent.parent / "fixtures" / "dv.aedat4"
HEIGHT = 20
WIDTH = 34

one_event = st.tuples(st.integers(0, 2**62), st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.booleans())
event_lists = st.lists(one_event, max_size=30).map(lambda rows: np.array(sorted(rows), EVENT))
in_one_folder = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@in_one_folder
@given(event_lists, st.sampled_from([".npz", ".csv"]))
def test_what_is_written_is_read_again(tmp_path, events, suffix):
    path = tmp_path / f"events{suffix}"
    write_events(path, events, HEIGHT, WIDTH)
    found = read_events(path, HEIGHT, WIDTH)

    assert found.events.tolist() == events.tolist() and (found.height, found.width) == (HEIGHT, WIDTH)
    assert [file.suffix for file in tmp_path.iterdir() if file.stem != "events"] == []


@in_one_folder
@given(st.binary(max_size=80), st.sampled_from([".npz", ".csv", ".bin"]))
def test_any_bytes_are_events_or_one_clear_error(tmp_path, content, suffix):
    path = tmp_path / f"events{suffix}"
    path.write_bytes(content)
    try:
        read_events(path, HEIGHT, WIDTH)
    except DataError as error:
        assert str(path) in str(error)


@pytest.fixture
def in_small_chunks(monkeypatch):
    """Files are read a few events at a time, and all events are too many for memory."""
    for place in (
        "io.column.MAX_MEMORY_BYTES",
        "io.npz.CHUNK_ROWS",
        "events.formats.nmnist.CHUNK_ROWS",
        "io.safe_open._READ_BYTES",
    ):
        monkeypatch.setattr(f"spikebridge.data.{place}", 0 if "MAX" in place else 13)


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".bin", ".aedat4", ".es", ".raw"])
def test_events_longer_than_memory_are_those_of_the_file(tmp_path, in_small_chunks, suffix):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 20, (2, 100))
    times = np.sort(generator.integers(0, 5000, 100))
    # where some formats begin
    times[0] = 0
    events = make_events(t=times, x=pixels[0], y=pixels[1], p=generator.integers(0, 2, 100))
    path = tmp_path / f"events{suffix}"

    if suffix in (".npz", ".csv"):
        write_events(path, events, HEIGHT, WIDTH)
    elif suffix == ".bin":
        write_nmnist(path, events)
    else:
        faery = pytest.importorskip("faery")
        if suffix == ".aedat4":
            pytest.importorskip("aedat")
        columns = np.array([tuple(event) for event in events.tolist()], faery.EVENTS_DTYPE)
        faery.events_stream_from_array(columns, (WIDTH, HEIGHT)).to_file(str(path))

    held = buffer_events(path, HEIGHT, WIDTH)
    assert isinstance(held.t, FileColumn) and (held.height, held.width) == (HEIGHT, WIDTH)
    assert list(zip(*(column[:].tolist() for column in held[:4]), strict=True)) == events.tolist()
    assert read_events(path, HEIGHT, WIDTH).events.tolist() == events.tolist()


def test_a_fault_far_into_a_file_is_reported_with_its_place(tmp_path, in_small_chunks):
    rows = [f"{t},1,2,1" for t in range(100)]
    path = tmp_path / "events.csv"

    for fault, message in (
        ("57,1,2,on", r"from line \d+ on: expected 4 integers t,x,y,p a line, but could not convert string 'on'"),
        ("57,1,2,7", r"from event 5\d on: p of an event must be from 0 to 1"),
        ("57,1,99,1", r"of 100 events, 1 outside the sensor of 34 x 20 pixels, first at index 57\."),
        ("3,1,2,1", r"of 100 events, 1 earlier than the event before, first at index 57\."),
    ):
        path.write_text("\n".join(["t,x,y,p", *rows[:57], fault, *rows[58:]]))
        with pytest.raises(DataError, match=message):
            buffer_events(path, HEIGHT, WIDTH)


def test_buffered_events_are_repaired_as_read_ones_are(tmp_path, in_small_chunks):
    path = tmp_path / "events.csv"
    path.write_text("t,x,y,p\n20,0,0,1\n10,1,0,0\n-5,1,0,0\n30,99,0,1\n40,2,0,1\n")
    held = buffer_events(path, HEIGHT, WIDTH, repair=True)

    assert held.t[:].tolist() == [10, 20, 40] and held.x[:].tolist() == [1, 0, 2]
    assert held[6:] == read_events(path, HEIGHT, WIDTH, repair=True)[3:] == (1, 1, 2)


def test_more_events_than_fit_in_memory_are_not_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("spikebridge.data.events.files.MAX_BYTES", 100)
    path = tmp_path / "events.npz"
    write_events(path, make_events(t=range(9), x=[0] * 9, y=[0] * 9, p=[1] * 9), 1, 1)

    with pytest.raises(DataError, match="expected events of at most 100 bytes in memory, but there are more"):
        read_events(path)

    assert len(buffer_events(path).t) == 9


def test_an_npz_gives_its_sensor_and_a_csv_does_not(tmp_path):
    events = make_events(t=[1], x=[2], y=[3], p=[1])
    write_events(tmp_path / "a.npz", events, HEIGHT, WIDTH)

    assert read_events(tmp_path / "a.npz")[1:3] == (HEIGHT, WIDTH)

    write_events(tmp_path / "a.csv", events, HEIGHT, WIDTH)
    with pytest.raises(ConfigError, match=r"a \.csv file .* give height and width \(--sensor WxH of `live`\)"):
        read_events(tmp_path / "a.csv")

    with pytest.raises(DataError, match="a sensor of width 40, but the file says 34"):
        read_events(tmp_path / "a.npz", HEIGHT, 40)


def test_a_csv_of_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / "events.csv"
    path.write_bytes(b"\xef\xbb\xbft,x,y,p\r\n5,1,2,1\r\n")
    assert read_events(path, HEIGHT, WIDTH).events.tolist() == [(5, 1, 2, True)]


def test_a_small_bin_file_of_another_sensor_is_read(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes([100, 90, 0x80, 0x01, 0x00]))

    assert read_events(path, 128, 128).events.tolist() == [(256, 100, 90, True)]
    with pytest.raises(ConfigError, match=r"a \.bin file does not hold its sensor size"):
        read_events(path)

    with pytest.raises(DataError, match="outside the sensor of 34 x 34 pixels"):
        read_events(path, 34, 34)


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".csv", b"", "the file is empty"),
        (".csv", b"x,y,t,p\n1,2,3,1\n", r"byte 0: expected the line 't,x,y,p', but found 'x,y,t,p'"),
        (
            ".csv",
            b"t,x,y,p\n1,2,3,1\n5,6\n",
            "from line 2 on: expected 4 integers t,x,y,p a line, but .* row 2$",
        ),
        (".csv", b"t,x,y,p\n1,2,3,on\n", "could not convert string 'on'"),
        (".csv", b"t,x,y,p\n1,2,3\n", "expected 4 integers t,x,y,p a line, but there are 3"),
        (".csv", b"t,x,y,p\n1.5,2,3,1\n", "could not convert string '1.5'"),
        (".csv", b"t,x,y,p\n1,2,3,7\n", "p of an event must be from 0 to 1, but 1 are not, first 7 at index 0"),
        (".csv", b"t,x,y,p\n1,-2,3,1\n", "x of an event must be from 0 to 65535, but 1 are not, first -2 at index 0"),
        (".csv", b"t,x,y,p\n1,2,3,1\n2,34,3,1\n", "1 outside the sensor of 34 x 20 pixels, first at index 1"),
        (".csv", b"t,x,y,p\n-1,2,3,1\n", "1 with a negative time, first at index 0"),
        (".csv", b"t,x,y,p\n9,2,3,1\n8,2,3,1\n", "1 earlier than the event before, first at index 1"),
        (".npz", b"PK\x03\x04 and then nothing", "expected an npz file, but it is damaged"),
        (".npz", b"plain words", "expected an npz file, but it is damaged"),
        (".bin", bytes(13), "byte 10: expected an event of 5 bytes, but only 3 are left"),
        (".txt", b"1 2 3 4", r"no reader for events in '\.txt'; .*Known: \.npz, \.csv"),
        (".es", b"Event Strain", "byte 0: expected b'Event Stream', but found b'Event Strain'"),
        (".raw", b"evt 2.0", "byte 0: expected b'%', but found b'e'"),
        (".aedat4", b"#!AER-DAT2.0\r\n", "byte 0: expected b'#!AER-DAT4.0', but found b'#!AER-DAT2.0'"),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path, suffix, content, message):
    path = tmp_path / f"events{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_events(path, HEIGHT, WIDTH)

    assert str(path) in str(caught.value)


def test_a_cut_npz_is_refused(tmp_path):
    path = tmp_path / "events.npz"
    write_events(path, make_events(t=np.arange(100), x=np.zeros(100), y=np.zeros(100), p=np.ones(100)), 1, 1)
    content = path.read_bytes()

    for share in (0.2, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(DataError, match="damaged"):
            read_events(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width: expected one integer from 1 to 65536"),
        ({"height": [1, 2]}, "height: expected one integer"),
        ({"t": [0.5]}, "integers for t"),
        ({"x": [1, 2]}, "columns of one length"),
    ],
)
def test_npz_arrays_that_cannot_be_are_refused(tmp_path, changes, message):
    path = tmp_path / "events.npz"
    good = {"t": [0], "x": [0], "y": [0], "p": [1], "width": 4, "height": 4}
    np.savez(path, **{key: np.array(value) for key, value in {**good, **changes}.items()})

    with pytest.raises(DataError, match=message) as caught:
        read_events(path)

    assert str(path) in str(caught.value)


def test_repair_drops_and_sorts_and_says_how_many(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("t,x,y,p\n20,0,0,1\n10,1,0,0\n-5,1,0,0\n30,99,0,1\n40,2,0,1\n")
    found = read_events(path, HEIGHT, WIDTH, repair=True)

    assert found.events["t"].tolist() == [10, 20, 40]
    assert (found.num_outside, found.num_negative, found.num_backward) == (1, 1, 2)


def test_events_that_cannot_be_are_not_written(tmp_path):
    events = make_events(t=[1], x=[40], y=[3], p=[1])
    with pytest.raises(DataError, match="outside the sensor"):
        write_events(tmp_path / "a.npz", events, HEIGHT, WIDTH)

    with pytest.raises(ConfigError, match=r"written as \.npz or \.csv, but got '\.raw'"):
        write_events(tmp_path / "a.raw", events, HEIGHT, 50)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("suffix", "package"), [(".aedat4", "aedat"), (".es", "faery"), (".raw", "faery")])
def test_without_the_package_the_error_names_the_extra(tmp_path, monkeypatch, suffix, package):
    path = tmp_path / f"events{suffix}"
    path.write_bytes(
        FIXTURE.read_bytes() if suffix == ".aedat4" else {".es": b"Event Stream", ".raw": b"% evt"}[suffix]
    )
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(
        ConfigError,
        match=rf"{package}: pip install -e '\.\[{package}\]' in the clone of spikebridge, or turn the file into",
    ):
        read_events(path, HEIGHT, WIDTH)


def test_events_and_frames_of_an_aedat4_file_are_read():
    """Three events at 1, 2 and 3 ms; frames at 1.5 and 2.5 ms with the grey levels 150 and 250."""
    pytest.importorskip("aedat")
    found = read_events(FIXTURE)

    assert found.events.tolist() == [(1000, 3, 4, True), (2000, 5, 6, False), (3000, 1, 0, True)]
    assert (found.height, found.width) == (HEIGHT, WIDTH)

    frames, times = aedat4_frames(FIXTURE)
    assert (len(frames), frames.height, frames.width) == (2, HEIGHT, WIDTH)
    assert [int(frame[0, 0]) for frame in frames] == [150, 250]
    assert times.tolist() == [1500, 2500]


def test_a_cut_aedat4_file_is_refused(tmp_path):
    pytest.importorskip("aedat")
    path = tmp_path / "events.aedat4"
    path.write_bytes(FIXTURE.read_bytes()[:200])

    with pytest.raises(DataError, match=r"expected a whole \.aedat4 file, but"):
        read_events(path)


@pytest.mark.parametrize("suffix", [".es", ".raw", ".aedat4"])
def test_what_another_program_wrote_is_read_with_the_first_row_on_top(tmp_path, suffix):
    faery = pytest.importorskip("faery")
    if suffix == ".aedat4":
        pytest.importorskip("aedat")

    path = tmp_path / f"events{suffix}"
    written = np.array([(0, 3, 4, True), (20, 5, 6, False), (30, 1, 0, True)], faery.EVENTS_DTYPE)
    faery.events_stream_from_array(written, (WIDTH, HEIGHT)).to_file(str(path))

    assert read_events(path, HEIGHT, WIDTH).events.tolist() == [(0, 3, 4, True), (20, 5, 6, False), (30, 1, 0, True)]


@pytest.mark.parametrize(
    ("name", "num_events", "sensor"),
    [
        ("faery_dvs_320x240.es", 473_225, (240, 320)),
        ("faery_evt2_640x480.raw", 521_252, (480, 640)),
        ("expelliarmus_evt2_sample.raw", 539_481, (480, 640)),
        ("expelliarmus_evt3_sample.raw", 219_596, (720, 1280)),
    ],
)
def test_files_of_real_cameras_are_read(real_set, name, num_events, sensor):
    pytest.importorskip("faery")
    real_set("event_files")
    found = read_events(data_folder() / "events" / name, *sensor)

    assert len(found.events) == num_events
    assert (found.height, found.width) == sensor


def test_a_real_file_of_another_kind_of_event_is_refused(real_set):
    pytest.importorskip("faery")
    real_set("event_files")
    with pytest.raises(DataError, match=r"faery_color\.es: expected events of a kind that faery reads, but"):
        read_events(data_folder() / "events" / "faery_color.es")


def test_an_npz_without_the_sensor_takes_its_size_from_the_arguments(tmp_path: Path) -> None:
    path = tmp_path / "gesture.npz"
    np.savez(path, t=np.array([5, 9]), x=np.array([3, 127]), y=np.array([0, 4]), p=np.array([1, 0]))
    found = read_events(path, height=128, width=128)

    assert (found.height, found.width, found.events.tolist()) == (128, 128, [(5, 3, 0, True), (9, 127, 4, False)])
    with pytest.raises(ConfigError, match="does not hold its sensor size"):
        read_events(path)

    np.savez(path, t=np.array([5]), x=np.array([3]), y=np.array([0]), p=np.array([1]), width=128)
    with pytest.raises(DataError, match="expected an array 'height'"):
        read_events(path, height=128, width=128)
