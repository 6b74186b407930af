"""The `spikebridge` command: arguments in, results out, no logic.

A command is a dataclass in one of the files beside this one; its fields are its options. This file parses the arguments
into such an object, executes it, prints its result, and turns every failure into one line. Exit codes: 0 done, 1
findings or a fault of the program, 2 a mistake in the arguments or the data, 130 stopped by Ctrl-C.
"""

import contextlib
import dataclasses
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikebridge.cli.apps import Ask, RunLive, Track
from spikebridge.cli.command import Command, parse_command, set_threads_from
from spikebridge.cli.data import ShowData
from spikebridge.cli.deploy import Compare, Draw, Export, PlaceBundle, Quantize, ReplayNetwork, RunBundle
from spikebridge.cli.doctor import Doctor, List, Models
from spikebridge.cli.failure import elapsed_time, explain, interrupt_after_loading, status, warnings_in_one_line
from spikebridge.cli.hub.commands import Pull, Push
from spikebridge.cli.sweep.command import SweepCommand
from spikebridge.cli.train import Copy, Eval, Report, Train
from spikebridge.errors import ConfigError, deferred_checks, did_you_mean, printable

COMMANDS: dict[str, type[Command]] = {
    "list": List,
    "models": Models,
    "train": Train,
    "sweep": SweepCommand,
    "eval": Eval,
    "report": Report,
    "draw": Draw,
    "replay": ReplayNetwork,
    "doctor": Doctor,
    "data": ShowData,
    "copy": Copy,
    "track": Track,
    "ask": Ask,
    "live": RunLive,
    "export": Export,
    "compare": Compare,
    "place": PlaceBundle,
    "run": RunBundle,
    "quantize": Quantize,
    "push": Push,
    "pull": Pull,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and gives its exit code.

    Args:
        arguments: the words after `spikebridge`; None takes those of the process.

    Example:
        >>> main(["lst"])
        2
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or os.environ.get("SPIKEBRIDGE_DEBUG") == "1"

    try:
        at_once = words[:1] in (["train"], ["sweep"], ["live"])
        with interrupt_after_loading(), contextlib.nullcontext() if debug else warnings_in_one_line(at_once):
            return _execute([word for word in words if word != "--debug"])
    except BrokenPipeError:
        # the reader (`| head`) has gone; nothing may be written to the pipe again, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except BaseException as failure:  # the one place where nothing may get through, not even the panic of a library
        if debug:
            raise
        message, code = explain(failure)
        status(f"spikebridge: {' '.join(message.split())}")
        return code


def _execute(words: list[str]) -> int:
    if any("\0" in word for word in words):
        raise ConfigError(f"an argument holds a NUL character: {next(word for word in words if chr(0) in word)!r}")

    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0

    if words[0] in ("-V", "--version"):
        import spikebridge

        print(f"spikebridge {spikebridge.__version__}")
        return 0

    name = words[0]
    rest = words[1:]
    if name not in COMMANDS:
        raise ConfigError(f"no command {name!r}: {did_you_mean(name, COMMANDS)}")

    set_threads_from(rest)
    with elapsed_time(f"spikebridge {name}", active=not COMMANDS[name].shows_progress):
        command = parse_command(COMMANDS[name], f"spikebridge {name}", rest)
        if command is None:
            return 0
        # stdout is for the JSON document; whatever a recipe prints is for stderr
        output = contextlib.redirect_stdout(sys.stderr) if command.json else contextlib.nullcontext()
        # at the end: NaN in the last output of a network is an error that names the part
        with output, deferred_checks():
            result = command.execute()

    if result.printed:
        print(json.dumps(_plain(result.data), indent=2) if command.json else printable(result.text), flush=True)

    return result.code


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {_summary(command)}" for name, command in COMMANDS.items()]

    return "\n".join(
        [
            "usage: spikebridge COMMAND [OPTIONS]",
            "",
            "Hybrid neural networks: artificial and spiking, linked by hybrid units.",
            "",
            *lines,
            "",
            "`spikebridge COMMAND --help` lists a command's options. --debug shows the traceback of an error.",
        ]
    )


def _summary(command: type) -> str:
    return (command.__doc__ or "").split("\n", 1)[0]


def _plain(value: Any) -> Any:
    """The value in JSON's own types; JSON knows neither NaN nor infinity, so they become null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))

    return str(value) if isinstance(value, Path) else value


if __name__ == "__main__":
    sys.exit(main())
