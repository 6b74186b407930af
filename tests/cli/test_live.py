"""`spikebridge live`: what it says at the end of a stream."""

from types import SimpleNamespace

import pytest

from spikebridge.cli.formatting import final_answers
from spikebridge.cli.live import RunLive


def test_a_stream_shorter_than_the_first_window_is_not_silent(capsys: pytest.CaptureFixture[str]) -> None:
    command = RunLive(target="runs/digits", events="digit")
    command._advise(SimpleNamespace(num_bins=3, num_skipped=0), num_outputs=0)
    assert "no output: 3 bins are shorter than the first window of the network" in capsys.readouterr().err

    command._advise(SimpleNamespace(num_bins=30, num_skipped=2), num_outputs=1)
    assert capsys.readouterr().err == ""


def test_a_network_in_pytorch_that_skips_many_bins_is_advised_to_be_a_bundle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = SimpleNamespace(num_bins=50, num_skipped=27)
    RunLive(target="signals", network="learned", signal=("7.wav",))._advise(stream, num_outputs=23)

    line = capsys.readouterr().err
    assert "27 of 50 bins were skipped" in line
    assert "`spikebridge export signals --network learned --out live.bundle`" in line


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        ([], "no answer: there was only silence or steady noise"),
        ([("7", 0.876)], "the answer was 7 (88 %)"),
        ([("7", 0.5), ("one", 1.0)], "the answers were 7 (50 %), one (100 %); the last answer was one"),
    ],
)
def test_the_answers_of_a_file_are_one_line(answers: list[tuple[str, float]], line: str) -> None:
    assert final_answers([{"answer": name, "share": share} for name, share in answers]) == line
