"""Claim: parts may be far from each other: the accuracy with latency of the links.

    python research/claims/networks/link_latency.py           # writes results/link_latency.json
    python research/claims/networks/link_latency.py --quick   # one seed, small; printed only

The what/where network of the digits recipe, both of its links delayed by some ticks of 25 ms (a recording has 12):
trained without the delay and tested with it, and trained with it.
"""

from dataclasses import fields

import torch

from research.claims.experiment import Results, digits_accuracy, digits_network, main, spread
from spikebridge.hybrid import HybridNetwork, Transmission, every, ticks
from spikebridge.hybrid.network.link import Link
from spikebridge.networks.digits import recipe as digits
from spikebridge.training import WHOLE, Phase, Settings, fit

DELAYS = (0, 1, 3, 6)


def delayed(network: HybridNetwork, delay: int) -> HybridNetwork:
    """The same parts and units with links that are delayed by some ticks."""
    links = list[Link]()
    dt = network.dt

    for route in network.routes:
        between = route.link.source in network.parts and route.link.unit is not None
        settings = {one.name: getattr(route.link, one.name) for one in fields(route.link)}
        settings |= {"unit": network.unit_of(route), "delay": ticks(delay)} if between else {}
        if between and isinstance(route.link, Transmission):
            # it comes at any tick, and is read when the window has closed
            settings["held"] = True

        links.append(type(route.link)(**settings))

    inputs = {name: every(clock.period * dt, clock.phase * dt) for name, clock in network.inputs.items()}
    answer = network.clock_of("answer")
    clocks = {"answer": every(answer.period * dt, answer.phase * dt)}

    return HybridNetwork(
        dt=dt, inputs=inputs, parts=dict(network.parts), links=links, outputs=network.outputs, clocks=clocks
    )


def latency(delays: tuple[int, ...], seeds: int, config: digits.Config) -> list[dict[str, object]]:
    """Accuracy against the latency of both links, trained without and with it."""
    training, scored = digits.recordings(config)
    data = digits.noisy_batches(config, training)
    camera = config.camera

    def trained(seed: int, delay: int) -> HybridNetwork:
        torch.manual_seed(seed)
        network = delayed(digits_network("learned", config), delay)
        phase = Phase(
            "digits",
            WHOLE,
            lambda module, batch: digits.objective(module, batch, config=config),
            config.epochs,
            lambda parameters: torch.optim.AdamW(parameters, lr=config.lr, weight_decay=0.01),
            lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, config.epochs + 1),
            clip=1.0,
        )

        settings = Settings(seed=seed, batch_size=config.batch_size, accelerator="cpu", quiet=True)
        fit(network, [phase], data, settings=settings)
        return network

    accuracies: dict[int, dict[str, list[float]]] = {delay: {"without": [], "with": []} for delay in delays}
    for seed in range(seeds):
        plain = trained(seed, 0)
        for delay in delays:
            own = plain if delay == 0 else trained(seed, delay)
            for name, network in (("without", delayed(plain, delay)), ("with", own)):
                accuracies[delay][name].append(digits_accuracy(network, config, scored))

            print(seed, delay, {name: values[-1] for name, values in accuracies[delay].items()}, flush=True)

    return [
        {"delay_ms": 1e3 * delay * camera.dt, **{name: spread(values) for name, values in by_training.items()}}
        for delay, by_training in accuracies.items()
    ]


def run(quick: bool) -> Results:
    """Accuracy of all trainings."""
    if quick:
        return {"latency": latency((0, 3), 1, digits.Config(epochs=1, hidden=8, num_train=64, batch_size=32))}

    config = digits.Config(epochs=15, hidden=16, batch_size=64)
    return {"latency": latency(DELAYS, 3, config), "seeds": 3, "epochs": config.epochs, "hidden": config.hidden}


if __name__ == "__main__":
    main("link_latency", __doc__, run)
