"""The task `forecast`: a network continues a series on its own predictions.

Each network is fitted to the first half of each series, in closed form, and continues it over the second half. The set
`mackey_glass` is the task of NeuroBench: 10 Lyapunov times of each, starts half a Lyapunov time apart (J. Yik et al.,
Nature Communications 16:1545, 2025). Sizes were chosen on its first 30 starts; the next 30 are the set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from spikebridge.analysis.plots.figures import accuracy_bars, accuracy_lines, draw_network, to_svg
from spikebridge.analysis.report import Picture, Section, Table, write_report
from spikebridge.data.signals.mackey_glass import POINTS_PER_LYAPUNOV_TIME, mackey_glass, smape
from spikebridge.data.signals.series import SensorSeries, make_series
from spikebridge.errors import ConfigError, DataError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals.config import Config
from spikebridge.networks.signals.data.sets import load_series
from spikebridge.networks.signals.model.forecast import continued, fit_readout, forecast_network
from spikebridge.training.progress import choose_progress
from spikebridge.training.run.config_io import reproduce_command
from spikebridge.training.run.run import Run

REGIONS: tuple[str, ...] = ()
_NETWORKS = {
    "fixed": "an ANN on delays and spiking neurons, read together through a fixed unit",
    "ann": "the ANN alone",
    "snn": "spiking neurons alone",
}
_FIRST = 30
_STARTS = 30
_HALF = 10 * POINTS_PER_LYAPUNOV_TIME
_SPREAD = 0.25  # standard deviation of the Mackey-Glass series, to which the sizes of random weights belong
_SHORTEST = 100  # samples


class _Half(NamedTuple):
    """A series as the network sees it: `(x - mean) * gain`, the half that is known and the one that follows."""

    known: Float64[np.ndarray, " A"]
    following: Float64[np.ndarray, " B"]
    mean: float
    gain: float

    @property
    def inputs(self) -> Tensor:
        """The known half as the network sees it."""
        return torch.from_numpy((self.known - self.mean) * self.gain)

    def forecast(self, network: HybridNetwork) -> Float64[np.ndarray, " B"]:
        """The second half as a fitted network continues it."""
        found = continued(network, self.inputs, len(self.following)).numpy()
        return found / self.gain + self.mean


def build(config: Config) -> dict[str, HybridNetwork]:
    """The networks with random weights and readouts that are not fitted."""
    return {name: _network(config, name, config.seed) for name in config.networks_of(_NETWORKS)}


def _network(config: Config, name: str, seed: int) -> HybridNetwork:
    sizes = config.forecast
    spiking = {"fixed": sizes.spiking, "ann": 0, "snn": sizes.features}[name]
    return forecast_network(sizes.taps, sizes.features - spiking, spiking, sizes.scale, seed)


def example(config: Config) -> dict[str, Tensor]:
    """A piece of a Mackey-Glass series."""
    return {"x": torch.from_numpy(mackey_glass(60)[0].astype(np.float64) - 0.9).unsqueeze(1)}


def train(config: Config, run: Run, quiet: bool) -> dict[str, Any]:
    """Fits every network to the first half of every series, scores it on the second half, and writes the table."""
    series = _series(config)
    names = config.networks_of(_NETWORKS)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in names}

    with choose_progress(quiet) as progress:
        for index in range(len(series)):
            half = _half(series, index)
            for name in names:
                child = run.child(f"{name}/series-{index:03d}")
                if not child.finished:
                    network = _network(config, name, config.seed + index)
                    fit_readout(network, half.inputs, config.forecast.ridge)
                    child.save_weights(network)
                    child.save_results({**_errors(half.forecast(network), half), "mean": half.mean, "gain": half.gain})

                scores[name].append(child.results())

            errors = {f"sMAPE {name}": rows[-1]["smape"] for name, rows in scores.items()}
            progress.end_epoch(f"series {index + 1}/{len(series)}", errors)

    results = _compared(scores)
    run.save_results(results)

    return results


def _series(config: Config, data: Path | None = None) -> SensorSeries:
    """Series of one channel."""
    if config.dataset in ("mackey_glass", "generated") and (data is None or data.is_dir()):
        series = _mackey_glass_starts()
    else:
        own = "own" if config.dataset in ("mackey_glass", "generated") else config.dataset
        series = load_series(own, config.data if data is None else data)

    if series.num_channels != 1:
        raise DataError(
            f"a forecaster reads one channel, but the series have {series.num_channels}; choose one of them"
        )

    if int((series.stops - series.starts).min()) < _SHORTEST:
        raise DataError(f"a forecast needs series of {_SHORTEST} samples or more, but one is shorter")

    if config.num_series is not None:
        series = series.select(np.arange(min(config.num_series, len(series))))

    return series


def _mackey_glass_starts() -> SensorSeries:
    """The series from each start on; the solver and so the numbers are not those of the published set."""
    points = POINTS_PER_LYAPUNOV_TIME
    x = mackey_glass((_FIRST + _STARTS) * points, tau=17.0, start=0.72066, warm_up=0.0)
    firsts = [round(start * points / 2) for start in range(_FIRST, _FIRST + _STARTS)]
    pieces = [x[0][first : first + 2 * _HALF] for first in firsts]

    return replace(make_series(pieces, x.rate_hz, channel_names=["x"]), name="mackey_glass")


def _half(series: SensorSeries, index: int) -> _Half:
    x = np.asarray(series[index])[:, 0].astype(np.float64)
    known, following = np.split(x, [len(x) // 2])
    spread = float(known.std())
    if not spread > 0:
        raise DataError(f"series {index} does not change in its first half, so there is nothing to forecast from")

    mean = float(torch.from_numpy(known).mean())
    return _Half(known, following, mean, 1.0 if series.name == "mackey_glass" else _SPREAD / spread)


def _errors(found: Float64[np.ndarray, " B"], half: _Half) -> dict[str, Any]:
    error = np.sqrt(np.mean((found - half.following) ** 2)) / half.known.std()
    return {"smape": smape(found, half.following), "nrmse": float(error)}


def _compared(scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    rows = []
    for name, found in scores.items():
        values = [row["smape"] for row in found]
        rows.append(
            {
                "network": name,
                "sMAPE": round(fmean(values), 2),
                "sd": round(stdev(values), 2) if len(values) > 1 else None,
                "NRMSE": round(fmean(row["nrmse"] for row in found), 3),
                "series": len(values),
            }
        )

    number = len(next(iter(scores.values())))
    each = [
        {"series": i} | {name: round(found[i]["smape"], 2) for name, found in scores.items()} for i in range(number)
    ]

    return {"networks": rows, "series": each}


def evaluate(config: Config, run: Run, data: Path | None = None) -> dict[str, Any]:
    """Scores the fitted networks again, or with a file the first one, as it is, on the series of the file.

    A network that is given a file is not fitted to it: the first half of each series only fills its state.
    """
    series = _series(config, data)
    if data is not None and not data.is_dir():
        return _evaluate_file(config, run, series)

    scores: dict[str, list[dict[str, Any]]] = {}
    for path, child in run.children().items():
        name, _, number = path.partition("/series-")
        network = _network(config, name, config.seed)
        child.load_weights(network)
        half = _half(series, int(number))
        scores.setdefault(name, []).append(_errors(half.forecast(network), half))

    return _compared({name: scores[name] for name in config.networks_of(_NETWORKS)})


def _evaluate_file(config: Config, run: Run, series: SensorSeries) -> dict[str, Any]:
    name = config.networks_of(_NETWORKS)[0]
    child = run.first_child(name)
    network = _network(config, name, config.seed)
    child.load_weights(network)
    fitted = child.results()
    halves = [_half(series, i)._replace(mean=fitted["mean"], gain=fitted["gain"]) for i in range(len(series))]
    rows = [_errors(half.forecast(network), half) for half in halves]
    groups = (
        [str(i) for i in range(len(rows))] if series.group is None else [series.group_names[g] for g in series.group]
    )
    per_group = {
        group: fmean(row["smape"] for row, one in zip(rows, groups, strict=True) if one == group)
        for group in dict.fromkeys(groups)
    }

    means = {key: fmean(row[key] for row in rows) for key in ("smape", "nrmse")}
    return {"dataset": config.dataset, "network": name, **means, "per_group": per_group}


def calibration(config: Config, num_samples: int, data: Path | None = None) -> dict[str, Tensor]:
    """Refused: a forecast has no use in integers."""
    raise ConfigError(
        "a forecaster stays in floating point: each prediction is its next input and has to be exact to 1e-4 of the "
        "signal's spread, finer than 8 bits"
    )


def measure(network: HybridNetwork, config: Config, data: Path | None = None) -> dict[str, float]:
    """Nothing, for the same reason."""
    return {}


def report(config: Config, run: Run) -> Path:
    """Writes report.html: the table, errors of every series, the first forecast, the networks."""
    results = run.results()
    half = _half(_series(config), 0)
    networks = build(config)
    lines = {"signal": half.following}

    for name, network in networks.items():
        run.first_child(name).load_weights(network)
        lines[name] = half.forecast(network)

    scores = {name: [row[name] for row in results["series"]] for name in networks}
    time = np.arange(len(half.following))
    sections = [
        Section(
            "Result",
            _MEASURED,
            [Table(results["networks"], "Mean and standard deviation over series.")],
            [Picture(to_svg(accuracy_bars(scores, "sMAPE")), "Every series, mean and spread.")],
        ),
        Section(
            "Forecast", pictures=[Picture(to_svg(accuracy_lines(time, lines, "sample", "x")), "The first series.")]
        ),
        Section("The networks", pictures=[Picture(draw_network(n), _NETWORKS[name]) for name, n in networks.items()]),
    ]

    first = results["networks"][0]
    facts = {
        "dataset": config.dataset,
        "series": first["series"],
        "features": config.forecast.features,
        **run.versions(),
    }

    spread = "" if first["sd"] is None else f" ± {first['sd']:.1f}"
    lead = f"“{first['network']}” forecasts with a mean error (sMAPE) of {first['sMAPE']:.1f}{spread} %."
    command = reproduce_command("signals", config)

    return write_report(run.path / "report.html", "A forecast", sections, facts, command, lead)


_MEASURED = (
    "Each network is fitted to the first half of a series in closed form and continues it over the second half on its "
    "own predictions. sMAPE: symmetric mean absolute percentage error, 0 to 200."
)
