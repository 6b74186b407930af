"""Growth of the time of a layer with steps, samples and neurons, over two decades each."""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from research.speed.beside_peers.works import layer_alone

SIZES = {
    "T": [(t, 16, 1024) for t in (20, 50, 100, 200, 500, 1000, 2000)],
    "B": [(100, b, 2048) for b in (2, 5, 10, 20, 50, 100, 200)],
    "N": [(100, 16, n) for n in (256, 640, 1280, 2560, 6400, 12800, 25600)],
}


def grow(layer: nn.Module, rounds: int) -> dict[str, Any]:
    """Times in ms for every size of every axis, with the line that fits them and the power that does."""
    results = {}
    for axis, shapes in SIZES.items():
        works = {shape: layer_alone(layer, shape) for shape in shapes}
        times: dict[tuple[int, ...], list[float]] = {shape: [] for shape in shapes}

        for _ in range(rounds + 1):
            for shape, run in works.items():
                # as in training, where a size comes again and again
                run()
                start = time.process_time()
                run()
                times[shape].append(time.process_time() - start)

        sizes = [shape["TBN".index(axis)] for shape in shapes]
        results[axis] = fit(sizes, [statistics.median(times[shape][1:]) * 1e3 for shape in shapes])

    return results


def fit(sizes: list[int], ms: list[float]) -> dict[str, Any]:
    """A line `ms = at_0 + each size`, by least squares of relative errors, and a power law."""
    x = np.array(sizes, float)
    y = np.array(ms)
    design = np.stack([np.ones_like(x), x], axis=1) / y[:, None]
    (at_0, each), *_ = np.linalg.lstsq(design, np.ones_like(x), rcond=None)
    power, _ = np.polyfit(np.log(x), np.log(y), 1)
    off = np.abs((at_0 + each * x) / y - 1)

    return {
        "sizes": sizes,
        "ms": ms,
        "ms_at_0": float(at_0),
        "us_each": float(each * 1e3),
        "power": float(power),
        "most_off": float(off.max()),
    }


def draw(results: dict[str, Any], path: Path) -> None:
    """The times and their lines, both axes logarithmic."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    names = {"T": "steps T (16 x 1024)", "B": "samples B (100 steps x 2048)", "N": "neurons N (100 steps x 16)"}
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), sharey=True, layout="constrained")
    for axis, (name, result) in zip(axes, results.items(), strict=True):
        x = np.array(result["sizes"], float)
        axis.loglog(x, result["ms_at_0"] + result["us_each"] / 1e3 * x, color="0.6", label="line")
        axis.loglog(x, result["ms"], "o", color="C0", label="measured")
        axis.set_xlabel(names[name])
        axis.set_title(f"power {result['power']:.2f}", fontsize="medium")

    axes[0].set_ylabel("forward and backward [ms]")
    axes[0].legend(frameon=False)
    draft = path.with_name(f"{path.stem}.part.svg")
    figure.savefig(draft, metadata={"Date": None})
    draft.replace(path)
