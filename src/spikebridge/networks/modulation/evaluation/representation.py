"""How a network separates tasks: similarity of gates, of signals, and of hidden activity.

A signal has one value for each gated neuron, the mean over a task's samples; the task's gate is made from it (R. Zhao
et al., 2022, eqs. 15-17 and Fig. 3b-h).
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spikebridge.errors import ConfigError, ShapeError

RESHUFFLED_SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Shares of a learned permutation that are shuffled again, to score similar tasks without training (Fig. 3f)."""

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
    """The correlation of gate similarity with task similarity, over all pairs of two tasks.

    Args:
        cosines: `(K, K)`, between gates or signals.
        overlaps: `(K, K)`, between the tasks (eq. 16).

    Returns:
        From -1 to 1; NaN where all pairs are equally similar.

    Raises:
        ShapeError: not two square matrices of one size, or fewer than 3 tasks.

    Example:
        >>> cosines = np.array([[1.0, 0.2, 0.0], [0.2, 1.0, 0.4], [0.0, 0.4, 1.0]])
        >>> overlap_correlation(cosines, 0.1 + 0.9 * cosines)
        1.0
    """
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
    """Signals as points of a plane, similar ones near each other (Fig. 3e).

    Args:
        signals: `(M, C)`, of tasks or of single samples.
        method: `pca` keeps the two directions of most variance; `tsne` keeps neighbours (L. van der Maaten, G. Hinton,
            JMLR 9:2579, 2008; scikit-learn's).
        seed: of `tsne`.

    Raises:
        ConfigError: an unknown method.
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
    """The silhouette of signals by group: 1 separated, 0 mixed, below 0 nearer to another group (P. Rousseeuw, 1987).

    Args:
        signals: `(M, C)`, or points of an embedding.
        group: `(M,)`.

    Raises:
        ShapeError: not one group for each signal, or not from 2 to M - 1 groups.

    Example:
        >>> group_silhouette([[0.0], [0.0], [1.0], [1.0]], [0, 0, 1, 1])
        1.0
    """
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


def reshuffled_accuracy(
    score: Callable[[int, float], float], num_tasks: int, shares: Sequence[float] = RESHUFFLED_SHARES
) -> Float[np.ndarray, "S K"]:
    """Accuracies on tasks that are similar to learned ones but not trained, by the share that is shuffled (Fig. 3f).

    Args:
        score: `(task, share) -> accuracy` on the task with this share of its permutation shuffled again.
        num_tasks: K learned tasks.
        shares: from 0 to 1.

    Example:
        >>> reshuffled_accuracy(lambda task, share: 1 - share, num_tasks=2, shares=(0.0, 0.5)).tolist()
        [[1.0, 1.0], [0.5, 0.5]]
    """
    return np.array([[score(task, share) for task in range(num_tasks)] for share in shares])


def _rows(values: Values, what: str) -> NDArray[np.float64]:
    rows = _array(values).astype(np.float64)
    if rows.ndim != 2 or not rows.size:
        raise ShapeError(f"{what} need one row for each task, (K, C), but have shape {rows.shape}.")
    if not np.isfinite(rows).all():
        raise ShapeError(f"{what} need finite values, but {int((~np.isfinite(rows)).sum())} are not.")

    return rows


def _array(values: Any) -> Shaped[np.ndarray, "..."]:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
