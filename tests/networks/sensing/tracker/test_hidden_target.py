"""A target that is hidden for some frames and shown elsewhere."""

import numpy as np
import pytest

from research.sensing.closed_loop.hidden_targets import follow, hidden_recording
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.data import DT
from spikebridge.pretrained import shipped_run

pytestmark = pytest.mark.untyped


def test_a_hidden_target_is_detected_again_elsewhere_and_confidence_falls_meanwhile() -> None:
    recording = hidden_recording(seed=4, seconds=0.6, begin=0.2, end=0.4)
    begin = round(0.2 / DT)
    end = round(0.4 / DT)
    tracker = sensing.tracker(shipped_run("sensing")).with_options(warns=False)
    track = {name: np.array(values) for name, values in follow(recording, tracker).items()}

    assert track["overlap"][begin - 1] > 0.7
    # it moves on unseen, by more than its size
    assert track["overlap"][end - 1] < 0.1 and np.hypot(*(recording.boxes[end] - recording.boxes[begin])[:2]) > 26

    hidden = track["confidence"][begin + 12 : end]
    assert track["confidence"][begin - 1] > 0.6 and hidden.max() < 0.35 and hidden.mean() < 0.15
    assert track["overlap"][-1] > 0.7 and track["confidence"][-1] > 0.5
