"""Executors: processes of this machine, a Dask cluster, jobs of submitit. Results are the same with each."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import pytest

from spikebridge.cli.main import main
from spikebridge.errors import ConfigError
from spikebridge.recipes.sweep import executors, local
from spikebridge.recipes.sweep.executors import slurm_workers
from spikebridge.recipes.sweep.local import LocalExecutor

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


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A Dask cluster of two worker processes on loopback."""
    pytest.importorskip("distributed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    file = tmp_path / "scheduler.json"
    common: dict[str, Any] = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    here = ["--host", "127.0.0.1", "--scheduler-file", str(file)]
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler", *here, "--port", "0", "--no-dashboard"]
    processes = [subprocess.Popen(start, **common)]
    limit = time.monotonic() + 60

    while not file.exists() or not file.read_text().strip():
        assert time.monotonic() < limit
        assert processes[0].poll() is None
        time.sleep(0.05)

    address = json.loads(file.read_text())["address"]
    # with a nanny, which starts a killed worker again
    work = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nworkers", "2", "--nthreads", "1"]
    work += ["--no-dashboard", "--local-directory", str(tmp_path / "dask"), "--host", "127.0.0.1"]
    processes.append(subprocess.Popen(work, **common))

    try:
        from distributed import Client

        with Client(address, timeout="30s", set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait()


@pytest.mark.usefixtures("here")
def test_a_dask_cluster_gives_what_this_process_gives(recipe: str, cluster: str, capsys: Capture) -> None:
    words = ["--set", "lr=0.03,0.04", "--set", "fail=never,kill"]
    assert main(["sweep", recipe, *words, "--scheduler", cluster, "--out", "clustered"]) == 0

    rows = cells("clustered")
    assert [one["state"] for one in rows] == ["finished"] * 4
    assert main(["sweep", recipe, "--set", "lr=0.03,0.04", "--out", "same"]) == 0

    expected = {one["settings"]["lr"]: one["metrics"] for one in cells("same")}
    assert all(one["metrics"] == expected[one["settings"]["lr"]] for one in rows)
    assert capsys.readouterr().err.count("Traceback") == 0


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
