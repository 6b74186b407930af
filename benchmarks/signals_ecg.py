"""Beats of `ecg_100`: a small hybrid beside the detector of Pan and Tompkins, with and without added noise.

    python benchmarks/signals_ecg.py            # three seeds (a quarter of an hour on one core)
    python benchmarks/signals_ecg.py --quick    # 20 steps of training, one seed; writes nothing

The hybrid is trained, and its threshold is chosen, on the first two thirds; the last third is scored. A detection is
right within 50 ms of a beat, each beat once. The hybrid fires at most 150 ms after the beat. Noise is white; its ratio
is that of the variances of signal and noise, for each channel. Pan-Tompkins reads the first channel and searches back,
so it is not held to the 150 ms.

The last third was seen while the detector was designed (its one ventricular beat led to stretched and inverted training
pieces; the hold before a recording, the jump of the threshold): it is not a clean test of the design.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spikebridge.data import find_series
from spikebridge.data.io.atomic import write_text
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals.baselines.pan_tompkins import pan_tompkins
from spikebridge.networks.signals.data.beats import BeatCounts, match_beats, with_noise
from spikebridge.networks.signals.model.beats import LATENCY, RATE_HZ, beat_network, beats_of
from spikebridge.networks.signals.training.beats import BeatTraining, train_beats
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "signals_ecg.json"
SNRS = (None, 12.0, 6.0, 0.0)
SEEDS = 3


def row(detector: str, seed: int, part: str, snr: float | None, counts: BeatCounts) -> dict[str, Any]:
    """One line of the results."""
    figures = {"errors": counts.errors, "missed": counts.missed, "false": counts.false}
    shares = {"sensitivity %": round(counts.sensitivity, 2), "precision %": round(counts.precision, 2)}
    return {"detector": detector, "seed": seed, "part": part, "snr dB": snr, **figures, **shares}


def delays_of(detected: Any, beats: Any) -> dict[str, float]:
    """When the neuron fires after its beat [ms]."""
    if len(detected) == 0:
        return {}
    nearest = np.array([detected[np.abs(detected - beat).argmin()] - beat for beat in beats])
    late = 1000 * (nearest[np.abs(nearest) <= 18] + LATENCY) / RATE_HZ
    return {"mean delay ms": round(float(late.mean()), 1), "largest delay ms": round(float(late.max()), 1)}


def without_ann(network: HybridNetwork) -> HybridNetwork:
    """The same weights without the ANN: a copy whose ANN gives the factor 1."""
    other = beat_network().eval()
    other.load_state_dict(network.state_dict())
    for parameter in other.parts["ann"].get_submodule("fc2").parameters():
        torch.nn.init.zeros_(parameter)
    return other


def main() -> None:
    """Trains, scores and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 steps of training, one seed; writes nothing")
    given = parser.parse_args()
    series = find_series("ecg_100")
    assert series.marks is not None
    ecg = torch.from_numpy(series[0])
    ecg = ecg - ecg.median(0).values
    cut = len(ecg) * 2 // 3
    train, test = series.marks[series.marks < cut], series.marks[series.marks >= cut] - cut
    rows, delays = [], []
    for seed in range(1 if given.quick else SEEDS):
        torch.manual_seed(seed)
        network = beat_network()
        settings = BeatTraining(seed=seed, steps=20) if given.quick else BeatTraining(seed=seed)
        train_beats(network, ecg[:cut], train, settings)
        for name, one in (("hybrid", network), ("without the ANN", without_ann(network))):
            for snr in SNRS:
                noisy = with_noise(ecg[cut:], snr, seed=100 + seed)
                found = beats_of(one, noisy)
                rows.append(row(name, seed, "last third", snr, match_beats(found, test, RATE_HZ)))
                print(rows[-1], flush=True)
                if name == "hybrid":
                    delays.append({"seed": seed, "snr dB": snr, **delays_of(found, test)})
    for seed in range(1 if given.quick else SEEDS):
        for snr in SNRS:
            noisy = with_noise(ecg[cut:], snr, seed=100 + seed)[:, 0].numpy()
            rows.append(
                row("Pan-Tompkins", seed, "last third", snr, match_beats(pan_tompkins(noisy, RATE_HZ), test, RATE_HZ))
            )
            print(rows[-1], flush=True)
    if not given.quick:
        parameters = sum(parameter.numel() for parameter in beat_network().parameters())
        found = {"parameters": parameters, "beats": len(test), "rows": rows, "delays": delays}
        write_text(RESULTS, json.dumps({**found, "environment": describe_environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
