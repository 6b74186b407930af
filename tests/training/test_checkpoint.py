"""A checkpoint is whole or not there, and says so."""

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spikebridge.errors import ConfigError, DataError
from spikebridge.training.rng import get_rng_state, preserve_rng_state, set_rng_state
from spikebridge.training.run import checkpoint
from spikebridge.training.run.checkpoint import (
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    tree_flatten,
    tree_unflatten,
)

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
trees = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3)
    ),
)


@settings(deadline=None)
@given(trees)
def test_any_tree_of_plain_values_comes_back(tree: Any) -> None:
    assert tree_unflatten(*tree_flatten(tree)) == tree


def test_the_state_of_an_optimizer_comes_back(tmp_path: Path) -> None:
    layer = nn.Linear(2, 1)
    adam = torch.optim.Adam(layer.parameters(), lr=0.5, betas=(0.5, 0.25))
    layer(torch.ones(1, 2)).sum().backward()
    adam.step()
    save_checkpoint(tmp_path, 1, adam.state_dict())
    again = torch.optim.Adam(layer.parameters())
    again.load_state_dict(load_checkpoint(tmp_path))

    assert again.param_groups[0]["betas"] == (0.5, 0.25)
    assert torch.equal(again.state[layer.weight]["exp_avg"], adam.state[layer.weight]["exp_avg"])


def test_every_dtype_and_shape_comes_back(tmp_path: Path) -> None:
    tree = {
        "half": torch.tensor([1.5, 2.5], dtype=torch.bfloat16),
        "number": torch.tensor(3),
        "empty": torch.zeros(0, 2),
        "across": torch.arange(6.0).reshape(2, 3).T,
    }

    save_checkpoint(tmp_path, 1, tree)
    back = load_checkpoint(tmp_path)

    assert all(torch.equal(back[name], tree[name]) and back[name].dtype == tree[name].dtype for name in tree)


def test_what_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="something here is a PosixPath"):
        save_checkpoint(tmp_path, 1, {"path": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_the_newest_two_are_kept_and_leftovers_removed(tmp_path: Path) -> None:
    (tmp_path / ".step-00000001.safetensors.77.tmp").write_bytes(b"half")
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"step": step})

    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "step-00000002.safetensors",
        "step-00000003.safetensors",
    ]

    assert load_checkpoint(tmp_path) == {"step": 3}


def test_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "nowhere") is None


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def claim_too_much(path: Path) -> None:
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize("damage", [half, flip_last_bit, claim_too_much])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_with_a_warning(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"weights": torch.tensor([float(step)])})

    damage(tmp_path / "step-00000002.safetensors")
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(tmp_path) == {"weights": torch.tensor([1.0])}

    assert "step-00000002.safetensors is damaged" in caplog.text


def test_if_every_checkpoint_is_damaged_that_is_an_error(tmp_path: Path) -> None:
    half(save_checkpoint(tmp_path, 1, {"weights": torch.ones(4)}))
    with pytest.raises(DataError, match=r"no checkpoint in .* is whole"):
        load_checkpoint(tmp_path)


def test_a_damaged_checkpoint_further_on_does_not_outlive_a_new_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 4, {"step": 4})
    half(save_checkpoint(tmp_path, 8, {"step": 8}))
    save_checkpoint(tmp_path, 6, {"step": 6})

    assert load_checkpoint(tmp_path) == {"step": 6}
    assert not (tmp_path / "step-00000008.safetensors").exists()


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save_checkpoint(tmp_path, 1, {})
    monkeypatch.setattr(checkpoint, "VERSION", "2")
    with pytest.raises(ConfigError, match="has version 1, but this program reads version 2"):
        read_checkpoint(file)


def draw() -> list[float]:
    return [random.random(), random.gauss(), np.random.rand(), np.random.randn(), torch.randn(1).item()]


def test_generators_come_back_with_half_used_pairs() -> None:
    with preserve_rng_state():
        random.gauss()
        np.random.randn()
        states = get_rng_state()
        first = draw()
        set_rng_state(states)

        assert draw() == first


def test_generator_states_have_one_shape_whatever_was_drawn() -> None:
    with preserve_rng_state():
        before = {name: state.shape for name, state in get_rng_state().items()}
        draw()
        assert {name: state.shape for name, state in get_rng_state().items()} == before
