"""Event files that were cut: an error inside a packet, and the number of events and the last time between two."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from nmnist_files import write_nmnist
from spikebridge.data.events.events import make_events
from spikebridge.data.events.files import find_cut, read_events, write_events
from spikebridge.data.events.formats.event_format import DecodedSize
from spikebridge.data.recordings.load import load_events
from spikebridge.errors import DataError

HEIGHT = 34
WIDTH = 34
NUM = 40
# 300 us apart: in an .es file each needs two bytes for the time that passes
EVENTS = make_events(
    t=300 * np.arange(1, NUM + 1), x=np.arange(NUM) % WIDTH, y=np.arange(NUM) % HEIGHT, p=np.arange(NUM) % 2
)
# events of 40 columns of a row: a base, and three words for 32 pixels
EVT3 = [0x8000, 0x6001, 0x0005, 0x3000 | 0x0800, 0x4FFF, 0x4FFF, 0x50FF, 0x0006, 0x2007]


def write(path: Path, format_: str) -> Path:
    """A file of some events."""
    if format_ == "evt3":
        head = b"% evt 3.0\n% geometry 1280x720\n"
        path.write_bytes(head + struct.pack(f"<{len(EVT3)}H", *EVT3))
    elif format_ == "evt2":
        words = [(0x8 << 28) | (int(EVENTS["t"][0]) >> 6)]
        words += [(p << 28) | (k % 60 << 22) | (x << 11) | y for k, (_, x, y, p) in enumerate(EVENTS.tolist())]
        path.write_bytes(b"% evt 2.0\n" + struct.pack(f"<{len(words)}I", *words))
    elif path.suffix in (".npz", ".csv"):
        write_events(path, EVENTS, HEIGHT, WIDTH)
    elif path.suffix == ".bin":
        write_nmnist(path, EVENTS)
    else:
        faery = pytest.importorskip("faery")
        if path.suffix == ".aedat4":
            pytest.importorskip("aedat")
        columns = np.array([tuple(event) for event in EVENTS.tolist()], faery.EVENTS_DTYPE)
        faery.events_stream_from_array(columns, (WIDTH, HEIGHT)).to_file(str(path))

    return path


def number_of_events(path: Path, allow_truncated: bool = False) -> int:
    """Events of a file; warnings are ignored."""
    sensor = (720, 1280) if path.read_bytes()[:5] == b"% evt" and path.stem == "evt3" else (HEIGHT, WIDTH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return len(read_events(path, *sensor, allow_truncated=allow_truncated).events)


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("name", "packet"),
    [
        ("a.csv", 0),
        ("a.bin", 5),
        ("a.raw", 2),
        ("evt2.raw", 4),
        ("evt3.raw", 2),
        ("a.es", 0),
        ("a.aedat4", 0),
        ("a.npz", 0),
    ],
)
def test_a_file_is_read_whole_refused_or_cut_between_two_packets(tmp_path: Path, name: str, packet: int) -> None:
    path = write(tmp_path / name, Path(name).stem)
    content = path.read_bytes()
    whole = number_of_events(path)
    accepted = []

    for size in range(len(content) // 2, len(content)):
        path.write_bytes(content[:size])
        try:
            found = number_of_events(path)
        except DataError as error:
            assert str(error).startswith(str(path))
            continue

        assert found <= whole

        accepted.append(size)

    steps = np.diff([*accepted, len(content)])
    if packet:
        # in EVT3 not between the parts of a vector either
        assert (steps % packet == 0).all() and accepted

    if path.suffix == ".csv":
        # at the end of a line, or before the sign of its end
        assert {content[size - 1 : size] for size in accepted} <= {b"\n", b"0", b"1"}
        assert len(accepted) <= 2 * content.count(b"\n")

    if path.suffix == ".npz":
        assert accepted == []

    if path.suffix == ".es":
        assert set(steps.tolist()) <= {1, 5}  # after each event, and after each byte of time without one


@pytest.mark.parametrize(
    ("name", "left_out"), [("a.csv", 3), ("a.bin", 2), ("a.raw", 1), ("a.es", 2), ("a.aedat4", 300)]
)
def test_a_cut_file_is_accepted_on_request_with_number_and_last_time(tmp_path: Path, name: str, left_out: int) -> None:
    path = write(tmp_path / name, "a")
    path.write_bytes(path.read_bytes()[:-left_out])
    if path.suffix != ".csv":
        hint = r"\.bin file|byte \d+" if path.suffix == ".bin" else r"accept this \(--allow-truncated\)"
        with pytest.raises(DataError, match=hint):
            read_events(path, HEIGHT, WIDTH)

    with pytest.warns(
        UserWarning, match=r"ends inside .*; \d+ events, the last at \d+ us, are taken|ends inside .* 0 ev"
    ):
        found = read_events(path, HEIGHT, WIDTH, allow_truncated=True).events

    assert found["x"].tolist() == EVENTS["x"][: len(found)].tolist()
    assert len(found) >= NUM - 2 or path.suffix == ".aedat4"


def test_a_vector_of_evt3_is_whole_with_its_third_word(tmp_path: Path) -> None:
    path = write(tmp_path / "evt3.raw", "evt3")
    content = path.read_bytes()
    ends = []

    for words in range(len(EVT3) + 1):
        path.write_bytes(content[: len(content) - 2 * words])
        ends.append(find_cut(path, DecodedSize()) is None)

    # after the last word, the one before, the vector (but not inside), the row, the times; and nothing at all
    assert ends == [True, True, True, False, False, False, True, True, True, True]


def test_a_recording_says_when_its_last_event_was(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a")
    recording = load_events(path, dt=0.001, height=HEIGHT, width=WIDTH)
    assert (recording.events.num_events, recording.last_event_us) == (NUM, 300 * NUM)


def test_a_damaged_camera_file_prints_nothing_of_its_reader(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("aedat")
    path = tmp_path / "zeros.aedat4"
    for zeros in (0, 4, 100, 5000):
        path.write_bytes(b"#!AER-DAT4.0\r\n" + bytes(zeros))
        with pytest.raises(DataError, match=r"zeros\.aedat4: expected a whole \.aedat4 file, but"):
            read_events(path)

    assert capfd.readouterr() == ("", "")
