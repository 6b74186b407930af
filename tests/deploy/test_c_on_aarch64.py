"""The C of an integer model gives the integers of the model on an emulated aarch64, too."""

import re
import subprocess
from pathlib import Path

import pytest
from small_networks import small_inputs, small_network

from aarch64 import EMULATOR, IS_SKIPPED, REASON, build
from spikebridge.deploy import integer_model, quantize
from spikebridge.deploy.c.export import write_c

pytestmark = [pytest.mark.untyped, pytest.mark.skipif(IS_SKIPPED, reason=REASON)]


def test_the_c_of_a_model_gives_its_integers_on_aarch64(tmp_path: Path) -> None:
    inputs = small_inputs()
    model = integer_model(quantize(small_network(), inputs), inputs)
    entered = model.quantize({name: x.numpy() for name, x in inputs.items()})
    written = write_c(model, entered, model.count_ticks(entered), tmp_path / "model")
    program = tmp_path / "check"
    build("aarch64", [written.folder / f"{written.name}.c", written.folder / "check.c"], program)
    said = subprocess.run([EMULATOR, program], capture_output=True, text=True, timeout=60, check=True).stdout

    assert re.fullmatch(r"\d+ ticks, [1-9]\d* values, 0 differ\n", said), said
