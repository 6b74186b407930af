"""A microcontroller's project around the C of an integer model, and its measurement on the emulated processor.

| path | content |
|---|---|
| `src/` | `NAME.h`, `NAME.c` |
| `library.properties`, `examples/` | the folder as a library of Arduino, with a sketch |
| `library.json` | the folder as a library of PlatformIO |
| `extras/emulator/` | `make check`: the sample of the check on the processor that qemu-system-arm emulates |
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spikebridge.data.io.atomic import write_text
from spikebridge.data.io.templates import file_template
from spikebridge.deploy.c.network import NetworkWriter
from spikebridge.errors import ExportError

EMULATOR_FOLDER = Path("extras/emulator")
SOURCE_FOLDER = Path("src")

_SHIFT = 6
_TOOLS = ("arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm", "make")
_SECONDS = 300


@dataclass(frozen=True)
class Board:
    """A processor, the machine that emulates it, and the charge of a clock cycle with its source.

    Memory is in bytes, the clock of the emulated timer in Hz, the current in amperes per hertz at `volts`.
    """

    name: str
    title: str
    cpu: str
    machine: str
    clock_hz: int
    flash: int
    ram: int
    amperes_per_hz: float
    volts: float
    source: str


_M4 = Board(
    "m4",
    "Cortex-M4",
    "cortex-m4",
    "mps2-an386",
    clock_hz=25_000_000,
    flash=4 << 20,
    ram=4 << 20,
    amperes_per_hz=79e-12,
    volts=3.0,
    source="STM32L412, data sheet DS12469 rev. 7: 79 uA/MHz",
)
_M0 = Board(
    "m0",
    "Cortex-M0",
    "cortex-m0",
    "microbit",
    clock_hz=16_000_000,
    flash=256 << 10,
    ram=16 << 10,
    amperes_per_hz=93e-12,
    volts=3.0,
    source="STM32L081 (Cortex-M0+), data sheet DS10888 rev. 6: 93 uA/MHz",
)
BOARDS = {board.name: board for board in (_M4, _M0)}


@dataclass(frozen=True)
class BoardFigures:
    """Measurements on an emulated board: memory in bytes, instructions and microjoules of a step, differing values."""

    board: str
    values: int
    differ: int
    flash_bytes: int
    ram_bytes: int
    stack_bytes: int
    instructions: int
    max_instructions: int
    energy_uj: float
    energy_source: str

    def rows(self) -> list[dict[str, str]]:
        """A row for each figure, with its unit and its source."""
        counted = "counted by the emulator"
        figures = (
            ("differing values", f"{self.differ} of {self.values}", "the sample, against the integer model"),
            ("flash [bytes]", f"{self.flash_bytes}", "code and tables, from arm-none-eabi-size"),
            ("RAM [bytes]", f"{self.ram_bytes}", "state, input and output, from the compiler"),
            ("stack [bytes]", f"{self.stack_bytes}", "written words, on the emulator"),
            ("instructions a step", f"{self.instructions}, at most {self.max_instructions}", counted),
            ("energy a step [uJ]", f"{self.energy_uj:.3g}", self.energy_source),
        )

        return [dict(zip(("figure", "value", "source"), row, strict=True)) for row in figures]


def write_microcontroller_project(folder: Path, board: Board, name: str, network: NetworkWriter) -> None:
    """Writes all files of a board's project but the three of the model."""
    dt = network.model.record.dt
    values = {
        "board": board,
        "name": name,
        "shift": _SHIFT,
        "ns_per_instruction": 1 << _SHIFT,
        "seconds": f"{dt:g}",
        "microseconds": round(1e6 * dt),
        "inputs": network.inputs,
        "outputs": network.outputs,
    }

    targets = {
        "library.properties": Path("library.properties"),
        "library.json": Path("library.json"),
        "sketch.ino": Path("examples") / name / f"{name}.ino",
        "startup.c": EMULATOR_FOLDER / "startup.c",
        "link.ld": EMULATOR_FOLDER / "link.ld",
        "Makefile": EMULATOR_FOLDER / "Makefile",
    }

    for template, path in targets.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / path, file_template("spikebridge.deploy.c", f"board/{template}.j2").render(values))


def missing_tools() -> Sequence[str]:
    """The tools of a measurement that this machine lacks."""
    return [tool for tool in _TOOLS if shutil.which(tool) is None]


def measure(folder: Path, name: str, board: Board) -> BoardFigures:
    """Builds a written project in a copy, runs its check on the emulated board, and reads the figures.

    Raises an `ExportError` where the model does not fit, or the emulator gives no figures.
    """
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "project"
        shutil.copytree(folder, copy)
        emulator = copy / EMULATOR_FOLDER
        sizes = _make("size", emulator, board)
        checked = _make("check", emulator, board)

    values, differ = _numbers(r"(\d+) values, (\d+) differ", checked)
    mean, largest = _numbers(r"(\d+) instructions a step, (\d+) at most", checked)
    ram, stack = _numbers(r"(\d+) bytes of state, input and output, (\d+) of stack", checked)
    text, data = _numbers(r"\n\s*(\d+)\s+(\d+)\s+\d+\s+\d+", sizes)
    energy_uj = 1e6 * mean * board.amperes_per_hz * board.volts
    source = f"one cycle an instruction, so a lower bound; {board.source} at {board.volts:g} V"

    return BoardFigures(board.title, values, differ, text + data, ram, stack, mean, largest, energy_uj, source)


def _make(target: str, folder: Path, board: Board) -> str:
    """The output of `make TARGET`."""
    try:
        done = subprocess.run(
            ["make", "--silent", target], cwd=folder, capture_output=True, text=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        where = f"run `make {target}` in {EMULATOR_FOLDER}"
        raise ExportError(f"the check on the emulated {board.title} took more than {_SECONDS} s; {where}") from None

    # the linker names the memory as link.ld does
    for memory, limit in (("FLASH", board.flash), ("RAM", board.ram)):
        overflow = re.search(rf"region .{memory}. overflowed by (\d+) bytes", done.stderr)
        if overflow is not None:
            raise ExportError(
                f"the check needs {limit + int(overflow[1])} bytes of {memory.lower()}, {board.title} "
                f"({board.machine}) has {limit}; choose a larger board or export a smaller network"
            )

    # the check itself ends with 1 where values differ
    if done.returncode != 0 and " differ" not in done.stdout:
        last = (done.stderr or done.stdout).strip().splitlines()
        raise ExportError(f"`make {target}` failed for the {board.title}: {last[-1] if last else 'no output'}")

    return done.stdout


def _numbers(pattern: str, text: str) -> list[int]:
    found = re.search(pattern, text)
    if found is None:
        raise ExportError(f"the emulator gave no figures like {pattern!r}; its output was {text[-200:]!r}")

    return [int(number) for number in found.groups()]
