"""`spikebridge run`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from spikebridge import layout
from spikebridge.commands.command import Answer, Command, Flag
from spikebridge.commands.compare import BundlePath

InputFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: the bundle's sample)")]
OutputFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")]


@dataclass(frozen=True, kw_only=True)
class RunBundle(Command):
    """Run a bundle without torch, tick by tick."""

    bundle: BundlePath
    """The folder that `spikebridge export` made."""
    input: InputFile = None
    """An .npz or .safetensors file with an array (T, B, ...) for each input."""
    out: OutputFile = None
    """Write all outputs to this .npz or .safetensors file."""
    integers: Flag = False
    """Compute with whole numbers what was quantised (`quantize --bundle`)."""

    def answer(self) -> Answer:
        """Runs it; numpy, onnxruntime and nir are all it needs."""
        from spikebridge.deploy.bundle import Bundle
        from spikebridge.deploy.runner_file import check_destination, run_bundle, write_arrays

        if self.out is not None:
            check_destination(self.out)
        bundle = Bundle.open(self.bundle)
        ran = run_bundle(bundle, self.input, lambda line: print(line, file=sys.stderr), integers=self.integers)
        if self.out is not None:
            write_arrays(self.out, ran.outputs)
        outputs = [
            {"output": name, "values": len(y), "shape": list(y.shape[2:]), "last": y[-1, 0].ravel()[:8].tolist()}
            for name, y in ran.outputs.items()
        ]
        data = {"bundle": self.bundle, "ticks": ran.ticks, "ticks_per_second": ran.ticks_per_second, "outputs": outputs}
        text = f"{layout.table(outputs)}\n\n{ran.ticks} ticks, {ran.ticks_per_second:.0f} a second"
        return Answer(data | ({"out": self.out} if self.out is not None else {}), text)
