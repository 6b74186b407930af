"""`spikebridge export`, `quantize`, `compare`, `place`, `run`, `push` and `pull`: networks for other machines."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from spikebridge.cli import formatting
from spikebridge.cli.command import (
    Chip,
    Command,
    CommandResult,
    File,
    Flag,
    Folder,
    Name,
    RunCommand,
    RunOrRecipe,
    RunRecipeOrBundle,
    check_data,
)
from spikebridge.errors import ConfigError
from spikebridge.recipes.bundle import class_names, export_target, is_bundle, load_of_bundle, open_bundle
from spikebridge.recipes.live import run_samples
from spikebridge.recipes.messages import status
from spikebridge.recipes.target import Target, resolve_target

if TYPE_CHECKING:
    from spikebridge.deploy.c.boards import Board, BoardFigures
    from spikebridge.deploy.c.export import WrittenC

_Bits = Annotated[int, arg(metavar="BITS")]
_Paths = Annotated[tuple[str, ...], arg(metavar="PATH", help_behavior_hint="(default: all that the recipe names)")]
_BundlePath = Annotated[Path, Positional, arg(metavar="BUNDLE", help_behavior_hint="")]
_ChipName = Annotated[str, arg(metavar="NAME_OR_FILE")]

_Pushed = Annotated[Path, Positional, arg(metavar="RUN_OR_BUNDLE", help_behavior_hint="")]
_Repository = Annotated[str, Positional, arg(metavar="OWNER/NAME", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Quantize(RunCommand):
    """Quantise trained networks to integer models; report accuracy, memory, operations and energy before and after."""

    target: RunOrRecipe
    """A run folder, or the name of a recipe with pretrained weights."""
    out: Folder = None
    """The folder to create (default: NAME.integer); with --bundle it is only created if --out is given."""
    network: Name = None
    """The network of the recipe to quantise (default: all of them)."""
    regions: _Paths = ()
    """Parts (`where`), units (`units.LINK`) or layers to quantise; the others stay in floating point."""
    weights: _Bits = 8
    """Bits of a weight, 2 to 8; scales are per output channel."""
    activations: _Bits = 8
    """Bits of an activation (a signal between layers), 2 to 8."""
    membranes: _Bits = 16
    """Bits of a membrane potential or of a kernel's accumulator, 16 to 28."""
    power_of_two: Flag = False
    """Use scales that are powers of two, so that rescaling is a bit shift."""
    calibrate: Annotated[int, arg(metavar="N")] = 128
    """Number of training samples for calibration of the scales."""
    bundle: Folder = None
    """Write the integer model into this bundle; only the network of the bundle is quantised."""
    chip: Chip = None
    """Quantise the spiking parts to the integers of a chip, `loihi`, `xylo` or the CHIP of FILE.py, in a new bundle."""
    parts: Annotated[tuple[str, ...], arg(metavar="PART", help_behavior_hint="(default: all that fit)")] = ()
    """Parts that go onto the chip."""
    epochs: Annotated[int, arg(metavar="N")] = 0
    """Epochs of retraining with the steps of the chip."""
    data: Folder = None
    """The folder with data sets (default: $SPIKEBRIDGE_DATA)."""

    def execute(self) -> CommandResult:
        check_data(self.data)
        target = resolve_target(self.target, self.own, self.network)
        if self.chip is not None:
            return self._for_chip(target, self.chip)
        if self.parts or self.epochs:
            raise ConfigError("--parts and --epochs are of a chip; give --chip NAME")

        from spikebridge.deploy.quantization.config import QConfig
        from spikebridge.recipes.quantize import QuantizeOptions, quantize_run

        # with a bundle the integer model has a place already
        out = self.out
        if out is None and self.bundle is None:
            out = Path(f"{Path(self.target).stem}.integer")

        region = QConfig("*", self.weights, self.activations, self.membranes, self.power_of_two)
        options = QuantizeOptions(self.regions, self.network, self.calibrate, self.data, self.bundle)
        results = quantize_run(target.recipe, target.trained_run(), out, region, options, progress=status)
        paths = "\n".join(str(path) for path in (out, self.bundle) if path is not None)

        return CommandResult(
            {"out": out, "bundle": self.bundle, **results}, f"{formatting.results(results)}\n\n{paths}"
        )

    def _for_chip(self, target: Target, word: str) -> CommandResult:
        """Quantises one network for a chip, into a bundle."""
        if self.regions or self.bundle is not None or self.power_of_two:
            raise ConfigError(
                "--regions, --bundle and --power-of-two are of our own integers; leave them out with --chip"
            )

        from spikebridge.recipes.chip import ChipOptions, chip_from, quantize_for_chip

        chip = chip_from(word)
        out = self.out or Path(f"{Path(self.target).stem}.{chip.name}")
        options = ChipOptions(self.network, self.parts, self.epochs, self.calibrate, self.data)
        results = quantize_for_chip(target, chip, out, options, progress=status)
        return CommandResult({"out": out, **results}, f"{formatting.results(results)}\n\n{out}")


@dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """Compare the output of every level of a bundle with that of the trained network."""

    bundle: _BundlePath
    """The folder that `spikebridge export` wrote."""
    input: File = None
    """A file .npz or .safetensors with an array (T, B, ...) for each input; its levels are compared with the rebuilt
    network (default: the bundle's sample, and the trained network)."""
    tolerance: float = 1e-4
    """Largest allowed difference of values, relative to the largest value (or to 1 if all are smaller)."""
    spikes: float = 1e-3
    """Largest allowed share of spikes that differ."""
    chip: Chip = None
    """FILE.py of a chip that the package does not know, where the bundle has parts on it."""

    def execute(self) -> CommandResult:
        """Runs every level; the exit code is 1 where one is too far off."""
        from spikebridge.deploy.bundle.bundle import Bundle
        from spikebridge.deploy.compare import Tolerance, compare_bundle
        from spikebridge.deploy.run import read_arrays
        from spikebridge.recipes.chip import chip_level

        bundle = Bundle.open(self.bundle)
        further = {} if self.chip is None else chip_level(bundle, self.chip)
        comparison = compare_bundle(
            bundle,
            Tolerance(self.tolerance, self.spikes),
            inputs=None if self.input is None else read_arrays(self.input),
            further=further,
            progress=status,
        )
        rows = [asdict(row) for row in comparison.rows]
        verdict = "within tolerance" if comparison.passed else "NOT within tolerance"
        text = "\n".join([formatting.table(rows), "", f"{self.bundle}: {verdict}"])
        data = {"bundle": self.bundle, "input": self.input, "passed": comparison.passed, "rows": rows}

        return CommandResult(data, text, code=0 if comparison.passed else 1)


@dataclass(frozen=True, kw_only=True)
class PlaceBundle(Command):
    """Place the parts of a bundle on several chips, and predict latency, critical path and energy."""

    bundle: _BundlePath
    """The folder that `spikebridge export` wrote."""
    chips: Annotated[int, arg(metavar="K")] = 1
    """Number of chips."""
    chip: _ChipName = "spinnaker"
    """The abilities of a chip: `spinnaker`, `loihi`, or a TOML file with memory, operations, events and energies."""

    def execute(self) -> CommandResult:
        """Counts on the sample of the bundle, places, simulates; the exit code is 1 where the chips do not keep up."""
        from spikebridge.analysis.chips import CHIPS, path_in_words, place, read_chip
        from spikebridge.deploy.bundle.bundle import Bundle

        chip = CHIPS[self.chip] if self.chip in CHIPS else read_chip(self.chip)
        placement = place(load_of_bundle(Bundle.open(self.bundle)), chip, self.chips)
        timing = placement.timing
        parts = [{"part": name, "chip": number} for name, number in placement.chips.items()]

        figures = {
            "latency [ms]": 1e3 * timing.latency,
            "keeps up": timing.keeps_up,
            "power [W]": timing.energy,
            "chips in use": len(placement.memory),
            "largest memory [bytes]": max(placement.memory),
            "busiest chip": f"{max(timing.busy):.1%}",
            "numbers of the chip": chip.source or "yours",
        }

        path = path_in_words(timing.path)
        text = f"{formatting.table(parts)}\n\n{formatting.facts(figures)}\n\ncritical path\n{formatting.table(path)}"
        data = {"bundle": self.bundle, "chip": asdict(chip), "parts": parts, "path": path, **figures}

        return CommandResult(data, text, code=0 if timing.keeps_up else 1)


@dataclass(frozen=True, kw_only=True)
class RunBundle(Command):
    """Run a bundle without PyTorch, tick by tick."""

    bundle: _BundlePath
    """The folder that `spikebridge export` wrote."""
    input: File = None
    """A file .npz or .safetensors with an array (T, B, ...) for each input, for `signals` also .wav (default: the
    bundle's sample)."""
    out: File = None
    """Write all outputs to this .npz or .safetensors file."""
    integers: Flag = False
    """Run the integer model of the quantised parts (written by `quantize --bundle`)."""
    chip: Chip = None
    """Run the parts on a chip in its integers (written by `quantize --chip`)."""

    def execute(self) -> CommandResult:
        """Runs it; numpy, onnxruntime and nir are all it needs."""
        from spikebridge.deploy.bundle.bundle import Bundle
        from spikebridge.deploy.run import check_destination, output_row, run_bundle, write_arrays
        from spikebridge.recipes.chip import chip_from

        if self.out is not None:
            check_destination(self.out)

        # samples of a sensor pass the front end of the recipe; other files hold the inputs themselves
        bundle = Bundle.open(self.bundle)
        chip = None if self.chip is None else chip_from(self.chip)
        inputs = None
        answers = None
        if self.input is not None and self.input.suffix.lower() == ".wav":
            inputs, answers = run_samples(bundle, self.input, self.integers, chip)

        ran = run_bundle(bundle, self.input, status, integers=self.integers, chip=chip, inputs=inputs)
        if self.out is not None:
            write_arrays(self.out, ran.outputs)

        names = class_names(bundle)
        outputs = [output_row(name, y, names) for name, y in ran.outputs.items()]
        data = {"bundle": self.bundle, "ticks": ran.ticks, "ticks_per_second": ran.ticks_per_second, "outputs": outputs}
        lines = [formatting.table(outputs), f"{ran.ticks} ticks, {ran.ticks_per_second:.0f} a second"]
        if silent := [name for name in bundle.manifest.outputs if name not in ran.outputs]:
            lines.append(f"{self.input} is shorter than the first window: no value of {', '.join(silent)}")
        if answers is not None:
            lines.append(formatting.final_answers(answers))
            data["answers"] = answers

        return CommandResult(data | ({"out": self.out} if self.out is not None else {}), "\n\n".join(lines))


@dataclass(frozen=True, kw_only=True)
class Export(RunCommand):
    """Export a trained network: as a bundle (NIR, ONNX) that is compared with it, as C, or as a web page."""

    target: RunRecipeOrBundle
    """A run folder, the name of a recipe with pretrained weights, for C and web a bundle with an integer model, for a
    chip a bundle with parts on it or a NIR file."""
    kind: Annotated[str, arg(name="target", metavar="{bundle,c,web,loihi,xylo,FILE.py}")] = "bundle"
    """What to write: a bundle, the integer model as C99 or as a web page (of a run: with 8 bits; other widths by way of
    a bundle), or the numbers for the board of a chip."""
    board: Annotated[Literal["m4", "m0"] | None, arg(help_behavior_hint="(default: none)")] = None
    """With `--target c`: a project for a Cortex-M4 or M0 (Arduino, PlatformIO, Makefile), measured on the emulator."""
    network: Name = None
    """The network of the recipe to export (default: the first one; for a page all of them, side by side)."""
    out: Folder = None
    """The folder or page to create (default: NETWORK.bundle, NETWORK_c, NETWORK_BOARD or NETWORK.html)."""
    folder: Flag = False
    """Write the page as a folder of files for a web site."""
    data: Folder = None
    """The folder with data sets, for the calibration of integers (default: $SPIKEBRIDGE_DATA)."""

    def execute(self) -> CommandResult:
        """Exports; the exit code is 1 where a level of a bundle, or C on an emulated board, is too far off."""
        if self.folder and self.kind != "web":
            raise ConfigError("--folder is for --target web; leave it out")
        if self.board is not None and self.kind != "c":
            raise ConfigError(f"--board {self.board} is for `--target c`")

        check_data(self.data)
        kinds = {"bundle": self._export_bundle, "c": self._export_c, "web": self._export_web}
        return kinds.get(self.kind, self._export_for_chip)()

    def _export_bundle(self) -> CommandResult:
        """Exports on the recipe's example, then runs every level."""
        if is_bundle(self.target):
            raise ConfigError(f"{self.target} is a bundle already; `--target c` writes its integer model as C")

        # an export is compared at once, while its network is at hand
        target = resolve_target(self.target, self.own, self.network)
        from spikebridge.deploy.compare import compare_bundle

        name, bundle = export_target(target, self.network, self.out, status)
        comparison = compare_bundle(bundle, progress=status)
        manifest = bundle.manifest
        parts = [
            {"part": part, "side": record.side, "file": record.file, "notes": "; ".join(record.notes) or None}
            for part, record in manifest.parts.items()
        ]

        data = {
            "bundle": bundle.path,
            "network": name,
            "bytes": bundle.size(),
            "parts": parts,
            "left_out": list(manifest.left_out),
            "passed": comparison.passed,
            "comparison": [asdict(row) for row in comparison.rows],
        }

        left = f"\nnot in the graph, so not in the bundle: {', '.join(manifest.left_out)}" if manifest.left_out else ""
        verdict = "every level agrees" if comparison.passed else "levels differ: spikebridge compare shows where"
        text = f"{formatting.table(parts)}\n{left}\n{bundle.path}: {bundle.size()} bytes; {verdict}"

        return CommandResult(data, text, code=0 if comparison.passed else 1)

    def _export_for_chip(self) -> CommandResult:
        """Writes the numbers for a chip's board."""
        from spikebridge.recipes.chip import ChipOptions, chip_from, export_for_board, export_nir

        chip = chip_from(self.kind)
        out = self.out or Path(f"{Path(self.target).resolve().stem}_{chip.name}")
        if Path(self.target).suffix == ".nir":
            files = export_nir(Path(self.target), chip, out)
        elif is_bundle(self.target):
            from spikebridge.deploy.chips.export import write_board

            files = write_board(open_bundle(self.target, self.own, self.network), chip, out)
        else:
            target = resolve_target(self.target, self.own, self.network)
            files = export_for_board(target, chip, out, ChipOptions(self.network, data=self.data), status)

        rows = [{"file": str(file.relative_to(out)), "bytes": file.stat().st_size} for file in files]
        return CommandResult({"folder": out, "chip": chip.name, "files": rows}, f"{formatting.table(rows)}\n\n{out}")

    def _export_c(self) -> CommandResult:
        """Writes the integer model as C, and measures it on the emulated board."""
        from spikebridge.deploy.c.boards import BOARDS

        board = None if self.board is None else BOARDS[self.board]
        written = self._write_c(board)
        paths = (path for path in sorted(written.folder.rglob("*")) if path.is_file())
        files = [{"file": str(path.relative_to(written.folder)), "bytes": path.stat().st_size} for path in paths]
        sizes = {"table_bytes": written.table_bytes, "state_bytes": written.state_bytes}
        memory = f"tables: {written.table_bytes} bytes, state: {written.state_bytes} bytes"
        text = f"{formatting.table(files)}\n\n{memory}\ncheck it in {written.folder}: {written.command}"
        data = {"folder": written.folder, "name": written.name, **sizes, "files": files, "check": written.command}
        if board is None:
            return CommandResult(data, text)

        figures = _measure_board(written, board)
        if figures is None:
            return CommandResult(data | {"board": None}, text)

        title = f"{figures.board}, emulated as {board.machine}"
        text = f"{text}\n\n{title}\n{formatting.table(figures.rows())}"

        return CommandResult(data | {"board": asdict(figures)}, text, code=int(figures.differ > 0))

    def _write_c(self, board: "Board | None") -> "WrittenC":
        suffix = self.board or "c"
        if is_bundle(self.target):
            from spikebridge.deploy.c.export import bundle_sample, write_c

            sample = bundle_sample(open_bundle(self.target, self.own, self.network))
            return write_c(*sample, self.out or Path(f"{Path(self.target).resolve().stem}_{suffix}"), board=board)

        target = resolve_target(self.target, self.own, self.network)
        from spikebridge.recipes.quantize import QuantizeOptions, run_to_c

        # the name of the first trained network, where the user names none
        name, _, _ = target.trained_network(self.network)
        options = QuantizeOptions(network=name, data=self.data)
        out = self.out or Path(f"{name}_{suffix}")

        return run_to_c(target.recipe, target.trained_run(), out, options, status, board)

    def _export_web(self) -> CommandResult:
        """Writes the integer models as a web page."""
        ending = "_web" if self.folder else ".html"
        out = self.out or Path(f"{Path(self.target).resolve().stem}{ending}")
        if is_bundle(self.target):
            bundle = open_bundle(self.target, self.own, self.network)
            from spikebridge.recipes.web import bundle_page

            written = bundle_page(bundle, out, folder=self.folder)
        else:
            target = resolve_target(self.target, self.own, self.network)
            from spikebridge.recipes.web import run_page

            written = run_page(target, self.network, out, self.data, status, folder=self.folder)

        modules = [{"module": name, "bytes": size} for name, size in written.module_bytes.items()]
        opening = f"python -m http.server -d {out}" if self.folder else "open it in a browser"
        text = f"{formatting.table(modules)}\n\n{written.path}: {written.num_bytes} bytes; {opening}"

        return CommandResult({"page": written.path, "bytes": written.num_bytes, "modules": modules}, text)


def _measure_board(written: "WrittenC", board: "Board") -> "BoardFigures | None":
    """Figures of a project on its emulated board, or none where the tools are missing."""
    from spikebridge.deploy.c.boards import measure, missing_tools

    if missing := missing_tools():
        status(f"not measured: {', '.join(missing)} not found; Debian has gcc-arm-none-eabi, qemu-system-arm and make")
        return None

    return measure(written.folder, written.name, board)


@dataclass(frozen=True, kw_only=True)
class Push(Command):
    """Upload a run or a bundle to a Hugging Face hub, with a model card made from its record (extra: hub)."""

    folder: _Pushed
    """The folder of a run or a bundle."""
    repository: _Repository
    """The repository; it is made where there is none."""
    private: Flag = False
    """Make a new repository private."""

    def execute(self) -> CommandResult:
        from spikebridge.pretrained.hub import push

        address = push(self.folder, self.repository, private=self.private)
        return CommandResult({"repository": self.repository, "address": address}, address)


@dataclass(frozen=True, kw_only=True)
class Pull(Command):
    """Download a run or a bundle from a Hugging Face hub and check the hash of every file (extra: hub)."""

    repository: _Repository
    """The repository."""
    out: Folder = None
    """The folder to create (default: NAME)."""

    def execute(self) -> CommandResult:
        from spikebridge.pretrained.hub import pull

        folder = pull(self.repository, self.out or Path(self.repository.rpartition("/")[2]))
        return CommandResult({"repository": self.repository, "folder": folder}, str(folder))
