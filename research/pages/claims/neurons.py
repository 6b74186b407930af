"""Richer neurons from simple ones: a Hodgkin-Huxley network of integrators and units."""

import numpy as np

from research.pages.claims.results import Results, load, number, save_figure
from research.pages.made_page import table, table_of

NAME = "units/neuron_models"


def accuracy() -> str:
    """Spike times and rates of the Hodgkin-Huxley network."""
    return table_of(
        load(NAME)["accuracy"],
        {
            "current [µA/cm²]": lambda row: f"{row['current']:g}",
            "spikes in 200 ms": lambda row: str(row["spikes"]),
            "spike times off by at most [ms]": lambda row: number(row["off_ms"], 3),
            "rate off by [%]": lambda row: number(row["rate_error_percent"], 3),
        },
    )


def learned_units() -> str:
    """Spike times with learned units."""
    learned = load(NAME)["learned"]
    currents = learned[0]["currents"]
    rows = [(row["way"], *(_spike_times(row, i) for i in range(len(currents)))) for row in learned]
    return table(("units that are learned", *(f"{current:g} µA/cm²" for current in currents)), rows)


def _spike_times(row: Results, i: int) -> str:
    """Error of the spike times at a current, one number for each seed; a count if spikes are missing."""
    seeds = zip(row["off_ms_by_current"], row["spikes_found_by_current"], strict=True)
    return ", ".join(
        f"{counts[i]} of {row['spikes'][i]} spikes" if off[i] is None else number(off[i]) for off, counts in seeds
    )


def cost() -> str:
    """Processor time of a step."""
    return table_of(
        load(NAME)["cost"],
        {
            "a step at batch 20": lambda row: row["way"],
            "processor time [µs]": lambda row: number(row["us_a_step"], 0),
            "times that by hand": lambda row: number(row["over_by_hand"]),
        },
    )


def draw_orders() -> None:
    """Error against step."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = load(NAME)["orders"]
    series = {f"{row['neuron']}, order {row['order']:.2f}": row["off_ms"] for row in rows}
    steps = rows[0]["steps_ms"]
    figure = accuracy_lines(np.array(steps), series, "step [ms]", "spike times off by [ms]")
    axes = figure.axes[0]
    # an order is a slope of logarithms
    axes.set(xscale="log", yscale="log", xticks=steps, xticklabels=[f"{step:g}" for step in steps])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    save_figure("neuron-models", figure)


def verdict() -> tuple[str, str]:
    """Claim and verdict."""
    neurons = load(NAME)
    largest = max(row["off_ms"] for row in neurons["accuracy"])
    fitted, recorded = (
        max(off for seed in row["off_ms_by_current"] for off in seed if off is not None)
        for row in neurons["learned"][:2]
    )

    gates = next(row for row in neurons["learned"] if row["way"] == "of the gates, from recordings")
    has_all_spikes = [None not in seed for seed in gates["off_ms_by_current"]]

    return (
        "Richer neurons from simple ones",
        f"yes: Hodgkin-Huxley from integrators and four units, spikes within {largest:.3f} ms over 200 ms, within "
        f"{fitted:.3f} ms with fitted units, within {recorded:.2f} ms with the two units of the membrane learned "
        f"from recordings; those of the gates are learned by {sum(has_all_spikes)} of {len(has_all_spikes)} seeds",
    )


TABLES = {"neuron accuracy": accuracy, "neuron units": learned_units, "neuron cost": cost}
FIGURES = (draw_orders,)
