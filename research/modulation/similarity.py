"""Similar tasks, similar gates: figures of the shipped modulation network (R. Zhao et al., 2022, Fig. 3b to 3f).

    python research/modulation/similarity.py      # needs MNIST in SPIKEBRIDGE_DATA; seconds

Compares the similarity of permutations with that of gates and hidden activity, and lays the gates into a plane. Writes
research/modulation/results/similarity.json. `reshuffled_accuracies` scores tasks that were never learned.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

import spikebridge
from spikebridge.analysis.plots.style import INK, PAPER, SERIES, new_figure
from spikebridge.data.io.atomic import write_text
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.networks.modulation import GateTable
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.evaluation.evaluate import find_trial, load_modes
from spikebridge.networks.modulation.evaluation.inference import GivenTasks, InferredTasks
from spikebridge.networks.modulation.evaluation.scores import rounded
from spikebridge.networks.modulation.model.branch import Branch
from spikebridge.networks.modulation.model.task_inference import prototype_features
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

SHIPPED = Path(spikebridge.__file__).parent / "pretrained" / "modulation"
RESULTS = Path(__file__).parent / "results" / "similarity.json"
SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Shares of a learned permutation that are shuffled again, for similar tasks without training (Fig. 3f)."""
_NUM_IMAGES = 200  # of a task, for its mean activity
_MARKERS = "os^Dv*PX"

Values = ArrayLike | Tensor


def task_similarity(signals: Values) -> Float[np.ndarray, "K K"]:
    """The cosine between the signals or gates `(K, C)` of each two tasks (eq. 15); 0 for a signal of zeros."""
    rows = _rows(signals, "signals")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)

    return (unit @ unit.T).clip(-1, 1)


def activity_correlation(activity: Values) -> Float[np.ndarray, "K K"]:
    """The correlation between the mean hidden activities `(K, C)` of each two tasks (Fig. 3c, d); NaN if flat."""
    rows = _rows(activity, "activities")
    centred = rows - rows.mean(axis=1, keepdims=True)
    similarity = task_similarity(centred)
    flat = ~centred.any(axis=1)
    similarity[flat] = np.nan
    similarity[:, flat] = np.nan

    return similarity


def overlap_correlation(cosines: Values, overlaps: Values) -> float:
    """The correlation of two `(K, K)` similarities over all pairs of two tasks; NaN if all pairs are equal."""
    first = _rows(cosines, "cosines")
    second = _rows(overlaps, "overlaps")
    size = len(first)
    if first.shape != (size, size) or second.shape != (size, size) or size < 3:
        raise ShapeError(
            f"cosines and overlaps need one row and column for each of 3 or more tasks, "
            f"but have shapes {first.shape} and {second.shape}."
        )

    pairs = np.triu_indices(size, k=1)
    a = first[pairs] - first[pairs].mean()
    b = second[pairs] - second[pairs].mean()
    norm = np.sqrt((a @ a) * (b @ b))

    return round(float(a @ b / norm), 12) if norm > 0 else float("nan")


def embed(signals: Values, method: Literal["pca", "tsne"] = "pca", seed: int = 0) -> Float[np.ndarray, "M 2"]:
    """Signals `(M, C)` as points of a plane, similar ones near each other (Fig. 3e).

    `tsne` is that of L. van der Maaten and G. Hinton, JMLR 9:2579 (2008).
    """
    rows = _rows(signals, "signals")
    if len(rows) < 3:
        raise ShapeError(f"an embedding needs 3 or more signals, but got {len(rows)}.")

    if method == "pca":
        u, s, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        plane = u[:, :2] * s[:2]
        return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))

    if method != "tsne":
        raise ConfigError(f"method should be 'pca' or 'tsne', but is {method!r}")

    # scikit-learn's manifolds take a second to import
    from sklearn.manifold import TSNE

    made = TSNE(n_components=2, perplexity=min(30.0, (len(rows) - 1) / 3), random_state=seed)
    return np.asarray(made.fit_transform(rows), dtype=np.float64)


def group_silhouette(signals: Values, group: Values) -> float:
    """The silhouette of signals by group: 1 separated, 0 mixed, below 0 nearer to another one (P. Rousseeuw, 1987)."""
    from sklearn.metrics import silhouette_score

    rows = _rows(signals, "signals")
    groups = _array(group)
    num_groups = len(np.unique(groups))
    if groups.shape != (len(rows),) or not 2 <= num_groups < len(rows):
        raise ShapeError(
            f"a silhouette needs a group for each of {len(rows)} signals, and 2 to {len(rows) - 1} groups, "
            f"but got {num_groups} in shape {groups.shape}."
        )

    return float(silhouette_score(rows, groups))


def reshuffled_accuracies(modes: GivenTasks) -> dict[str, Any]:
    """Accuracy on tasks that were never trained, by the share of a permutation that is shuffled again (Fig. 3f).

    The gate is that of the learned task, that of the task inferred from each image, or the one nearest to each image.
    """
    kinds = ("given", "inferred", "nearest gate") if isinstance(modes, InferredTasks) else ("given",)
    num_tasks = len(modes.parts)
    curves: dict[str, Any] = {"shares": list(SHARES)}

    for kind in kinds:
        means = [np.mean([_reshuffled(modes, task, share, kind) for task in range(num_tasks)]) for share in SHARES]
        curves[kind] = rounded(means)

    return curves


def _reshuffled(modes: GivenTasks, task: int, share: float, kind: str) -> float:
    sequence = modes.sequence
    draw = torch.Generator().manual_seed(1 + task)
    x = sequence.test.permuted(sequence.all_tasks.reshuffled(sequence.numbers[task], share, draw))
    return float(modes.accuracy_with_tasks(x, _tasks_of(modes, x, task, kind)))


@torch.no_grad()
def _tasks_of(modes: GivenTasks, x: Tensor, task: int, kind: str) -> Int64[Tensor, " N"]:
    """The task whose gate each sample gets."""
    if kind == "given" or not isinstance(modes, InferredTasks):
        return torch.full((x.shape[1],), task)

    preactivations = modes.gating.preactivations(x)
    if kind == "nearest gate":
        return GateTable(modes.gates).infer_task(preactivations)

    return modes.prototypes.infer_task(prototype_features(preactivations))


def task_activity(modes: GivenTasks) -> Float[Tensor, "K C2"]:
    """Mean output of each hidden neuron of both layers in each task; closed neurons are silent."""
    rows = []
    for k, part in enumerate(modes.parts):
        rates = hidden_activity(part, modes.test_inputs(k)[:, :_NUM_IMAGES])
        row = [torch.zeros(gate.shape[1]) for gate in modes.gates]
        for all_neurons, gate, rate in zip(row, modes.gates, rates, strict=True):
            all_neurons[gate[k]] = rate

        rows.append(torch.cat(row))

    return torch.stack(rows)


def hidden_activity(branch: Branch, x: Float[Tensor, "T N d"]) -> list[Tensor]:
    """The mean output of each neuron of both hidden layers."""
    activity: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: Any, result: Any) -> None:
        activity.append(result[0].mean((0, 1)))

    hooks = [branch.body.get_submodule(name).register_forward_hook(keep) for name in ("gate1", "gate2")]
    try:
        with torch.no_grad():
            branch(x)
    finally:
        for hook in hooks:
            hook.remove()

    return activity


def representation(modes: GivenTasks) -> dict[str, Any]:
    """Similarity of permutations, gates and hidden activity, and the gates in a plane."""
    sequence = modes.sequence
    overlaps = sequence.all_tasks.similarity[sequence.numbers][:, sequence.numbers]
    gates = torch.cat([layer.float() for layer in modes.gates], 1)
    similarity = task_similarity(gates)

    return {
        "group": sequence.group,
        "unseen": [not one for one in sequence.seen],
        "overlap": [rounded(row) for row in overlaps],
        "gate similarity": [rounded(row) for row in similarity],
        "correlation of gates with overlap": overlap_correlation(similarity, overlaps),
        "embedding": [rounded(row) for row in embed(gates)],
        "silhouette": group_silhouette(gates, sequence.group),
        "activity correlation": [rounded(row) for row in activity_correlation(task_activity(modes)).clip(-1, 1)],
    }


def matrix_map(
    values: ArrayLike, group: ArrayLike | None = None, title: str = "", limits: tuple[float, float] | None = None
) -> Figure:
    """A matrix of tasks as an image: the higher a value, the stronger the colour; lines between groups."""
    grid = _array(values)
    if grid.ndim != 2 or not grid.size:
        raise ShapeError(f"a map needs a matrix (R, C), but got shape {grid.shape}.")

    low, high = (float(np.nanmin(grid)), float(np.nanmax(grid))) if limits is None else limits
    figure, axes = new_figure(4.6, 0.9 + 3.4 * min(1.0, max(0.4, len(grid) / grid.shape[1])), title)
    # clear to full, so that the page shows through where a value is low
    colours = LinearSegmentedColormap.from_list("clear to full", [to_rgba(SERIES[0], 0.0), to_rgba(SERIES[0], 1.0)])
    image = axes.imshow(grid, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, fraction=0.05)
    bar.ax.tick_params(colors=INK, labelsize=9)

    if group is not None:
        groups = _array(group)
        if groups.shape != (len(grid),):
            raise ShapeError(f"a map of {len(grid)} rows needs as many groups, but got shape {groups.shape}.")
        for place in np.flatnonzero(np.diff(groups)) + 0.5:
            axes.axhline(place, color=INK, linewidth=0.5, alpha=0.5)
            if grid.shape[0] == grid.shape[1]:
                axes.axvline(place, color=INK, linewidth=0.5, alpha=0.5)

    axes.set(xlabel="task", ylabel="task")
    return figure


def embedding_map(points: ArrayLike, group: ArrayLike, unseen: ArrayLike | None = None, title: str = "") -> Figure:
    """Signals in a plane: a colour and mark for each group, hollow for a task that is new to the backbone (Fig. 3e)."""
    places = _array(points)
    groups = _array(group)
    hollow = np.zeros(len(places), dtype=bool) if unseen is None else _array(unseen).astype(bool)
    if places.shape != (len(groups), 2) or groups.ndim != 1 or hollow.shape != groups.shape:
        raise ShapeError(
            f"an embedding needs points (M, 2) with a group and a truth value each, but got shapes {places.shape}, "
            f"{groups.shape} and {hollow.shape}."
        )

    figure, axes = new_figure(4.8, 3.6, title)
    for i, one in enumerate(np.unique(groups)):
        colour = SERIES[i % len(SERIES)]
        # the marks change more slowly than the colours, so that their pairs do not repeat early
        marker = _MARKERS[i // len(SERIES) % len(_MARKERS)]
        for filled, mark in ((colour, ~hollow), (PAPER, hollow)):
            chosen = (groups == one) & mark
            axes.plot(*places[chosen].T, marker, color=colour, markerfacecolor=filled, markersize=6, linestyle="none")

    axes.set_xticks([])
    axes.set_yticks([])
    if hollow.any():
        axes.set_xlabel("hollow: a task that is new to the backbone")

    return figure


def _rows(values: Values, what: str) -> NDArray[np.float64]:
    rows = _array(values).astype(np.float64)
    if rows.ndim != 2 or not rows.size:
        raise ShapeError(f"{what} need one row for each task, (K, C), but have shape {rows.shape}.")
    if not np.isfinite(rows).all():
        raise ShapeError(f"{what} need finite values, but {int((~np.isfinite(rows)).sum())} are not.")

    return rows


def _array(values: Any) -> Shaped[np.ndarray, "..."]:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


def main() -> None:
    """Measures the shipped network, and writes."""
    torch.set_num_threads(1)
    run = Run.open(SHIPPED)
    config = run.config_as(modulation.Config)
    sequence = modulation.task_sequence(config, config.seed, *modulation.recordings(config))
    modes = load_modes(find_trial(run), config.trial("hmn"), sequence)
    content = {**representation(modes), "environment": describe_environment()}
    write_text(RESULTS, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
