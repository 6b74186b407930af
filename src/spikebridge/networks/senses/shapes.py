"""The sizes of a run's networks, from its settings and its data, and trials on their clocks."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.networks.senses.config import Config, SenseSetting, parse_sense
from spikebridge.networks.senses.data.sampling import Sampled, input_shape, on_clock, sample_trials
from spikebridge.networks.senses.data.sets import load_trials
from spikebridge.networks.senses.data.trials import Trials
from spikebridge.networks.senses.model.network import SenseShape, SensesShape

# so that a network is built without its data
_FORMS: dict[str, tuple[dict[str, tuple[int, ...]], int]] = {
    "actions": ({"inertia": (6,), "depth": (32, 24)}, 27),
    "generated": ({"wrist": (6,), "eye": (8, 8)}, 4),
}
_FAST_HZ = 25.0  # from here a sensor is listened to by an SNN, unless the user says otherwise
_LOOK_HZ = 10.0


def shape_of(config: Config, trials: Trials | None = None, facts: Mapping[str, Any] | None = None) -> SensesShape:
    """The sizes of the networks: of a known set, of trials, or of the record of a run."""
    rates: Mapping[str, float] = {}
    if facts is not None:
        rates = facts.get("rates_hz", {})
        shapes = {name: tuple(shape) for name, shape in facts["shapes"].items()}
        num_classes = len(facts["classes"])
    elif trials is None and (form := _known_form(config)) is not None:
        shapes, num_classes = form
    else:
        trials = load_trials(config.dataset, config.data) if trials is None else trials
        shapes = {name: one.shape for name, one in trials.sensors.items()}
        rates = {name: one.rate_hz for name, one in trials.sensors.items()}
        num_classes = len(trials.label_names)

    settings = [parse_sense(text) for text in config.senses] or _senses_of(shapes, rates)
    for sense in settings:
        if sense.name not in shapes:
            raise ConfigError(f"the data has no sensor {sense.name!r}; {did_you_mean(sense.name, shapes)}")

    dt = 1 / max(sense.rate_hz for sense in settings)
    slowest = max(_period(sense, dt) for sense in settings)
    senses = [SenseShape(one.name, one.part, _period(one, dt), input_shape(shapes[one.name])) for one in settings]
    for one in senses:
        if slowest % one.period:
            raise ConfigError(
                f"the rates of the senses need to divide one another, but {one.name} ticks every {one.period} and "
                f"another every {slowest} steps; choose their HZ in --senses NAME=PART@HZ"
            )
        if one.is_picture and (one.part == "snn" or len(shapes[one.name]) != 2):
            shown = tuple(shapes[one.name])
            raise ConfigError(f"{one.name} has values of shape {shown}: a picture is (H, W), and an ANN reads it")

    # what listens comes first, what looks last
    senses.sort(key=lambda one: (one.is_picture, one.period))
    return SensesShape(
        dt=dt,
        senses=tuple(senses),
        num_classes=num_classes,
        hidden=config.hidden,
        features=config.features,
        quantum=config.quantum,
        gate=config.look.gate,
        threshold=config.look.threshold,
        min_wait=max(1, round(config.look.every_s / (slowest * dt))),
    )


def _period(sense: SenseSetting, dt: float) -> int:
    period = 1 / (sense.rate_hz * dt)
    if not math.isclose(period, round(period), rel_tol=1e-6):
        raise ConfigError(
            f"{sense.name} at {sense.rate_hz:g} Hz does not fit steps of {1000 * dt:g} ms; choose a rate that "
            "divides the fastest"
        )
    return round(period)


def _known_form(config: Config) -> tuple[dict[str, tuple[int, ...]], int] | None:
    if config.data is not None:
        return None
    return _FORMS["actions" if config.dataset == "auto" else config.dataset]


def _senses_of(shapes: Mapping[str, tuple[int, ...]], rates: Mapping[str, float]) -> list[SenseSetting]:
    """Parts by the shapes and rates of the sensors: pictures and slow values for an ANN, the others for an SNN."""
    settings = []
    for name, shape in shapes.items():
        rate = rates.get(name, 50.0)
        is_fast = len(shape) == 1 and rate >= _FAST_HZ
        settings.append(SenseSetting(name, "snn" if is_fast else "ann", round(rate) if is_fast else _LOOK_HZ))

    fastest = max(sense.rate_hz for sense in settings)
    return [
        one if one.part == "snn" else one._replace(rate_hz=fastest / max(1, round(fastest / one.rate_hz)))
        for one in settings
    ]


def sampled(trials: Trials, shape: SensesShape) -> tuple[Sampled, dict[str, Tensor]]:
    """Trials on the clocks of a network, and what teachers know at the ticks of the sensors that they teach."""
    periods = {sense.name: sense.period for sense in shape.senses}
    for sense in shape.senses:
        if sense.name not in trials.sensors:
            raise ConfigError(f"the data has no sensor {sense.name!r}; {did_you_mean(sense.name, trials.sensors)}")
        got = input_shape(trials.sensors[sense.name].shape)
        if got != sense.shape:
            raise ConfigError(f"{sense.name} has values of shape {got}, but the network reads {sense.shape}")

    data = sample_trials(trials, periods, shape.dt)
    teachers = {
        name: on_clock(teacher, len(data.signals[name]), periods[name], shape.dt)
        for name, teacher in trials.teachers.items()
        if name in periods
    }
    return data, teachers
