"""The beat detector, its baseline and its scores, on generated hearts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spikebridge.deploy.front_ends.arrays import EXACT
from spikebridge.networks.signals.data.beats import match_beats, with_noise
from spikebridge.networks.signals.model.beats import (
    LATENCY,
    NOISE_WINDOW,
    NUM_TAPS,
    RATE_HZ,
    NoiseFrontEnd,
    beat_network,
    beats_of,
    spike_beats,
)
from spikebridge.networks.signals.model.pan_tompkins import pan_tompkins
from spikebridge.networks.signals.training import beats as training
from spikebridge.networks.signals.training.beats import train_beats

pytestmark = pytest.mark.untyped


def heart(seconds: float, seed: int = 0) -> tuple[Tensor, np.ndarray]:
    """Two channels [mV] of narrow pulses with a wide wave behind each, and the samples of the pulses."""
    chance = np.random.default_rng(seed)
    places = np.cumsum(chance.integers(240, 360, int(seconds * RATE_HZ / 250)))
    places = places[places < seconds * RATE_HZ - 60]
    t = np.arange(int(seconds * RATE_HZ))
    ecg = np.zeros((len(t), 2))

    for place in places:
        near = slice(max(0, place - 40), place + 200)
        pulse = np.exp(-((t[near] - place) ** 2) / (2 * 4.0**2))
        wave = 0.2 * np.exp(-((t[near] - place - 110) ** 2) / (2 * 25.0**2))
        ecg[near] += np.stack([pulse + wave, 0.6 * pulse + wave], 1)

    return torch.from_numpy(ecg + 0.02 * chance.normal(size=ecg.shape)).float(), places


def test_beats_are_paired_in_order_and_once() -> None:
    counts = match_beats(np.array([100, 110, 500, 900]), np.array([105, 480, 700]), RATE_HZ)
    assert (counts.hits, counts.missed, counts.false, counts.errors) == (1, 2, 3, 5)
    assert counts.sensitivity == pytest.approx(100 / 3)
    assert counts.precision == pytest.approx(25)
    assert counts.accuracy == pytest.approx(1 / 6)

    exact = match_beats(np.array([118]), np.array([100]), RATE_HZ)  # 18 samples are 50 ms
    assert exact.hits == 1
    assert match_beats(np.array([119]), np.array([100]), RATE_HZ).hits == 0
    assert match_beats(np.array([], int), np.array([], int), RATE_HZ).errors == 0


def test_noise_has_the_ratio_that_is_asked_for_and_its_seed() -> None:
    ecg, _ = heart(20)
    noise = with_noise(ecg, 6.0, seed=3) - ecg

    assert torch.allclose(10 * torch.log10(ecg.var(0) / noise.var(0)), torch.tensor(6.0), atol=0.2)
    assert with_noise(ecg, 6.0, seed=3).equal(ecg + noise)
    assert with_noise(ecg, None) is ecg


def test_pan_and_tompkins_find_the_beats_of_a_clean_heart() -> None:
    ecg, places = heart(40, seed=1)
    counts = match_beats(pan_tompkins(ecg[:, 0].numpy(), RATE_HZ), places, RATE_HZ)
    assert counts.sensitivity > 90
    assert counts.precision > 90


def test_a_trained_detector_finds_beats_that_it_has_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_BATCH_SIZE", 8)
    monkeypatch.setattr(training, "_PIECE_LENGTH", 2 * RATE_HZ)
    monkeypatch.setattr(training, "_LEARNING_RATE", 0.02)
    torch.manual_seed(0)
    ecg, places = heart(30)
    network = beat_network(num_neurons=8)
    losses = train_beats(network, ecg, places, 60)

    assert np.mean(losses[-10:]) < np.mean(losses[:10]) / 3

    other, true = heart(20, seed=5)
    counts = match_beats(beats_of(network, other), true, RATE_HZ)

    assert counts.sensitivity > 90
    assert counts.precision > 90


def test_the_detector_is_causal_and_a_stream_gives_the_same_spikes() -> None:
    torch.manual_seed(1)
    ecg = heart(6)[0].unsqueeze(1)
    network = beat_network(num_neurons=4, threshold=0.2).eval()
    whole = network({"ecg": ecg})[0]["snn"]

    assert whole.sum() > 1

    state = None
    pieces = []
    for piece in ecg.split([500, 1, 700, len(ecg) - 1201]):
        outputs, state = network({"ecg": piece}, state)
        pieces.append(outputs["snn"])

    assert torch.cat(pieces).equal(whole)

    changed = ecg.clone()
    changed[1000:] = 7

    assert network({"ecg": changed})[0]["snn"][:1000].equal(whole[:1000])
    assert LATENCY + 18 <= NUM_TAPS  # at most 150 ms after a beat


def test_spikes_of_the_held_ends_are_no_beats() -> None:
    everywhere = torch.ones(RATE_HZ + 10 + NUM_TAPS)
    assert spike_beats(everywhere).tolist() == list(range(10))


def test_the_ann_moves_the_threshold() -> None:
    network = beat_network(num_neurons=4).eval()
    ecg = heart(4)[0].unsqueeze(1)
    readout = network.parts["snn"].get_submodule("fc")

    with torch.no_grad():  # a membrane of 1.7, below the threshold of 3.5
        readout.weight.zero_()
        readout.bias.fill_(0.5)

    outputs = network({"ecg": ecg})[0]
    assert outputs["ann"].eq(1).all()
    assert outputs["snn"].sum() == 0

    with torch.no_grad():
        network.parts["ann"].get_submodule("fc2").bias.fill_(-20.0)

    outputs = network({"ecg": ecg})[0]
    assert outputs["ann"].max() < 1e-6
    # the first value of the ANN stands at the last sample of two seconds
    assert outputs["snn"][:719].sum() == 0
    assert outputs["snn"][719:].sum() > 0


def test_the_front_end_of_a_page_gives_the_factor_of_the_ann() -> None:
    torch.manual_seed(0)
    network = beat_network()
    with torch.no_grad():
        for parameter in network.parts["ann"].parameters():
            parameter.normal_(std=0.5)

    ecg = heart(6)[0].numpy()
    front = NoiseFrontEnd({name: x.numpy() for name, x in network.state_dict().items()})
    state = front.start()
    factors = []
    for sample in ecg:
        outputs, state = front.arrays(EXACT, {"samples": EXACT.array(sample[None])}, state)
        factors.append(outputs["ann"].item())

    with torch.no_grad():
        expected = network.eval()({"ecg": torch.from_numpy(ecg).unsqueeze(1)})[0]["ann"].flatten().numpy()
    assert len(expected) == 3
    assert np.allclose(factors[NOISE_WINDOW - 1 :: NOISE_WINDOW], expected, rtol=1e-5)
