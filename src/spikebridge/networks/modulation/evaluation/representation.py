"""How a network tells tasks apart: signals that say which tasks are alike, and the activity of its hidden neurons.

A signal is one value a gated neuron, the mean over a task's samples; from it the task's gate is made (R. Zhao et al.,
2022, eqs. 15-17 and Fig. 3b-h).

Figures of how a network tells tasks apart (R. Zhao et al., 2022, Fig. 3b-h): matrices, signals, an embedding.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spikebridge.analysis.plots.style import INK, PAPER, SERIES, new_figure
from spikebridge.errors import ConfigError, ShapeError

RESHUFFLED_SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Shares of a learnt order that are shuffled once more, to score tasks that are alike but not learnt (Fig. 3f)."""

Values: TypeAlias = ArrayLike | Tensor


def task_similarity(signals: Values) -> Float[np.ndarray, "K K"]:
    """The cosine between the signals of each two tasks (eq. 15); 0 where a signal is all 0.

    Args:
        signals: `(K, C)`, mean signals or gates.

    Example:
        >>> task_similarity([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]).round(3).tolist()
        [[1.0, 0.0, 0.707], [0.0, 1.0, 0.707], [0.707, 0.707, 1.0]]
    """
    rows = _rows(signals, "signals")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return (unit @ unit.T).clip(-1, 1)


def activity_correlation(activity: Values) -> Float[np.ndarray, "K K"]:
    """The correlation between the mean hidden activities of each two tasks (Fig. 3c, d).

    Args:
        activity: `(K, C)`, mean activity of each hidden neuron in each task.

    Returns:
        NaN for a task in which all neurons are equally active.

    Example:
        >>> activity_correlation([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]]).round(6).tolist()
        [[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
    """
    rows = _rows(activity, "activities")
    centred = rows - rows.mean(axis=1, keepdims=True)
    similarity = task_similarity(centred)
    flat = ~centred.any(axis=1)
    similarity[flat] = similarity[:, flat] = np.nan
    return similarity


def overlap_correlation(cosines: Values, overlaps: Values) -> float:
    """How well the likeness of gates follows the likeness of tasks: one correlation over all pairs of two tasks.

    Args:
        cosines: `(K, K)`, between gates or signals.
        overlaps: `(K, K)`, between the tasks (eq. 16).

    Returns:
        From -1 to 1; NaN where all pairs are equally alike.

    Raises:
        ShapeError: not two square matrices of one size, or fewer than 3 tasks.

    Example:
        >>> cosines = np.array([[1.0, 0.2, 0.0], [0.2, 1.0, 0.4], [0.0, 0.4, 1.0]])
        >>> overlap_correlation(cosines, 0.1 + 0.9 * cosines)
        1.0
    """
    first, second = _rows(cosines, "cosines"), _rows(overlaps, "overlaps")
    size = len(first)
    if first.shape != (size, size) or second.shape != (size, size) or size < 3:
        raise ShapeError(
            f"cosines and overlaps need one row and column for each of 3 or more tasks, "
            f"but have shapes {first.shape} and {second.shape}."
        )
    pairs = np.triu_indices(size, k=1)
    a, b = first[pairs] - first[pairs].mean(), second[pairs] - second[pairs].mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return round(float(a @ b / norm), 12) if norm > 0 else float("nan")


def embed(signals: Values, method: Literal["pca", "tsne"] = "pca", seed: int = 0) -> Float[np.ndarray, "M 2"]:
    """Signals as points of a plane, alike ones near each other (Fig. 3e).

    Args:
        signals: `(M, C)`, of tasks or of single samples.
        method: `pca` keeps the two directions of most variance; `tsne` keeps neighbours (L. van der Maaten, G. Hinton,
            JMLR 9:2579, 2008; scikit-learn's).
        seed: of `tsne`.

    Raises:
        ConfigError: another method.
        ShapeError: fewer than 3 signals.

    Example:
        >>> points = embed([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
        >>> round(float(np.linalg.norm(points[1] - points[2])), 6)
        5.0
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
    """How well signals stand apart by group: 1 far apart, 0 mixed, below 0 nearer to another (P. Rousseeuw, 1987).

    Args:
        signals: `(M, C)`, or points of an embedding.
        group: `(M,)`.

    Raises:
        ShapeError: not one group a signal, or not from 2 to M - 1 groups.

    Example:
        >>> group_silhouette([[0.0], [0.0], [1.0], [1.0]], [0, 0, 1, 1])
        1.0
    """
    from sklearn.metrics import silhouette_score

    rows, groups = _rows(signals, "signals"), _array(group)
    num_groups = len(np.unique(groups))
    if groups.shape != (len(rows),) or not 2 <= num_groups < len(rows):
        raise ShapeError(
            f"a silhouette needs a group for each of {len(rows)} signals, and 2 to {len(rows) - 1} groups, "
            f"but got {num_groups} in shape {groups.shape}."
        )
    return float(silhouette_score(rows, groups))


def reshuffled_accuracy(
    score: Callable[[int, float], float], num_tasks: int, shares: Sequence[float] = RESHUFFLED_SHARES
) -> Float[np.ndarray, "S K"]:
    """Accuracies on tasks that are alike to learnt ones but not learnt, by the share that is shuffled (Fig. 3f).

    Args:
        score: `(task, share) -> accuracy` on the task with this share of its order shuffled once more, without any
            training: with the gate of the learnt task, or one that is inferred.
        num_tasks: K, those that were learnt.
        shares: from 0 to 1.

    Example:
        >>> reshuffled_accuracy(lambda task, share: 1 - share, num_tasks=2, shares=(0.0, 0.5)).tolist()
        [[1.0, 1.0], [0.5, 0.5]]
    """
    return np.array([[score(task, share) for task in range(num_tasks)] for share in shares])


def _rows(values: Values, what: str) -> NDArray[np.float64]:
    rows = _array(values).astype(np.float64)
    if rows.ndim != 2 or not rows.size:
        raise ShapeError(f"{what} need one row a task, (K, C), but have shape {rows.shape}.")
    if not np.isfinite(rows).all():
        raise ShapeError(f"{what} need finite values, but {int((~np.isfinite(rows)).sum())} are not.")
    return rows


def _array(values: Any) -> Shaped[np.ndarray, "..."]:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


_MARKERS = "os^Dv*PX"


def matrix_map(
    values: Values,
    group: Values | None = None,
    title: str = "",
    limits: tuple[float, float] | None = None,
    row_title: str = "task",
    column_title: str = "task",
) -> Figure:
    """A matrix as an image: the higher a value, the stronger the colour; lines between groups.

    Args:
        values: `(R, C)`.
        group: `(R,)`, growing, of each row, and of each column of a square matrix.
        title: above the figure.
        limits: values of no and of full colour; None: the least and the most.
        row_title, column_title: of the axes.

    Raises:
        ShapeError: not a matrix, or not one group a row.
    """
    grid = _numbers(values)
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
        groups = _numbers(group)
        if groups.shape != (len(grid),):
            raise ShapeError(f"a map of {len(grid)} rows needs as many groups, but got shape {groups.shape}.")
        for place in np.flatnonzero(np.diff(groups)) + 0.5:
            axes.axhline(place, color=INK, linewidth=0.5, alpha=0.5)
            if grid.shape[0] == grid.shape[1]:
                axes.axvline(place, color=INK, linewidth=0.5, alpha=0.5)
    axes.set(xlabel=column_title, ylabel=row_title)
    return figure


def signals_map(signals: Values, group: Values | None = None, num_values: int = 128, title: str = "") -> Figure:
    """The first values of each task's signal, a row a task (Fig. 3h).

    Args:
        signals: `(K, C)`.
        group: `(K,)`, growing.
        num_values: how many of each signal.
        title: above the figure.
    """
    return matrix_map(_numbers(signals)[:, :num_values], group, title, (0.0, 1.0), column_title="neuron")


def embedding_map(points: Values, group: Values, unseen: Values | None = None, title: str = "") -> Figure:
    """Signals in a plane: a colour and mark a group, hollow where the backbone has not seen the task (Fig. 3e).

    Args:
        points: `(M, 2)`.
        group: `(M,)`.
        unseen: `(M,)`, truth values.
        title: above the figure.

    Raises:
        ShapeError: not one point, group and truth value each.
    """
    places, groups = _numbers(points), _numbers(group)
    hollow = np.zeros(len(places), dtype=bool) if unseen is None else _numbers(unseen).astype(bool)
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
        axes.set_xlabel("hollow: a task that the backbone has not seen")
    return figure


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)
