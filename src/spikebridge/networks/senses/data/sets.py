"""The trials of a run: a known set, a user's own, or generated ones."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from spikebridge.data.catalog import find_files, refuse_data_folder
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.senses.data.trials import SensorRecording, Trials, read_trials

_FILES = {"auto": "utd_mhad", "actions": "utd_mhad", "falls": "weda_fall"}
_NAMES = ("rise", "turn", "press", "wave")


def load_trials(dataset: str, data: Path | None) -> Trials:
    """The trials of a data set, or of a file or folder of its form."""
    # a folder may hold the data sets, or be one recording of the user's
    if data is not None and (not data.is_dir() or list(data.glob("*.npz"))):
        trials = read_trials(data)
    elif dataset == "generated":
        refuse_data_folder(data, "generated trials")
        return generated_trials()
    else:
        trials = read_trials(*find_files(_FILES[dataset], data))

    expected = _FILES.get(dataset, trials.name)
    if trials.name not in (expected, "own"):
        raise DataError(f"{data} holds {trials.name!r}, but the run is about {expected!r}; choose a --preset")

    return trials


def folds_of_people(trials: Trials, people: tuple[str, ...], num_folds: int | None) -> list[Int64[np.ndarray, " P"]]:
    """The people that each fold leaves out, as places in the names: those that are named, or neighbours in order."""
    known = np.unique(trials.person)
    if people:
        missing = [one for one in people if one not in trials.people]
        if missing:
            raise ConfigError(f"no person {missing[0]!r} to leave out; there are {', '.join(trials.people)}")
        if len({*people}) == len(known):
            raise ConfigError(f"leaving out all of {', '.join(trials.people)} leaves nobody to train on")
        return [np.array(sorted(trials.person_names.index(one) for one in people))]

    num_folds = len(known) if num_folds is None else num_folds
    if len(known) < 2 or num_folds > len(known):
        allowed = "one person alone allows no folds" if len(known) < 2 else f"expected --num-folds 2 to {len(known)}"
        raise ConfigError(f"{allowed}; record more people, or train on everybody: --folds")

    # of falls every fold needs young people, who fall, and old ones, who come last
    if trials.spans is not None:
        return [known[fold::num_folds] for fold in range(num_folds)]
    return [np.asarray(part) for part in np.array_split(known, num_folds)]


def generated_trials(num_people: int = 4, num_each: int = 6, seed: int = 0) -> Trials:
    """Actions of 2 s of a wrist at 50 Hz and an eye of 8 x 8 pixels at about 10 Hz.

    The wrist tells its motion, the eye the place of a hand: two actions differ for the wrist alone, two for the eye.
    """
    generator = np.random.default_rng(seed)
    wrist, eye, wrist_times, eye_times, label, person = ([] for _ in range(6))
    for who in range(num_people):
        speed, strength = np.exp(generator.normal(0, 0.15, 2))
        for kind in np.repeat(np.arange(4), num_each):
            times = np.arange(100) / 50
            moving = (times > 0.4) & (times < 1.6)
            phase = 2 * np.pi * speed * (1.0 if kind < 2 else 2.5) * times + generator.uniform(0, 0.5)
            motion = strength * moving * np.sin(phase)
            samples = np.stack([motion, 0.3 * motion, 1 + 0 * motion, 2 * motion, 0 * motion, motion], 1)
            wrist.append(samples + generator.normal(0, 0.05, samples.shape))
            wrist_times.append(times)

            at = np.sort(generator.uniform(0, 2, 20))
            row, column = np.mgrid[:8, :8]
            height = 2 + 3 * (kind % 2) + generator.normal(0, 0.3)
            pictures = np.exp(-((row - height) ** 2 + (column - 3 - 2 * np.sin(3 * at)[:, None, None]) ** 2) / 2)
            eye.append(np.where(pictures > 0.1, pictures, 0))
            eye_times.append(at)
            label.append(kind)
            person.append(who)

    return Trials(
        sensors={"wrist": _joined(wrist, wrist_times), "eye": _joined(eye, eye_times)},
        label=np.array(label),
        person=np.array(person),
        label_names=_NAMES,
        person_names=tuple(f"person {who + 1}" for who in range(num_people)),
        teachers={},
        name="generated",
    )


def _joined(samples: list[np.ndarray], times: list[np.ndarray]) -> SensorRecording:
    starts = np.cumsum([0, *map(len, samples)])
    return SensorRecording(np.concatenate(samples), starts, np.concatenate(times), np.ones(1, np.float32))


def chosen_folds(
    parts: list[Int64[np.ndarray, " P"]], chosen: tuple[int, ...] | None
) -> Iterator[tuple[str, Int64[np.ndarray, " P"]]]:
    """The chosen folds by name; one without people left out where none is chosen."""
    if chosen == ():
        yield "", np.zeros(0, np.int64)
        return
    numbers = range(len(parts)) if chosen is None else chosen
    if not {*numbers} <= {*range(len(parts))} or len({*numbers}) < len(numbers):
        raise ConfigError(
            f"expected folds from 0 to {len(parts) - 1}, each once, but got {', '.join(map(str, numbers))}"
        )
    for number in numbers:
        yield f"fold-{number}", parts[number]
