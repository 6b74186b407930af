"""The task `detect`: beats of a heart, as spikes at most 150 ms after them, trained on the start of one recording.

The first two thirds of the recording are trained on, the last third is scored, as it is and with added white noise.
The hybrid is compared with the same weights with a fixed threshold, and with the detector of Pan and Tompkins.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, NamedTuple, TypedDict

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor, nn

from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.energy import energy, hardware_profile
from spikebridge.analysis.learning_curves import learning_curves
from spikebridge.analysis.plots.figures import draw_network, to_svg
from spikebridge.analysis.plots.series import marked_signal
from spikebridge.analysis.report import Picture, Section, Table, write_report
from spikebridge.analysis.summary import num_parameters
from spikebridge.data.signals.series import SensorSeries
from spikebridge.deploy.web.inputs import FrontEnd, WebInputs
from spikebridge.errors import ConfigError, DataError, is_number
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals.config import Config
from spikebridge.networks.signals.data.beats import BeatCounts, generated_heart, match_beats, with_noise
from spikebridge.networks.signals.data.sets import load_series
from spikebridge.networks.signals.model.beats import LATENCY, RATE_HZ, NoiseFrontEnd, beat_network, beats_of
from spikebridge.networks.signals.model.pan_tompkins import pan_tompkins
from spikebridge.networks.signals.training.beats import retrain_beats, train_beats
from spikebridge.training.run.config_io import reproduce_command
from spikebridge.training.run.run import Run, train_children

REGIONS: tuple[str, ...] = ("mix", "units.mix_to_snn", "snn")
_NETWORKS = {"learned": "an SNN whose threshold an ANN sets"}
_SNRS = (None, 12.0, 6.0, 0.0)  # [dB]
_RETRAINING_STEPS = 20  # of an epoch
_MAX_DISTANCE = 18  # samples between a beat and its detection: 50 ms
_COUNTED_SAMPLES = 10 * RATE_HZ  # whose operations are counted
_SHOWN_SAMPLES = 8 * RATE_HZ  # of the picture
_MEASURED = (
    "A detection is right within 50 ms of a beat, each beat once. Trained on the first two thirds of the recording, "
    "scored on the last. Noise is white; its ratio is that of the variances of signal and noise. Pan-Tompkins reads "
    "the first channel and searches back, so it is not held to a latency."
)


class _Detection(TypedDict):
    detector: str
    snr_db: float | None
    errors: int
    sensitivity: float
    precision: float


class _Score(TypedDict):
    energy_uj_per_second: float
    detections: Annotated[list[_Detection], "rows"]


class _Results(TypedDict):
    detectors: Annotated[list[dict[str, Any]], "detectors"]
    beats: int


class _Recording(NamedTuple):
    """An ECG less its median [mV], and the samples of its beats."""

    ecg: Float[Tensor, "T C"]
    beats: Int64[np.ndarray, " M"]

    def part(self, start: int, stop: int) -> "_Recording":
        """The recording from one sample to another."""
        inside = self.beats[(self.beats >= start) & (self.beats < stop)]
        return _Recording(self.ecg[start:stop], inside - start)

    def thirds(self) -> "tuple[_Recording, _Recording]":
        """The training part, two thirds, and the scored part, the last one."""
        cut = len(self.ecg) * 2 // 3
        return self.part(0, cut), self.part(cut, len(self.ecg))


def build(config: Config) -> dict[str, HybridNetwork]:
    """The detector, untrained."""
    config.networks_of(_NETWORKS)
    return {"learned": beat_network(_num_channels(config), chip=config.network.chip)}


def _num_channels(config: Config) -> int:
    return _series(config).num_channels if config.dataset == "own" else 2


def example(config: Config) -> dict[str, Tensor]:
    """Six seconds of a generated heart."""
    heart = torch.from_numpy(generated_heart(6.0)[0]).unsqueeze(1)
    num_channels = _num_channels(config)
    # a generated heart has two channels
    return {"ecg": heart if num_channels == 2 else heart[..., :1].expand(-1, -1, num_channels).contiguous()}


def train(config: Config, run: Run, quiet: bool) -> dict[str, Any]:
    """Trains a detector with every seed, scores it, and writes the table."""
    config.networks_of(_NETWORKS)
    first, last = _one_recording(config).thirds()

    def train_network(name: str, seed: int, child: Run) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = beat_network(first.ecg.shape[1], chip=config.network.chip)

        train_beats(network, first.ecg, first.beats, config.training.detector_steps, seed, child, quiet)
        child.save_weights(network)
        child.save_results(_scores(network, last, seed))

    seeds = range(config.seed, config.seed + config.num_seeds)
    results = _compared(train_children(run, _NETWORKS, seeds, train_network, _Score)["learned"])
    run.save_results(results)

    return results


def _series(config: Config, data: Path | None = None) -> SensorSeries:
    if config.dataset == "generated" and data is None:
        return generated_heart()

    dataset = "own" if config.dataset == "generated" else config.dataset
    series = load_series(dataset, config.data if data is None else data)
    if series.marks is None:
        raise DataError("the series have no marked beats; add an array `beat_at`, the samples of the beats")

    if series.rate_hz != RATE_HZ:
        raise DataError(
            f"the detector reads {RATE_HZ} Hz, but the series have {series.rate_hz:g}; nothing is resampled"
        )

    return series


def _one_recording(config: Config, data: Path | None = None) -> _Recording:
    series = _series(config, data)
    if len(series) != 1:
        raise DataError(f"a detector is trained on one recording, but there are {len(series)} series")

    recording = _recordings(series)[0]
    if any(len(part.beats) == 0 for part in recording.thirds()):
        raise DataError("the first two thirds and the last third of the recording need a marked beat each")

    return recording


def _recordings(series: SensorSeries) -> list[_Recording]:
    recordings = []
    marks = np.zeros(0, np.int64) if series.marks is None else series.marks
    for index, (start, stop) in enumerate(zip(series.starts.tolist(), series.stops.tolist(), strict=True)):
        ecg = torch.from_numpy(np.asarray(series[index]))
        beats = marks[(marks >= start) & (marks < stop)] - start
        recordings.append(_Recording(ecg - ecg.median(0).values, beats))

    return recordings


def _scores(network: HybridNetwork, recording: _Recording, seed: int) -> dict[str, Any]:
    plain = _without_ann(network)
    rows: list[dict[str, Any]] = []

    for snr in _SNRS:
        noisy = with_noise(recording.ecg, snr, seed=100 + seed)
        detections = {
            "learned": beats_of(network, noisy),
            "learned, fixed threshold": beats_of(plain, noisy),
            "Pan-Tompkins": pan_tompkins(noisy[:, 0].numpy(), RATE_HZ),
        }
        for detector, places in detections.items():
            counts = match_beats(places, recording.beats, RATE_HZ)
            rows.append({"detector": detector, "snr_db": snr, **_row(counts)})
            # Pan-Tompkins searches back, so it has no latency
            if detector != "Pan-Tompkins":
                rows[-1]["latest_ms"] = _latest_ms(places, recording.beats)

    stretch = recording.ecg[:_COUNTED_SAMPLES].unsqueeze(1)
    joules = energy(count_cost(network, {"ecg": stretch}), hardware_profile("45nm")).total

    return {
        "beats": len(recording.beats),
        "parameters": num_parameters(network),
        "energy_uj_per_second": 1e6 * joules * RATE_HZ / len(stretch),
        "detections": rows,
    }


def _without_ann(network: HybridNetwork) -> HybridNetwork:
    """A copy whose ANN always gives the factor 1."""
    plain = copy.deepcopy(network).eval()
    for parameter in plain.parts["ann"].get_submodule("fc2").parameters():
        nn.init.zeros_(parameter)

    return plain


def _row(counts: BeatCounts) -> dict[str, Any]:
    return {
        "errors": counts.errors,
        "missed": counts.missed,
        "false": counts.false,
        "sensitivity": round(counts.sensitivity, 2),
        "precision": round(counts.precision, 2),
    }


def _latest_ms(detections: Int64[np.ndarray, " M"], beats: Int64[np.ndarray, " K"]) -> float | None:
    if len(detections) == 0:
        return None

    distance = np.array([detections[np.abs(detections - beat).argmin()] - beat for beat in beats])
    matched = distance[np.abs(distance) <= _MAX_DISTANCE]

    # a detection is dated back by the latency of its spike
    return round(1000 * float(matched.max() + LATENCY) / RATE_HZ, 1) if len(matched) else None


def _compared(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = []
    for index, first in enumerate(scores[0]["detections"]):
        by_seed = [score["detections"][index] for score in scores]
        latest = [row["latest_ms"] for row in by_seed if is_number(row.get("latest_ms"))]
        rows.append(
            {
                "detector": first["detector"],
                "noise": "none" if first["snr_db"] is None else f"{first['snr_db']:g} dB",
                "errors": ", ".join(str(row["errors"]) for row in by_seed),
                "sensitivity %": round(fmean(row["sensitivity"] for row in by_seed), 2),
                "precision %": round(fmean(row["precision"] for row in by_seed), 2),
                "latest ms": max(latest, default=None),
            }
        )

    return {
        "detectors": rows,
        "beats": scores[0].get("beats"),
        "parameters": scores[0].get("parameters"),
        "uJ/s": round(fmean(score["energy_uj_per_second"] for score in scores), 3),
    }


def evaluate(config: Config, run: Run, data: Path | None = None) -> dict[str, Any]:
    """Scores the detectors on the last third again, or with a file the first one on the marked beats of the file."""
    if data is not None and not data.is_dir():
        return _evaluate_file(config, run, _series(config, data))

    last = _one_recording(config, data).thirds()[1]
    scores = []
    for path, child in run.children().items():
        network = beat_network(last.ecg.shape[1], chip=config.network.chip)
        child.load_weights(network)
        scores.append(_scores(network.eval(), last, int(path.rpartition("-")[2])))

    return _compared(scores)


def _evaluate_file(config: Config, run: Run, series: SensorSeries) -> dict[str, Any]:
    child = run.first_child("learned")
    network = beat_network(series.num_channels, chip=config.network.chip)
    try:
        child.load_weights(network)
    except ConfigError:
        raise DataError(f"the detector reads another number of channels than the {series.num_channels} here") from None

    recordings = _recordings(series)
    # the detector is trained on the first two thirds of this recording
    if series.name == "ecg_100":
        recordings = [recording.thirds()[1] for recording in recordings]

    groups = ["all"] * len(series) if series.group is None else [series.group_names[g] for g in series.group]
    by_group: dict[str, list[BeatCounts]] = {}
    for group, recording in zip(groups, recordings, strict=True):
        counts = match_beats(beats_of(network, recording.ecg), recording.beats, RATE_HZ)
        by_group.setdefault(group, []).append(counts)

    total = _total([counts for group in by_group.values() for counts in group])
    return {
        "dataset": config.dataset,
        "network": "learned",
        "beats": total.hits + total.missed,
        **_row(total),
        "accuracy": total.accuracy,
        "per_group": {name: _total(counts).accuracy for name, counts in by_group.items()},
    }


def _total(counts: Sequence[BeatCounts]) -> BeatCounts:
    return BeatCounts(*np.sum(counts, 0).tolist())


def calibration(config: Config, num_samples: int, data: Path | None = None) -> dict[str, Tensor]:
    """Pieces of six seconds from the training part."""
    first = _one_recording(config, data).thirds()[0].ecg
    length = min(6 * RATE_HZ, len(first))
    starts = np.linspace(0, len(first) - length, num_samples).astype(int)
    return {"ecg": torch.stack([first[start : start + length] for start in starts.tolist()], 1)}


def measure(network: HybridNetwork, config: Config, data: Path | None = None) -> dict[str, float]:
    """Sensitivity and precision on the last third."""
    last = _one_recording(config, data).thirds()[1]
    counts = match_beats(beats_of(network, last.ecg), last.beats, RATE_HZ)
    return {"sensitivity": counts.sensitivity / 100, "precision": counts.precision / 100}


def retrain(network: HybridNetwork, config: Config, epochs: int, data: Path | None = None) -> None:
    """Trains a detector further on the training part, with few steps at a lower rate."""
    first = _one_recording(config, data).thirds()[0]
    retrain_beats(network, first.ecg, first.beats, epochs * _RETRAINING_STEPS, config.seed)


def web(config: Mapping[str, Any], results: Mapping[str, Any]) -> WebInputs:
    """The inputs of a page: the numbers of a signal."""
    return WebInputs(
        kind="motion",
        rate_hz=RATE_HZ,
        title="Beats of a heart: an SNN whose threshold an ANN sets",
        about="An ECG in millivolts less its median, 360 samples a second. The SNN spikes 100 ms after a beat.",
    )


def trained_web(inputs: WebInputs, numbers: Mapping[str, NDArray[Any]]) -> WebInputs:
    """The same with the parts in floating point as a front end, so that a page takes the samples of a file."""
    noise = NoiseFrontEnd(numbers)
    front_end = FrontEnd(noise.arrays, {"samples": (1, noise.num_channels)}, noise.start)
    return replace(inputs, front_end=front_end, channels=[f"lead {n}" for n in range(1, noise.num_channels + 1)])


def report(config: Config, run: Run) -> Path:
    """Writes report.html: the table, a stretch of the signal with beats and detections, the network."""
    results = run.results(_Results)
    network = build(config)["learned"]
    run.first_child("learned").load_weights(network)
    last = _one_recording(config).thirds()[1].part(0, _SHOWN_SAMPLES)
    marks = {"beats": last.beats, "detected": beats_of(network, last.ecg)}
    signal = marked_signal(last.ecg[:, 0], RATE_HZ, marks, "mV")
    steps = {
        path: [row for row in child.metrics.rows() if row.get("kind") == "step"]
        for path, child in run.children().items()
    }

    sections = [
        Section("Result", _MEASURED, [Table(results["detectors"], "Errors of each seed; means over seeds.")]),
        Section("Signal", pictures=[Picture(to_svg(signal), "Last third.")]),
        learning_curves(steps),
        Section("The network", pictures=[Picture(draw_network(network), _NETWORKS["learned"])]),
    ]

    facts = {"dataset": config.dataset, "seeds": len(run.children()), "beats": results["beats"], **run.versions()}
    errors = results["detectors"][0].get("errors")
    lead = f"Errors among {results['beats']} beats of the last third: {errors} (one number a seed)."
    command = reproduce_command("signals", config)

    return write_report(run.file("report.html"), "Beats of a heart", sections, facts, command, lead)
