"""Similarity of tasks, checked by hand."""

import numpy as np
import pytest
import torch

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.networks.modulation.evaluation.representation import (
    RESHUFFLED_SHARES,
    activity_correlation,
    embed,
    group_silhouette,
    overlap_correlation,
    reshuffled_accuracy,
    task_similarity,
)


def grouped(num_groups: int = 4, size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    group = np.repeat(np.arange(num_groups), size)
    return draw.random((num_groups, 30))[group] + 0.05 * draw.random((num_groups * size, 30)), group


def test_similarity_is_the_cosine_and_a_closed_task_is_like_none() -> None:
    found = task_similarity(torch.tensor([[3.0, 4.0], [4.0, 3.0], [0.0, 0.0]]))
    assert found.tolist() == [pytest.approx(row) for row in ([1, 0.96, 0], [0.96, 1, 0], [0, 0, 0])]


def test_correlation_is_numpys_and_has_none_for_a_flat_activity() -> None:
    activity = np.random.default_rng(0).random((5, 20))
    np.testing.assert_allclose(activity_correlation(activity), np.corrcoef(activity))
    found = activity_correlation(np.array([[1.0, 1.0], [1.0, 2.0]]))

    assert np.isnan(found[0]).all() and np.isnan(found[:, 0]).all()
    assert found[1, 1] == pytest.approx(1)


def test_the_correlation_of_gates_with_overlap_looks_at_pairs_of_different_tasks() -> None:
    draw = np.random.default_rng(1)
    overlap = np.corrcoef(draw.random((6, 9)))
    noisy = overlap + 0.3 * draw.random((6, 6))
    noisy = (noisy + noisy.T) / 2
    upper = np.triu_indices(6, 1)

    assert overlap_correlation(noisy, overlap) == pytest.approx(np.corrcoef(noisy[upper], overlap[upper])[0, 1])

    # the diagonal, which is 1 for any gate, does not count
    np.fill_diagonal(noisy, 7)
    assert overlap_correlation(noisy, overlap) == pytest.approx(np.corrcoef(noisy[upper], overlap[upper])[0, 1])
    assert np.isnan(overlap_correlation(np.ones((3, 3)), np.eye(3)))


def test_an_embedding_of_a_plane_keeps_all_distances() -> None:
    points = np.random.default_rng(0).random((7, 2))
    turned = points @ np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    found = embed(turned)
    between = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found[None], axis=2), between, atol=1e-9)

    assert embed(np.array([[0.0], [1.0], [3.0]])).shape == (3, 2)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_alike_signals_are_near_each_other(method: str) -> None:
    signals, group = grouped()
    points = embed(signals, method, seed=1)
    assert group_silhouette(points, group) > 0.6
    assert np.array_equal(points, embed(signals, method, seed=1))


def test_a_silhouette_by_hand() -> None:
    # 0 and 1 against 5: a = 1, b = 5 and 4; a single one counts 0
    assert group_silhouette([[0.0], [1.0], [5.0]], [0, 0, 1]) == pytest.approx((4 / 5 + 3 / 4 + 0) / 3)

    signals, group = grouped()
    assert group_silhouette(signals, group) > 0.8
    assert abs(group_silhouette(signals, np.arange(20) % 4)) < 0.3


def test_the_curve_of_unlearnt_tasks_has_every_share_and_task() -> None:
    asked = []

    def score(task: int, share: float) -> float:
        asked.append((task, share))
        return 1 - share

    found = reshuffled_accuracy(score, num_tasks=3)
    assert found.shape == (7, 3)
    assert found[:, 2] == pytest.approx([1, 0.9, 0.8, 0.7, 0.5, 0.3, 0.1])
    assert asked == [(task, share) for share in RESHUFFLED_SHARES for task in range(3)]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"signals need one row for each task, \(K, C\), but have shape \(3,\)"):
        task_similarity([1.0, 2.0, 3.0])

    with pytest.raises(ShapeError, match="activities need finite values, but 1 are not"):
        activity_correlation([[1.0, float("nan")]])

    with pytest.raises(ShapeError, match="3 or more tasks, but have shapes"):
        overlap_correlation(np.eye(2), np.eye(2))

    with pytest.raises(ShapeError, match="3 or more signals, but got 2"):
        embed(np.eye(2))

    with pytest.raises(ConfigError, match="'pca' or 'tsne', but is 'umap'"):
        embed(np.eye(3), "umap")

    with pytest.raises(ShapeError, match="a group for each of 3 signals, and 2 to 2 groups, but got 1"):
        group_silhouette(np.eye(3), [0, 0, 0])
