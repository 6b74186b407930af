"""Recordings in time for the modulation recipe: simulated events, and N-MNIST folders."""

from pathlib import Path

import pytest
import torch

from nmnist_files import write_nmnist
from spikebridge.data.events.events import make_events
from spikebridge.errors import DataError
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.training.tasks import load_nmnist
from spikebridge.networks.modulation.training.trial import run_trial

EVENTS = modulation.Config(
    methods=("hmn",),
    data=modulation.DataConfig("events", num_train=160, num_test=30),
    tasks=modulation.TaskConfig(num_tasks=2, num_prior=8, group_size=2, seen=(1,)),
    network=modulation.BranchConfig(num_hidden=200, rho=0.3),
    units=modulation.UnitConfig(num_pairs=16),
    training=modulation.TrainingConfig(epochs=4, batch_size=8, lr=0.2, num_fisher=10),
)


def test_recordings_in_time_are_learnt_and_their_task_is_found() -> None:
    train, test = modulation.recordings(EVENTS)
    assert train.inputs.shape == (10, 160, 2312)
    assert train.inputs.dtype == torch.uint8  # as floats they would take four times the memory

    tasks = modulation.task_sequence(EVENTS, 0, train, test)
    trial = run_trial(EVENTS.trial("hmn"), tasks, quiet=True)

    assert trial.result.accuracies.diagonal(-1).mean() > 0.25  # chance is 0.1
    assert trial.prototypes is not None

    x = tasks.test.permuted(tasks.permutations[1])
    assert trial.gating is not None

    preactivations = torch.cat([layer[:, :32] for layer in trial.gating.preactivations(x)], 1)
    found = trial.prototypes.infer_task(preactivations).task

    assert (found == 1).float().mean() > 0.5


def test_n_mnist_folders_are_read_as_ten_steps_of_two_polarities(tmp_path: Path) -> None:
    for part in ("Train", "Test"):
        for label in (3, 7):
            folder = tmp_path / "nmnist" / part / str(label)
            folder.mkdir(parents=True)
            # one event at the start, one in the last step, one after the end of the third saccade
            events = make_events(t=[0, 299_999, 310_000], x=[1, 2, 33], y=[0, 5, 33], p=[1, 0, 1])
            write_nmnist(folder / "1.bin", events)

    train, test = load_nmnist(tmp_path, "test", 0)
    assert train.inputs.shape == (10, 2, 2312)
    assert train.labels.tolist() == test.labels.tolist() == [3, 7]

    first = train.inputs[:, 0].reshape(10, 2, 34, 34)
    assert first[0, 0, 0, 1] == first[9, 1, 5, 2] == first[9, 0, 33, 33] == 1
    assert int(first.sum()) == 3

    kept, validation = load_nmnist(tmp_path, "validation", 1)
    assert sorted(kept.labels.tolist() + validation.labels.tolist()) == [3, 7]


def test_folders_without_recordings_are_refused(tmp_path: Path) -> None:
    for part in ("Train", "Test"):
        (tmp_path / "nmnist" / part).mkdir(parents=True)
    with pytest.raises(DataError, match="expected N-MNIST recordings in folders 0 to 9"):
        load_nmnist(tmp_path, "test", 0)
