"""Networks of the signals recipe on live streams of samples: the answers of a stream are those of the whole window."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from spikebridge.cli.main import main
from spikebridge.data.signals.series import make_series
from spikebridge.deploy.streaming.samples import SampleSteps
from spikebridge.deploy.streaming.torch_network import network_advance
from spikebridge.errors import ConfigError
from spikebridge.networks.signals import recipe as signals
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.windows import windows_of
from spikebridge.networks.signals.evaluation.evaluate import logits_of
from spikebridge.networks.signals.stream import sample_reader
from spikebridge.training.run.config_io import to_plain

pytestmark = pytest.mark.untyped

VOICE = dataclasses.replace(
    signals.PRESETS["spoken_digits"],
    networks=("learned",),
    network=signals.NetworkConfig(hidden=8, depth=1, taps=3),
    sensor=signals.SensorConfig(seconds=0.2),
)


@pytest.mark.parametrize("config", [VOICE, signals.PRESETS["watch"]], ids=["voice", "motion"])
@pytest.mark.parametrize("name", ["learned", "ann", "snn"])
def test_the_answers_of_a_stream_are_those_of_the_whole_window(config: signals.Config, name: str) -> None:
    reader = dataclasses.replace(sample_reader(to_plain(config), {}), activity=None)
    sensor = reader.front_end

    assert isinstance(sensor, Sensor)

    length = round(config.sensor.seconds * sensor.rate_hz)
    x = np.random.default_rng(0).normal(0, 0.1, (2 * length, sensor.num_channels)).astype(np.float32)
    series = make_series([x[:length], x[length:]], sensor.rate_hz, label=["a", "b"])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = signals.build(dataclasses.replace(config, networks=(name,)))[name].eval()

    whole = logits_of(network, sensor, windows_of(series, config.sensor.seconds, None))
    steps = SampleSteps(reader, frozenset(network.inputs), network_advance(network))
    state = None
    answers = []
    means = []

    for start in range(0, 2 * length, sensor.block):
        answer, state = steps([x[start : start + sensor.block]], state)
        answers.append(answer)
        means.append(state.answer.mean)

    expected = torch.cat([whole[:, 0], whole[:, 1]])  # the second window starts without a past
    assert np.allclose(np.stack(means), expected.numpy(), atol=1e-4)
    assert [int(answer["answer"]) for answer in answers] == expected.argmax(-1).tolist()
    assert [answer["window"] for answer in answers] == [0] * reader.window + [1] * reader.window

    together, _ = steps([x[start : start + sensor.block] for start in range(0, length, sensor.block)], None)
    assert together["answer"] == answers[reader.window - 1]["answer"]


def test_only_a_voice_has_utterances_and_their_times_are_those_of_the_run() -> None:
    reader = sample_reader(to_plain(VOICE), {"hangover_seconds": 0.3, "shortest_seconds": 0.1})
    activity = reader.activity

    assert activity is not None
    assert (activity.hangover, activity.shortest) == (15, 5)
    assert sample_reader(to_plain(signals.PRESETS["watch"]), {}).activity is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "detect"}, "needs the median"),
        ({"dataset": "own"}, "does not hold the rate of its sensor"),
        ({"dataset": "myo", "sensor": {"kind": "muscle", "past_seconds": 60.0}}, None),
    ],
)
def test_a_run_without_live_form_is_refused(change: dict[str, object], message: str | None) -> None:
    config = to_plain(VOICE)
    sensor = {**config["sensor"], **change.pop("sensor", {})}  # type: ignore[dict-item]
    given = {**config, **change, "sensor": sensor}
    if message is not None:
        with pytest.raises(ConfigError, match=message):
            sample_reader(given, {})
        return

    with pytest.raises(ConfigError, match="no live form"):
        sample_reader(given, {}).front_end.initial_state()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["signals"], "--events is missing"),
        (["signals", "--signal", "a.wav", "--events", "b.npz"], "both are given"),
        (["signals", "--signal", "a.wav", "--loop"], "--loop is for events"),
        (["signals", "--signal", "a.wav", "--integers"], "--integers is of a bundle"),
        (["signals", "--signal", "a.wav"], "no such file"),
        (["sensing", "--signal", "a.wav"], "which reads no such stream"),
    ],
)
def test_a_live_stream_that_cannot_be_ends_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["live", *words]) == 2

    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
