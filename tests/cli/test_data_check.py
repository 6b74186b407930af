"""`spikebridge data check`: what is wrong with series, in words and as a drawing."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest

from spikebridge.cli.main import main

pytestmark = pytest.mark.untyped


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(**changes: object) -> None:
    samples = np.random.default_rng(0).normal(size=(80, 2)).astype(np.float32)
    arrays = {"samples": samples, "starts": [0, 20, 40, 60, 80], "rate_hz": 50}
    arrays |= {"label": ["rest", "wave"] * 2, "group": ["anna", "anna", "ben", "ben"]}
    np.savez("mine.npz", **{**arrays, **changes})  # type: ignore[arg-type]


def test_good_series_are_described_and_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save()
    assert main(["data", "check", "mine.npz"]) == 0

    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "no finding"
    assert "rest, wave" in said

    svg = (folder / "mine-check.svg").read_text()
    assert svg.startswith("<svg")
    assert "4 series, 2 channels, 50 Hz" in svg
    # a drawing loads nothing; the one address is the name of its format
    assert "http" not in svg.replace("http://www.w3.org", "")


def test_errors_and_warnings_are_listed_and_the_exit_code_says_it(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    samples = np.random.default_rng(0).normal(size=(80, 2))
    # an error in the second series; one group alone is a warning
    samples[30:35, 1] = np.nan
    save(samples=samples, group=["anna"] * 4)

    assert main(["data", "check", "mine.npz", "--draw", "page.svg", "--json"]) == 1

    found = json.loads(capsys.readouterr().out)
    assert [one["level"] for one in found["findings"]] == ["error", "warning"]
    assert "5 of 160 values are NaN" in found["findings"][0]["problem"]
    assert found["classes"] == {"rest": 2, "wave": 2}
    assert "error: 5 of 160 values" in (folder / "page.svg").read_text()


def test_files_that_cannot_be_read_end_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rate in (8000, 16000):
        (folder / "words" / "no").mkdir(parents=True, exist_ok=True)
        with wave.open(str(folder / "words" / "no" / f"{rate}.wav"), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(bytes(40))

    save(rate_hz=[50, 50, 50, 60])
    for words, message in (
        (["words"], "1 of 2 have 16000 Hz"),
        (["mine.npz"], "3 of 4 have 50 Hz"),
        (["none.npz"], "no such file"),
        (["mine.npz", "--draw", "page.png"], "written as .svg"),
    ):
        assert main(["data", "check", *words]) == 2

        output = capsys.readouterr()
        assert message in output.err
        assert len(output.err.strip().splitlines()) == 1
        assert output.out == ""
