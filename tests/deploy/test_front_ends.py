"""Front ends in arrays: numpy in a stated order, and C of the same arrays, give the same bits."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikebridge.data.simulation.saccades import Saccades
from spikebridge.deploy.front_ends.arrays import EXACT, FAST, Recursion
from spikebridge.deploy.front_ends.c import HEADER, write_front_end
from spikebridge.deploy.front_ends.resampling import Resampler
from spikebridge.deploy.streaming.activity import ActivityState, VoiceActivity
from spikebridge.errors import ConfigError
from spikebridge.networks.digits.camera import drawn_digits
from spikebridge.networks.signals.data.front_ends import AudioFrontEnd, ChannelFrontEnd
from spikebridge.networks.signals.model.beats import NoiseFrontEnd

COMPILER = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
NUM_BLOCKS = 12


def audio() -> tuple[Any, dict[str, tuple[int, ...]], Any]:
    front = AudioFrontEnd(2000.0, 0.005, 4)
    return lambda a, x, state: front.arrays(a, x["samples"], state), {"samples": (1, 40)}, front.initial_state(1)


def motion() -> tuple[Any, dict[str, tuple[int, ...]], Any]:
    front = ChannelFrontEnd(50.0, 5, 6, 12, lags=(2,), gravity=True)
    return lambda a, x, state: front.arrays(a, x["samples"], state), {"samples": (1, 5, 6)}, front.initial_state(1)


def camera() -> tuple[Any, dict[str, tuple[int, ...]], Any]:
    inputs = drawn_digits(Saccades(16, 1.5, 12, 3, dt=0.025), 8, {"noise": 0.6})
    assert inputs.front_end is not None
    return inputs.front_end.arrays, dict(inputs.front_end.inputs), inputs.front_end.start()


def resampler() -> tuple[Any, dict[str, tuple[int, ...]], Any]:
    one = Resampler(44100, 8000, 160)
    return one.arrays, {"samples": (one.block_in,)}, one.start()


def activity() -> tuple[Any, dict[str, tuple[int, ...]], Any]:
    detector = VoiceActivity(0.02, hangover=2, shortest=1, margin=0.5)

    def arrays(a: Any, x: dict[str, Any], state: Any) -> tuple[dict[str, Any], Any]:
        after = detector.arrays(a, x["samples"], state)
        return {"state": a.concatenate([(value * 1.0).reshape(1) for value in after])}, after

    return arrays, {"samples": (40, 1)}, ActivityState(0.0)


def noise_of_beats() -> tuple[Any, dict[str, tuple[int, ...]], Any]:
    shapes = {"fc1.weight": (8, 2), "fc1.bias": (8,), "fc2.weight": (1, 8), "fc2.bias": (1,)}
    chance = np.random.default_rng(0)
    front = NoiseFrontEnd({f"parts.ann.{name}": chance.standard_normal(shape) for name, shape in shapes.items()})
    return front.arrays, {"samples": (1, 2)}, front.start()


@needs_compiler
@pytest.mark.parametrize(
    "case", [audio, motion, camera, resampler, activity, noise_of_beats], ids=lambda case: case.__name__
)
def test_c_gives_the_bits_of_numpy(case: Callable[[], Any], tmp_path: Path) -> None:
    arrays, shapes, start = case()
    written = write_front_end("front", arrays, shapes, start)
    chance = np.random.default_rng(0)
    # loud and quiet blocks, so that utterances begin and end
    loudness = 10.0 ** -np.repeat(np.arange(NUM_BLOCKS) % 3, 1)
    given = {name: chance.random((NUM_BLOCKS, *shape)) for name, shape in shapes.items()}
    given = {name: (x.T * loudness).T.astype(np.float32) for name, x in given.items()}

    state = start
    expected = []
    for block in range(NUM_BLOCKS):
        outputs, state = arrays(EXACT, {name: EXACT.array(x[block]) for name, x in given.items()}, state)
        expected += [np.asarray(y, np.float32).ravel() for y in outputs.values()]

    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    reads = [f"if (fread(front_in_{name}, 4, {size}, stdin) != {size}) return 1;" for name, size in sizes.items()]
    writes = [f"fwrite(front_out_{name}, 4, {int(np.prod(shape))}, stdout);" for name, shape in written.outputs.items()]
    loop = f"for (int b = 0; b < {NUM_BLOCKS}; b++) {{ {' '.join(reads)} front_step(); {' '.join(writes)} }}"
    main = ["#include <stdio.h>", "int main(void) {", "front_start();", loop, "return 0; }"]
    (tmp_path / "front.c").write_text("\n".join([*HEADER, *written.lines, *main]))
    command = [str(COMPILER), "-std=c99", "-ffp-contract=off", "front.c", "-o", "front", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    content = b"".join(x[block].tobytes() for block in range(NUM_BLOCKS) for x in given.values())
    said = subprocess.run([str(tmp_path / "front")], input=content, capture_output=True, timeout=60, check=True).stdout

    values = np.concatenate(expected)
    assert np.abs(values).max() > 0
    assert np.array_equal(np.frombuffer(said, np.float32), values)


@pytest.mark.parametrize("length", [32, 24, 9], ids=["halves", "even", "odd"])
def test_power_spectra_are_those_of_the_fourier_transform(length: int) -> None:
    x = np.random.default_rng(0).normal(size=(3, length))
    assert np.allclose(EXACT.power_spectra(x), np.abs(np.fft.rfft(x)) ** 2)
    assert np.allclose(FAST.power_spectra(x), np.abs(np.fft.rfft(x)) ** 2)


def test_logarithms_are_those_of_numpy_to_rounding() -> None:
    x = np.concatenate([10.0 ** np.arange(-300, 300, 7), [0.7, 1.0, 1.5, np.sqrt(0.5)]])
    assert np.allclose(EXACT.log(x), np.log(x), rtol=4e-16, atol=4e-16)


def test_a_recursive_filter_of_libraries_gives_the_same() -> None:
    filters = Recursion(np.array([[0.2, 0.1, -0.3]]), np.array([[1.0, -0.5, 0.25]]))
    x = np.random.default_rng(0).normal(size=(20, 2))
    start = np.ones((2, 2, 1))
    exact, end = EXACT.recursive(x, filters, start)
    fast, fast_end = FAST.recursive(x, filters, start)

    # y[0] = z[0] + b[0] x[0]
    assert np.array_equal(exact[0, :, 0], 1.0 + 0.2 * x[0])
    assert np.allclose(exact, fast)
    assert np.allclose(end, fast_end)


def test_random_numbers_are_those_of_park_and_miller() -> None:
    seeds = np.ones(1)
    for _ in range(10_000):
        _, seeds = EXACT.uniform(seeds)

    # the check value of their paper
    assert seeds.tolist() == [1043618065.0]


def test_a_resampler_keeps_what_both_rates_hold_and_nothing_else() -> None:
    resampler = Resampler(48000, 8000, 160)
    time = np.arange(20 * resampler.block_in) / 48000
    sizes = []
    for hertz in (1000, 5000):
        state = resampler.start()
        blocks = []
        for block in np.sin(2 * np.pi * hertz * time).reshape(20, -1):
            y, state = resampler.advance(block, state)
            blocks.append(y)
        sizes.append(np.sqrt(2) * np.concatenate(blocks)[800:].std())

    assert sizes[0] == pytest.approx(1, abs=1e-3)
    assert sizes[1] < 1e-3


@pytest.mark.parametrize(
    ("rates", "words"), [((4000, 8000), "hold less than the 8000 Hz"), ((11025, 8000), "no whole number of samples")]
)
def test_a_rate_that_cannot_be_resampled_is_refused(rates: tuple[int, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Resampler(*rates, block_out=161)


def test_the_exponential_function_and_the_hyperbolic_tangent_are_those_of_numpy() -> None:
    x = np.linspace(-30, 30, 1001)
    assert np.allclose(EXACT.exp(x), np.exp(x), rtol=1e-14, atol=0)
    assert np.allclose(EXACT.tanh(x), np.tanh(x), rtol=0, atol=1e-15)
