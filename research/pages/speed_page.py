"""The tables of the pages about speed, made from results of research/speed: peers, live, sparse_live and loops.

python research/pages/speed_page.py           # writes the pages
python research/pages/speed_page.py --check   # exit code 1 where a page differs from the results
"""

import json
import sys
from pathlib import Path
from typing import Any

from research.pages.made_page import head, line, result_file, write_or_check

LINEAR = {"dense product": "F.linear", "events, one native call": "events", "events, PyTorch": "PyTorch"}
FORMS = {
    "one long window": "one window",
    "the same, streamed in ten parts": "streamed",
    "windows of 20, kept": "windows, kept",
    "windows of 20, last values": "windows, last",
}
SILENT = ("floor", "no neurons")  # rows without spikes
LIBRARIES = ("SpikingJelly", "snnTorch", "Norse", "sinabs")


def machine(peers: dict[str, Any]) -> str:
    """The machine and the versions, in a sentence."""
    facts = peers["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    return f"{facts['processor']}, {facts['cores']} cores, {facts['system']}; {facts['native']}. {versions}."


def summary(peers: dict[str, Any], stream: dict[str, Any]) -> str:
    """Times and memory of each library, measured in the same process, as multiples of ours."""
    layer = {row["name"]: row for row in peers["layers"][2]["rows"]}
    dense, convolutional = (
        {row["name"]: row for row in table["rows"]} for table in (peers["networks"][0], peers["networks"][2])
    )
    steps = {row["name"]: row for row in stream["live"][1]["rows"]}
    memory_of = {row["name"]: row for row in peers["memory"]}
    titles = ("a layer, training", "784-1000-10, training", "convolutions, training", "live step", "peak memory")
    lines = [head("times ours", *titles)]

    for name in LIBRARIES:
        ratios = (
            layer[name]["cpu_ratio"],
            dense[name]["cpu_ms"] / dense["native, Sequential"]["cpu_ms"],
            convolutional[name]["cpu_ms"] / convolutional["native, channels last, Sequential"]["cpu_ms"],
            steps[name]["us_a_step"] / steps["events, one native call"]["us_a_step"],
            memory_of[name]["mb"][1] / memory_of["native, Sequential"]["mb"][1],
        )
        lines.append(line(name, *(f"{ratio:.1f}" for ratio in ratios)))

    return "\n".join(lines)


def layers(peers: dict[str, Any]) -> str:
    """A: a row a library, a column a shape."""
    tables = peers["layers"]
    names = list(dict.fromkeys(row["name"] for table in tables for row in table["rows"]))
    lines = [head("A: LIF, forward and backward", *(f"({', '.join(map(str, table['shape']))})" for table in tables))]

    for name in names:
        rows = (_row_of(table, name) for table in tables)
        lines.append(line(name, *("-" if row is None else _ratio(row) + _compiled(row) for row in rows)))

    lines.append(line("share of spikes", *(_spikes(table["rows"]) for table in tables)))
    return "\n".join(lines)


def networks(peers: dict[str, Any]) -> str:
    """B and C: a row a library, a column a work and number of threads, with the ratio to the same without neurons."""
    tables = peers["networks"]
    names = list(dict.fromkeys(row["name"] for table in tables for row in table["rows"]))
    lines = [head("training step", *(f"{table['work']}, {table['threads']} thread(s)" for table in tables))]

    for name in names:
        rows = (_row_of(table, name) for table in tables)
        lines.append(line(name, *("-" if row is None else _ratio(row) + _over_the_floor(row) for row in rows)))

    lines.append(line("share of spikes", *(_spikes(table["rows"]) for table in tables)))
    return "\n".join(lines)


def _row_of(table: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The row of a library, or None if it was not measured at this size."""
    return next((row for row in table["rows"] if row["name"] == name), None)


def _over_the_floor(row: dict[str, Any]) -> str:
    """The ratio to the same network without neurons; empty for results that do not have it."""
    return f"; {_times(row['over_floor'])}" if "over_floor" in row else ""


def loops(results: dict[str, Any]) -> str:
    """A row a work, a column a way: microseconds of a tick, and the ratio to the formulas by hand."""
    measured = {(row["work"], row["way"]): row for row in results["rows"]}
    works = list(dict.fromkeys(work for work, _ in measured))
    ways = list(dict.fromkeys(way for _, way in measured))
    lines = [head("a tick [us]", *ways)]

    for work in works:
        rows = (measured.get((work, way)) for way in ways)
        cells = ("-" if row is None else f"{row['us_a_tick']:.0f} ({row['over_by_hand']:.2f} x)" for row in rows)
        lines.append(line(work, *cells))

    return "\n".join(lines)


def memory(peers: dict[str, Any]) -> str:
    """E: peak memory of B."""
    rows = peers["memory"]
    lines = [head("E: peak memory of B [MB]", *(f"T = {steps}" for steps in rows[0]["num_steps"]), "over the first")]
    lines += [line(row["name"], *(f"{mb:.0f}" for mb in row["mb"]), f"{row['ratio']:.2f}") for row in rows]
    return "\n".join(lines)


def kernels(peers: dict[str, Any]) -> str:
    """F, and every neuron: gain over the loop of the native path, of PyTorch alone, and of a copy of the signal."""
    tables = peers["beside_the_loop"]
    shapes = [f"({', '.join(map(str, table['shape']))})" for table in tables]
    lines = [head("times faster than its loop", *shapes)]
    neurons = zip(*(table["neurons"] for table in tables), strict=True)
    lines += [line(rows[0]["neuron"], *map(_gains, rows)) for rows in neurons]
    forms = list(dict.fromkeys(row["form"] for row in tables[0]["kernels"]))
    lines += ["", head("the same of kernels", *(f"{FORMS[form]}, {shape}" for shape in shapes for form in forms))]
    measured = [{(row["kernel"], row["gradients"], row["form"]): row for row in table["kernels"]} for table in tables]

    for kernel, gradients in dict.fromkeys(key[:2] for key in measured[0]):
        rows = (table.get((kernel, gradients, form)) for table in measured for form in forms)
        name = f"{kernel}, with gradients" if gradients else kernel
        lines.append(line(name, *("-" if row is None else _gains(row) for row in rows)))

    return "\n".join(lines)


def _gains(row: dict[str, Any]) -> str:
    ratios = (row.get(f"times_{name}") for name in ("native", "pytorch", "floor"))
    return " / ".join("-" if ratio is None else f"{ratio:.1f}" for ratio in ratios)


def live(results: dict[str, Any]) -> str:
    """D: microseconds of a step."""
    tables = results["live"]
    names = [row["name"] for row in tables[0]["rows"]]
    lines = [head("D: a step of a live stream [us]", *(f"{table['share']:.0%} of pixels" for table in tables))]

    for number, name in enumerate(names):
        rows = [table["rows"][number] for table in tables]
        lines.append(line(name, *(f"{row['us_a_step']:.0f} ({row['over_ours']:.1f} x)" for row in rows)))

    return "\n".join(lines)


def live_networks(results: dict[str, Any]) -> str:
    """Whole networks through `spikebridge live`: microseconds of a step dense and by events."""
    rows = results["networks"]
    shares = (f"{row['active']:.0%} active" for row in next(iter(rows.values())))
    lines = [head("dense / by events [us], times faster", *shares)]

    for name, row_of_shares in rows.items():
        cells = (f"{row['dense_us']:.0f} / {row['events_us']:.0f}, {row['ratio']:.1f} x" for row in row_of_shares)
        lines.append(line(name, *cells))

    return "\n".join(lines)


def linear(results: dict[str, Any]) -> str:
    """One linear layer of 1000 x 1000 by events, and its dense product."""
    rows = results["linear"]
    lines = [head("a linear layer, 1000 x 1000 [us]", *(f"{row['share']:.0%} of inputs" for row in rows))]
    lines += [line(name, *(f"{row[key]:.0f}" for row in rows)) for name, key in LINEAR.items()]
    lines.append(line("times faster", *(f"{row['ratio']:.1f}" for row in rows)))

    return "\n".join(lines)


def silence(peers: dict[str, Any]) -> str:
    """S: products with few active inputs in training."""
    tables = peers["silence"]
    shares = (f"{row['share']:.0%} active" for row in tables[0]["rows"])
    lines = [head("S: dense / active inputs alone [ms], times faster", *shares)]

    for table in tables:
        cells = (f"{row['dense_ms']:.1f} / {row['quick_ms']:.1f}, {row['ratio']:.1f} x" for row in table["rows"])
        lines.append(line(table["product"], *cells))

    return "\n".join(lines)


def growth(peers: dict[str, Any]) -> str:
    """Growth of the time with each size."""
    lines = [head("time of the fastest path", "from", "to", "power of the size", "farthest from a straight line")]
    for axis, result in peers["growth"]["axes"].items():
        ends = (str(result["sizes"][0]), str(result["sizes"][-1]))
        lines.append(line(axis, *ends, f"{result['power']:.2f}", f"{result['most_off']:.0%}"))

    return "\n".join(lines)


def _ratio(row: dict[str, Any]) -> str:
    return f"{row['cpu_ms']:.1f} ms, {_times(row)}"


def _times(row: dict[str, Any]) -> str:
    """A ratio, with the interval of its median if the results have one."""
    # fewer than six rounds have none
    low, high = row.get("cpu_ratio_interval") or (0, 0)
    return f"{row['cpu_ratio']:.2f} x" + (f" ({low:.2f} to {high:.2f})" if low < high else "")


def _spikes(rows: list[dict[str, Any]]) -> str:
    """Share of spikes in the outputs: of the first row, and of others with another share."""
    ours = f"{rows[0]['spike_rate']:.1%}"
    shares = {row["name"]: f"{row['spike_rate']:.1%}" for row in rows if not row["name"].startswith(SILENT)}
    # libraries with other equations fire more or less, which changes their work
    return ", ".join([ours, *(f"{name} {share}" for name, share in shares.items() if share != ours)])


def _compiled(row: dict[str, Any]) -> str:
    return f" (after {row['first_s']:.1f} s)" if "compiled" in row["name"] else ""


def main() -> int:
    """Writes or checks the pages."""
    names = ("peers", "live", "sparse_live", "loops")
    peers, stream, whole, looped = (json.loads(result_file(f"speed/{name}").read_text()) for name in names)
    tables = {
        "machine": machine(peers),
        "summary": summary(peers, stream),
        "layers": layers(peers),
        "networks": networks(peers),
        "live": live(stream),
        "live networks": live_networks(whole),
        "loops": loops(looped),
        "memory": memory(peers),
        "silence": silence(peers),
        "linear": linear(stream),
        "kernels": kernels(peers),
        "growth": growth(peers),
    }

    return write_or_check(Path(__file__), __doc__, tables)


if __name__ == "__main__":
    sys.exit(main())
