"""Answers that are late by the latencies of the paper's chip: worked by hand on bins of a 240th of a second."""

import numpy as np
import pytest

from spikebridge.data.events.binned import bin_sparse
from spikebridge.data.events.events import make_events
from spikebridge.data.recordings.recording import Recording
from spikebridge.networks.sensing.evaluation.protocols import DECLARED, one_pass_evaluation, streaming

DT = 1 / 240
NUM_BINS = 24
RATIO = 6


class Clock:
    """Answers with the time of its newest input, in bins."""

    def step(self, inputs, state):
        now = (state or 0) + round(inputs["elapsed"] / DT)
        return np.array([100.0 + now, 50.0, 10.0, 10.0]), now


@pytest.fixture
def straight():
    """The target moves by a pixel a bin, so pixels off are bins late."""
    frame_bins = np.arange(0, NUM_BINS, RATIO)
    none = make_events(t=[], x=[], y=[], p=[])
    at = np.array([100.0, 50.0, 10.0, 10.0]) + np.arange(NUM_BINS + 1)[:, None] * [1.0, 0, 0, 0]

    return Recording(
        name="straight",
        dt=DT,
        events=bin_sparse(none, 8, 8, DT, NUM_BINS),
        frames=np.zeros((len(frame_bins), 8, 8), np.uint8),
        frame_times=frame_bins * DT,
        frame_events=0 * frame_bins,
        frame_boxes=at[frame_bins],
        boxes=at[1:],
    )


def late(recording, latency):
    outputs = streaming(recording, Clock(), latency=latency)
    return (outputs.truths[:, 0] - outputs.boxes[:, 0]).tolist()


def test_answers_that_are_there_at_once_are_never_late(straight):
    assert late(straight, DECLARED["none"].of()) == [0] * NUM_BINS
    assert np.array_equal(
        streaming(straight, Clock(), latency=DECLARED["none"].of()).boxes, one_pass_evaluation(straight, Clock()).boxes
    )


def test_at_the_chips_rate_every_answer_misses_its_own_bin_alone(straight):
    """0.17 ms for a bin, 1.85 ms for a frame, in bins of 4.17 ms: each answer is there before the next one is due."""
    assert DECLARED["tianjic"].step == pytest.approx(0.168e-3, rel=1e-3)
    assert DECLARED["tianjic"].frame == pytest.approx(1.848e-3, rel=1e-3)
    assert late(straight, DECLARED["tianjic"].of()) == [1] * NUM_BINS


def test_an_ann_at_a_fifth_of_the_chips_rate_is_late_after_each_frame(straight):
    """9.24 ms are 2.2 bins: the answer to bin 0, begun at its end, is there at 3.2 bins.

    At the ends of bins 0, 1 and 2 the first box counts. At 3.2 bins 1 and 2 are taken at once, without a frame and so
    without any time; from the end of bin 3 on nothing is late until the next frame.
    """
    slow = DECLARED["tianjic"]._replace(frame=5 / 541).of(reads_events=False)
    assert late(straight, slow)[:6] == [1, 2, 3, 0, 0, 0]
