"""Shows a generated scene of rolling objects to a creature of three networks, which answers questions meanwhile.

    python research/creature/watch.py runs/creature.safetensors --train    # trains first
    python research/creature/watch.py runs/creature.safetensors --ask "How many metal objects are there?"
    python research/creature/watch.py runs/creature.safetensors --page scene.html

No weights are shipped. A training takes three minutes of a core of its own and shows its progress; where other programs
use the core, it takes as many times longer. Without --ask, questions are typed on standard input while the scene runs.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from research.creature.evaluation import evaluate_creature, watch
from research.creature.live import LiveCreature, converse
from research.creature.model import Creature
from research.creature.report import scene_page
from research.creature.scene import ENVIRONMENTS, CreatureScene, SceneRanges, generate_scene
from research.creature.training import FIRST_UNSEEN_SEED, load_creature, train_creature
from spikebridge.data.io.atomic import check_target, write_text
from spikebridge.errors import ConfigError, SpikebridgeError
from spikebridge.pretrained.perception import shipped_parser

_MAX_QUESTION = 1000  # bytes of a typed line

Questions = Callable[[float], str | None]
"""The question asked by a time of the stream [s]; None if there is no new one."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="weights of the creature (.safetensors), which --train writes")
    parser.add_argument("--train", action="store_true", help="train a creature first, and write its weights")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--environment", choices=tuple(ENVIRONMENTS), default="daylight")
    parser.add_argument("--scene", type=int, default=1, help="number of the scene; training uses none of these scenes")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of the scene")
    parser.add_argument("--ask", nargs="+", default=[], help="questions, each for an equal part of the scene")
    parser.add_argument("--page", type=Path, help="ask generated questions, and write an .html page with the truth")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")

    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The scene, its objects, and the answers, or the scores of the page."""
    if options.page is not None and options.ask:
        raise ConfigError("--page draws its own questions, which have a true answer; leave out --ask or --page")
    if not 1 <= options.seconds <= 60:
        raise ConfigError(f"a scene needs 1 to 60 seconds, but got {options.seconds:g}")

    # before a training of minutes
    for path in (options.page, options.weights if options.train else None):
        if path is not None:
            check_target(path)

    ranges = SceneRanges(seconds=options.seconds)
    scene = generate_scene(FIRST_UNSEEN_SEED + options.scene, options.environment, ranges)
    creature = _creature(options)
    found: dict[str, Any] = {"scene": scene.name, "objects": [" ".join(one) for one in scene.objects]}

    if options.page is not None:
        return found | _write_page(creature, scene, options.page)

    questions = spread(options.ask, options.seconds) if options.ask else typed()
    return found | {"answers": _answers(creature, scene, questions, options.json)}


def _creature(options: argparse.Namespace) -> Creature:
    path = options.weights.expanduser()
    if options.train:
        return train_creature(path, options.seed, quiet=False)
    if not path.exists():
        raise ConfigError(f"{path}: expected the weights of a creature, but there is no such file; --train makes one")

    return load_creature(path)


def _write_page(creature: Creature, scene: CreatureScene, path: Path) -> dict[str, Any]:
    watched = watch(creature, [scene])
    write_text(path, scene_page(watched[0]))
    scores = evaluate_creature(watched)

    return {name: scores[name] for name in ("questions", "right", "right_at_the_end")} | {"page": str(path)}


def _answers(creature: Creature, scene: CreatureScene, questions: Questions, quiet: bool) -> list[str]:
    lines: list[str] = []

    def write(line: str) -> None:
        lines.append(line.strip())
        if not quiet:
            print(line, flush=True)

    converse(LiveCreature(creature, shipped_parser()), scene, questions, write)
    return lines


def spread(questions: Sequence[str], seconds: float) -> Questions:
    """Each question once, at the beginning of its part of the time."""
    waiting = [(number * seconds / len(questions), text) for number, text in enumerate(questions)]

    def asked(time: float) -> str | None:
        return waiting.pop(0)[1] if waiting and time >= waiting[0][0] else None

    return asked


def typed() -> Questions:
    """The newest line of standard input."""
    print("type a question and press Enter, such as: How many metal objects are there?", file=sys.stderr)
    lines: SimpleQueue[str] = SimpleQueue()
    # a thread that waits in a buffered reader holds its lock, and the end of the program would wait for it
    stdin = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)

    def read() -> None:
        for line in iter(partial(stdin.readline, _MAX_QUESTION), b""):
            lines.put(line.decode(errors="replace").strip())

    Thread(target=read, daemon=True).start()

    def asked(time: float) -> str | None:
        text = None
        while not lines.empty():
            text = lines.get() or text

        return text

    return asked


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; a mistake in it or in a file is one line, with exit code 2."""
    options = parse(arguments)
    try:
        found = run(options)
    except SpikebridgeError as error:
        print(error, file=sys.stderr)
        return 2

    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name}: {value}")

    return 0


if __name__ == "__main__":
    sys.exit(main())
