"""The tables and figures of the pages docs/explanation/what-hybrid-units-can-do.md and how-hybrid-units-scale.md.

python benchmarks/claims_page.py           # writes the pages and draws the figures
python benchmarks/claims_page.py --check   # exit code 1 where a page differs from the results
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from made_page import DOCS, table, write_or_check

RESULTS = Path(__file__).parent / "results" / "claims"
IMAGES = DOCS / "images"
Results = dict[str, Any]


def load(name: str) -> Results:
    """A committed result."""
    found: Results = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def number(value: float, digits: int = 2) -> str:
    """A number as people write it."""
    return f"{value:.{digits}f}"


def with_spread(found: Results, digits: int = 1, factor: float = 1.0) -> str:
    """Mean and standard deviation over seeds."""
    mean = f"{factor * found['mean']:.{digits}f}"
    return mean if found["sd"] is None else f"{mean} ± {factor * found['sd']:.{digits}f}"


def save(name: str, figure: Any) -> None:
    """Writes a figure of the page."""
    from spikebridge.analysis.plots.figures import to_svg

    (IMAGES / f"claims-{name}.svg").write_text(to_svg(figure, name.replace("-", " ")), encoding="utf-8")


def neuron_accuracy() -> str:
    """Spike times and rates of the Hodgkin-Huxley network."""
    rows = [
        (f"{row['current']:g}", str(row["spikes"]), number(row["off_ms"], 3), number(row["rate_error_percent"], 3))
        for row in load("neuron_models")["accuracy"]
    ]
    return table(("current [µA/cm²]", "spikes in 200 ms", "spike times off by at most [ms]", "rate off by [%]"), rows)


def neuron_units() -> str:
    """Spike times with learned units."""
    found = load("neuron_models")["learned"]
    currents = found[0]["currents"]

    def of(seeds: list[float | None]) -> str:
        return ", ".join("missed" if one is None else number(one) for one in seeds)

    rows = [
        (row["way"], *(of([seed[i] for seed in row["off_ms_by_current"]]) for i in range(len(currents))))
        for row in found
    ]
    return table(("units that are learned", *(f"{current:g} µA/cm²" for current in currents)), rows)


def neuron_cost() -> str:
    """Processor time of a step."""
    rows = [
        (row["way"], number(row["us_a_step"], 0), number(row["over_by_hand"])) for row in load("neuron_models")["cost"]
    ]
    return table(("a step at batch 20", "processor time [µs]", "times that by hand"), rows)


def draw_neurons() -> None:
    """Error against step."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = load("neuron_models")["orders"]
    series = {f"{row['neuron']}, order {row['order']:.2f}": row["off_ms"] for row in rows}
    figure = accuracy_lines(np.array(rows[0]["steps_ms"]), series, "step [ms]", "spike times off by [ms]")
    axes = figure.axes[0]
    axes.set(xscale="log", yscale="log")
    save("neuron-models", figure)


def ways() -> str:
    """Accuracy, what an exchanged neighbour costs, and time."""
    rows = [
        (
            row["way"],
            with_spread(row["accuracy"], factor=100),
            with_spread(row["lost"], factor=100),
            number(row["cpu_s"]["mean"], 1),
        )
        for row in load("ways_to_learn")["rows"]
    ]
    titles = ("units", "accuracy [%]", "lost when the SNN is exchanged [points]", "training [s of one core]")
    return table(titles, rows)


def draw_ways() -> None:
    """Accuracy of each way."""
    from spikebridge.analysis.plots.figures import accuracy_bars

    values = {row["way"]: [100 * value for value in row["accuracy"]["values"]] for row in load("ways_to_learn")["rows"]}
    save("ways-to-learn", accuracy_bars(values))


DECODERS = ("Bayes", "learned", "learned, 200 samples", "designed")


def channels() -> str:
    """Accuracy of each decoder along the noise."""
    found = load("noisy_channel")["rows"]
    rows = [
        (row["code"], f"{row['level']:g}", *(with_spread(row[name], factor=100) for name in DECODERS)) for row in found
    ]
    return table(("code", "noise L", *(f"{name} [%]" for name in DECODERS)), rows)


def draw_channels() -> None:
    """Accuracy of each decoder of a latency along the noise."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = [row for row in load("noisy_channel")["rows"] if row["code"] == "latency"]
    series = {name: [[100 * value for value in row[name]["values"]] for row in rows] for name in DECODERS}
    figure = accuracy_lines([row["level"] for row in rows], series, "noise L, latency code")
    figure.axes[0].set(xscale="log")
    save("noisy-channel", figure)


def periods() -> str:
    """Errors and exponents of the units."""
    rows = [
        (
            row["unit"],
            with_spread(row["between_percent"]),
            with_spread(row["beyond_percent"]),
            with_spread(row["exponent"], 2),
        )
        for row in load("orbits")["rows"]
    ]
    return table(("unit", "error between radii [%]", "error beyond radii [%]", "exponent (true: 1.5)"), rows)


def approximations() -> str:
    """Errors against the size of a unit, and slopes."""
    rows = [
        (
            row["target"],
            row["kernel"],
            f"{row['axis']} {', '.join(map(str, row['sizes']))}",
            ", ".join(number(one["mean"], 3) for one in row["errors"]),
            number(row["slope"]),
        )
        for row in load("approximation")["rows"]
    ]
    return table(("target", "kernels", "size", "errors", "slope of the logarithms"), rows)


def twins() -> str:
    """Errors of networks of equal size."""
    found = load("approximation")
    names = list(dict.fromkeys(row["network"] for row in found["twins"]))
    targets = list(dict.fromkeys(row["target"] for row in found["twins"]))
    errors = {(row["target"], row["network"]): row["error"] for row in found["twins"]}
    best = found["best"]
    rows = [
        (t, *(with_spread(errors[t, n], 3) for n in names), number(best[t], 3) if t in best else "0") for t in targets
    ]
    return table(("target", *names, "least possible"), rows)


def draw_approximation() -> None:
    """Errors against the number of kernels."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = [
        row for row in load("approximation")["rows"] if row["axis"] == "kernels" and row["kernel"] == "exponentials"
    ]
    series = {row["target"]: [one["values"] for one in row["errors"]] for row in rows}
    figure = accuracy_lines(rows[0]["sizes"], series, "exponential kernels", "error, relative")
    figure.axes[0].set(xscale="log", yscale="log")
    save("approximation", figure)


def parts() -> str:
    """Processor time against the number of parts."""
    rows = [
        (
            row["shape"],
            str(row["parts"]),
            *(number(row[key] / row["parts"], 1) for key in ("whole_us", "step_us", "hand_us")),
        )
        for row in load("many_parts")["graphs"]
    ]
    titles = ("graph", "parts", "whole sequence [µs a tick and part]", "single step", "a step by hand")
    return table(titles, rows)


def clocks() -> str:
    """Processor time against the ratio of clocks."""
    rows = [
        (f"{row['ratio']}", number(row["us_a_tick"], 1), number(row["us_a_firing"], 2))
        for row in load("many_parts")["clocks"]
    ]
    return table(("ratio of clocks", "µs a tick", "µs a firing of a part"), rows)


def latencies() -> str:
    """Accuracy against the latency of links."""
    rows = [
        (f"{row['delay_ms']:.0f}", with_spread(row["without"], factor=100), with_spread(row["with"], factor=100))
        for row in load("link_latency")["latency"]
    ]
    return table(("links late by [ms]", "trained without the delay [%]", "trained with it [%]"), rows)


def draw_latency() -> None:
    """Accuracy against the latency of links."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = load("link_latency")["latency"]
    series = {
        f"trained {name} the delay": [[100 * value for value in row[name]["values"]] for row in rows]
        for name in ("without", "with")
    }
    save("latency", accuracy_lines([row["delay_ms"] for row in rows], series, "latency of both links [ms]"))


def verdicts() -> str:
    """A row for each claim."""
    neurons, learning = load("neuron_models"), {row["way"]: row for row in load("ways_to_learn")["rows"]}
    worst = max(row["off_ms"] for row in neurons["accuracy"])
    fitted, recorded = (
        max(off for seed in row["off_ms_by_current"] for off in seed if off is not None) for row in neurons["learned"]
    )
    noisy = {(row["code"], row["level"]): row for row in load("noisy_channel")["rows"]}
    orbits = next(row for row in load("orbits")["rows"] if row["unit"] == "learned")
    graphs = {(row["shape"], row["parts"]): row["whole_us"] / row["parts"] for row in load("many_parts")["graphs"]}
    of_parts = graphs["chain", 8], graphs["chain", 256]

    slopes = {(row["target"], row["kernel"], row["axis"]): row["slope"] for row in load("approximation")["rows"]}

    def slope(target: str, kernel: str) -> float:
        return slopes[target, kernel, "width"]

    def rate(decoder: str, level: float) -> str:
        return with_spread(noisy["rate", level][decoder], factor=100)

    best = max(learning, key=lambda way: learning[way]["accuracy"]["mean"])
    rows = [
        (
            "Richer neurons from simple ones",
            f"yes: Hodgkin-Huxley from integrators and four units, spikes within {worst:.3f} ms over 200 ms, within "
            f"{fitted:.3f} ms with fitted units, within {recorded:.2f} ms with two units learned from recordings",
        ),
        (
            "Units may be designed or learned in three ways",
            f"yes; most accurate: {best} ({with_spread(learning[best]['accuracy'], factor=100)} %), designed "
            f"{with_spread(learning['designed']['accuracy'], factor=100)} %, alone "
            f"{with_spread(learning['alone']['accuracy'], factor=100)} %",
        ),
        (
            "Learned units are better where relations are uncertain",
            f"yes, beyond a crossing point: a rate code at little noise, learned {rate('learned', 0.02)} %, designed "
            f"{rate('designed', 0.02)} %; at much, {rate('learned', 0.5)} % and {rate('designed', 0.5)} %",
        ),
        (
            "Learned units find unknown relations",
            f"between trained cases: Kepler's exponent of 1.5 as {with_spread(orbits['exponent'], 2)}; not beyond them",
        ),
        (
            "Kernel and nonlinearity approximate any functional",
            f"partly: errors fall with taps and width (slope {slope('exclusive-or', 'taps'):.1f} on an exclusive-or); "
            f"exponential kernels do not learn that one (slope {abs(slope('exclusive-or', 'exponentials')):.1f})",
        ),
        (
            "Many parts",
            f"yes: a part costs {of_parts[0]:.1f} µs a tick among 8 parts, {of_parts[1]:.1f} µs among 256",
        ),
    ]
    return table(("claim of the paper", "verdict"), rows)


EXPLANATION = DOCS / "explanation"
PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    EXPLANATION / "what-hybrid-units-can-do.md": {
        "neuron accuracy": neuron_accuracy,
        "neuron units": neuron_units,
        "neuron cost": neuron_cost,
        "ways": ways,
        "channels": channels,
        "periods": periods,
    },
    EXPLANATION / "how-hybrid-units-scale.md": {
        "approximations": approximations,
        "twins": twins,
        "parts": parts,
        "clocks": clocks,
        "latencies": latencies,
    },
    DOCS.parent / "README.md": {"verdicts": verdicts},
}
FIGURES = (
    draw_neurons,
    draw_ways,
    draw_channels,
    draw_approximation,
    draw_latency,
)


def main() -> int:
    """Writes or checks the pages."""
    codes = [
        write_or_check(page, {name: make() for name, make in tables.items()}, Path(__file__), __doc__)
        for page, tables in PAGES.items()
    ]
    if "--check" not in sys.argv:
        for figure in FIGURES:
            figure()
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
