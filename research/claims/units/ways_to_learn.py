"""Claim: a hybrid unit may be designed, learned alone, learned with its neighbours, or with the whole model (Fig. 1e).

    python research/claims/units/ways_to_learn.py           # writes results/ways_to_learn.json
    python research/claims/units/ways_to_learn.py --quick   # one seed, small; printed only

The what/where network of the digits recipe with its two units, five ways, the same number of epochs each:

- designed: mean and identity, and the sigmoid of the features; all parts are trained.
- alone: parts with designed units first; then each unit learns without labels to predict the target's signal from the
  source's; then the read-out is trained on the signals of the units.
- neighbours frozen: parts with designed units first; then the units alone on the labels, through frozen parts.
- together: units and parts at once.
- alternating: parts, units, parts, units, ...

Every pair of trainings of a seed begins with the same weights and differs in the order and noise of the data. After
training, the spiking part of each is exchanged for that of the other: a unit that is fitted less to its neighbours
loses less.
"""

import json
import time
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from research.claims.experiment import Results, digits_accuracy, digits_network, main, result_file, spread
from spikebridge.data.io.atomic import write_text
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.digits import recipe as digits
from spikebridge.training import WHOLE, Phase, Settings, fit

PARTIAL = result_file("ways_to_learn").with_suffix(".partial.json")
WAYS = ("designed", "alone", "neighbours frozen", "together", "alternating")
PARTS = ("what", "where", "answer")
UNITS = ("where_to_answer", "what_to_where")


def network_of(way: str, config: digits.Config, seed: int) -> HybridNetwork:
    """The what/where network, with fixed or learned units."""
    torch.manual_seed(seed)
    return digits_network("fixed" if way == "designed" else "learned", config)


def borders(network: HybridNetwork, batch: dict[str, Tensor], config: digits.Config) -> Tensor:
    """Errors of both units as predictors of their targets' signals, without labels."""
    with torch.no_grad():
        features = network.parts["what"](batch["frames"].flatten(0, 1)).unflatten(0, batch["frames"].shape[:2])
        spikes = network.parts["where"](batch["events"])[0]

    predicted = network.units["where_to_answer"](spikes)[0]
    feature_error = (predicted - features).square().mean() / features.var().clamp(min=1e-6)
    factors = network.units["what_to_where"](features)[0]
    rates = spikes.unflatten(0, (len(features), -1)).mean(1)

    # the target of a threshold is lowest for a neuron at twice the mean rate, and highest for a silent one
    expected = (rates / (2 * rates.mean()).clamp(min=1e-6)).clamp(max=1.0)
    return feature_error + F.binary_cross_entropy(1 - factors / 2, expected)


def phases_of(way: str, config: digits.Config) -> list[Phase]:
    """The phases of a way; each way has the same number of epochs."""
    labels = partial(digits.objective, config=config)

    def phase(name: str, train: tuple[str, ...], epochs: int, objective: Any = labels) -> Phase:
        optimizer = partial(torch.optim.AdamW, lr=config.lr, weight_decay=0.01)
        schedule = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=config.lr, total_steps=epochs + 1)
        return Phase(name, train, objective, epochs, optimizer, schedule, clip=1.0)

    third = config.epochs // 3
    half = config.epochs // 2

    if way == "alone":
        return [
            phase("parts", PARTS, third),
            phase("units alone", UNITS, third, partial(borders, config=config)),
            phase("read-out", ("answer",), config.epochs - 2 * third),
        ]

    if way == "neighbours frozen":
        return [phase("parts", PARTS, half), phase("units", UNITS, config.epochs - half)]

    if way == "alternating":
        share = config.epochs // 6
        return [
            phase(f"{name} {i}", train, share) for i in range(3) for name, train in (("parts", PARTS), ("units", UNITS))
        ]

    return [phase("everything", WHOLE, config.epochs)]


class _Pair(NamedTuple):
    """Accuracies and times of the trainings of a way and seed."""

    own: list[float]
    exchanged: list[float]
    seconds: list[float]


def trained_pair(way: str, seed: int, orders: int, config: digits.Config) -> _Pair:
    """Trains networks of the same initial weights on data in different orders, and exchanges their spiking parts."""
    training, scored = digits.recordings(config)
    data = digits.noisy_batches(config, training)
    networks = []
    seconds = []

    for order in range(orders):
        network = network_of(way, config, seed)
        start = time.process_time()
        settings = Settings(seed=10 * seed + order, batch_size=config.batch_size, accelerator="cpu", quiet=True)
        fit(network, phases_of(way, config), data, settings=settings)
        seconds.append(time.process_time() - start)
        networks.append(network)

    def scores() -> list[float]:
        return [digits_accuracy(network, config, scored) for network in networks]

    own = scores()
    first = networks[0]
    last = networks[-1]
    first.parts["where"], last.parts["where"] = last.parts["where"], first.parts["where"]

    return _Pair(own, scores(), seconds)


def run(quick: bool) -> Results:
    """Accuracy, time, and accuracy after an exchange; a stopped run resumes."""
    seeds, orders = (1, 1) if quick else (5, 2)
    config = digits.Config(epochs=18, hidden=16, batch_size=64)
    if quick:
        config = digits.Config(epochs=6, hidden=8, num_train=96, batch_size=48)

    finished = {} if quick or not PARTIAL.exists() else json.loads(PARTIAL.read_text(encoding="utf-8"))
    rows = []

    for way in WAYS:
        pairs = []
        for seed in range(seeds):
            key = f"{way}, {seed}"
            if key not in finished:
                finished[key] = trained_pair(way, seed, orders, config)
                print(key, finished[key], flush=True)
                if not quick:
                    write_text(PARTIAL, json.dumps(finished))

            pairs.append(_Pair(*finished[key]))

        own = [value for pair in pairs for value in pair.own]
        exchanged = [value for pair in pairs for value in pair.exchanged]
        rows.append(
            {
                "way": way,
                "accuracy": spread(own),
                "exchanged": spread(exchanged),
                "lost": spread([before - after for before, after in zip(own, exchanged, strict=True)]),
                "cpu_s": spread([value for pair in pairs for value in pair.seconds], 1),
            }
        )

    if not quick:
        PARTIAL.unlink(missing_ok=True)

    return {
        "rows": rows,
        "seeds": seeds,
        "trainings_a_seed": orders,
        "epochs": config.epochs,
        "hidden": config.hidden,
        "cpu_s_of_all_trainings": round(sum(row["cpu_s"]["mean"] for row in rows) * seeds * orders),
    }


if __name__ == "__main__":
    main("ways_to_learn", __doc__, run)
