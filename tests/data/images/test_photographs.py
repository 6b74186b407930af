"""Photographs as textures, and the scenes that are made of them."""

from pathlib import Path

import numpy as np
import pytest

from spikebridge.cli.main import main
from spikebridge.data.images import photographs
from spikebridge.data.images.photographs import PHOTOGRAPHS, load_photographs, photograph_texture
from spikebridge.data.simulation import families
from spikebridge.data.simulation.families import family_recording, with_photographs
from spikebridge.data.simulation.render import scene_seeds
from spikebridge.data.simulation.tumbling_objects import TumblingObjects
from spikebridge.errors import ConfigError


@pytest.fixture
def pictures() -> None:
    pytest.importorskip("skimage")


@pytest.mark.usefixtures("pictures")
def test_every_photograph_of_the_table_is_found_in_colour_and_of_moderate_size():
    for split, number in (("validation", 4), ("test", 3)):
        found = load_photographs(split)
        assert len(found) == number == sum(one.split == split for one in PHOTOGRAPHS.values())
        assert all(picture.shape[2] == 3 and max(picture.shape) <= 1024 for picture in found)
        assert all(np.ptp(picture) > 100 for picture in found)

    assert {one.split for one in PHOTOGRAPHS.values()} == {"train", "validation", "test"}
    with pytest.raises(ConfigError, match="photographs are for train, validation, test, but got 'valid'"):
        load_photographs("valid")


def test_a_part_of_a_photograph_is_drawn_from_its_split_alone(monkeypatch: pytest.MonkeyPatch):
    dark, bright = (np.full((40, 60, 3), level, np.uint8) for level in (51, 204))
    monkeypatch.setattr(photographs, "load_photographs", lambda split: {"train": (dark,), "test": (bright,)}[split])
    texture = photograph_texture("train", 30, 90, np.random.default_rng(0))

    # a grey picture is as grey in any mixture of its colours, but for the exponent: 0.2 to the power of 0.74 to 1.35
    assert texture.shape == (30, 90) and 0.11 < texture.min() <= texture.max() < 0.31
    assert photograph_texture("test", 30, 90, np.random.default_rng(0)).min() > 0.7


def test_the_photographs_of_a_scene_are_those_of_the_split_of_its_seed(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def texture(split: str, height: int, width: int, generator: np.random.Generator) -> np.ndarray:
        asked.append(split)
        return generator.random((height, width))

    monkeypatch.setattr(families, "photograph_texture", texture)
    for split in ("train", "validation", "test"):
        asked.clear()
        scene = with_photographs(TumblingObjects(height=64, width=64, size=16, seed=scene_seeds(split, 2)[1]))
        assert asked == [split] * 5  # the background, the target and three distractors
        assert len(scene.textures) == 4 and scene.image(0.1).shape == (64, 64)


@pytest.mark.usefixtures("pictures")
def test_a_seed_gives_the_same_scene_of_photographs():
    one, again = (family_recording("photographs", 4, seconds=0.02) for _ in range(2))
    assert np.array_equal(one.frames, again.frames) and one.events.num_events == again.events.num_events > 0


def test_without_scikit_image_the_extra_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setattr(photographs, "find_spec", lambda name: None)
    load_photographs.cache_clear()

    assert main(["data", "make", "moving-object", str(tmp_path / "made"), "--family", "photographs"]) != 0

    error = capsys.readouterr().err
    assert "pip install -e '.[photographs]'" in error and len(error.strip().splitlines()) == 1

    load_photographs.cache_clear()
