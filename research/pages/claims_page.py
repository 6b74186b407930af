"""The tables and figures of the pages about the paper's claims: what-hybrid-units-can-do.md and the six after it.

python research/pages/claims_page.py           # writes the pages and draws the figures
python research/pages/claims_page.py --check   # exit code 1 where a page differs from the results
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from research.pages.made_page import DOCS, result_file, table, write_or_check

UNITS = (
    "approximation",
    "noisy_channel",
    "orbits",
    "ways_to_learn",
    "ways_in_sensing",
    "ways_in_reasoning",
    "neuron_models",
    "depths",
)
IMAGES = DOCS / "images"
Results = dict[str, Any]


def load(name: str) -> Results:
    """A committed result."""
    found: Results = json.loads(
        result_file(f"claims/{'units' if name in UNITS else 'networks'}/{name}").read_text(encoding="utf-8")
    )
    return found


def number(value: float, digits: int = 2) -> str:
    """A number as people write it."""
    return f"{value:.{digits}f}"


def with_spread(found: Results, digits: int = 1, factor: float = 1.0) -> str:
    """Mean and standard deviation over seeds."""
    mean = f"{factor * found['mean']:.{digits}f}"
    return mean if found["sd"] is None else f"{mean} ± {factor * found['sd']:.{digits}f}"


def of_values(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation of values, one a seed."""
    sd = None if len(values) < 2 else float(np.std(values, ddof=1))
    return with_spread({"mean": float(np.mean(values)), "sd": sd}, digits)


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

    def of(row: Results, i: int) -> str:
        seeds = zip(row["off_ms_by_current"], row["spikes_found_by_current"], strict=True)
        return ", ".join(
            f"{counts[i]} of {row['spikes'][i]} spikes" if off[i] is None else number(off[i]) for off, counts in seeds
        )

    rows = [(row["way"], *(of(row, i) for i in range(len(currents)))) for row in found]
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


RATES = (40, 10)


def ways_in_sensing() -> str:
    """Distance from the truth at both rates of frames, and what an exchanged neighbour costs."""
    found = load("ways_in_sensing")
    cells = {(row["rate_hz"], row["way"]): row for row in found["rows"]}
    rows = [
        (
            way,
            *(with_spread(cells[rate, way][key], 2) for rate in RATES for key in ("distance_px", "lost_px")),
            number(cells[RATES[0], way]["cpu_s"], 0),
        )
        for way in dict.fromkeys(row["way"] for row in found["rows"])
    ]

    still = [found["baselines_px"][str(rate)]["constant velocity"] for rate in RATES]
    rows.append(("(constant velocity)", number(still[0]), "-", number(still[1]), "-", "-"))
    titles = [part for rate in RATES for part in (f"{rate} Hz: distance [px]", "more when the SNN is exchanged [px]")]

    return table(("unit", *titles, "training [s of one core]"), rows)


def ways_in_reasoning() -> str:
    """Collisions found, and counts of collisions that are right, with the detector of the training and another."""
    rows = []
    for row in load("ways_in_reasoning")["rows"]:
        usual = row["as in training"]
        other = row["exchanged"]
        shares = [with_spread(usual[key], factor=100) for key in ("recall", "precision")]
        counts = [with_spread(one["counts_right"], factor=100) for one in (usual, other)]
        late = with_spread(usual["timing_frames"])
        rows.append((row["way"], str(row["seeds"]), *shares, late, *counts, number(row["cpu_s"], 0)))

    titles = (
        *("unit", "seeds", "found [%]", "of those, true [%]", "off by [frames]", "counts right [%]"),
        *("counts right, other detector [%]", "training [s of one core]"),
    )
    return table(titles, rows)


def draw_ways_in_sensing() -> None:
    """Distance of each way at both rates."""
    from spikebridge.analysis.plots.figures import accuracy_bars

    rows = load("ways_in_sensing")["rows"]
    values = {f"{row['way']}, {row['rate_hz']} Hz": row["distance_px"]["values"] for row in rows}
    save("ways-in-sensing", accuracy_bars(values, "distance [px]"))


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


def of_seeds(name: str, network: int) -> list[Results]:
    """What each seed of the balanced network gave for one form of it."""
    return [seed[name][network] for seed in load("mean_field")["seeds"]]


def mean_rates() -> str:
    """Mean rates, and how far off they are where populations are rates."""
    found = load("mean_field")
    full = of_seeds("levels", 0)
    rows = []

    for k, level in enumerate(full[0]["levels"]):
        hertz = [number(float(np.mean([row[p][k] for row in full])), 1) for p in "ei"]
        off = [with_spread(row[f"off_{p}_percent"][k]) for row in found["summary"]["rates"] for p in "ei"]
        rows.append((f"{level:g}", *hertz, *off))

    titles = (
        *("external rate", "excitatory [Hz]", "inhibitory [Hz]"),
        *(f"{row['network']}: {p} off by [%]" for row in found["summary"]["rates"] for p in ("exc.", "inh.")),
    )
    return table(titles, rows)


def responses() -> str:
    """Steps, sines and irregularity."""
    found = load("mean_field")
    middle = 2
    steps = [{"network": "all spike, other external spikes", **found["summary"]["step_repeated"]}]
    rows = []

    for row in [*steps, *found["summary"]["rates"]]:
        network = {"excitatory as a rate": 1, "a tenth spikes": 2}.get(row["network"])
        cells = ["-"] * 4

        if network is not None:
            pairs = list(zip(of_seeds("sines", 0), of_seeds("sines", network), strict=True))
            gains = np.mean([np.array(other["gain"]) / np.array(true["gain"]) for true, other in pairs], axis=0)
            turned = [np.array(other["phase"]) - np.array(true["phase"]) for true, other in pairs]
            phases = np.mean([(one + 180) % 360 - 180 for one in turned], axis=0)
            irregular = [float(np.mean([one["cv"][middle] for one in of_seeds("levels", n)])) for n in (0, network)]

            cells = [
                ", ".join(number(gain) for gain in gains),
                ", ".join(number(phase, 0) for phase in phases),
                *(number(cv) for cv in irregular[::-1]),
            ]

        rows.append((row["network"], with_spread(row["correlation"], 3), with_spread(row["rms_hz"], 2), *cells))

    titles = (
        *("network", "step: correlation", "step: off by [Hz, rms]", "gain at 5, 20, 50 Hz, relative"),
        *("phase, difference [°]", "irregularity", "where all spike"),
    )
    return table(titles, rows)


def mean_field_cost() -> str:
    """Processor time and operations of a second of one trial."""
    costs = load("mean_field")["seeds"][0]["costs"]
    batches = [key.removeprefix("network_s_") for key in costs[0] if key.startswith("network_s_")]
    rows = [
        (
            row["network"],
            *(
                f"{row[f'network_s_{b}']:.2f} ({costs[0][f'network_s_{b}'] / row[f'network_s_{b}']:.1f} x)"
                for b in batches
            ),
            number(row[f"external_s_{batches[0]}"]),
            f"{row['operations']['all'] / 1e6:.0f}",
        )
        for row in costs
    ]

    titles = (
        *("network", *(f"{b} together [s]" for b in batches)),
        *("external spikes [s]", "operations [million]"),
    )
    return table(titles, rows)


def draw_mean_field() -> None:
    """The rate of excitatory neurons around the step up of the external rate."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    shown = slice(145, 170)  # bins; the step is at the 150th
    bin_ms = 2
    series = {
        row["network"]: np.array([one["rate"][shown] for one in of_seeds("step", index)]).T
        for index, row in enumerate(load("mean_field")["seeds"][0]["step"][:3])
    }

    times = np.arange(shown.start, shown.stop) * bin_ms - 300
    save("mean-field", accuracy_lines(times, series, "time after the step [ms]", "rate, excitatory [Hz]"))


def chips() -> str:
    """Predicted latency and power against the number of chips."""
    rows = [
        (
            str(row["chips"]),
            str(row["in_use"]),
            number(row["latency_us"] / 1e3, 2),
            "yes" if row["keeps_up"] else "no",
            number(row["power_w"], 0),
            str(row["messages_of_the_path"]),
        )
        for row in load("chips")["predicted"]
    ]

    titles = ("chips", "in use", "latency [ms]", "keeps up with 1 ms a tick", "power [W]", "messages on the path")
    return table(titles, rows)


def processes() -> str:
    """Predicted latency beside that of processes."""
    rows = [
        (
            str(row["chips"]),
            str(row["in_use"]),
            number(row["predicted_s"], 3),
            with_spread(row["measured_s"], 3),
            with_spread(row["off_percent"], 1),
        )
        for row in load("chips")["processes"]
    ]
    return table(("chips", "processes in use", "predicted [s]", "measured [s]", "measured later by [%]"), rows)


def draw_chips() -> None:
    """Predicted and measured latency of slow chips."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = load("chips")["processes"]
    series = {
        "predicted": [row["predicted_s"] for row in rows],
        "measured": [row["measured_s"]["values"] for row in rows],
    }

    save("chips", accuracy_lines([row["chips"] for row in rows], series, "chips", "latency [s]"))


MODES = {"inferred": "a Gaussian a task", "nearest": "nearest gate", "direct": "gate of 20 images", "given": "given"}


def scaling_rows() -> list[dict[str, Any]]:
    """Accuracy and memory by method, width, tasks and the way in which the task is found."""
    rows: list[dict[str, Any]] = load("task_scaling")["rows"]
    return rows


def separate_networks() -> dict[str, Any]:
    """The largest of the networks that learn one task each."""
    return max((row for row in scaling_rows() if row["method"] == "single"), key=lambda row: int(row["width"]))


def share_of_separate(row: dict[str, Any]) -> float:
    """The stored numbers of a row, by those of separate networks for as many tasks."""
    separate = separate_networks()
    return float(row["stored"] / (row["tasks"] * separate["stored"] / separate["tasks"]))


def tasks() -> str:
    """Accuracy and stored numbers of the hybrid network against the number of tasks."""
    ceiling = separate_networks()["accuracy"]["mean"]
    rows = [
        (
            str(row["width"]),
            str(row["tasks"]),
            MODES[row["mode"]],
            str(len(row["accuracy"]["values"])),
            with_spread(row["accuracy"], factor=100),
            number(100 * row["accuracy"]["mean"] / ceiling, 1),
            f"{row['stored'] / 1e6:.2f}",
            number(share_of_separate(row)),
        )
        for row in scaling_rows()
        if row["method"] == "hmn" and row["mode"] != "given"
    ]

    titles = (
        *("C", "tasks", "task found by", "seeds", "accuracy [%]", "of separate networks [%]"),
        *("stored numbers [million]", "of separate networks"),
    )
    return table(titles, rows)


def rivals() -> str:
    """Accuracy and memory of other methods, at the largest number of tasks each has learned."""
    cells = json.loads(result_file("modulation/methods").read_text(encoding="utf-8"))["digits"]["cells"]
    named = {"hmn": "hybrid network, C = 2000", "xdg_ewc": "XdG with EWC, C = 2000"}
    named |= {"ann_ewc": "one ANN with EWC, 400 wide", "snn_ewc": "one SNN with EWC, 400 wide"}
    rows = []

    for method, words in named.items():
        seeds = cells[method]
        memory = cells[method][0]["memory"]
        stored = memory["branch"] + memory["backbone"]
        stored += 40 * (memory["table bits a task"] / 32 + memory.get("numbers a task", 0))
        accuracy = of_values([100 * seed["acc"] for seed in seeds])
        needs_number = "yes" if method == "xdg_ewc" else "no"
        rows.append((words, needs_number, str(len(seeds)), accuracy, f"{stored / 1e6:.2f}"))

    rows += [
        (
            f"a network a task, {row['width']} wide",
            "yes",
            str(len(row["accuracy"]["values"])),
            with_spread(row["accuracy"], factor=100),
            f"{row['stored'] / 1e6:.2f}",
        )
        for row in sorted(scaling_rows(), key=lambda row: -row["width"])
        if row["method"] == "single"
    ]

    titles = ("40 tasks", "needs the task's number", "seeds", "accuracy [%]", "stored numbers [million]")
    return table(titles, rows)


def draw_tasks() -> None:
    """Stored numbers against tasks, by the sizes of networks that were trained."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    places = [10, 40, 100, 200, 400]
    sizes: dict[tuple[str, int], Any] = {}
    for one in load("task_scaling")["chains"]:
        sizes.setdefault((one["chain"]["method"], one["chain"]["width"]), one["parameters"])

    series: dict[str, list[float]] = {}
    for (method, width), found in sizes.items():
        if method == "hmn":
            fixed = found["network"] + found["backbone"]
            table_a_task = found["table_a_task"]
            series[f"hybrid, C = {width}, nearest gate"] = [fixed + count * table_a_task for count in places]
            a_task = table_a_task + found["prototype_a_task"]
            series[f"hybrid, C = {width}, a Gaussian a task"] = [fixed + count * a_task for count in places]
        elif method == "single":
            series[f"a network a task, {width} wide"] = [count * found["network"] for count in places]

    figure = accuracy_lines(places, series, "tasks", "stored numbers")
    figure.axes[0].set(xscale="log", yscale="log")
    save("tasks", figure)


def concepts() -> str:
    """Accuracy on new and old values."""
    rows = [
        (
            f"{row['values']} {'colours' if row['kind'] == 'color' else 'shapes'}",
            str(row["shots"]),
            row["way"],
            with_spread(row["new"], factor=100),
            with_spread(row["old_lost"], factor=100),
            number(row["cpu_ms_a_value"], 1),
        )
        for row in load("one_shot")["rows"]
    ]

    titles = ("new", "pictures of each", "way", "new right [%]", "old lost [points]", "learning a value [ms]")
    return table(titles, rows)


def draw_concepts() -> None:
    """Accuracy on new colours against pictures of each."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = [row for row in load("one_shot")["rows"] if (row["kind"], row["values"]) == ("color", 5)]
    ways = list(dict.fromkeys(row["way"] for row in rows))
    series = {
        f"{way}, {side}": [[100 * value for value in row[side]["values"]] for row in rows if row["way"] == way]
        for way in ways[:3]
        for side in ("new", "old")
    }

    figure = accuracy_lines(sorted({row["shots"] for row in rows}), series, "pictures of each of 5 new colours")
    save("concepts", figure)


def depth() -> str:
    """Distance and cost by the places of units."""
    rows = [
        (
            row["units"],
            str(len(row["distance_px"]["values"])),
            with_spread(row["distance_px"], 2),
            with_spread(row["last_bin_px"], 2),
            f"{row['weights']['mean']:.0f}",
            f"{row['macs_a_bin']['mean'] / 1e3:.0f}",
            f"{row['synops_a_bin']['mean'] / 1e3:.0f}",
        )
        for row in load("depths")["rows"]
    ]

    titles = (
        *("units at depth", "seeds", "distance [px]", "in the last bin [px]", "weights"),
        *("products a bin [thousand]", "additions of spikes a bin [thousand]"),
    )
    return table(titles, rows)


def draw_depth() -> None:
    """Distance by the places of units."""
    from spikebridge.analysis.plots.figures import accuracy_bars

    values = {f"units: {row['units']}": row["distance_px"]["values"] for row in load("depths")["rows"]}
    save("depths", accuracy_bars(values, "distance [px]"))


def network_verdicts() -> list[tuple[str, str]]:
    """Claims about whole networks."""
    inferred = [row for row in scaling_rows() if row["mode"] == "inferred"]
    most = max(inferred, key=lambda row: (row["tasks"], row["width"]))
    best = separate_networks()
    share = share_of_separate(most)
    shots = {(row["kind"], row["values"], row["shots"], row["way"]): row for row in load("one_shot")["rows"]}
    colors = [shots["color", 5, number, "new row"] for number in (1, 5)]
    lost = [with_spread(row["old_lost"], factor=100) for row in colors]
    depths = {row["units"]: row["distance_px"] for row in load("depths")["rows"]}
    one = min(("1", "2", "3"), key=lambda name: depths[name]["mean"])

    return [
        (
            "Parameters a task fall with the number of tasks",
            f"partly: {most['tasks']} tasks in one network of C = {most['width']} keep "
            f"{100 * most['accuracy']['mean'] / best['accuracy']['mean']:.0f} % of the accuracy of separate networks "
            f"of {best['width']} neurons with {share:.2f} of their numbers; small separate networks need fewer still",
        ),
        (
            "New concepts in one shot",
            f"partly: 5 new colours, {with_spread(colors[0]['new'], factor=100)} % right after one picture each, "
            f"{with_spread(colors[1]['new'], factor=100)} % after five; old colours lose "
            f"{lost[0]} and {lost[1]} points",
        ),
        (
            "Pathways joined at several depths",
            f"one unit helps, more do not help more: distance {with_spread(depths['none'], 2)} px without units, "
            f"{with_spread(depths[one], 2)} px with one at depth {one}, "
            f"{with_spread(depths['1, 2, 3'], 2)} px with three",
        ),
    ]


def share_of(rows: list[Results], right: str = "right") -> str:
    """The share of questions, mean and standard deviation over seeds."""
    return of_values([100 * row[right] / row["questions"] for row in rows])


def latency_of(rows: list[Results]) -> tuple[str, str]:
    """Answers in time of all changes of an answer, and the median latency."""
    late = sorted(value for row in rows for value in row["latency_ms"]["values"])
    in_time, changes = (sum(row[name] for row in rows) for name in ("in_time", "changes"))
    return f"{in_time} of {changes}", number(float(np.median(late)), 0) if late else "-"


AT_THE_END = "right_at_the_end"


def creature_row(rows: list[Results]) -> tuple[str, ...]:
    """Questions, answers, latency, contacts and tracks."""
    contacts = [sum(row["collisions"][name] for row in rows) for name in ("found", "missed", "false")]
    return (
        str(sum(row["questions"] for row in rows)),
        share_of(rows),
        share_of(rows, AT_THE_END),
        *latency_of(rows),
        f"{contacts[0]}, {contacts[1]}, {contacts[2]}",
        number(float(np.mean([row["track_error_px"] for row in rows]))),
    )


CREATURE = (
    "questions",
    "right 50 ms after [%]",
    "right at the end [%]",
    "changed answers in time",
    "median latency [ms]",
    "contacts found, missed, false",
    "tracks off by [px]",
)


def creature_environments() -> str:
    """Answers in each environment."""
    found = load("creature")["rows"]
    rows = [(name, *creature_row([row["environments"][name] for row in found])) for name in found[0]["environments"]]
    every = [one for row in found for one in row["environments"].values()]
    sums = [
        {name: sum(one[name] for one in row["environments"].values()) for name in ("questions", "right", AT_THE_END)}
        for row in found
    ]

    cells = creature_row(every)
    rows.append(("all", cells[0], share_of(sums), share_of(sums, AT_THE_END), *cells[3:]))

    return table(("environment", *CREATURE), rows)


def draw_creature() -> None:
    """Latency of every changed answer, by environment."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    found = load("creature")["rows"]
    within = np.arange(0, 101, 4)
    series = {}

    for name in found[0]["environments"]:
        rows = [row["environments"][name] for row in found]
        late = np.array([value for row in rows for value in row["latency_ms"]["values"]])
        changes = sum(row["changes"] for row in rows)
        series[name] = [100 * float((late <= limit).sum()) / changes for limit in within]

    figure = accuracy_lines(within, series, "time after the event [ms]", "changed answers that are right [%]")
    save("creature", figure)


def creature_without() -> str:
    """Answers without a part of one of the networks."""
    found = load("creature")["rows"]
    rows = [("whole", *creature_row([row["whole, the same scenes"] for row in found]))]
    rows += [
        (f"without {what}", *creature_row([row["without"][what] for row in found])) for what in found[0]["without"]
    ]

    return table(("creature", *CREATURE), rows)


def verdicts() -> str:
    """A row for each claim."""
    neurons = load("neuron_models")
    learning = {row["way"]: row for row in load("ways_to_learn")["rows"]}
    worst = max(row["off_ms"] for row in neurons["accuracy"])
    fitted, recorded = (
        max(off for seed in row["off_ms_by_current"] for off in seed if off is not None)
        for row in neurons["learned"][:2]
    )

    gates = next(row for row in neurons["learned"] if row["way"] == "of the gates, from recordings")
    opened = [None not in seed for seed in gates["off_ms_by_current"]]
    noisy = {(row["code"], row["level"]): row for row in load("noisy_channel")["rows"]}
    orbits = next(row for row in load("orbits")["rows"] if row["unit"] == "learned")
    graphs = {(row["shape"], row["parts"]): row["whole_us"] / row["parts"] for row in load("many_parts")["graphs"]}
    of_parts = graphs["chain", 8], graphs["chain", 256]
    rates = [row["largest_of_the_mean_percent"] for row in load("mean_field")["summary"]["rates"]]
    costs = load("mean_field")["seeds"][0]["costs"]
    batches = [key.removeprefix("network_s_") for key in costs[0] if key.startswith("network_s_")]
    alone = max(costs[0][f"network_s_{b}"] / costs[2][f"network_s_{b}"] for b in batches)
    seconds = [{b: row[f"network_s_{b}"] + row[f"external_s_{b}"] for b in batches} for row in costs]
    whole = max(seconds[0][b] / seconds[2][b] for b in batches)
    off = max(abs(row["off_percent"]["mean"]) for row in load("chips")["processes"])

    slopes = {(row["target"], row["kernel"], row["axis"]): row["slope"] for row in load("approximation")["rows"]}

    def slope(target: str, kernel: str) -> float:
        return slopes[target, kernel, "width"]

    def rate(decoder: str, level: float) -> str:
        return with_spread(noisy["rate", level][decoder], factor=100)

    best = max(learning, key=lambda way: learning[way]["accuracy"]["mean"])
    sensing = {row["way"]: row["distance_px"] for row in load("ways_in_sensing")["rows"] if row["rate_hz"] == RATES[0]}
    nearest = min(sensing, key=lambda way: sensing[way]["mean"])

    rows = [
        (
            "Richer neurons from simple ones",
            f"yes: Hodgkin-Huxley from integrators and four units, spikes within {worst:.3f} ms over 200 ms, within "
            f"{fitted:.3f} ms with fitted units, within {recorded:.2f} ms with the two units of the membrane learned "
            f"from recordings; those of the gates are learned by {sum(opened)} of {len(opened)} seeds",
        ),
        (
            "Units may be designed or learned in three ways",
            f"yes; most accurate: {best} ({with_spread(learning[best]['accuracy'], factor=100)} %), designed "
            f"{with_spread(learning['designed']['accuracy'], factor=100)} %, alone "
            f"{with_spread(learning['alone']['accuracy'], factor=100)} % on digits; {nearest} between frames, "
            f"{with_spread(sensing[nearest], 2)} px, designed {with_spread(sensing['designed'], 2)} px",
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
            "Mean fields in an ANN, spikes in an SNN",
            f"partly: mean rates off by at most {rates[0]:.1f} % with the excitatory population as a rate, "
            f"{rates[1]:.1f} % with a tenth of the neurons, which is {alone:.1f} times as fast, {whole:.1f} times "
            "with the external spikes (goal: 5 %, 5 times)",
        ),
        (
            "Many chips",
            f"{'yes' if off < 10 else 'partly'}: predicted latency within {off:.1f} % of that of up to "
            f"{load('chips')['processes'][-1]['in_use']} processes whose compute times are waits; no hardware was used",
        ),
        (
            "Many parts",
            f"yes: a part costs {of_parts[0]:.1f} µs a tick among 8 parts, {of_parts[1]:.1f} µs among 256",
        ),
        *network_verdicts(),
    ]
    return table(("claim of the paper", "verdict"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "neuron accuracy": neuron_accuracy,
    "neuron units": neuron_units,
    "neuron cost": neuron_cost,
    "channels": channels,
    "periods": periods,
    "ways": ways,
    "ways in sensing": ways_in_sensing,
    "ways in reasoning": ways_in_reasoning,
    "approximations": approximations,
    "twins": twins,
    "parts": parts,
    "clocks": clocks,
    "latencies": latencies,
    "mean rates": mean_rates,
    "responses": responses,
    "mean field cost": mean_field_cost,
    "chips": chips,
    "processes": processes,
    "tasks": tasks,
    "rivals": rivals,
    "concepts": concepts,
    "depth": depth,
    "creature": creature_environments,
    "creature without": creature_without,
    "verdicts": verdicts,
}
FIGURES = (
    draw_neurons,
    draw_ways,
    draw_ways_in_sensing,
    draw_channels,
    draw_approximation,
    draw_latency,
    draw_mean_field,
    draw_chips,
    draw_tasks,
    draw_concepts,
    draw_depth,
    draw_creature,
)


def draw() -> None:
    """Draws the figures of the notes."""
    for figure in FIGURES:
        figure()


def main() -> int:
    """Writes or checks the pages."""
    return write_or_check(Path(__file__), __doc__, {name: make() for name, make in TABLES.items()}, draw)


if __name__ == "__main__":
    sys.exit(main())
