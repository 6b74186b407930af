"""Each recipe's training killed at 20 random moments, some of them inside the writing of a checkpoint, and resumed.

    python research/project/killed_trainings.py [RECIPE ...] [--kills 20] [--seed 0]

Prints a line for each kill and writes results/killed_trainings.json. A recipe is trained once undisturbed
and once with kills (SIGKILL), with its preset `quick` on one thread. Of three kills one comes while a checkpoint is
written: half of it is written, or all of it without its name, or it has its name and the older ones are still there.
The others come after a random time. After the last kill the training is resumed to its end; then every weight must be
equal to the bit, and so must every row of metrics and every result that measures no time. Where a training reaches its
end before the last kill, another one begins in a new folder for the rest of them.

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
# results of a run that measure time or memory
MEASURED = {"seconds", "growth of seconds", "s a task", "ms a tick", "tick_ms", "memory"}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killing_write(moment: str, num_whole: int) -> Callable[[Path, bytes], None]:
    """`write_bytes` of checkpoints that ends the process at some moment of one of them."""
    whole = checkpoint.write_bytes
    left = num_whole

    def write(path: Path, content: bytes) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            whole(path, content)
            return

        if moment == MOMENTS[2]:
            whole(path, content)
            die()

        with atomic_write(path) as file:
            file.write(content[: len(content) // 2] if moment == MOMENTS[0] else content)
            file.flush()
            die()

    return write


def train(recipe: str, folder: Path, write: Callable[[Path, bytes], None] | None = None) -> int:
    """A process that trains, in a group of its own."""
    process = os.fork()
    if process == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        if write is not None:
            checkpoint.write_bytes = write  # type: ignore[assignment]
        code = spikebridge(["train", recipe, "--preset", "quick", "--out", str(folder), "--resume", "--quiet"])
        os._exit(code)

    return process


def ended(process: int, seconds: float) -> bool | None:
    """Waits; whether the process ended well, None where it is still there."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            if os.WIFEXITED(status) and os.WEXITSTATUS(status):
                sys.exit(f"the training failed with exit code {os.WEXITSTATUS(status)}")
            return os.WIFEXITED(status)

        if time.monotonic() > until:
            return None
        time.sleep(0.002)


def killed_once(recipe: str, folder: Path, chance: random.Random, seconds: float) -> tuple[str, bool]:
    """One attempt: the moment of its kill, and whether it was killed before its end."""
    if chance.random() < 1 / 3:
        moment = chance.choice(MOMENTS)
        process = train(recipe, folder, killing_write(moment, chance.randrange(4)))
        return moment, not ended(process, 3600)

    after = chance.uniform(0, seconds)
    process = train(recipe, folder)
    if (done := ended(process, after)) is None:
        os.killpg(process, signal.SIGKILL)
        done = ended(process, 60)

    return f"after {after:.2f} s", not done


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in MEASURED}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def differences(folder: Path, other: Path) -> list[str]:
    """Files of two run folders that are not equal: weights to the bit, rows and results but for times."""
    names = {path.relative_to(root) for root in (folder, other) for path in root.rglob("*") if path.is_file()}
    found = []

    for name in sorted(names):
        if name.suffix == ".html" or name.name == "environment.json" or "checkpoint" in name.parts:
            continue

        one = folder / name
        two = other / name
        if not (one.exists() and two.exists()):
            found.append(f"{name} is in one folder only")
        elif name.suffix in (".json", ".jsonl"):
            first, second = (
                [without_times(json.loads(line)) for line in path.read_text().splitlines()]
                if name.suffix == ".jsonl"
                else without_times(json.loads(path.read_text()))
                for path in (one, two)
            )

            found += [str(name)] if first != second else []
        elif one.read_bytes() != two.read_bytes():
            found.append(str(name))

    return found


def measure(recipe: str, num_kills: int, seed: int) -> dict[str, Any]:
    chance = random.Random(f"{recipe} {seed}")
    load_recipe(recipe)
    folder = Path(tempfile.mkdtemp(prefix=f"killed-{recipe}-"))
    begun = time.monotonic()

    if not ended(train(recipe, folder / "whole"), 3600):
        sys.exit("the undisturbed training was killed")

    seconds = time.monotonic() - begun
    kills: list[str] = []
    unequal: list[str] = []
    trainings = 0

    while len(kills) < num_kills:
        trainings += 1
        killed = folder / f"killed-{trainings}"

        while len(kills) < num_kills:
            moment, was_killed = killed_once(recipe, killed, chance, 2 * seconds / num_kills)
            if not was_killed:
                break
            kills.append(moment)
            print(f"{recipe}: kill {len(kills)}, {moment}", flush=True)

        if not ended(train(recipe, killed), 3600):
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"recipes": {}}

    for recipe in given.recipes:
        known["recipes"][recipe] = measure(recipe, given.kills, given.seed)
        known |= {"seed": given.seed, "threads": 1, "torch": torch.__version__, "machine": platform.machine()}
        write_text(RESULTS, json.dumps(known, indent=1) + "\n")

    return int(any(one["unequal"] for one in known["recipes"].values()))


if __name__ == "__main__":
    sys.exit(main())
