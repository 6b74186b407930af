"""The report's table and figures."""

from typing import Any

import numpy as np
import pytest
import torch

from spikebridge.analysis.plots.figures import to_svg
from spikebridge.errors import ShapeError
from spikebridge.networks.modulation.report import against, embedding_map, matrix_map, signals_map


def test_differences_are_paired_by_seed() -> None:
    def trial(seed: int, acc: float) -> dict[str, Any]:
        return {"seed": seed, "acc": acc, "transfer": None, "forgetting": 0.0}

    scores = {"hmn": [trial(0, 0.9), trial(1, 0.8)], "snn": [trial(1, 0.5)]}
    (row,) = against("hmn", scores)

    assert (row["seeds"], row["ACC"], row["ACC is"]) == (1, 0.3, "n/a (needs 2 seeds)")


def test_a_map_shows_the_matrix_with_lines_between_groups() -> None:
    values = np.arange(16.0).reshape(4, 4)
    figure = matrix_map(values, group=[0, 0, 1, 1], title="similarity")
    axes = figure.axes[0]

    assert axes.images[0].get_array().tolist() == values.tolist()
    assert axes.images[0].get_clim() == (0, 15)
    assert [list(line.get_xdata()) for line in axes.lines] == [[0, 1], [1.5, 1.5]]
    assert [list(line.get_ydata()) for line in axes.lines] == [[1.5, 1.5], [0, 1]]
    assert "<image" in to_svg(figure)


def test_signals_are_cut_to_their_first_values() -> None:
    signals = np.random.default_rng(0).random((20, 30))
    group = np.repeat(range(4), 5)
    image = signals_map(signals, group, num_values=12).axes[0].images[0]

    assert image.get_array().tolist() == signals[:, :12].tolist()
    assert image.get_clim() == (0, 1)


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
