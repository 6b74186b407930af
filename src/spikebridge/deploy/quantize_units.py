"""A hybrid unit in whole numbers, stage by stage: it takes and gives real values on grids, as the unit did."""

import copy
from collections.abc import Mapping

from torch import Tensor

from spikebridge.deploy.quantize_config import Quantization, Region
from spikebridge.deploy.quantize_discretizers import WholeDiscretizer
from spikebridge.deploy.quantize_grid import Grid, Quantizer
from spikebridge.deploy.quantize_kernels import WholeKernel
from spikebridge.deploy.quantize_parts import QuantizedModule
from spikebridge.deploy.quantize_program import Program
from spikebridge.deploy.quantize_trace import wiring
from spikebridge.errors import ExportError
from spikebridge.hybrid import HybridUnit, Window


class QuantizedUnit(HybridUnit):
    """A unit whose stages compute with whole numbers; its window is as it was.

    Attributes:
        whole_kernel, program, whole_discretizer: the stages, None where there is none.
    """

    def __init__(
        self,
        window: Window | None,
        kernel: WholeKernel | None,
        program: Program | None,
        discretizer: WholeDiscretizer | None,
    ) -> None:
        super().__init__(window, kernel, None if program is None else QuantizedModule(program), discretizer)
        self.whole_kernel, self.program, self.whole_discretizer = kernel, program, discretizer

    @property
    def out(self) -> Quantizer | None:
        """The grid of what comes out; None where the unit only passes on what came in."""
        if self.whole_discretizer is not None and self.whole_discretizer.out is not self.whole_discretizer.entry:
            return self.whole_discretizer.out
        if self.program is not None:
            name = self.program.entry_of(self.program.out)
            if name is None:
                return self.program.out
            if name != "#0":
                raise ExportError("a unit whose nonlinearity gives nothing but its context has no integer form")
        return None if self.whole_kernel is None else self.whole_kernel.out

    def settle(self) -> None:
        """Chooses every grid but those of what comes in."""
        for stage in (self.whole_kernel, self.program, self.whole_discretizer):
            if stage is not None:
                stage.settle()

    def begin(self, source: Grid, context: Grid | None) -> None:
        """From watching to whole numbers.

        Args:
            source: grid of what comes in.
            context: grid of the second signal.
        """
        if self.whole_kernel is not None:
            self.whole_kernel.entry.take(source)
            self.whole_kernel.begin()
            source = self.whole_kernel.out.grid
        if self.program is not None:
            for name, grid in zip(self.program.inputs, (source, context), strict=False):
                if grid is not None:
                    self.program._entry(name).take(grid)
            self.program.begin()
            source = self.program.out.grid
        if self.whole_discretizer is not None:
            self.whole_discretizer.entry.take(source)
            self.whole_discretizer.settle()
            self.whole_discretizer.begin()


def quantized_unit(
    unit: HybridUnit, path: str, config: Quantization, stages: Mapping[str, Tensor], context: Tensor | None
) -> QuantizedUnit:
    """A unit that watches, to be settled later.

    Args:
        unit: in evaluation mode.
        path: `units.LINK`.
        config: regions.
        stages: what comes into the nonlinearity, one row a sample, as "kernel".
        context: one value of the second signal, `(B, *C)`.

    Raises:
        ExportError: a stage has no integer form.
    """

    def region(stage: str) -> Region:
        found = config.region(f"{path}.{stage}")
        if found is None:
            raise ExportError(f"'{path}.{stage}' is in no region, though other stages of the unit are; add one for it")
        return found

    kernel = None if unit.kernel is None else WholeKernel(unit.kernel, region("kernel"), f"{path}.kernel")
    program = None
    if unit.nonlinearity is not None:
        signals = [stages["kernel"], *([] if context is None else [context])]
        where = f"{path}.nonlinearity"
        program = Program(wiring(unit.nonlinearity, signals, {}, where), where, config)
    length = 1 if unit.window is None else unit.window.length or 1
    discretizer = None
    if unit.discretizer is not None:
        where = f"{path}.discretizer"
        discretizer = WholeDiscretizer(unit.discretizer, region("discretizer"), length, where)
    return QuantizedUnit(copy.deepcopy(unit.window), kernel, program, discretizer)
