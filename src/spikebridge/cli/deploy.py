"""`spikebridge export`, `quantize`, `compare`, `place`, `run` and `draw`: networks as bundles and integer models."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from spikebridge.cli import formatting, targets
from spikebridge.cli.command import Command, CommandResult, DataFolder, Flag, RunCommand, RunOrRecipe, check_data
from spikebridge.cli.failure import status
from spikebridge.data.io.atomic import check_target
from spikebridge.errors import ConfigError

_log = logging.getLogger(__name__)

_ModelFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: NAME.integer)")]
_IntoBundle = Annotated[Path | None, arg(metavar="BUNDLE", help_behavior_hint="(default: none)")]
_AnyNetwork = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: all of them)")]
_Bits = Annotated[int, arg(metavar="BITS")]
_Paths = Annotated[tuple[str, ...], arg(metavar="PATH", help_behavior_hint="(default: all that the recipe names)")]


@dataclass(frozen=True, kw_only=True)
class Quantize(RunCommand):
    """Quantise trained networks to integer models; report accuracy, memory, operations and energy before and after."""

    target: RunOrRecipe
    """A run folder, or the name of a recipe with pretrained weights."""
    out: _ModelFolder = None
    """The folder to create; with --bundle it is only created if --out is given."""
    network: _AnyNetwork = None
    """The network of the recipe to quantise."""
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
    bundle: _IntoBundle = None
    """Write the integer model into this bundle; only the network of the bundle is quantised."""
    data: DataFolder = None
    """The folder with data sets."""

    def execute(self) -> CommandResult:
        """Quantises, writes, and measures before and after."""
        check_data(self.data)
        target = targets.resolve_target(self.target, self.own, self.network)
        from spikebridge.cli.quantize_run import QuantizeOptions, quantize_run
        from spikebridge.deploy.quantization.config import QConfig

        out = self.out
        if out is None and self.bundle is None:
            out = Path(f"{Path(self.target).stem}.integer")

        region = QConfig("*", self.weights, self.activations, self.membranes, self.power_of_two)
        results = quantize_run(
            target.module,
            target.trained_run(),
            out,
            region,
            QuantizeOptions(self.regions, self.network, self.calibrate, self.data, self.bundle),
            progress=status,
        )

        made = {"out": out, "bundle": self.bundle}
        paths = "\n".join(str(path) for path in made.values() if path is not None)

        return CommandResult({**made, **results}, f"{formatting.results(results)}\n\n{paths}")


_BundlePath = Annotated[Path, Positional, arg(metavar="BUNDLE", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """Compare the output of every level of a bundle with that of the trained network."""

    bundle: _BundlePath
    """The folder that `spikebridge export` wrote."""
    tolerance: float = 1e-4
    """Largest allowed difference of values, relative to the largest value (or to 1 if all are smaller)."""
    spikes: float = 1e-3
    """Largest allowed share of spikes that differ."""

    def execute(self) -> CommandResult:
        """Runs every level; the exit code is 1 where one is too far off."""
        from spikebridge.deploy.bundle.bundle import Bundle
        from spikebridge.deploy.compare import Tolerance, compare_bundle

        bundle = Bundle.open(self.bundle)
        comparison = compare_bundle(bundle, Tolerance(self.tolerance, self.spikes), progress=status)
        rows = [asdict(row) for row in comparison.rows]
        words = "within tolerance" if comparison.passed else "NOT within tolerance"
        text = "\n".join([formatting.table(rows), "", *comparison.left_out, f"{self.bundle}: {words}"])

        data = {
            "bundle": self.bundle,
            "passed": comparison.passed,
            "rows": rows,
            "left_out": list(comparison.left_out),
        }
        return CommandResult(data, text, code=0 if comparison.passed else 1)


_ChipName = Annotated[str, arg(metavar="NAME_OR_FILE")]


@dataclass(frozen=True, kw_only=True)
class PlaceBundle(Command):
    """Place the parts of a bundle on several chips, and predict latency, critical path and energy."""

    bundle: _BundlePath
    """The folder that `spikebridge export` wrote."""
    chips: Annotated[int, arg(metavar="K")] = 1
    """Number of chips."""
    chip: _ChipName = "spinnaker"
    """What a chip can do: `spinnaker`, or a TOML file with memory, operations, events, latency and energies."""

    def execute(self) -> CommandResult:
        """Counts on the sample of the bundle, places, simulates; the exit code is 1 where the chips do not keep up."""
        from spikebridge.analysis.chips import SPINNAKER, path_in_words, place, read_chip
        from spikebridge.deploy.bundle.bundle import Bundle

        chip = SPINNAKER if self.chip == SPINNAKER.name else read_chip(self.chip)
        bundle = Bundle.open(self.bundle)
        placed = place(targets.load_of_bundle(bundle), chip, self.chips)
        timing = placed.timing
        parts = [{"part": name, "chip": number} for name, number in placed.chips.items()]

        figures = {
            "latency [ms]": 1e3 * timing.latency,
            "keeps up": timing.keeps_up,
            "power [W]": timing.energy,
            "chips in use": len(placed.memory),
            "largest memory [bytes]": max(placed.memory),
            "busiest chip": f"{max(timing.busy):.1%}",
        }

        path = path_in_words(timing.path)
        text = f"{formatting.table(parts)}\n\n{formatting.facts(figures)}\n\ncritical path\n{formatting.table(path)}"
        data = {"bundle": self.bundle, "chip": asdict(chip), "parts": parts, "path": path, **figures}

        return CommandResult(data, text, code=0 if timing.keeps_up else 1)


_InputFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: the bundle's sample)")]
_OutputFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")]


@dataclass(frozen=True, kw_only=True)
class RunBundle(Command):
    """Run a bundle without PyTorch, tick by tick."""

    bundle: _BundlePath
    """The folder that `spikebridge export` wrote."""
    input: _InputFile = None
    """An .npz or .safetensors file with an array (T, B, ...) for each input; for a network of `signals` also a .wav."""
    out: _OutputFile = None
    """Write all outputs to this .npz or .safetensors file."""
    integers: Flag = False
    """Run the integer model of the quantised parts (written by `quantize --bundle`)."""

    def execute(self) -> CommandResult:
        """Runs it; numpy, onnxruntime and nir are all it needs."""
        from spikebridge.deploy.bundle.bundle import Bundle
        from spikebridge.deploy.run import check_destination, run_bundle, write_arrays

        if self.out is not None:
            check_destination(self.out)

        bundle = Bundle.open(self.bundle)
        inputs = None
        if self.input is not None and self.input.suffix.lower() == ".wav":
            inputs = targets.inputs_from_samples(bundle, self.input)

        ran = run_bundle(bundle, self.input, status, integers=self.integers, inputs=inputs)
        if self.out is not None:
            write_arrays(self.out, ran.outputs)

        outputs = [
            {"output": name, "values": len(y), "shape": list(y.shape[2:]), "last": y[-1, 0].ravel()[:8].tolist()}
            for name, y in ran.outputs.items()
        ]

        data = {"bundle": self.bundle, "ticks": ran.ticks, "ticks_per_second": ran.ticks_per_second, "outputs": outputs}
        text = f"{formatting.table(outputs)}\n\n{ran.ticks} ticks, {ran.ticks_per_second:.0f} a second"

        return CommandResult(data | ({"out": self.out} if self.out is not None else {}), text)


OneNetwork = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the first one)")]
_SvgFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: NETWORK.svg)")]
Drawn = Annotated[str, Positional, arg(metavar="RUN_RECIPE_OR_BUNDLE", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Draw(RunCommand):
    """Draw a network, or the parts and files of a bundle, as an SVG diagram."""

    target: Drawn
    """A run folder, a recipe's name, the path of a recipe file, or the folder of a bundle."""
    network: OneNetwork = None
    """The network of the recipe to draw."""
    out: _SvgFile = None
    """The SVG file to write."""

    def execute(self) -> CommandResult:
        """Builds the network, sums it up and draws it."""
        if self.out is not None:
            check_target(self.out)

        if targets.is_bundle(self.target):
            return self._draw_bundle(Path(self.target))

        target = targets.resolve_target(self.target, self.own, self.network)
        name, network = target.hybrid_network(self.network)
        from spikebridge.analysis.plots.figures import draw_network
        from spikebridge.analysis.summary import summarize

        _log.info("counting the operations of %s", name)
        summary = str(summarize(network, target.inputs(network)))
        _log.info("drawing %s", name)
        path = self.out or Path(f"{name}.svg")
        targets.write_file(path, draw_network(network))

        return CommandResult({"network": name, "path": path, "summary": summary}, f"{summary}\n\ndrawing: {path}")

    def _draw_bundle(self, folder: Path) -> CommandResult:
        targets.refuse_choices(str(folder), self.own, self.network)
        from spikebridge.analysis.plots.bundle_diagram import draw_bundle
        from spikebridge.deploy.bundle.bundle import Bundle

        bundle = Bundle.open(folder)
        path = self.out or Path(f"{folder.resolve().stem}.svg")
        targets.write_file(path, draw_bundle(asdict(bundle.manifest)))
        parts = [{"part": name, "side": one.side, "file": one.file} for name, one in bundle.manifest.parts.items()]

        return CommandResult(
            {"bundle": folder, "path": path, "parts": parts}, f"{formatting.table(parts)}\n\ndrawing: {path}"
        )


_PageFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: NETWORK.html)")]
_LayerPaths = Annotated[tuple[str, ...], arg(metavar="PATH", help_behavior_hint="(default: all)")]


@dataclass(frozen=True, kw_only=True)
class ReplayNetwork(RunCommand):
    """Run a network on an example and write a page that replays it: spikes, membranes, units and outputs over time."""

    target: RunOrRecipe
    """A run folder, a recipe's name, or the path of a recipe file; without a run the network is untrained."""
    network: OneNetwork = None
    """The network of the recipe."""
    sample: Annotated[int, arg(metavar="N")] = 0
    """The sample of the recipe's example."""
    layers: _LayerPaths = ()
    """The layers of neurons to show, such as `where.lif1`."""
    out: _PageFile = None
    """The HTML file to write."""

    def execute(self) -> CommandResult:
        """Records the network and writes the page."""
        if self.out is not None:
            check_target(self.out)

        target = targets.resolve_target(self.target, self.own)
        name, network = target.hybrid_network(self.network)
        note = target.training_note()
        if note is None:
            name, network, _ = target.trained_network(name)

        from spikebridge.analysis.replay.network import record_network
        from spikebridge.analysis.report import Section, write_report

        replay = record_network(network, target.inputs(network), self.sample, self.layers or None, name)
        path = self.out or Path(f"{name}.html")
        section = Section("Replay", [] if note is None else f"{note[0].upper()}{note[1:]}.", replays=[replay])
        write_report(path, f"{name} on an example", [section], {"network": self.target, "sample": self.sample})
        lanes = [{"lane": lane.name, "shown": lane.note} for lane in replay.lanes]
        data = {"network": name, "page": path, "lanes": lanes}

        return CommandResult(data, f"{formatting.table(lanes)}\n\npage: {path}")


_BundleFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: NETWORK.bundle, NETWORK_c)")]
_Exported = Annotated[str, Positional, arg(metavar="RUN_RECIPE_OR_BUNDLE", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Export(RunCommand):
    """Export a trained network for other machines: as a bundle (NIR, ONNX), compared with the network, or as C."""

    target: _Exported
    """A run folder, the name of a recipe with pretrained weights, or for C a bundle with an integer model."""
    kind: Annotated[Literal["bundle", "c"], arg(name="target")] = "bundle"
    """What to write: a bundle, or the integer model as C99 (of a run: with 8 bits; other widths by way of a bundle)."""
    network: OneNetwork = None
    """The network of the recipe to export."""
    out: _BundleFolder = None
    """The folder to create."""
    data: DataFolder = None
    """The folder with data sets, for the calibration of integers."""

    def execute(self) -> CommandResult:
        """Exports on the recipe's example, then runs every level; the exit code is 1 where one is too far off."""
        if self.kind == "c":
            return self._export_c()
        if targets.is_bundle(self.target):
            raise ConfigError(f"{self.target} is a bundle already; `--target c` writes its integer model as C")

        target = targets.resolve_target(self.target, self.own, self.network)
        name, network, run = target.trained_network(self.network)
        from spikebridge.deploy.bundle.export import export
        from spikebridge.deploy.compare import compare_bundle

        inputs: Any = target.inputs(network)
        card = {
            "recipe": run.recipe,
            "network": name,
            "config": run.config,
            "results": run.results() if run.finished else {},
            "environment": run.environment() if (run.path / "environment.json").is_file() else {},
        }

        bundle = export(
            network,
            inputs if isinstance(inputs, dict) else {"signal": inputs},
            self.out or Path(f"{name}.bundle"),
            card=card,
            progress=status,
        )

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

    def _export_c(self) -> CommandResult:
        """Writes the integer model as C."""
        check_data(self.data)
        if targets.is_bundle(self.target):
            targets.refuse_choices(self.target, self.own, self.network)
            from spikebridge.deploy.bundle.bundle import Bundle
            from spikebridge.deploy.c.export import bundle_sample, write_c

            name = Path(self.target).resolve().stem
            written = write_c(*bundle_sample(Bundle.open(Path(self.target))), self.out or Path(f"{name}_c"))
        else:
            target = targets.resolve_target(self.target, self.own, self.network)
            name, _, _ = target.trained_network(self.network)
            from spikebridge.cli.quantize_run import QuantizeOptions, run_to_c

            options = QuantizeOptions(network=name, data=self.data)
            written = run_to_c(target.module, target.trained_run(), self.out or Path(f"{name}_c"), options, status)

        files = [{"file": file.name, "bytes": file.stat().st_size} for file in sorted(written.folder.iterdir())]
        sizes = {"table_bytes": written.table_bytes, "state_bytes": written.state_bytes}
        text = f"{formatting.table(files)}\n\ntables: {written.table_bytes} bytes, state: {written.state_bytes} bytes"
        data = {"folder": written.folder, "name": written.name, **sizes, "files": files, "check": written.command}

        return CommandResult(data, f"{text}\ncheck it in {written.folder}: {written.command}")
