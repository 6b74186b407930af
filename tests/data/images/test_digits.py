import pytest
import torch
from sklearn import datasets

from spikebridge.data.images.digits import load_digits
from spikebridge.errors import ConfigError


def test_the_three_parts_make_the_whole_set():
    parts = load_digits()
    ours = torch.cat([part.images for part in parts]).flatten(1)
    theirs = torch.from_numpy(datasets.load_digits().data).float() / 16

    assert ours.shape == (1797, 64)
    assert sorted(map(tuple, ours.tolist())) == sorted(map(tuple, theirs.tolist()))


def test_the_split_is_pinned_for_ever():
    test = load_digits().test
    assert test.labels[:10].tolist() == [2, 7, 4, 0, 4, 2, 7, 7, 9, 1]
    assert load_digits().test.images.equal(test.images)


def test_the_test_part_does_not_depend_on_the_validation_part():
    assert load_digits(0).test.images.equal(load_digits(500).test.images)
    assert len(load_digits(0).train.labels) == 1397
    assert len(load_digits(0).validation.labels) == 0


def test_validation_comes_from_the_end_of_training():
    whole = load_digits(0)
    split = load_digits(280)
    assert torch.cat([split.train.images, split.validation.images]).equal(whole.train.images)


def test_every_class_is_in_every_part():
    for part in load_digits():
        assert torch.bincount(part.labels, minlength=10).min() >= 15


def test_values_are_shares_of_sixteen():
    images = load_digits().train.images
    assert images.dtype == torch.float32
    assert (images * 16).equal((images * 16).round())
    assert images.min() == 0 and images.max() == 1


@pytest.mark.parametrize("num", [-1, 1397])
def test_a_validation_part_that_takes_all_is_refused(num):
    with pytest.raises(ConfigError, match=f"from 0 to 1396 .* but got {num}"):
        load_digits(num)
