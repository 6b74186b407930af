"""`spikebridge quantize`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from spikebridge import layout, targets
from spikebridge.commands.command import Answer, Command, DataFolder, Flag, RunOrRecipe

ModelFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: NAME.integer)")]
IntoBundle = Annotated[Path | None, arg(metavar="BUNDLE", help_behavior_hint="(default: none)")]
AnyNetwork = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: all of them)")]
Bits = Annotated[int, arg(metavar="BITS")]
Paths = Annotated[tuple[str, ...], arg(metavar="PATH", help_behavior_hint="(default: all that the recipe names)")]


@dataclass(frozen=True, kw_only=True)
class Quantize(Command):
    """Turn trained networks into integer models for hardware without floats, and say what it costs."""

    target: RunOrRecipe
    """A run folder, or a recipe's name for the weights that come with the package."""
    out: ModelFolder = None
    """The folder to make; with --bundle only where it is named."""
    network: AnyNetwork = None
    """Which of the recipe's networks."""
    regions: Paths = ()
    """Parts (`where`), units (`units.LINK`) or layers that are quantised; the others stay real."""
    weights: Bits = 8
    """Bits of a weight, 2 to 8; every output channel has its own scale."""
    activations: Bits = 8
    """Bits of a signal between layers, 2 to 8."""
    membranes: Bits = 16
    """Bits of what remembers, 16 to 28."""
    power_of_two: Flag = False
    """Every change of scale is a shift."""
    calibrate: Annotated[int, arg(metavar="N")] = 128
    """Training samples on which scales are chosen."""
    bundle: IntoBundle = None
    """Write the integer model into this bundle of one of the networks, and quantise that one alone."""
    data: DataFolder = None
    """The folder with data sets."""

    def answer(self) -> Answer:
        """Quantises, writes, and measures before and after."""
        from spikebridge.deploy import Region
        from spikebridge.recipes.quantization import quantize_run

        target = targets.find(self.target)
        out = self.out
        if out is None and self.bundle is None:
            out = Path(f"{Path(self.target).stem}.integer")
        region = Region("*", self.weights, self.activations, self.membranes, self.power_of_two)
        results = quantize_run(
            target.module,
            target.trained_run(),
            out,
            region,
            paths=self.regions,
            network=self.network,
            num_calibration=self.calibrate,
            data=self.data,
            bundle=self.bundle,
            progress=lambda line: print(line, file=sys.stderr, flush=True),
        )
        made = {"out": out, "bundle": self.bundle}
        paths = "\n".join(str(path) for path in made.values() if path is not None)
        return Answer({**made, **results}, f"{layout.results(results)}\n\n{paths}")
