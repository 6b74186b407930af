"""The sensing network as a bundle, and a tracker of it: in floats and integers, calibrated while it runs."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from spikebridge.analysis.plots.bundle_diagram import draw_bundle
from spikebridge.cli.main import main
from spikebridge.data.recordings.recording import Recording
from spikebridge.deploy import Bundle, QConfig, add_integers, compare_bundle, export, quantize
from spikebridge.deploy.quantization.config import qconfigs_for
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.data import generated_parts
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.training.run.config_io import to_plain

pytestmark = pytest.mark.untyped

PICTURES = Path(__file__).resolve().parent.parent.parent / "docs" / "images"
CONFIG = sensing.PRESETS["quick"]


class Exported(NamedTuple):
    """A network, its bundle with an integer model, and the network with the numbers of that."""

    network: Sensing
    bundle: Bundle
    quantized: Sensing


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(0)
    network = CONFIG.network("learned").eval()
    example = sensing.example(CONFIG)

    with torch.no_grad():
        network.parts["head"].g.fill_(1.3)

    card = {"recipe": "sensing", "network": "learned", "config": to_plain(CONFIG)}
    inputs = {name: example[name].float() for name in network.inputs}
    bundle = export(network, inputs, tmp_path_factory.mktemp("sensing") / "b", card=card)
    quantized = quantize(network, inputs, qconfigs_for(sensing.REGIONS, QConfig("*")))

    return Exported(network, add_integers(bundle, network, quantized), quantized)


@pytest.fixture(scope="module")
def scene() -> Recording:
    return generated_parts("validation", 1)[0].recording


def calibrated(network: Sensing) -> SensingTracker:
    return sensing.tracker_of(CONFIG, network).with_options(calibrate=True, detector="both")


def followed(tracker: Any, scene: Recording, bins: range, state: Any = None) -> tuple[np.ndarray, Any]:
    """The box is given at the first three frames."""
    boxes = []
    for b in bins:
        inputs = scene.inputs(b, b + 1)
        if "frame" in inputs and b < 3 * 6:
            inputs["box"] = scene.frame_boxes[np.flatnonzero(scene.frame_bins == b)[0]]
        box, state = tracker.step(inputs, state)
        boxes.append(box)

    return np.array(boxes), state


def test_every_level_agrees_and_what_stands_beside_the_graph_is_named_and_kept(exported: Exported) -> None:
    bundle = exported.bundle
    comparison = compare_bundle(bundle)

    assert comparison.passed, [row for row in comparison.rows if not row.passed]
    assert draw_bundle(asdict(bundle.manifest)) == (PICTURES / "sensing-bundle.svg").read_text()
    assert set(bundle.manifest.left_out) == {"prior", "back", "trust", "finder"}

    kept = bundle.numbers(bundle.manifest.left_out_numbers)
    assert kept["prior.log_growth"] == exported.network.state_dict()["prior.log_growth"].numpy()


@pytest.mark.parametrize("integers", [False, True])
def test_a_tracker_of_a_bundle_gives_the_boxes_of_the_network_and_learns_the_same(
    integers: bool, exported: Exported, scene: Recording
) -> None:
    own = calibrated(exported.quantized if integers else exported.network)
    tracker = sensing.bundle_tracker(exported.bundle.path, integers).with_options(warns=False)
    (boxes, state), (expected, expected_state) = (followed(one, scene, range(30)) for one in (tracker, own))
    np.testing.assert_allclose(boxes, expected, atol=2e-3)
    np.testing.assert_allclose(state.calibration.weights, expected_state.calibration.weights, atol=1e-4)

    assert state.calibration.counts.max() > 2  # three intervals were learned from

    plain, _ = followed(tracker.with_options(calibrate=False), scene, range(30))
    assert np.abs(plain - boxes)[18:].max() > 0.05


def test_the_state_of_a_bundle_in_use_splits_and_resumes(exported: Exported, scene: Recording) -> None:
    tracker = sensing.bundle_tracker(exported.bundle.path).with_options(warns=False)
    whole, _ = followed(tracker, scene, range(26))
    _, between = followed(tracker, scene, range(20))
    followed(tracker, scene, range(20, 23), between)  # another continuation changes nothing
    rest, _ = followed(tracker, scene, range(20, 26), between)
    np.testing.assert_array_equal(rest, whole[20:])


def test_a_late_frame_restarts_the_event_stream_of_a_bundle(exported: Exported, scene: Recording) -> None:
    late = scene.subsample_frames(3)
    boxes, expected = (
        followed(one.with_options(warns=False), late, range(10))[0]
        for one in (sensing.bundle_tracker(exported.bundle.path), calibrated(exported.network))
    )
    np.testing.assert_allclose(boxes, expected, atol=2e-3)


def test_the_command_tracks_with_a_bundle_in_integers(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = str(tmp_path / "seen")
    assert main(["data", "make", "moving-object", recording, "--seconds", "0.1"]) == 0

    capsys.readouterr()
    words = ["track", recording, "--network", str(exported.bundle.path), "--integers", "--json", "--quiet"]

    assert main(words) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["bundle"] == str(exported.bundle.path) and printed["num_boxes"] > 10
    assert main(["track", recording, "--integers"]) == 2
    assert "--integers is of a bundle" in capsys.readouterr().err


def test_a_bundle_of_before_or_of_another_recipe_is_refused_in_one_line(exported: Exported, tmp_path: Path) -> None:
    def without(change: Any) -> Path:
        copy = tmp_path / f"b{len(list(tmp_path.iterdir()))}"
        shutil.copytree(exported.bundle.path, copy)
        plain = json.loads((copy / "manifest.json").read_text())
        del plain["sha256"]
        change(plain)
        (copy / "manifest.json").write_text(json.dumps(plain))

        return copy

    with pytest.raises(DataError, match=r"expected numbers 'prior.log_start' .* not there; export the bundle again"):
        sensing.bundle_tracker(without(lambda plain: plain.pop("left_out_numbers")))

    with pytest.raises(ConfigError, match="expected a bundle of the recipe sensing, but it is of 'digits'"):
        sensing.bundle_tracker(without(lambda plain: plain["card"].update(recipe="digits")))
