"""One process at a time trains in a run folder; what a killed process leaves behind stops nobody."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.cli.main import main
from spikebridge.errors import ConfigError
from spikebridge.networks.digits.recipe import PRESETS
from spikebridge.training import Batches, Phase, Run, Settings, fit
from spikebridge.training.run import lock
from spikebridge.training.run.lock import LOCK_NAME, lock_folder


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which does nothing."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def write(folder: Path, pid: int, age: float = 0.0, **changes: Any) -> Path:
    """The lock of another process, last renewed some seconds ago."""
    holder = {**lock._this_process(), "pid": pid, "started": lock._start_of(pid), **changes}
    file = folder / LOCK_NAME
    file.write_text(json.dumps(holder))
    now = file.stat().st_mtime
    os.utime(file, (now - age, now - age))

    return file


def test_a_folder_is_locked_as_long_as_the_block_runs(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        there = json.loads((tmp_path / LOCK_NAME).read_text())
        assert there["pid"] == os.getpid()
        with lock_folder(tmp_path):
            pass
        assert (tmp_path / LOCK_NAME).exists()

    assert [*tmp_path.iterdir()] == []
    with pytest.raises(ZeroDivisionError), lock_folder(tmp_path):
        raise ZeroDivisionError

    assert [*tmp_path.iterdir()] == []


def test_a_folder_in_use_is_refused_and_left_as_it_is(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    file = write(tmp_path, other.pid, age=1e4)  # it may have slept: on this host the process itself is asked
    before = file.read_text()
    expected = rf"is in use: process {other.pid} on .*, trains in it; wait for its end, stop it, or take another folder"

    with pytest.raises(ConfigError, match=expected), lock_folder(tmp_path):
        pass

    assert file.read_text() == before
    assert [*tmp_path.iterdir()] == [file]


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    write(tmp_path, other.pid)
    other.kill()
    other.wait()

    with lock_folder(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()

    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the start of a process is not known here")
def test_a_number_that_another_process_has_got_since_is_recognised(
    tmp_path: Path, other: subprocess.Popen[bytes]
) -> None:
    write(tmp_path, other.pid, started="1")
    with lock_folder(tmp_path):
        pass


@pytest.mark.parametrize("changes", [{"place": ["elsewhere"], "host": "elsewhere"}, {"place": None, "begun": None}])
def test_what_cannot_be_seen_from_here_is_in_use_while_it_is_renewed(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, 1, age=50, **changes)
    in_use = pytest.raises(ConfigError, match=r"is in use: .*; if it was killed, try again in (69|70|71) s")
    with in_use, lock_folder(tmp_path):
        pass

    write(tmp_path, 1, age=121, **changes)
    with lock_folder(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()


def test_a_damaged_lock_is_one_of_an_unknown_process(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("{")
    in_use = pytest.raises(
        ConfigError, match="is in use: an unknown process trains in it; if it was killed, try again in 120 s"
    )
    with in_use, lock_folder(tmp_path):
        pass

    os.utime(tmp_path / LOCK_NAME, (0, 0))
    with lock_folder(tmp_path):
        pass


def test_a_running_training_renews_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_RENEW_EVERY", 0.01)
    with lock_folder(tmp_path):
        file = tmp_path / LOCK_NAME
        os.utime(file, (0, 0))
        for _ in range(500):
            if file.stat().st_mtime > 0:
                break
            lock.time.sleep(0.01)

        assert file.stat().st_mtime > 0


def test_of_two_that_take_over_the_first_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1, age=1e4, place=["elsewhere"])
    monkeypatch.setattr(lock.time, "sleep", lambda _: write(tmp_path, 1))  # the other takes over in the meantime
    with pytest.raises(ConfigError, match="is in use: another process has just begun"), lock_folder(tmp_path):
        pass

    assert (tmp_path / LOCK_NAME).exists()


def test_a_training_locks_its_run(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    run = Run.create(tmp_path / "run", "tiny", {})
    seen = []

    def objective(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        seen.append((run.path / LOCK_NAME).exists())
        return module(batch["x"]).square().mean()

    phase = Phase("only", ("weight",), objective, epochs=1, optimizer=partial(torch.optim.SGD, lr=0.1))
    data = Batches({"x": torch.ones(2, 1)}, batch={"x": 0})
    settings = Settings(accelerator="cpu", quiet=True)
    fit(nn.Linear(1, 1), [phase], data, settings=settings, run=run)

    assert seen == [True]
    assert not (run.path / LOCK_NAME).exists()

    write(run.path, other.pid)
    with pytest.raises(ConfigError, match="is in use"):
        fit(nn.Linear(1, 1), [phase], data, settings=settings, run=run)


def test_a_second_resume_is_refused_in_one_line(
    tmp_path: Path, other: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    Run.create(tmp_path / "run", "digits", PRESETS["quick"])
    write(tmp_path / "run", other.pid)
    before = {file.name for file in (tmp_path / "run").iterdir()}
    code = main(["train", "digits", "--preset", "quick", "--out", str(tmp_path / "run"), "--resume"])
    captured = capsys.readouterr()

    assert code == 2
    assert captured.err.count("\n") == 1
    assert f"process {other.pid}" in captured.err
    assert {file.name for file in (tmp_path / "run").iterdir()} == before
