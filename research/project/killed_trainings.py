"""Kills each recipe's training at 20 random moments, some of them inside the writing of a checkpoint, and resumes it.

    python research/project/killed_trainings.py [RECIPE ...] [--kills 20] [--seed 0]

Prints a line for each kill and writes results/killed_trainings.json. A recipe is trained once undisturbed
and once with kills (SIGKILL), with its preset `quick` on one thread. One kill of three comes while a checkpoint is
written: half of it is written, or all of it without its name, or it has its name and the older ones are still there.
The others come after a random time. After the last kill the training is resumed to its end; then every weight must be
equal to the bit, and so must every row of metrics and every result that measures no time. If a training reaches its
end before the last kill, another one begins in a new folder for the other kills.

A parent process imports all of the package once and forks, so that each attempt begins at once.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from spikebridge.cli.main import main as spikebridge
from spikebridge.data.io.atomic import atomic_write, write_text
from spikebridge.recipes import load_recipe
from spikebridge.training.run import checkpoint

RESULTS = Path(__file__).parent / "results" / "killed_trainings.json"
RECIPES = ("digits", "sensing", "modulation", "reasoning")
MOMENTS = ("half of a checkpoint written", "a checkpoint written, without a name", "a checkpoint written")
MAX_SECONDS = 3600  # of a training
# results of a run that measure time or memory
MEASURED = {"seconds", "growth of seconds", "s a task", "ms a tick", "tick_ms", "memory"}


def die() -> None:
    """Ends this process without a word, as the out-of-memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


def killing_write(moment: str, num_checkpoints: int) -> Callable[[Path, bytes], None]:
    """A `write_bytes` that writes a number of checkpoints and ends the process at a moment of the next one."""
    write_bytes = checkpoint.write_bytes
    remaining = num_checkpoints

    def write(path: Path, content: bytes) -> None:
        nonlocal remaining
        remaining -= 1
        if remaining >= 0:
            write_bytes(path, content)
            return

        if moment == MOMENTS[2]:
            write_bytes(path, content)
            die()

        with atomic_write(path) as file:
            file.write(content[: len(content) // 2] if moment == MOMENTS[0] else content)
            file.flush()
            die()

    return write


def train(recipe: str, folder: Path, write: Callable[[Path, bytes], None] | None = None) -> int:
    """Starts a process that trains and gives its number."""
    process = os.fork()
    if process == 0:
        # a group of its own, so that a kill ends its loaders, too
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        if write is not None:
            checkpoint.write_bytes = write  # type: ignore[assignment]
        code = spikebridge(["train", recipe, "--preset", "quick", "--out", str(folder), "--resume", "--quiet"])
        os._exit(code)

    return process


def ended(process: int, seconds: float) -> bool | None:
    """Waits for a process: True if it ended well, False if it was killed, None where it still runs."""
    until = time.monotonic() + seconds
    while True:
        ended_process, status = os.waitpid(process, os.WNOHANG)
        if ended_process:
            if os.WIFEXITED(status) and os.WEXITSTATUS(status):
                sys.exit(f"the training failed with exit code {os.WEXITSTATUS(status)}")
            return os.WIFEXITED(status)

        if time.monotonic() > until:
            return None
        time.sleep(0.002)


def kill_once(recipe: str, folder: Path, rng: random.Random, seconds: float) -> tuple[str, bool]:
    """One attempt: the moment of its kill, and True if the kill came before its end."""
    if rng.random() < 1 / 3:
        moment = rng.choice(MOMENTS)
        process = train(recipe, folder, killing_write(moment, rng.randrange(4)))
        return moment, not ended(process, MAX_SECONDS)

    after = rng.uniform(0, seconds)
    process = train(recipe, folder)
    done = ended(process, after)
    if done is None:
        os.killpg(process, signal.SIGKILL)
        done = ended(process, 60)

    return f"after {after:.2f} s", not done


def without_times(value: Any) -> Any:
    """A result without the entries that measure time or memory."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in MEASURED}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def differences(folder: Path, other: Path) -> list[str]:
    """Files of two run folders that are not equal: weights to the bit, rows and results without their times."""
    names = {path.relative_to(root) for root in (folder, other) for path in root.rglob("*") if path.is_file()}
    unequal = []

    for name in sorted(names):
        # reports show times; machine and checkpoint belong to the attempt
        if name.suffix == ".html" or name.name == "environment.json" or "checkpoint" in name.parts:
            continue

        paths = (folder / name, other / name)
        if not all(path.exists() for path in paths):
            unequal.append(f"{name} is in one folder only")
        elif content(paths[0]) != content(paths[1]):
            unequal.append(str(name))

    return unequal


def content(path: Path) -> Any:
    """The values of a file that must be equal."""
    if path.suffix == ".jsonl":
        return [without_times(json.loads(line)) for line in path.read_text().splitlines()]
    return without_times(json.loads(path.read_text())) if path.suffix == ".json" else path.read_bytes()


def measure(recipe: str, num_kills: int, seed: int) -> dict[str, Any]:
    """Kills the training of a recipe and compares its runs with an undisturbed one."""
    rng = random.Random(f"{recipe} {seed}")
    # imported once, so that each attempt begins at once
    load_recipe(recipe)
    folder = Path(tempfile.mkdtemp(prefix=f"killed-{recipe}-"))
    start = time.monotonic()

    if not ended(train(recipe, folder / "whole"), MAX_SECONDS):
        sys.exit("the undisturbed training was killed")

    seconds = time.monotonic() - start
    kills: list[str] = []
    unequal: list[str] = []
    trainings = 0

    while len(kills) < num_kills:
        trainings += 1
        killed = folder / f"killed-{trainings}"

        while len(kills) < num_kills:
            moment, was_killed = kill_once(recipe, killed, rng, 2 * seconds / num_kills)
            if not was_killed:
                break
            kills.append(moment)
            print(f"{recipe}: kill {len(kills)}, {moment}", flush=True)

        if not ended(train(recipe, killed), MAX_SECONDS):
            sys.exit("the last attempt was killed")

        unequal += differences(folder / "whole", killed)

    num_files = len(list((folder / "whole").rglob("*.safetensors")))
    shutil.rmtree(folder)
    print(f"{recipe}: {len(kills)} kills, {unequal or 'equal to the bit'}", flush=True)

    return {
        "kills": len(kills),
        "inside a checkpoint write": sum(moment in MOMENTS for moment in kills),
        "moments": kills,
        "trainings": trainings,
        "seconds undisturbed": round(seconds, 1),
        "files of weights": num_files,
        "unequal": unequal,
    }


def main() -> int:
    """Measures recipes and writes the results; the exit code is 1 where a run is unequal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"recipes": {}}

    for recipe in options.recipes:
        results["recipes"][recipe] = measure(recipe, options.kills, options.seed)
        results |= {"seed": options.seed, "threads": 1, "torch": torch.__version__, "machine": platform.machine()}
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")

    return int(any(row["unequal"] for row in results["recipes"].values()))


if __name__ == "__main__":
    sys.exit(main())
