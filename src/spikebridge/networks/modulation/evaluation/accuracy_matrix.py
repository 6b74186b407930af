"""Continual-learning metrics from the accuracy matrix R.

`R[k, j]` is the accuracy on task j after k tasks; row 0 is the untrained network. In the formulas tasks count from 1 to
K, as in D. Lopez-Paz, M. Ranzato, NeurIPS 2017 (ACC, BWT, FWT) and A. Chaudhry et al., ECCV 2018 (forgetting).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike, NDArray

from spikebridge.errors import ShapeError

_NUM_EDGE = 4  # tasks of the means over the first and the last ones


class ContinualMetrics(NamedTuple):
    """Metrics of one training on a task sequence; accuracies from 0 to 1, NaN where no task counts.

    Transfer alone says little: an ungated network may transfer best and forget most.
    """

    num_tasks: int  # tasks that count
    acc: float  # ACC, mean_j R[K, j]
    bwt: float  # backward transfer, mean_{j<K} (R[K, j] - R[j, j])
    fwt: float  # forward transfer, mean_{j>1} (R[j-1, j] - R[0, j])
    transfer: float  # mean R[j-1, j] over tasks with an earlier task of their group
    forgetting: float  # mean_{j<K} (max_{j<=k<K} R[k, j] - R[K, j])
    just_learnt: float  # mean_j R[j, j]
    just_learnt_first: float  # over the first four tasks that count
    just_learnt_last: float  # over the last four


def continual_metrics(
    accuracies: ArrayLike, group: Sequence[int] | ArrayLike | None = None, counted: ArrayLike | None = None
) -> ContinualMetrics:
    """All metrics of R, `(K + 1, K)`, with the group of each task and a mask of the tasks that count, `(K,)` each.

    Without groups, each task is its own group.
    """
    R = _matrix(accuracies)
    num_tasks = R.shape[1]
    groups = np.arange(num_tasks) if group is None else np.asarray(group)
    marks = np.ones(num_tasks, dtype=bool) if counted is None else np.asarray(counted, dtype=bool)

    for name, values in (("group", groups), ("counted", marks)):
        if values.shape != (num_tasks,):
            raise ShapeError(f"{name} needs one value for each of {num_tasks} tasks, but has shape {values.shape}.")

    # row j is the last one before task j is learned, row j + 1 the first one after it
    column = np.arange(num_tasks)
    learnt = R[column + 1, column]
    before = R[column, column]
    gain = before - R[0]
    has_similar = np.array([groups[j] in groups[:j] for j in column])

    # nothing is learned before the first task, and nothing forgotten after the last one
    first = column == 0
    last = column == num_tasks - 1
    lost = np.array([R[j + 1 : num_tasks, j].max(initial=-np.inf) for j in column]) - R[-1]
    edges = learnt[marks]

    return ContinualMetrics(
        num_tasks=int(marks.sum()),
        acc=_mean(R[-1], marks),
        bwt=_mean(R[-1] - learnt, marks & ~last),
        fwt=_mean(gain, marks & ~first),
        transfer=_mean(before, marks & has_similar),
        forgetting=_mean(lost, marks & ~last),
        just_learnt=_mean(learnt, marks),
        just_learnt_first=_mean(edges[:_NUM_EDGE]),
        just_learnt_last=_mean(edges[-_NUM_EDGE:]),
    )


def accuracy_after(accuracies: ArrayLike) -> Float[np.ndarray, " K"]:
    """The mean accuracy on the tasks learned so far, after each task (Fig. 3i)."""
    R = _matrix(accuracies)
    return np.array([R[k, :k].mean() for k in range(1, len(R))])


def _mean(values: NDArray[np.float64], marks: Bool[np.ndarray, " K"] | None = None) -> float:
    chosen = values if marks is None else values[marks]
    return float(chosen.mean()) if len(chosen) else float("nan")


def _matrix(accuracies: Any) -> NDArray[np.float64]:
    R = np.asarray(accuracies, dtype=np.float64)
    if R.ndim != 2 or R.shape[0] != R.shape[1] + 1 or R.shape[1] == 0:
        raise ShapeError(f"R needs a row for each number of tasks from 0 to K, (K + 1, K), but has shape {R.shape}.")

    if not np.isfinite(R).all():
        row, column = np.argwhere(~np.isfinite(R))[0].tolist()
        raise ShapeError(f"R needs an accuracy in every place, but row {row}, column {column} has none.")

    return R
