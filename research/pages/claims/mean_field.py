"""Mean fields: a balanced network with populations as rates."""

from typing import Any

import numpy as np

from research.pages.claims.results import Results, load, number, save_figure, with_spread
from research.pages.made_page import table

NAME = "networks/mean_field"
# place of each network among those that are simulated; the first one spikes throughout
PLACES = {"excitatory as a rate": 1, "a tenth spikes": 2}
MIDDLE_LEVEL = 2


def _of_seeds(name: str, place: int) -> list[Results]:
    """Results of each seed for one network."""
    return [seed[name][place] for seed in load(NAME)["seeds"]]


def rates() -> str:
    """Mean rates, and their errors where populations are rates."""
    networks = load(NAME)["summary"]["rates"]
    spiking = _of_seeds("levels", 0)
    rows = []

    for k, level in enumerate(spiking[0]["levels"]):
        hertz = [number(float(np.mean([row[p][k] for row in spiking])), 1) for p in "ei"]
        errors = [with_spread(row[f"off_{p}_percent"][k]) for row in networks for p in "ei"]
        rows.append((f"{level:g}", *hertz, *errors))

    errors_of = (f"{row['network']}: {p} off by [%]" for row in networks for p in ("exc.", "inh."))
    return table(("external rate", "excitatory [Hz]", "inhibitory [Hz]", *errors_of), rows)


def responses() -> str:
    """Steps, sines and irregularity."""
    summary = load(NAME)["summary"]
    # the same network again shows how much the external spikes alone change
    again = {"network": "all spike, other external spikes", **summary["step_repeated"]}
    rows = [
        (
            row["network"],
            with_spread(row["correlation"], 3),
            with_spread(row["rms_hz"], 2),
            *(_sines(PLACES[row["network"]]) if row["network"] in PLACES else ["-"] * 4),
        )
        for row in [again, *summary["rates"]]
    ]

    titles = (
        *("network", "step: correlation", "step: off by [Hz, rms]", "gain at 5, 20, 50 Hz, relative"),
        *("phase, difference [°]", "irregularity", "where all spike"),
    )
    return table(titles, rows)


def _sines(place: int) -> list[str]:
    """Gain and phase of a network relative to the spiking one, and the irregularity of both."""
    pairs = list(zip(_of_seeds("sines", 0), _of_seeds("sines", place), strict=True))
    gains = np.mean([np.array(other["gain"]) / np.array(spiking["gain"]) for spiking, other in pairs], axis=0)
    turned = [np.array(other["phase"]) - np.array(spiking["phase"]) for spiking, other in pairs]
    phases = np.mean([(difference + 180) % 360 - 180 for difference in turned], axis=0)
    irregularity = [float(np.mean([row["cv"][MIDDLE_LEVEL] for row in _of_seeds("levels", k)])) for k in (place, 0)]

    return [
        ", ".join(number(gain) for gain in gains),
        ", ".join(number(phase, 0) for phase in phases),
        *(number(cv) for cv in irregularity),
    ]


def _costs() -> tuple[list[Results], list[str]]:
    """Costs of each network, and the batch sizes at which they were measured."""
    costs: list[Results] = load(NAME)["seeds"][0]["costs"]
    return costs, [key.removeprefix("network_s_") for key in costs[0] if key.startswith("network_s_")]


def cost() -> str:
    """Processor time and operations of a second of one trial."""
    costs, batches = _costs()

    def seconds(row: Results, batch: str) -> str:
        key = f"network_s_{batch}"
        return f"{row[key]:.2f} ({costs[0][key] / row[key]:.1f} x)"

    rows = [
        (
            row["network"],
            *(seconds(row, batch) for batch in batches),
            number(row[f"external_s_{batches[0]}"]),
            f"{row['operations']['all'] / 1e6:.0f}",
        )
        for row in costs
    ]

    together = (f"{batch} together [s]" for batch in batches)
    return table(("network", *together, "external spikes [s]", "operations [million]"), rows)


def draw_step() -> None:
    """The rate of excitatory neurons around the step up of the external rate."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    shown = slice(145, 170)  # bins; the step is at the 150th
    bin_ms = 2
    series: dict[str, Any] = {
        row["network"]: np.array([seed["rate"][shown] for seed in _of_seeds("step", place)]).T
        for place, row in enumerate(load(NAME)["seeds"][0]["step"][:3])
    }

    times = np.arange(shown.start, shown.stop) * bin_ms - 300
    save_figure("mean-field", accuracy_lines(times, series, "time after the step [ms]", "rate, excitatory [Hz]"))


def verdict() -> tuple[str, str]:
    """Claim and verdict."""
    errors = [row["largest_of_the_mean_percent"] for row in load(NAME)["summary"]["rates"]]
    costs, batches = _costs()
    networks = [{batch: row[f"network_s_{batch}"] for batch in batches} for row in costs]
    sums = [{batch: row[f"network_s_{batch}"] + row[f"external_s_{batch}"] for batch in batches} for row in costs]
    alone, whole = (max(rows[0][batch] / rows[2][batch] for batch in batches) for rows in (networks, sums))

    return (
        "Mean fields in an ANN, spikes in an SNN",
        f"partly: mean rates off by at most {errors[0]:.1f} % with the excitatory population as a rate, "
        f"{errors[1]:.1f} % with a tenth of the neurons, which is {alone:.1f} times as fast, {whole:.1f} times "
        "with the external spikes (goal: 5 %, 5 times)",
    )


TABLES = {"mean rates": rates, "responses": responses, "mean field cost": cost}
FIGURES = (draw_step,)
