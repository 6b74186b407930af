"""Networks and bundles on a stream of events: however the bins are taken, the answers are those of the whole."""

import io
import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from pretend_onnx import pretend
from torch import nn

from spikebridge.analysis.replay.live_view import LiveView
from spikebridge.cli.live import _asking
from spikebridge.cli.main import main
from spikebridge.data.events.events import make_events
from spikebridge.data.events.files import write_events
from spikebridge.data.streams.binner import EventBinner, FrameOptions
from spikebridge.data.streams.replay import EventFrameSource
from spikebridge.deploy import Bundle, export
from spikebridge.deploy.bundle.manifest import ClockRecord, InputRecord
from spikebridge.deploy.streaming.loop import Live
from spikebridge.deploy.streaming.network import NetworkSteps, bundle_steps, stream_input_spec
from spikebridge.deploy.streaming.torch_network import EventDrivenPart, network_steps, with_event_driven_parts
from spikebridge.errors import ConfigError
from spikebridge.hybrid import (
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Transmission,
    Tumbling,
    Wake,
    every,
    ticks,
)
from spikebridge.networks.digits import recipe as digits
from spikebridge.neurons import LIF, Sequential
from spikebridge.training import Run

pytestmark = pytest.mark.untyped

DT = 0.001
NUM_BINS = 11  # a bin is two ticks
NUM_TICKS = 22


class StreamBin(NamedTuple):
    """A bin with or without a frame."""

    events: Any
    frame: Any
    num_bins: int = 1


def snn() -> Sequential:
    return Sequential(flat=nn.Flatten(), fc=nn.Linear(24, 5), lif=LIF(tau=0.01, dt=2 * DT, v_threshold=0.3))


def seeing() -> HybridNetwork:
    """Events at every second tick from tick 1, frames at every third."""
    torch.manual_seed(0)
    return HybridNetwork(
        dt=DT,
        inputs={"events": every(2 * DT, phase=DT), "frames": every(3 * DT)},
        parts={"where": snn(), "what": nn.Flatten(), "answer": nn.Bilinear(5, 2, 3)},
        links=[
            Transmission("events", "where"),
            Transmission("frames", "what"),
            Transmission("where", "answer", HybridUnit(Tumbling(3), Mean())),
            Transmission("what", "answer", held=True),
        ],
        outputs=["answer"],
    )


def stream() -> list[StreamBin]:
    numbers = np.random.default_rng(0)
    events = (numbers.random((NUM_BINS, 2, 3, 4)) < 0.4).astype(np.float32)
    frames = {k: numbers.random((1, 2)).astype(np.float32) for k in (0, 4, 5, 9)}
    return [StreamBin(events[k], frames.get(k)) for k in range(NUM_BINS)]


def example() -> dict[str, torch.Tensor]:
    return {"events": torch.ones(1, 2, 2, 3, 4), "frames": torch.ones(1, 2, 1, 2)}


def taken(steps: NetworkSteps, bins: list[StreamBin], *sizes: int) -> list[Any]:
    """The newest answers, of so many bins at a time."""
    state = None
    answers = []
    done = 0

    for size in sizes:
        outputs, state = steps(bins[done : done + size], state)
        answers.append(outputs)
        done += size

    return answers


def test_the_network_gets_every_bin_and_holds_the_newest_frame() -> None:
    network = seeing()
    bins = stream()
    # by hand: tick t of the frames' clock, 0, 3, 6, .., lies in the bin that ends at the next odd tick
    newest = [0, 0, 0, 0, 4, 5, 5, 5, 5, 9, 9]
    held = [bins[newest[tick // 2]].frame for tick in range(0, NUM_TICKS, 3)]

    whole, _ = network(
        {
            "events": torch.from_numpy(np.stack([one.events for one in bins])[:, None]),
            "frames": torch.from_numpy(np.stack(held)[:, None]),
        },
        ticks=NUM_TICKS,
    )

    one_by_one = taken(network_steps(network, example()), bins, *[1] * NUM_BINS)
    answers = [one["answer"] for one in one_by_one if one]

    assert np.allclose(answers, whole["answer"][:, 0].detach(), atol=1e-6)
    assert [bool(one) for one in one_by_one] == [k % 3 == 2 for k in range(NUM_BINS)]


@pytest.mark.parametrize("sizes", [(11,), (1, 10), (3, 1, 5, 2), (7, 4)])
def test_bins_that_wait_are_caught_up_with_exactly(sizes: tuple[int, ...]) -> None:
    steps = network_steps(seeing(), example())
    bins = stream()
    slow = taken(steps, bins, *[1] * NUM_BINS)
    last = next(one for one in reversed(slow) if one)
    quick = next(one for one in reversed(taken(steps, bins, *sizes)) if one)

    assert np.allclose(quick["answer"], last["answer"], atol=1e-6)
    assert steps.num_unseen == 0


def test_of_too_many_the_oldest_are_passed_over_but_their_frame_is_kept() -> None:
    steps = network_steps(seeing(), example())
    bins = stream()
    steps.max_together = 1
    _, state = steps(bins, None)

    assert (steps.num_unseen, state.tick) == (NUM_BINS - 1, 2)
    assert np.array_equal(state.frame, bins[9].frame)


def test_parts_are_stepped_by_events_unless_they_are_modulated_or_unknown() -> None:
    network = HybridNetwork(
        dt=DT,
        inputs={"events": every(DT)},
        parts={
            "spiking": Sequential(flat=nn.Flatten(), fc=nn.Linear(24, 5), lif=LIF(tau=0.01, dt=DT, v_threshold=0.3)),
            "modulated": Sequential(flat=nn.Flatten(), fc=nn.Linear(24, 5), lif=LIF(tau=0.01, dt=DT)),
            "unknown": Sequential(flat=nn.Flatten(), fc=nn.Linear(24, 5), squash=nn.Tanh()),
            "answer": nn.Bilinear(5, 5, 3),
        },
        links=[
            *(Transmission("events", name) for name in ("spiking", "modulated", "unknown")),
            Modulation("unknown", "modulated.lif.v_threshold", HybridUnit(None, None, nn.Softplus()), by="multiply"),
            Transmission("spiking", "answer"),
            Transmission("modulated", "answer"),
        ],
        outputs=["answer"],
    ).eval()

    live = with_event_driven_parts(network)
    assert [name for name, part in live.parts.items() if isinstance(part, EventDrivenPart)] == ["spiking"]
    assert not any(isinstance(part, EventDrivenPart) for part in network.parts.values())

    x = (torch.rand(6, 1, 2, 3, 4) < 0.3).float()
    state = None
    other = None

    with torch.no_grad():
        for t in range(6):
            outputs, state = live({"events": x[t : t + 1]}, state)
            expected, other = network({"events": x[t : t + 1]}, other)
            assert torch.allclose(outputs["answer"], expected["answer"], atol=1e-6)


def test_layers_alone_take_events_at_the_step_of_their_neurons() -> None:
    torch.manual_seed(0)
    layers = snn()
    bins = stream()
    steps = network_steps(layers, {"any": torch.ones(1, 1, 2, 3, 4)})

    assert (steps.spec.bin, steps.spec.sensor, steps.spec.frame) == (2 * DT, (3, 4), None)

    whole, _ = layers(torch.from_numpy(np.stack([one.events for one in bins])[:, None]))
    assert np.array_equal(taken(steps, bins, 4, 7)[-1]["network"], whole[-1, 0].detach())
    with pytest.raises(ConfigError, match="neurons of one step, but those of Flatten are none"):
        network_steps(nn.Flatten(), {"any": torch.ones(1, 1, 2, 3, 4)})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.manual_seed(0)
    network = HybridNetwork(
        dt=DT,
        inputs={"seen": every(2 * DT, phase=DT)},
        parts={"where": snn()},
        links=[Transmission("seen", "where")],
        outputs=["where"],
    )

    return export(network, {"seen": torch.rand(9, 1, 2, 3, 4)}, tmp_path_factory.mktemp("live") / "bundle")


def test_a_bundle_is_stepped_without_torch_to_the_same_spikes(bundle: Bundle) -> None:
    steps = bundle_steps(bundle)
    bins = stream()

    assert (steps.spec.events, steps.spec.counts) == ("seen", True)

    torch.manual_seed(0)
    whole, _ = snn()(torch.from_numpy(np.stack([one.events for one in bins])[:, None]))
    for sizes in ((1,) * NUM_BINS, (2, 5, 4)):
        assert np.array_equal(taken(steps, bins, *sizes)[-1]["where"], whole[-1, 0].detach())


@pytest.mark.parametrize(
    "shapes",
    [{"x": (4,)}, {"x": (2, 3, 4), "y": (2, 3, 4)}, {"x": (2, 3, 4), "y": (7,)}, {"y": (1, 3, 4)}],
)
def test_a_network_that_takes_something_else_is_refused_with_what_it_takes(shapes: dict[str, Any]) -> None:
    records = {name: InputRecord(ClockRecord(1, 0), shape) for name, shape in shapes.items()}
    name, shape = next(iter(shapes.items()))
    with pytest.raises(ConfigError, match=r"a live stream brings events \(2, H, W\)") as refusal:
        stream_input_spec(records, DT, {key: np.zeros(3) for key in records})

    assert f"{name} {shape}" in str(refusal.value)


def guarded() -> HybridNetwork:
    """Events whose first pixel wakes the eye a tick later."""
    torch.manual_seed(0)
    return HybridNetwork(
        dt=DT,
        inputs={"events": every(DT), "frames": every(DT)},
        parts={"guard": FirstPixel(), "eye": nn.Sequential(nn.Flatten(), nn.Linear(2, 2))},
        links=[Transmission("events", "guard"), Transmission("frames", "eye"), Wake("guard", "eye", delay=ticks(1))],
        outputs=["eye", "eye.awake"],
    )


class FirstPixel(nn.Module):
    """The first value of the events."""

    def forward(self, events: torch.Tensor) -> torch.Tensor:
        return events.flatten(1)[:, :1]


@pytest.mark.parametrize("form", ["torch", "bundle"])
def test_frames_are_read_for_the_bins_alone_that_need_one(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    network = guarded()
    sample = {"events": torch.ones(2, 1, 2, 1, 2), "frames": torch.ones(2, 1, 1, 2)}
    steps = network_steps(network, sample) if form == "torch" else bundle_steps(export(network, sample, tmp_path / "b"))

    fired = [0, 0, 1, 0, 0, 0, 1, 1, 0, 0]  # at the first pixel in each bin
    read = []

    def frame(number: int) -> Any:
        read.append(number)
        return np.full((1, 2), number, np.uint8)

    options = FrameOptions(size=(1, 2), buffer_events=False, deferred=True)
    stream = EventBinner(DT, 1, 2, frames=options)
    for k, flag in enumerate(fired):
        # no frame comes in bin 7
        if k != 7:
            stream.add_frame(1000 * k, partial(frame, k))
        stream.add(make_events(t=[1000 * k + 500], x=[1 - flag], y=[0], p=[1]))
    stream.end()

    source = EventFrameSource(stream, 1, 2, max_together=steps.max_together)
    answers = list(Live(source, steps, max_behind=100, prepare=_asking(steps, source)))
    # the eye sleeps before the first flag; that of bin 7 in bin 8 follows the newest frame, of bin 8
    assert read == [0, 3, 6, 8]
    assert (source.num_asked, source.num_bins, source.num_frames) == (4, 10, 4)

    frames = torch.tensor([[0, 0], *[[k if k != 7 else 6] * 2 for k in range(1, 10)]]).reshape(10, 1, 1, 2) / 255
    events = torch.zeros(10, 1, 2, 1, 2)
    events[:, 0, 0, 0, 0] = torch.tensor(fired, dtype=torch.float32)
    expected, _ = network({"events": events, "frames": frames})
    for k, answer in enumerate(answers):
        np.testing.assert_allclose(answer.output["eye"], expected["eye"][k, 0].detach().numpy(), atol=1e-6)


def test_the_first_bin_has_to_have_a_frame() -> None:
    with pytest.raises(ConfigError, match="its first bin has none"):
        network_steps(seeing(), example())([stream()[1]], None)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run of digits and a third of a second of events."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    config = digits.PRESETS["quick"]
    trained = Run.create(tmp_path / "run", "digits", config)
    trained.child("snn/seed-0").save_weights(digits.build(config)["snn"])
    numbers = np.random.default_rng(0)
    columns = [np.sort(numbers.integers(0, 300_000, 400)), *numbers.integers(0, 16, (2, 400)), np.ones(400, np.int64)]
    write_events(tmp_path / "events.npz", make_events(*columns), 16, 16)

    return "run"


def test_a_trained_network_of_events_is_run_live(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["live", run, "--network", "snn", "--events", "events.npz"]
    assert main([*words, "--max-behind", "1000"]) == 0

    printed = capsys.readouterr()
    *lines, last = (json.loads(line) for line in printed.out.splitlines())

    # an answer at every third of twelve bins
    assert [(line["bin"], len(line["outputs"]["answer"])) for line in lines] == [(2, 10), (5, 10), (8, 10), (11, 10)]
    assert last["summary"]["num_bins"] == 12
    assert "latency_99_ms" in printed.err
    assert main([*words, "--speed", "1000", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_unseen"] == 0


def test_a_live_network_is_shown_on_a_page(
    run: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    leave = LiveView.__exit__
    monkeypatch.setattr(
        LiveView, "__exit__", lambda view, *why: (shown.append(view.replay().html()), leave(view, *why))[1]
    )
    words = ["live", run, "--network", "snn", "--events", "events.npz", "--speed", "1000", "--max-behind", "1000"]

    assert main([*words, "--view", "--json"]) == 0

    printed = capsys.readouterr().err
    assert len(opened) == 1 and opened[0].startswith("http://127.0.0.1:")
    assert f"the stream is shown on {opened[0]}" in printed
    assert "<b>answer</b>" in shown[0] and "<b>latency [ms]</b>" in shown[0]
    assert main([*words, "--port", "8000"]) == 2
    assert "--port is the port of the page of --view" in capsys.readouterr().err


def test_what_cannot_be_run_live_is_one_line(
    run: str, bundle: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, message in (
        ([str(bundle.path)], "expected a source of events or of samples, but --events is missing"),
        ([str(bundle.path), "--evnts", "events.npz"], "did you mean --events?"),
        ([run, "--network", "sn", "--events", "events.npz"], "did you mean 'snn'?"),
        (["digits", "--events", "events.npz"], "has no trained weights"),
        (["modulation", "--events", "events.npz"], "this network takes pictures (784,)"),
        ([str(bundle.path), "--network", "a", "--events", "-"], "leave --network out"),
        ([str(bundle.path), "--events", "-", "--seconds", "0"], "seconds needs to be above 0"),
        ([str(bundle.path), "--events", "-"], "gave no event bin and no frame"),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
        assert main(["live", *words]) == 2

        error = capsys.readouterr().err.strip().splitlines()
        assert len(error) == 1
        assert message in error[0]


def test_ctrl_c_ends_a_stream_with_its_summary(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped:
        dt = 2 * DT

        def wait(self, done: int) -> int | None:
            if done:
                raise KeyboardInterrupt
            return 1

        def ready_at(self, bin_: int) -> float:
            return 0.0

        def newest_restart(self, first: int, stop: int) -> int | None:
            return 0 if first == 0 else None

        def inputs(self, first: int, stop: int) -> list[StreamBin]:
            return stream()[:1]

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr("spikebridge.data.streams.sources.LiveSource.open", lambda self, wanted: Stopped())

    assert main(["live", str(bundle.path), "--events", "-"]) == 130
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["summary"]["num_steps"] == 1
