"""The weights that come with the package, on the real recording where it is there."""

from collections.abc import Callable
from pathlib import Path

from spikebridge.analysis.tracking_protocols import between_frames, chained
from spikebridge.data.fe240hz import load_fe240hz
from spikebridge.networks.trackers import ConstantVelocity, Hold
from spikebridge.pretrained import shipped_run
from spikebridge.recipes import sensing
from spikebridge.training import Run


def shipped() -> Run:
    run = shipped_run("sensing")
    assert run is not None, "no weights of the sensing network come with the package"
    return run


def test_the_shipped_run_can_be_opened_and_tells_what_it_was_trained_on() -> None:
    tracker = sensing.tracker(shipped())
    assert not tracker.sensing.training
    # by this `eval` knows whether a recording was trained on, and leaves that part out
    assert "FE240hz_star_motion_0" in shipped().results()["recording"]


def test_the_shipped_weights_beat_constant_velocity_on_the_real_recording(
    real_set: Callable[[str], tuple[Path, ...]],
) -> None:
    """Forty frames of the test part, in which nothing was trained or chosen."""
    recording, frames = load_fe240hz(real_set("fe240hz")[0].parent), range(400, 440)
    network, velocity, hold = (
        between_frames(recording, one, frames).score().mean_distance_px
        for one in (sensing.tracker(shipped()), ConstantVelocity(), Hold())
    )
    assert network < 0.9 * velocity and network < 0.5 * hold


def test_the_shipped_weights_follow_the_test_part_from_its_first_box(
    real_set: Callable[[str], tuple[Path, ...]],
) -> None:
    """The finder decides there, of which answers between told frames know nothing."""
    recording = load_fe240hz(real_set("fe240hz")[0].parent)
    score = chained(recording, sensing.tracker(shipped()), range(340, 552)).score()
    assert score.auc >= 0.6 and score.lost_share == 0
