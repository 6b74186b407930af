"""The tables of the pages on integers and on NeuroBench measures, made from results of research/deploy.

python research/pages/deploy_page.py           # writes the pages
python research/pages/deploy_page.py --check   # exit code 1 where a page differs from the results
"""

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from research.pages.made_page import measured, result_file, table, write_or_check

Row = dict[str, Any]
COUNTED = ("Effective_MACs", "Effective_ACs", "Dense")


def digits(results: Row) -> str:
    """Accuracy, memory and energy of the digits networks, means over seeds."""
    rows = []
    for row in results["digits"]:
        seeds = row["seeds"]
        before, after = (100 * fmean(seed[when] for seed in seeds) for when in ("before", "after"))
        spread = "" if row["sd"] is None else f" ± {row['sd']:.2f}"
        # no "-0.00"
        loss = row["loss_points"] + 0.0 if abs(row["loss_points"]) >= 0.005 else 0.0
        accuracy = (f"{before:.2f}", f"{after:.2f}", f"{loss:.2f}{spread}")
        rows.append((row["network"], row["numbers"], *accuracy, *_costs(seeds), _clipped(seeds)))

    head = ("network", "numbers", "before %", "after %", "loss, points", "kB", "operations", "nJ", "most clipped")
    return table(head, rows)


def losses(results: Row) -> str:
    """Accuracy of the learned digits hybrid before and after, by bit widths."""
    rows = []
    for row in results["digits"]:
        if row["network"] == "learned":
            before, after = (100 * fmean(seed[when] for seed in row["seeds"]) for when in ("before", "after"))
            rows.append(
                (row["numbers"], f"{before:.2f}", f"{after:.2f}", f"{row['loss_points']:.2f} ± {row['sd']:.2f}")
            )

    return table(("numbers", "before [%]", "after [%]", "loss [points]"), rows)


def sensing(results: Row) -> str:
    """Distance of protocol A, and the cost of quantised and real parts together."""
    rows = []
    for row in results["sensing"]:
        before, after = (row[when]["mean_distance_px"] for when in ("before", "after"))
        figures = (f"{before:.3f}", f"{after:.3f}", f"{row['loss_px']:+.3f}")
        rows.append((row["network"], *figures, *_costs([row]), _clipped([row])))

    return table(("network", "before px", "after px", "loss px", "kB", "operations", "nJ", "most clipped"), rows)


def c_models(results: Row) -> str:
    """Bytes and times of digits networks in C."""
    rows = []
    for row in results["rows"]:
        sizes = (f"{row[name] / 1000:.1f}" for name in ("table bytes", "state bytes", "code and tables"))
        # measured only where there is a compiler for it
        cortex = row.get("Cortex-M4 code and tables")
        times = (f"{row['us a tick']:.1f}", f"{row['cycles a tick'] / 1000:.0f} k", f"{row['us a tick in numpy']:.0f}")
        rows.append((row["network"], *sizes, "-" if cortex is None else f"{cortex / 1000:.1f}", *times))

    titles = (
        "network",
        "tables kB",
        "state kB",
        "code + tables kB, x86-64",
        "Cortex-M4",
        "us a tick",
        "cycles a tick",
        "us in numpy",
    )
    return table(titles, rows)


def boards(results: Row) -> str:
    """Memory, instructions and energy of a step on emulated microcontrollers."""
    rows = []
    for row in results["rows"]:
        memory = (f"{row[name] / 1000:.1f}" for name in ("flash_bytes", "ram_bytes"))
        counted = (f"{row['instructions'] / 1000:.1f} k", f"{row['max_instructions'] / 1000:.1f} k")
        rows.append(
            (row["network"], row["board"], *memory, str(row["stack_bytes"]), *counted, f"{row['energy_uj']:.1f}")
        )

    titles = (
        "network",
        "processor",
        "flash kB",
        "RAM kB",
        "stack bytes",
        "instructions a step",
        "at most",
        "uJ a step",
    )
    return table(titles, rows)


def _costs(seeds: list[Row]) -> tuple[str, str, str]:
    """Kilobytes of weights, operations and energy a sample, before and after; dashes where they were not counted."""
    if "expenses" not in seeds[0]:
        return "-", "-", "-"

    memory = [fmean(seed["memory"][name] for seed in seeds) / 1000 for name in ("parameters", "integers")]
    expenses = {name: fmean(seed["expenses"][name] for seed in seeds) for name in seeds[0]["expenses"]}
    operations = [expenses[name] / 1000 for name in ("operations", "operations after")]
    energy = [expenses[name] for name in ("energy nJ", "energy nJ after")]

    return f"{memory[0]:.0f} → {memory[1]:.0f}", f"{operations[0]:.0f} k → {operations[1]:.0f} k", _change(energy)


def _change(pair: list[float]) -> str:
    return f"{pair[0]:.0f} → {pair[1]:.0f}"


def _clipped(seeds: list[Row]) -> str:
    """The signal that left its grid most often in any seed."""
    if "clipped" not in seeds[0]:
        return "-"

    shares = [(share, path) for seed in seeds for path, share in seed["clipped"]]
    share, path = max(shares, default=(0.0, ""))

    return f"`{path}` {100 * share:.2f} %" if path else "none"


def networks(rows: list[dict[str, Any]]) -> str:
    """NeuroBench measures, a row a network."""
    titles = ("network", "parameters", "footprint kB", "connection sparsity", "activation sparsity")
    lines = []

    for row in rows:
        sizes = (str(row["ParameterCount"]), f"{row['Footprint'] / 1000:.1f}")
        sparsity = (f"{row['ConnectionSparsity']:.4f}", f"{row['ActivationSparsity']:.3f}")
        counts = (f"{row['SynapticOperations'][key] / 1000:.1f} k" for key in COUNTED)
        # some networks answer with numbers, not with classes
        accuracy = row.get("ClassificationAccuracy")
        results = (f"{row['MembraneUpdates']:.0f}", "-" if accuracy is None else f"{100 * accuracy:.1f}")
        lines.append((f"{row['recipe']}: {row['network']}", *sizes, *sparsity, *counts, *results))

    return measured((*titles, *COUNTED, "membrane updates", "accuracy %"), lines)


def harness(models: list[dict[str, Any]]) -> str:
    """A row a measure: one figure if ours and the harness's are equal, both if not."""
    keys = list(dict.fromkeys(key for row in models for key in row["ours"]))
    lines = []

    for key in keys:
        cells = []
        for row in models:
            ours = row["ours"].get(key)
            theirs = row["harness"].get(key)
            if ours is None:
                cells.append("-")
            else:
                cells.append(_exact(ours) if ours == theirs else f"{ours}, harness {theirs}")

        lines.append((f"`{key}`", *cells))

    return measured(("measure", *(row["model"] for row in models)), lines)


def _exact(value: Any) -> str:
    """All digits of a value."""
    if isinstance(value, dict):
        return ", ".join(_exact(value[key]) for key in COUNTED)
    return repr(value)


def main() -> int:
    """Writes or checks the pages."""
    names = ("integers", "c_model", "neurobench_networks", "neurobench_harness", "boards")
    integers, c_model, neurobench, beside_harness, emulated = (
        json.loads(result_file(f"deploy/{name}").read_text(encoding="utf-8")) for name in names
    )

    tables = {
        "digits": digits(integers),
        "losses": losses(integers),
        "sensing": sensing(integers),
        "c_models": c_models(c_model),
        "boards": boards(emulated),
        "networks": networks(neurobench["networks"]),
        "harness": harness(beside_harness["models"]),
    }
    return write_or_check(Path(__file__), __doc__, tables)


if __name__ == "__main__":
    sys.exit(main())
