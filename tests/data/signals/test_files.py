"""Series from files: npz, CSV, WAV and folders of WAV, with what is refused."""

import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikebridge.data.catalog import available
from spikebridge.data.signals.files import find_series, read_series
from spikebridge.data.signals.wav import read_wav
from spikebridge.errors import DataError


def write_npz(folder: Path, **changes: Any) -> Path:
    """A file in the general form with three series; an array of None is left out."""
    samples = np.linspace(-1, 1, 24, dtype=np.float32).reshape(12, 2) ** 3
    arrays = {"samples": samples, "starts": [0, 3, 8, 12], "label": ["a", "b", "a"], "group": [4, 4, 9], "rate_hz": 50}
    path = folder / "mine.npz"
    np.savez(path, **{name: array for name, array in {**arrays, **changes}.items() if array is not None})

    return path


def wav_bytes(
    samples: bytes, rate: int = 8000, channels: int = 1, encoding: int = 1, bits: int = 16, **sizes: int
) -> bytes:
    head = struct.pack("<HHIIHH", encoding, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    data = b"data" + struct.pack("<I", sizes.get("declared", len(samples))) + samples
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def write_wav(path: Path, length: int = 80, rate: int = 8000, channels: int = 1, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(-(2**14), 2**14, length * channels, dtype=np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(values.tobytes())


def test_the_general_form_is_read(tmp_path: Path) -> None:
    series = read_series(write_npz(tmp_path, channel_names=["left", "right"], day=[1, 2, 2]))
    assert (series.name, len(series), series.rate_hz, series.channel_names) == ("own", 3, 50.0, ("left", "right"))
    assert (series.label_names, series.label.tolist()) == (("a", "b"), [0, 1, 0])
    assert (series.group_names, series.group.tolist()) == (("4", "9"), [0, 0, 1])
    assert series.keys["day"].tolist() == [1, 2, 2]
    assert series[2].shape == (4, 2)


def test_units_and_names_of_labels_are_applied(tmp_path: Path) -> None:
    path = write_npz(
        tmp_path, samples=np.arange(12), zero=2, units_per_one=10, label=[1, 0, 1], label_names=["rest", "wave"]
    )
    series = read_series(path)

    assert np.allclose(series[0].ravel(), [-0.2, -0.1, 0])
    assert (series.label.tolist(), series.label_names) == ([1, 0, 1], ("rest", "wave"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": None}, "expected an array 'samples', but there is none"),
        ({"samples": None, "data": np.zeros(4)}, "rename 'data'"),
        ({"label": None, "labels": [0, 1, 0]}, "did you mean 'label'"),
        ({"group": None, "subject": [0, 1, 0]}, "did you mean 'group'"),
        ({"rate_hz": None}, "expected an array 'rate_hz'"),
        ({"rate_hz": 0}, "above 0, but got 0"),
        ({"rate_hz": [50, 50, 100]}, r"2 of 3 have 50 Hz \(first series 0\) and 1 have 100 Hz \(first series 2\)"),
        ({"starts": [0, 3, 8]}, "the end of the last series"),
        ({"starts": [0, 8, 3, 12]}, "series 1 is empty or goes back"),
        ({"starts": [0, 3, 3, 12]}, "series 1 is empty"),
        ({"label": ["a", "b"]}, r"one entry a series, \(3,\), but got \(2,\)"),
        ({"label": ["a", "", "b"]}, "1 of 3 series have an empty one, first series 1"),
        ({"label": [0, 2, 0], "label_names": ["a", "b"]}, "first 2 of series 1"),
        ({"samples": np.zeros((2, 12))}, "transpose them"),
        ({"samples": np.zeros((2, 2, 2))}, r"expected numbers \(N, channels\)"),
        ({"channel_names": ["left"]}, "expected 2 texts, one a channel"),
        ({"channel_names": np.zeros(2**16 + 1, "U1")}, r"channel_names: expected at most a value a sample"),
        ({"starts": np.zeros(2**16 + 1, int)}, r"starts: expected at most a value a sample, but got \(65537,\)"),
        ({"other": np.zeros(2, "U9999999")}, "other: expected texts in at most 67108864 bytes"),
        ({"label": np.array([97, 0x110000, 97], "u4").view("U1")}, "label: expected texts, but it has numbers that"),
        ({"samples": np.full(12, np.nan)}, "12 of 12 values are NaN .* data check"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_npz(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as error:
        read_series(path)

    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_without_a_rate_takes_the_given_one_and_another_is_refused(tmp_path: Path) -> None:
    assert read_series(write_npz(tmp_path, rate_hz=None), rate_hz=40).rate_hz == 40
    with pytest.raises(DataError, match="expected 40 Hz, but the file says 50 Hz; nothing is resampled"):
        read_series(write_npz(tmp_path), rate_hz=40)


def test_a_known_set_is_recognised_by_its_arrays_and_its_rate_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "digits.npz"
    arrays = {"samples": np.array([0, 2**14, -(2**14), 100], np.int16), "starts": [0, 2, 4], "digit": [7, 3]}
    arrays |= {"speaker": [1, 0], "speaker_names": ["anna", "ben"], "index": [5, 6]}
    np.savez(path, **arrays, rate_hz=8000)
    series = read_series(path)

    assert (series.name, series.label.tolist(), series.label_names[7]) == ("spoken_digits", [7, 3], "7")
    assert (series.group_names, series.groups, series[0].ravel().tolist()) == (("anna", "ben"), [0, 1], [0, 0.5])
    assert series.keys["index"].tolist() == [5, 6]

    np.savez(path, **arrays, rate_hz=16000)
    with pytest.raises(DataError, match="those of spoken_digits, which has 8000 Hz, but rate_hz is 16000"):
        read_series(path)


def test_a_missing_channel_of_a_known_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "myo.npz"
    names = {"gesture_names": ["rest", "fist"], "person_names": ["anna"]}
    one = {"gesture": [1], "person": [0], "part": [0], "starts": [0, 9], "rate_hz": 200}
    np.savez(path, samples=np.ones((9, 7), np.int16), **one, **names)

    with pytest.raises(DataError, match="myo, which has 8 channels, but samples has 7"):
        read_series(path)


@pytest.mark.parametrize(
    ("encoding", "bits", "content", "expected"),
    [
        (1, 8, bytes([0, 128, 192]), [-1, 0, 0.5]),
        (1, 16, struct.pack("<3h", -(2**15), 0, 2**14), [-1, 0, 0.5]),
        (1, 24, bytes([0, 0, 0x80, 0, 0, 0, 0, 0, 0x40]), [-1, 0, 0.5]),
        (1, 32, struct.pack("<3i", -(2**31), 0, 2**30), [-1, 0, 0.5]),
        (3, 32, struct.pack("<3f", -1, 0, 0.5), [-1, 0, 0.5]),
        (3, 64, struct.pack("<3d", -1, 0, 0.5), [-1, 0, 0.5]),
        # G.711: mu-law 0xff and 0x7f are 0, 0x00 is -32124; A-law 0xd5 is 8, 0x2a is -32256
        (7, 8, bytes([0xFF, 0x7F, 0x00, 0x80]), [0, 0, -32124 / 2**15, 32124 / 2**15]),
        (6, 8, bytes([0xD5, 0x55, 0x2A, 0xAA]), [8 / 2**15, -8 / 2**15, -32256 / 2**15, 32256 / 2**15]),
    ],
)
def test_every_encoding_of_wav_gives_its_values(
    encoding: int, bits: int, content: bytes, expected: list[float], tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(content, encoding=encoding, bits=bits))
    samples, rate = read_wav(path)
    assert (rate, samples.dtype, samples.ravel().tolist()) == (8000, np.float32, expected)


def test_stereo_and_other_chunks_are_read_and_the_extensible_format_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    content = struct.pack("<4h", 2**14, -(2**14), 0, 2**13)
    path.write_bytes(wav_bytes(content, channels=2))

    assert read_wav(path)[0].tolist() == [[0.5, -0.5], [0, 0.25]]

    head = struct.pack("<HHIIHHHHI", 0xFFFE, 2, 8000, 32000, 4, 16, 22, 16, 3) + struct.pack("<H", 1) + bytes(14)
    info = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    body = b"WAVE" + info + b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", 8) + content
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)

    assert read_wav(path)[0].tolist() == [[0.5, -0.5], [0, 0.25]]


def test_damaged_wav_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    for content, message in (
        (b"ID3 not a wave", "byte 0: expected 'RIFF'"),
        (wav_bytes(bytes(8), declared=20), "expected 20 bytes of samples, but it is cut after 8"),
        (wav_bytes(b""), "expected samples, but there are none"),
        (wav_bytes(bytes(8), bits=12), "format 1 of 12 bits; save it as 16-bit PCM"),
        (wav_bytes(bytes(8), encoding=85), "format 85"),
        (wav_bytes(bytes(8), channels=0), "0 channels"),
        (wav_bytes(bytes(8))[:30], "bytes of the header, but it ends"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_series(path)

    path.write_bytes(wav_bytes(bytes(8), declared=2**32 - 1))  # a stream whose length was not known
    assert len(read_wav(path)[0]) == 4


def test_folder_names_are_labels(tmp_path: Path) -> None:
    for number, name in enumerate(("no/b.wav", "yes/a.wav", "no/a.wav", ".hidden/a.wav")):
        write_wav(tmp_path / name, length=40 + number, seed=number)

    series = read_series(tmp_path)

    assert (series.label_names, series.label.tolist(), series.group) == (("no", "yes"), [0, 0, 1], None)
    assert (series.stops - series.starts).tolist() == [42, 40, 41]


def test_a_table_gives_labels_and_groups(tmp_path: Path) -> None:
    for number in range(3):
        write_wav(tmp_path / "raw" / f"{number}.wav", seed=number)

    table = tmp_path / "labels.csv"
    table.write_text("file,label,group\nraw/2.wav,yes,anna\nraw/0.wav,no,ben\n")
    series = read_series(tmp_path)

    assert (series.label.tolist(), [series.group_names[g] for g in series.group]) == ([1, 0], ["anna", "ben"])
    for text, message in (
        ("file,label\nraw/0.wav,\n", "line 2: expected a label, but one is empty"),
        ("file,label\n../0.wav,no\n", "line 2: expected a file below"),
        ("file,label\nraw/7.wav,no\n", "7.wav: expected a WAV file, but there is no such file"),
        ("file,word\nraw/0.wav,no\n", "expected the header"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            read_series(tmp_path)


def test_files_of_two_rates_or_of_mono_and_stereo_are_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "no" / "a.wav", rate=8000)
    write_wav(tmp_path / "no" / "b.wav", rate=16000, seed=1)
    write_wav(tmp_path / "no" / "c.wav", rate=16000, seed=2)

    with pytest.raises(DataError, match=r"2 of 3 have 16000 Hz \(first file no/b.wav\) and 1 have 8000 Hz .*resampled"):
        read_series(tmp_path)

    write_wav(tmp_path / "no" / "b.wav", channels=2)
    with pytest.raises(DataError, match=r"no/a\.wav has 1 and no/b\.wav has 2"):
        read_series(tmp_path)


def test_files_deeper_than_a_label_are_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "anna" / "no" / "a.wav")
    with pytest.raises(DataError, match=r"a folder named by the label; .* need labels\.csv"):
        read_series(tmp_path)


def test_speech_commands_have_speakers_and_their_own_split(tmp_path: Path) -> None:
    for number, name in enumerate(
        ("no/0a7c2a8d_nohash_0.wav", "yes/0a7c2a8d_nohash_0.wav", "yes/1b4c9b89_nohash_2.wav")
    ):
        write_wav(tmp_path / name, seed=number)

    write_wav(tmp_path / "_background_noise_" / "pink_noise.wav", length=999)
    (tmp_path / "testing_list.txt").write_text("yes/1b4c9b89_nohash_2.wav\n")
    series = read_series(tmp_path)

    assert (series.name, len(series), series.group.tolist()) == ("speech_commands", 3, [0, 0, 1])
    assert series.keys["split"].tolist() == [0, 0, 2]


def test_a_table_of_channels_is_cut_where_a_series_ends(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    rows = [(i // 4, "rest" if i < 4 else "wave", "anna", i / 50, i, -i) for i in range(8)]
    path.write_text("series,label,group,time,ax,ay\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    series = read_series(path)

    assert (len(series), series.rate_hz, series.channel_names, series.label.tolist()) == (2, 50, ("ax", "ay"), [0, 1])
    assert series[1].tolist() == [[4, -4], [5, -5], [6, -6], [7, -7]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ax,ay\n1,2\n", "expected a column 'time' in seconds"),
        ("time,ax\n0,1\n0.02,2\n0.1,3\n", "line 3, time: expected equal steps, .* series 0 is uneven"),
        ("series,time,ax\n0,0,1\n0,0.02,2\n1,0,1\n1,0.01,2\n", "1 of 2 have 50 Hz"),
        ("time,ax\n0,1\n0.02,\n0.04,1\n", "1 of 3 values are NaN"),
        ("time,ax\n0,1\n0.02,1_3\n", "line 3, ax: expected a number, but found '1_3'"),
        ("time,ax\n0,1\n0.02\n", "line 3: expected 2 values, but there are 1"),
        ("time,label,ax\n0,,1\n0.02,,2\n", "line 2: expected a label, but it is empty"),
        ("time,Label,ax\n0,a,1\n0.02,a,2\n", "did you mean 'label'"),
        ("time,ax,ax\n0,1,2\n", "different names of columns"),
        ("time,label\n0,a\n", "expected a column a channel"),
        ("time,ax\n", "expected a header and at least one line"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_series(path)


def test_a_faulty_line_is_named_as_an_editor_counts_it_with_blank_lines_before(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    for text, where in [
        ("\n\na,time\n1,0\n\n\nx,1\n", "line 7, a"),
        ("\na\n\n1,2\n", "line 4: expected 1 values"),
        ("label,a\n\nwave,1\n\n,2\n", "line 5: expected a label"),
        ("a,time\n1,0\n\n1,1\n\n1,\n", "line 6, time"),
        ("\na,a\n1,2\n", "line 2: expected different names"),
    ]:
        path.write_text(text)
        with pytest.raises(DataError, match=where):
            read_series(path, rate_hz=1.0)


def test_an_unknown_kind_of_file_is_refused_with_those_that_are_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no reader for series in '.mp3'.*\.npz, \.csv, \.wav"):
        read_series(tmp_path / "a.mp3")


@pytest.mark.parametrize(
    ("name", "size"),
    [("spoken_digits", (2500, 10, 5, 1)), ("watch", (112, 7, 8, 6)), ("ecg_100", (1, 0, 0, 2))],
)
def test_a_shared_set_has_its_published_size(name: str, size: tuple[int, ...], request: pytest.FixtureRequest) -> None:
    try:
        series = find_series(name)
    except DataError:
        if not any(entry.present for entry in available() if entry.data_set.name == name):
            pytest.skip(f"{name} is not on this machine")
        raise

    assert (len(series), series.num_classes, len(series.groups), series.num_channels) == size
    if name == "ecg_100":
        assert series.marks is not None
        assert len(series.marks) == 2273
