"""AEDAT 3.1 and the labels of DVS128 Gesture, on files made here."""

import struct
from pathlib import Path

import pytest

from spikebridge.cli.main import main
from spikebridge.data.events.dvs_gesture import GESTURES, GestureLabel, read_gesture_labels, read_gestures
from spikebridge.data.events.files import read_events
from spikebridge.errors import ConfigError, DataError

HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
EVENTS = [(100, 3, 4, 1), (250, 127, 0, 0), (900, 5, 6, 1)]


def packet(
    events: list[tuple[int, int, int, int]], overflows: int = 0, kind: int = 1, size: int = 8, **other: int
) -> bytes:
    """A packet of valid events (t, x, y, p)."""
    content = b"".join(struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in events)
    number = len(events)

    return (
        struct.pack("<hhiiiiii", kind, 1, size, 4, overflows, other.get("capacity", number), number, number) + content
    )


def test_packets_of_events_are_read_and_others_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "one.aedat"
    special = packet([(5, 0, 0, 0)], kind=0)
    invalid = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, 1, 1, 0) + struct.pack("<II", 9 << 17, 300)
    path.write_bytes(HEADER + special + packet(EVENTS[:2]) + invalid + packet(EVENTS[2:]) + packet([(7, 1, 2, 0)], 1))
    found = read_events(path)

    assert (found.height, found.width) == (128, 128)
    assert found.events.tolist() == [*((t, x, y, bool(p)) for t, x, y, p in EVENTS), (2**31 + 7, 1, 2, False)]


def test_a_sensor_that_the_header_does_not_name_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "one.aedat"
    path.write_bytes(HEADER.replace(b"DVS128", b"Camera") + packet(EVENTS))
    with pytest.raises(ConfigError, match="give height and width"):
        read_events(path)

    assert len(read_events(path, 200, 200).events) == 3

    path.write_bytes(HEADER + packet(EVENTS))
    with pytest.raises(DataError, match="sensor of height 100, but the file says 128"):
        read_events(path, 100, 128)


def test_a_cut_file_is_refused_or_its_whole_packets_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "cut.aedat"
    whole = HEADER + packet(EVENTS)
    for cut in (whole + packet([(950, 1, 1, 1)])[:30], whole + packet([(950, 1, 1, 1)])[:9]):
        path.write_bytes(cut)
        with pytest.raises(DataError, match=f"ends inside the packet at byte {len(whole)}"):
            read_events(path)
        with pytest.warns(UserWarning, match="3 events"):
            assert len(read_events(path, allow_truncated=True).events) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#!AER-DAT2.0\r\n", "expected b'#!AER-DAT3"),
        (b"#!AER-DAT3.1\r\n#Format: RAW\r\n", "expected the line #!END-HEADER"),
        (HEADER + packet(EVENTS, capacity=2**30), "at most 67108864 bytes"),
        (HEADER + packet(EVENTS, capacity=1), "3 of 1 events"),
        (HEADER + packet(EVENTS, size=12), "expected events of 8 bytes, but got 12"),
        (HEADER + packet(EVENTS, overflows=-1), "after -1 overflows"),
        (HEADER + packet([(2**31 + 1, 0, 0, 1)]), "times of 31 bits"),
        (HEADER + packet([(1, 200, 0, 1)]), "1 outside the sensor"),
    ],
)
def test_damaged_files_are_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.aedat").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_events(tmp_path / "bad.aedat")


def test_gestures_are_cut_out_with_times_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "user01_natural.aedat"
    path.write_bytes(HEADER + packet(EVENTS))
    table = tmp_path / "user01_natural_labels.csv"
    table.write_text("class,startTime_usec,endTime_usec\n\n11,90,251\n1,800,1000\n")

    assert read_gesture_labels(table) == [GestureLabel(10, 90, 251), GestureLabel(0, 800, 1000)]

    gestures = read_gestures(path)
    assert [(GESTURES[label], events["t"].tolist()) for events, label in gestures] == [
        ("other gestures", [10, 160]),
        ("hand clapping", [100]),
    ]

    assert main(["data", "check", str(path)]) == 0

    text = capsys.readouterr().out
    assert "hand clapping" in text and "no finding" in text

    table.write_text("class,startTime_usec,endTime_usec\n1,2000,3000\n")
    assert main(["data", "check", str(path)]) == 1
    assert "1 of 1 gestures have no event" in capsys.readouterr().out
    assert main(["data", "check", str(path), "--rate", "3"]) == 2

    with pytest.raises(DataError, match=r"events of 'hand clapping' from .* but found none"):
        read_gestures(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class,start,end\n1,2,3\n", "line 1: expected 'class,startTime_usec,endTime_usec'"),
        ("class,startTime_usec,endTime_usec\n", "a gesture a line"),
        ("class,startTime_usec,endTime_usec\n\n12,1,2\n", "line 3: expected a class from 1 to 11"),
        ("class,startTime_usec,endTime_usec\n1,5,5\n", "an end after its start"),
        ("class,startTime_usec,endTime_usec\n1,x,5\n", "line 2: expected an integer"),
        ("class,startTime_usec,endTime_usec\n1,5\n", "line 2: expected 3 values, but there are 2"),
    ],
)
def test_a_table_of_gestures_that_does_not_fit_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a_labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_gesture_labels(tmp_path / "a_labels.csv")
