"""Claim: a learned unit finds a relation that is not designed (the paper's example: Kepler's laws).

    python research/claims/units/orbits.py           # writes results/orbits.json
    python research/claims/units/orbits.py --quick   # one seed, few samples; printed only

A dot circles the centre of a sensor of 24 x 24 pixels at a radius r, with the period r^1.5, and an event camera records
it for a tenth of the innermost period, too short for a whole orbit. One event in five is lost, and noise adds some. A
unit maps the window of events to the logarithm of the period. Three bands of radii between others and one beyond all of
them are left out of the training. Designed twins read the median distance of the events from the centre: one takes the
period as proportional to it, the other as a straight line of it. The exponent is the slope of log period over log
radius, on the bands between.
"""

import math

import torch
from torch import Tensor, nn

from research.claims.experiment import Results, main, spread
from spikebridge.hybrid import HybridUnit, Sum, Tumbling

SIZE = 24
STEPS = 12
LOW = 0.25
HIGH = 1.0
HELD_OUT = ((0.33, 0.38), (0.55, 0.61), (0.8, 0.86), (0.94, 1.0))


def radii(number: int, held_out: bool, generator: torch.Generator) -> Tensor:
    """Radii inside or outside of the bands that are held out."""
    chosen: list[Tensor] = []
    while sum(map(len, chosen)) < number:
        r = LOW + (HIGH - LOW) * torch.rand(4 * number, generator=generator)
        inside = torch.stack([(r >= low) & (r < high) for low, high in HELD_OUT]).any(0)
        chosen.append(r[inside if held_out else ~inside])

    return torch.cat(chosen)[:number]


def events(r: Tensor, generator: torch.Generator) -> Tensor:
    """Events of a dot at each radius, `(STEPS, B, SIZE * SIZE)`."""
    period = r**1.5
    duration = 0.1 * LOW**1.5
    time = torch.linspace(0, duration, STEPS)[:, None]
    angle = 2 * math.pi * (torch.rand(r.shape, generator=generator) + time / period)
    x, y = (SIZE / 2 + (SIZE / 2 - 1) * r * part for part in (angle.cos(), angle.sin()))
    pixel = y.floor().long().clamp(0, SIZE - 1) * SIZE + x.floor().long().clamp(0, SIZE - 1)
    x = (torch.rand(STEPS, len(r), SIZE * SIZE, generator=generator) < 1e-4).float()
    is_kept = (torch.rand(pixel.shape, generator=generator) >= 0.2).float()

    return x.scatter_(2, pixel.unsqueeze(-1), is_kept.unsqueeze(-1))


def unit_of(seed: int) -> HybridUnit:
    """A sum over the window, then a small network."""
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Linear(SIZE * SIZE, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    return HybridUnit(Tumbling(STEPS), Sum(), layers)


def distance(x: Tensor) -> Tensor:
    """Median distance of the events from the centre, as a share of half the sensor, `(B,)`."""
    y, z = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    places = torch.hypot(y + 0.5 - SIZE / 2, z + 0.5 - SIZE / 2).flatten() / (SIZE / 2 - 1)
    has_event = x.sum(0) > 0
    return torch.nanmedian(torch.where(has_event, places, math.nan), -1).values.nan_to_num(0.5)


def exponent(r: Tensor, log_period: Tensor) -> float:
    """Slope of the logarithms."""
    x = r.log() - r.log().mean()
    return float((x * (log_period - log_period.mean())).sum() / x.square().sum())


def measure(seed: int, samples: int, updates: int) -> dict[str, dict[str, float]]:
    """Errors and exponents of the units on held-out radii."""
    generator = torch.Generator().manual_seed(1000 + seed)
    r = radii(samples, False, generator)
    x = events(r, generator)
    target = 1.5 * r.log()
    unit = unit_of(seed)
    optimizer = torch.optim.AdamW(unit.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, updates)

    for _ in range(updates):
        batch = torch.randint(samples, (128,), generator=generator)
        optimizer.zero_grad()
        # a rotated sensor is a further recording
        image = x[:, batch].unflatten(-1, (SIZE, SIZE))
        rotated = torch.rot90(image, int(torch.randint(4, (), generator=generator)), (-2, -1))
        (unit(rotated.flatten(-2))[0][0, :, 0] - target[batch]).square().mean().backward()
        optimizer.step()
        schedule.step()

    test_r = radii(2000, True, generator)
    test_x = events(test_r, generator)
    truth = 1.5 * test_r.log()
    train_distance = distance(x)
    test_distance = distance(test_x)
    proportional = (target - train_distance.log()).mean() + test_distance.log()
    design = torch.stack([train_distance, torch.ones_like(train_distance)], 1)
    line = torch.linalg.lstsq(design, target.exp()[:, None]).solution
    straight = (test_distance * line[0] + line[1]).clamp(min=1e-3).log()

    with torch.no_grad():
        learned = unit(test_x)[0][0, :, 0]

    estimates = {"learned": learned, "designed, proportional": proportional, "designed, line": straight}
    between = test_r < HELD_OUT[-1][0]
    return {
        name: {
            "between_percent": 100 * float((estimate - truth)[between].abs().mean().expm1()),
            "beyond_percent": 100 * float((estimate - truth)[~between].abs().mean().expm1()),
            "exponent": exponent(test_r[between], estimate[between]),
        }
        for name, estimate in estimates.items()
    }


def run(quick: bool) -> Results:
    """Errors and exponents of all units, over seeds."""
    seeds, samples, updates = (1, 400, 30) if quick else (3, 6000, 1500)
    by_seed = [measure(seed, samples, updates) for seed in range(seeds)]
    rows = [
        {"unit": unit, **{key: spread([scores[unit][key] for scores in by_seed], 3) for key in by_seed[0][unit]}}
        for unit in by_seed[0]
    ]

    return {"rows": rows, "seeds": seeds, "samples": samples, "updates": updates, "true_exponent": 1.5}


if __name__ == "__main__":
    main("orbits", __doc__, run)
