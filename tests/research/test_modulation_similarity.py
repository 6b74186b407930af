"""Similarity of tasks, checked by hand."""

import numpy as np
import pytest
import torch

from research.modulation.similarity import (
    activity_correlation,
    embed,
    embedding_map,
    group_silhouette,
    matrix_map,
    overlap_correlation,
    task_similarity,
)
from spikebridge.analysis.plots.figures import to_svg
from spikebridge.errors import ConfigError, ShapeError

pytestmark = pytest.mark.untyped


def grouped(num_groups: int = 4, size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    group = np.repeat(np.arange(num_groups), size)
    return draw.random((num_groups, 30))[group] + 0.05 * draw.random((num_groups * size, 30)), group


def test_similarity_is_the_cosine_and_zero_for_a_closed_task() -> None:
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
def test_similar_signals_are_near_each_other(method: str) -> None:
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


def test_a_map_shows_the_matrix_with_lines_between_groups() -> None:
    values = np.arange(16.0).reshape(4, 4)
    figure = matrix_map(values, group=[0, 0, 1, 1], title="similarity")
    axes = figure.axes[0]

    assert axes.images[0].get_array().tolist() == values.tolist()
    assert axes.images[0].get_clim() == (0, 15)
    assert [list(line.get_xdata()) for line in axes.lines] == [[0, 1], [1.5, 1.5]]
    assert [list(line.get_ydata()) for line in axes.lines] == [[1.5, 1.5], [0, 1]]
    assert "<image" in to_svg(figure)


def test_unseen_tasks_are_hollow() -> None:
    points = np.arange(8.0).reshape(4, 2)
    group = torch.tensor([0, 0, 1, 1])
    axes = embedding_map(points, group, unseen=[False, True, True, False]).axes[0]
    shown = {}

    for line in axes.lines:
        for place in zip(line.get_xdata(), line.get_ydata(), strict=True):
            shown[place] = line.get_markerfacecolor() == line.get_color()

    assert shown == {(0.0, 1.0): True, (2.0, 3.0): False, (4.0, 5.0): False, (6.0, 7.0): True}
    assert axes.get_xlabel().startswith("hollow")


def test_a_figure_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"needs a matrix \(R, C\), but got shape \(3,\)"):
        matrix_map([1.0, 2.0, 3.0])

    with pytest.raises(ShapeError, match=r"map of 3 rows needs as many groups, but got shape \(2,\)"):
        matrix_map(np.eye(3), [0, 1])

    with pytest.raises(ShapeError, match="with a group and a truth value each"):
        embedding_map(np.eye(3), [0, 1, 2])


def test_values_that_do_not_fit_are_refused() -> None:
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
