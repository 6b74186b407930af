"""Claim: a hybrid unit may be learned in several ways (Fig. 1e), on tracking between frames.

    python research/claims/units/ways_in_sensing.py           # writes results/ways_in_sensing.json
    python research/claims/units/ways_in_sensing.py --quick   # one seed, one scene; printed only

The sensing network with its unit from the SNN to the ANN, trained on generated scenes with frames at 40 Hz, five ways,
the same number of epochs each:

- designed: a plain sum of spikes; everything else is trained on boxes.
- alone: everything but the unit first; then the unit learns without boxes to predict the change of the ANN's features
  from the SNN's spikes; then the head and the prior are trained on the signals of the unit.
- neighbours frozen: everything but the unit first, then the unit alone on boxes.
- together: everything at once.
- alternating: everything but the unit, the unit, three times.

Two trainings of a seed begin with the same weights and get the data in another order; then their SNNs are exchanged.
The score is the distance from the truth at each bin on other scenes, at 40 Hz and with every fourth frame alone, with
the true boxes of the last two frames.
"""

from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from research.claims.experiment import Results, main, run_plan, spread
from research.sensing.variants.label_free import change_objective
from spikebridge.networks.sensing.data import DT, recording_parts
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.training.phases import PathwayTraining, pathway_phase
from spikebridge.networks.sensing.training.samples import AXES, TrackingSamples, cut_samples
from spikebridge.ops.modes import evaluating
from spikebridge.training import Phase, Settings, fit
from spikebridge.training.batches import Batches

NAME = "ways_in_sensing"
WAYS = ("designed", "alone", "neighbours frozen", "together", "alternating")
PARTS = ("what", "where", "head", "prior", "back", "trust")
READ_OUT = ("head", "prior", "back", "trust")
BATCH_SIZE = 48
RATES = {40: (1, 64), 10: (4, 96)}
"""Frame step and side of a crop [px] by frames a second."""


def samples_of(split: str, scenes: int, rate: int) -> TrackingSamples:
    """Crops of generated scenes, in training forward and backward in time."""
    frame_step, crop = RATES[rate]
    parts = [
        cut_samples(recording, frames, crop, both_ways=split == "train")
        for recording, frames in recording_parts("generated", split, scenes, frame_step=frame_step)
    ]

    return TrackingSamples(**{name: torch.cat([getattr(part, name) for part in parts], AXES[name]) for name in AXES})


def network_of(way: str, seed: int) -> Sensing:
    """An untrained network."""
    torch.manual_seed(seed)
    return Sensing(DT, SensingOptions(unit="fixed" if way == "designed" else "learned", detector=False))


def phases_of(way: str, network: Sensing, epochs: int) -> list[Phase]:
    """The phases of a way; each way has the same number of epochs."""
    whole = pathway_phase(network, "everything", PathwayTraining(epochs=epochs))

    def phase(name: str, train: tuple[str, ...], length: int, objective: Any = whole.objective) -> Phase:
        schedule = partial(CosineAnnealingLR, T_max=length)
        return replace(whole, name=name, train=train, objective=objective, epochs=length, scheduler=schedule)

    third = epochs // 3
    half = epochs // 2
    sixth = epochs // 6

    if way == "alone":
        return [
            phase("parts", PARTS, third),
            phase("unit alone", ("unit",), third, change_objective),
            phase("read-out", READ_OUT, epochs - 2 * third),
        ]

    if way == "neighbours frozen":
        return [phase("parts", PARTS, half), phase("unit", ("unit",), epochs - half)]

    if way == "alternating":
        turns = (("parts", PARTS), ("unit", ("unit",)))
        return [phase(f"{name} {i}", train, sixth) for i in range(3) for name, train in turns]

    return [whole]


def distance(network: Sensing, scored: TrackingSamples) -> float:
    """Mean distance from the truth [px]."""
    distances = []
    with evaluating(network), torch.no_grad():
        for rows in torch.arange(len(scored.boxes)).split(BATCH_SIZE):
            batch = TrackingSamples(**{name: getattr(scored, name).index_select(AXES[name], rows) for name in AXES})
            start = network.begin(batch.frames, batch.boxes, batch.before, batch.motion)
            places, _ = network.track(batch.frames, batch.events, batch.boxes, start)
            distances.append((places - batch.truths).norm(dim=-1).flatten())

    return float(torch.cat(distances).mean())


# distances of both networks, by rate
Pair = dict[str, list[float]]


def trained_pair(
    way: str, seed: int, data: Batches, scored: dict[int, TrackingSamples], epochs: int
) -> dict[str, Pair]:
    """Trains two networks of the same weights on data in different orders, and exchanges their SNNs."""
    networks = []
    for order in range(2):
        network = network_of(way, seed)
        settings = Settings(seed=10 * seed + order, batch_size=16, accelerator="cpu", quiet=True)
        fit(network, phases_of(way, network, epochs), data, settings=settings)
        networks.append(network)

    def scores() -> Pair:
        return {str(rate): [distance(network, samples) for network in networks] for rate, samples in scored.items()}

    own = scores()
    first, last = (network.parts for network in networks)
    first["where"], last["where"] = last["where"], first["where"]

    return {"own": own, "exchanged": scores()}


def baselines(scored: TrackingSamples) -> dict[str, float]:
    """Distances of a resting target, and of one that moves on as between the last two frames [px]."""
    age = torch.arange(1, len(scored.truths) + 1)[:, None, None] / len(scored.truths)
    errors = {"standing still": scored.truths, "constant velocity": age * scored.motion - scored.truths}
    return {name: round(float(error.norm(dim=-1).mean()), 3) for name, error in errors.items()}


def row_of(way: str, rate: int, steps: list[Results]) -> Results:
    """A way at a rate, over seeds and both orders."""
    own = [value for step in steps for value in step["result"]["own"][str(rate)]]
    other = [value for step in steps for value in step["result"]["exchanged"][str(rate)]]
    return {
        "way": way,
        "rate_hz": rate,
        "seeds": len(steps),
        "distance_px": spread(own, 3),
        "exchanged_px": spread(other, 3),
        "lost_px": spread([after - before for before, after in zip(own, other, strict=True)], 3),
        "cpu_s": round(fmean(step["cpu_s"] for step in steps) / 2, 1),
    }


def run(quick: bool) -> Results:
    """Scores of all ways, seed after seed, saved after each pair; a stopped run resumes."""
    ways: tuple[str, ...] = WAYS
    seeds = 3
    scenes = 8
    tested = {40: 8, 10: 24}
    epochs = 6

    if quick:
        seeds = 1
        ways = ("alone",)
        scenes = 1
        tested = {10: 1}
        epochs = 3

    samples = samples_of("train", scenes, 40)
    scored = {rate: samples_of("test", number, rate) for rate, number in tested.items()}
    data = Batches(samples._asdict(), batch=AXES)

    results: Results = {
        "baselines_px": {str(rate): baselines(test) for rate, test in scored.items()},
        "samples": {
            "trained": len(samples.boxes),
            **{f"scored at {rate} Hz": len(test.boxes) for rate, test in scored.items()},
        },
        "epochs": epochs,
    }

    plan = (
        (way, seed, partial(trained_pair, way, seed, data, scored, epochs)) for seed in range(seeds) for way in ways
    )

    def rows(finished: dict[str, list[Results]]) -> list[Results]:
        return [row_of(name, rate, steps) for name, steps in finished.items() for rate in scored]

    return run_plan(NAME, plan, results, rows, quick)


if __name__ == "__main__":
    main(NAME, __doc__, run)
