"""Executors: processes of this machine, a Dask cluster, jobs of submitit. Results are the same with each."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from spikebridge.cli.main import main
from spikebridge.errors import ConfigError
from spikebridge.recipes.sweep import cell, executors, local
from spikebridge.recipes.sweep.executors import Workers, slurm_workers
from spikebridge.recipes.sweep.local import LocalExecutor
from spikebridge.training.run.lock import FolderInUseError
from tests.recipes.sweep.conftest import in_place

pytestmark = pytest.mark.untyped

Capture = pytest.CaptureFixture[str]


def cells(folder: str) -> list[dict[str, Any]]:
    """The results of the cells of a sweep, without times."""
    found = json.loads(Path(folder, "results.json").read_text())["cells"]
    rows = [{k: v for k, v in one.items() if k not in ("seconds", "cpu_seconds")} for one in found]
    return sorted(rows, key=lambda row: str(row["name"]))


def test_a_killed_process_takes_no_other_call_with_it() -> None:
    with LocalExecutor() as executor:
        slow = executor.submit(time.sleep, 0.3)
        killed = executor.submit(signal.raise_signal, signal.SIGKILL)
        with pytest.raises(Exception, match="terminated abruptly"):
            killed.result()
        assert slow.result() is None
        assert executor.submit(abs, -2).result() == 2


def test_a_process_has_the_variables_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    local.start_server("digits")
    monkeypatch.setenv("SPIKEBRIDGE_TRY", "1")
    with LocalExecutor() as executor:
        found = [executor.submit(os.getenv, name).result() for name in ("SPIKEBRIDGE_TRY", "OPENBLAS_NUM_THREADS")]

    assert found == ["1", os.getenv("OPENBLAS_NUM_THREADS")]


@pytest.mark.skipif(local._METHOD != "forkserver", reason="processes are spawned")
def test_ctrl_c_waits_for_a_process_that_is_starting() -> None:
    reached = []

    def interrupted() -> None:
        with local.delayed_interrupt():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end of the block")

    # a shell that starts the tests in the background has Ctrl-C ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)

    assert reached
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_local_processes_and_a_killed_one(recipe: str, capsys: Capture) -> None:
    words = ["--set", "lr=0.03,0.04", "--set", "fail=never,kill", "--workers", "2", "--out", "local"]
    assert main(["sweep", recipe, *words]) == 0
    assert [one["state"] for one in cells("local")] == ["finished"] * 4
    assert main(["sweep", recipe, "--set", "fail=kill", "--retry", "0", "--workers", "1", "--out", "lost"]) == 2
    assert "the worker was lost (BrokenProcessPool" in capsys.readouterr().err


def test_a_killed_process_leaves_no_thread_that_waits_for_it() -> None:
    before = set(threading.enumerate())
    with LocalExecutor() as executor:
        assert isinstance(executor.submit(os._exit, 1).exception(), BrokenExecutor)
        assert executor.submit(abs, -2).result() == 2

    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(timeout=30)

    assert not any(thread.is_alive() for thread in left)


@contextmanager
def dask_cluster(folder: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """The address and the scheduler of a Dask cluster with two worker processes on loopback."""
    pytest.importorskip("distributed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    folder.mkdir()
    file = folder / "scheduler.json"
    common: dict[str, Any] = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    common["start_new_session"] = True
    here = ["--host", "127.0.0.1", "--scheduler-file", str(file)]
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler", *here, "--port", "0", "--no-dashboard"]
    # with a nanny, which starts a killed worker again
    work = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nworkers", "2"]
    work += ["--nthreads", "1", "--no-dashboard", "--local-directory", str(folder), "--host", "127.0.0.1"]
    processes = [subprocess.Popen(words, **common) for words in (start, work)]

    try:
        limit = time.monotonic() + 60
        while not file.exists() or not file.read_text().strip():
            assert time.monotonic() < limit
            assert processes[0].poll() is None
            time.sleep(0.05)

        from distributed import Client

        address = json.loads(file.read_text())["address"]
        with Client(address, timeout="30s", set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, processes[0]
    finally:
        # a nanny whose scheduler is lost may wait for it without end, and its workers are of its group
        for process in reversed(processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.usefixtures("here")
def test_a_dask_cluster_gives_what_this_process_gives_also_where_its_scheduler_is_killed(
    recipe: str, tmp_path: Path, capsys: Capture
) -> None:
    words = ["sweep", recipe, "--set", "lr=0.01,0.02", "--seeds", "0:2"]
    ended = tmp_path / "clustered" / "cells.jsonl"
    clustered = [*words, "--set", "fail=never,once,kill", "--set", "pause=0.1", "--out", "clustered", "--scheduler"]

    with dask_cluster(tmp_path / "first") as (address, scheduler):

        def kill_scheduler() -> None:
            while not ended.exists() or len(ended.read_text().splitlines()) < 3:
                time.sleep(0.02)
            scheduler.kill()

        killer = threading.Thread(target=kill_scheduler)
        killer.start()
        assert main([*clustered, address]) == 2
        killer.join()

    last = capsys.readouterr().err.splitlines()[-1]
    assert "the scheduler of the workers was lost after" in last
    assert "--resume` resumes" in last
    assert not any(json.loads(row)["state"] == "failed" for row in ended.read_text().splitlines())

    with dask_cluster(tmp_path / "second") as (address, _):
        assert main([*clustered, address, "--resume"]) == 0

    rows = [json.loads(row)["cell"] for row in ended.read_text().splitlines()]
    assert len(rows) == len(set(rows)) == 12
    assert main([*words, "--out", "same"]) == 0

    expected = {(one["settings"]["lr"], one["seed"]): one["metrics"] for one in cells("same")}
    found = cells("clustered")
    assert len(found) == 3 * len(expected)
    assert all(one["metrics"] == expected[one["settings"]["lr"], one["seed"]] for one in found)
    assert "Traceback" not in capsys.readouterr().err


class _LostAfter(Executor):
    """A worker that is lost when it has trained."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        fn(*args, **kwargs)
        future: Future[Any] = Future()
        future.set_exception(RuntimeError("gone"))
        return future


def test_a_cell_whose_worker_is_lost_after_its_end_is_finished(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def workers(number: int | None, recipe: str) -> Iterator[Workers]:
        yield Workers(_LostAfter(), 1)

    monkeypatch.setattr(executors, "local_workers", workers)
    monkeypatch.setattr(local, "start_server", lambda recipe: None)

    assert main(["sweep", recipe, "--seeds", "0:2", "--retry", "0", "--out", "out"]) == 0
    assert [one["state"] for one in cells("out")] == ["finished"] * 2


def test_workers_that_are_lost_at_once_end_a_sweep_with_the_way_to_resume_it(
    recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    @contextmanager
    def workers(number: int | None, recipe: str) -> Iterator[Workers]:
        with in_place(number, recipe) as started:
            yield started._replace(is_reachable=lambda: not Path("out/cells.jsonl").exists())

    monkeypatch.setattr(executors, "local_workers", workers)
    monkeypatch.setattr(local, "start_server", lambda recipe: None)
    words = ["sweep", recipe, "--seeds", "0:3", "--out", "out"]
    assert main(words) == 2

    line = capsys.readouterr().err.splitlines()[-1]
    assert "lost after 1 cells" in line
    assert "`spikebridge sweep tiny.py --seeds 0:3 --out out --resume` resumes" in line

    monkeypatch.setattr(executors, "local_workers", in_place)
    assert main([*words, "--resume"]) == 0
    assert [one["state"] for one in cells("out")] == ["finished"] * 3
    assert len(Path("out/cells.jsonl").read_text().splitlines()) == 3


@pytest.mark.usefixtures("here")
def test_a_cell_waits_for_a_worker_of_a_lost_scheduler(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train = cell.train_recipe
    calls = []

    def busy(word: str, settings: Any, path: Path, **options: Any) -> Any:
        calls.append(path)
        if len(calls) == 1:
            # the other worker ends its training
            train(word, settings, path, **options)
            raise FolderInUseError(f"{path} is in use")
        return train(word, settings, path, **options)

    monkeypatch.setattr(cell, "train_recipe", busy)
    monkeypatch.setattr(cell, "_LOCK_PAUSE", 0.01)

    assert main(["sweep", recipe, "--seeds", "0", "--retry", "0", "--out", "out"]) == 0
    assert len(calls) == 1


def test_a_scheduler_that_is_not_there_is_one_line(
    recipe: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("spikebridge.recipes.sweep.executors._CONNECT_TIMEOUT", "0.2s")

    assert main(["sweep", recipe, "--scheduler", "tcp://127.0.0.1:1", "--out", "out"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in line


def test_jobs_of_submitit_on_this_machine(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")

    def local(folder: Path, options: tuple[str, ...], number: int | None) -> Any:
        return slurm_workers(folder, options, number, cluster="local")

    monkeypatch.setattr(executors, "slurm_workers", local)
    words = ["--set", "fail=never,raise", "--slurm", "--slurm-option", "timeout_min=5", "--workers", "2"]

    assert main(["sweep", recipe, *words, "--retry", "0", "--out", "out"]) == 1
    assert {one["settings"]["fail"]: one["state"] for one in cells("out")} == {"never": "finished", "raise": "failed"}


def test_without_slurm_or_with_a_wrong_option_it_is_one_line(recipe: str, capsys: Capture, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    assert main(["sweep", recipe, "--slurm", "--out", "out"]) == 2
    assert "there is no Slurm on this machine" in capsys.readouterr().err

    for word, message in (("timeout", "takes NAME=VALUE"), ("no_such_parameter=1", "--slurm-option: ")):
        with pytest.raises(ConfigError, match=message), slurm_workers(tmp_path, (word,), 1, cluster="local"):
            pass
