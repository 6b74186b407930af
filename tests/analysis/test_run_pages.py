"""Learning curves, confusion matrices and comparisons of runs show the numbers that were recorded."""

import numpy as np
import pytest

from spikebridge.analysis.comparison import RunRecord, compare_runs, flat_numbers
from spikebridge.analysis.learning_curves import learning_curves
from spikebridge.analysis.plots.figures import accuracy_lines, confusion_matrix
from spikebridge.errors import ConfigError, ShapeError


def epochs(*losses: float, **more: float) -> list[dict[str, object]]:
    """Rows of metrics as a training writes them."""
    return [
        {"kind": "epoch", "phase": "x", "epoch": k + 1, "step": 4 * k + 4, "lr": 0.1, "loss": loss, **more}
        for k, loss in enumerate(losses)
    ]


def test_each_metric_has_a_figure_with_a_line_a_network() -> None:
    section = learning_curves(
        {
            "ann/seed-0": epochs(2.0, 1.0, accuracy=0.5),
            "ann/seed-1": epochs(4.0, 3.0, accuracy=0.7),
            "snn/seed-0": epochs(9.0, 8.0),
        }
    )

    # the learning rate is a setting and has no figure
    assert [picture.caption for picture in section.pictures] == ["loss", "accuracy"]

    loss, accuracy = (picture.svg for picture in section.pictures)
    assert "<title>ann: 3 ± 1.4 at 1</title>" in loss
    assert "<title>ann: 2 ± 1.4 at 2</title>" in loss
    assert "<title>snn: 8 at 2</title>" in loss
    assert "snn" not in accuracy


def test_training_and_validation_share_a_figure() -> None:
    rows = epochs(2.0, 1.0, **{"validation/loss": 3.0, "validation/f1": 0.5})
    loss, f1 = learning_curves({"a": rows}).pictures
    assert (loss.caption, f1.caption) == ("loss", "validation/f1")

    figure = accuracy_lines([1, 2], {"a": [2.0, 1.0]}, "epoch", validation={"a": [3.0, 3.0]})
    trained, validated = figure.axes[0].lines
    assert trained.get_color() == validated.get_color()
    assert (trained.get_linestyle(), validated.get_linestyle()) == ("-", "--")
    assert ">training<" in loss.svg and ">validation<" in loss.svg
    assert ">training<" not in f1.svg


def test_a_network_has_one_colour_in_all_figures_of_a_report() -> None:
    order = ["hybrid", "ann", "snn"]
    colours = [
        {line.get_label(): line.get_color() for line in figure.axes[0].lines}
        for figure in (
            accuracy_lines([0], {name: [1.0] for name in names}, "x", order=order)
            for names in (["ann", "snn"], ["snn", "hybrid"], ["ann", "kalman", "hybrid"])
        )
    ]
    whole = {name: colour for shown in colours for name, colour in shown.items()}

    assert len(set(whole.values())) == 4
    assert all(whole[name] == colour for shown in colours for name, colour in shown.items())

    curves = learning_curves({"ann/seed-0": epochs(1.0), "hybrid/seed-0": epochs(1.0)}, order).pictures[0].svg
    # the legend has the order of the report, too
    assert curves.index(">hybrid<") < curves.index(">ann<")


def test_rows_of_steps_are_drawn_where_there_is_no_epoch() -> None:
    steps = [{"kind": "step", "step": k, "loss": 1.0 / k} for k in (1, 2)]
    assert "<title>a: 0.5 at 2</title>" in learning_curves({"a": steps}).pictures[0].svg
    assert "<title>a: 5 at 1</title>" in learning_curves({"a": [*steps, *epochs(5.0)]}).pictures[0].svg


def test_a_training_that_ended_earlier_or_diverged_has_a_shorter_line() -> None:
    section = learning_curves({"a/seed-0": epochs(2.0, float("inf"), 1.0), "b/seed-0": epochs(3.0)})
    svg = section.pictures[0].svg
    assert "<title>b: 3 at 1</title>" in svg
    assert "nan" not in svg.lower()


@pytest.mark.parametrize("rows", [{}, {"a": []}, {"a": [{"kind": "epoch", "phase": "x"}]}])
def test_a_run_without_metrics_says_so(rows: dict[str, list[dict[str, object]]]) -> None:
    section = learning_curves(rows)
    assert section.text == "No metrics were recorded."
    assert not section.pictures


def test_a_name_in_a_figure_is_text() -> None:
    svg = learning_curves({"<script>alert(1)</script>": epochs(1.0)}).pictures[0].svg
    assert "<script" not in svg
    assert "&lt;script&gt;alert(1)&lt;/script&gt;: 1 at 1" in svg


def test_a_confusion_matrix_has_shares_of_rows_and_frames_right_answers() -> None:
    axes = confusion_matrix([[3, 1], [2, 2]], ["cat", "dog"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["75", "25", "50", "50"]
    assert len([patch for patch in axes.patches if not patch.get_fill()]) == 2

    with pytest.raises(ShapeError):
        confusion_matrix([[1, 2]], ["a"])


def test_runs_stand_side_by_side_with_differences_from_the_first() -> None:
    runs = [
        RunRecord("a", {"lr": 0.1, "camera": {"noise": 1}}, {"nets": [{"name": "x", "acc": 0.5}]}, {"torch": "2"}),
        RunRecord("b", {"lr": 0.1, "camera": {"noise": 2}}, {"nets": [{"name": "x", "acc": 0.75}]}, {"torch": "2"}),
        RunRecord("c", {"lr": 0.1, "camera": {"noise": 2}}, None),
    ]

    results, settings, curves, environment = compare_runs(runs)
    assert results.tables[0].rows == [
        {"result": "nets / x / acc", "a": 0.5, "b": 0.75, "c": None, "b − a": 0.25, "c − a": None}
    ]
    assert results.paragraphs == ["Not finished, so without results: c."]
    assert settings.tables[0].rows == [{"setting": "camera.noise", "a": 1, "b": 2, "c": 2}]
    assert curves.text == "No metrics were recorded."
    assert environment.tables[0].rows == [{"environment": "torch", "a": "2", "b": "2", "c": None}]


def test_equal_runs_have_no_differences() -> None:
    one = {"lr": 0.1}
    _, settings, _, environment = compare_runs([RunRecord("a", one, {}), RunRecord("b", one, {})])
    assert settings.text == "All settings are equal."
    assert "equal versions" in str(environment.text)


def test_a_comparison_of_one_run_or_of_equal_names_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"two or more runs of different names, but got a$"):
        compare_runs([RunRecord("a")])
    with pytest.raises(ConfigError, match="but got a, a"):
        compare_runs([RunRecord("a"), RunRecord("a")])


def test_many_numbers_are_cut_and_counted() -> None:
    many = {str(k): float(k) for k in range(1000)}
    results = compare_runs([RunRecord("a", {}, many), RunRecord("b", {}, many)])[0]

    assert len(results.tables[0].rows) == 400
    assert results.paragraphs == ["400 of 1,000 numbers are shown."]
    assert len(list(flat_numbers(many))) == 1000


def test_markers_outside_of_the_axes_do_not_shift_the_values() -> None:
    figure = accuracy_lines([0, 1, 2], {"a": [np.nan, 2.0, 3.0]}, "x")
    assert [line.get_label() for line in figure.axes[0].lines] == ["a"]
