"""Task sequences: overlaps, splits, pairs, and samples that are permuted when they are drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikebridge.data import GroupedPermutations, TaskSamples
from spikebridge.data.images.labelled import read_digit_file
from spikebridge.data.tasks.tasks import BalancedPairs, disjoint_image_sets
from spikebridge.errors import ConfigError, DataError, ShapeError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=25, deadline=None)
@given(
    num_features=st.integers(12, 90), num_tasks=st.integers(1, 9), group_size=st.integers(1, 5), seed=st.integers(0, 9)
)
def test_every_order_is_a_permutation_and_differs_from_the_one_before_in_one_window(
    num_features: int, num_tasks: int, group_size: int, seed: int
) -> None:
    tasks = GroupedPermutations(num_features, num_tasks, group_size, generator=seeded(seed))
    assert tasks.permutations.sort(dim=1).values.equal(torch.arange(num_features).expand(num_tasks, -1))
    for k in range(1, num_tasks):
        moved = (tasks.permutations[k] != tasks.permutations[k - 1]).nonzero()[:, 0]
        if tasks.group[k] == tasks.group[k - 1] and len(moved):
            assert int(moved[-1] - moved[0]) < tasks.window[1]


def test_the_window_is_that_of_the_released_code_and_in_proportion_elsewhere() -> None:
    assert GroupedPermutations(2312, 1, generator=seeded()).window == (300, 399)
    assert GroupedPermutations(784, 1, generator=seeded()).window == (102, 135)  # 101.7 and 135.3
    assert GroupedPermutations(8, 1, generator=seeded()).window == (2, 2)  # 1.04 and 1.38: at least 2
    assert GroupedPermutations(10, 1, window=(3, 7), generator=seeded()).window == (3, 7)


def test_overlaps_in_a_group_and_between_groups_are_those_of_the_paper() -> None:
    tasks = GroupedPermutations(784, 200, generator=seeded())
    same = tasks.group[:, None] == tasks.group
    for apart, overlap in ((1, 0.85), (2, 0.72), (3, 0.61)):
        inside = same.diagonal(apart)
        assert float(tasks.similarity.diagonal(apart)[inside].mean()) == pytest.approx(overlap, abs=0.015)

    assert float(tasks.similarity[~same].mean()) == pytest.approx(1 / 784, abs=2e-4)


def test_similarity_is_the_share_of_equal_places() -> None:
    tasks = GroupedPermutations(6, 3, generator=seeded())
    for i in range(3):
        for j in range(3):
            equal = sum(int(tasks.permutations[i, n]) == int(tasks.permutations[j, n]) for n in range(6))
            assert float(tasks.similarity[i, j]) == pytest.approx(equal / 6)


def test_the_same_generator_gives_the_same_tasks() -> None:
    first, second = (GroupedPermutations(30, 6, generator=seeded(4)) for _ in range(2))
    assert first.permutations.equal(second.permutations)
    assert not first.permutations.equal(GroupedPermutations(30, 6, generator=seeded(5)).permutations)


def test_a_split_of_the_papers_size_has_its_counts() -> None:
    tasks = GroupedPermutations(20, 700, generator=seeded())
    prior, seen, unseen = tasks.split(10)

    assert prior.tolist() == list(range(660))
    assert seen.tolist() == [k for k in range(660, 700) if k % 4 in (1, 2)]
    assert unseen.tolist() == [k for k in range(660, 700) if k % 4 in (0, 3)]

    split = tasks.split(10, seen_positions=())
    assert (len(split.seen), split.learnt.tolist(), len(split.backbone)) == (0, list(range(660, 700)), 660)


def test_a_batch_is_permuted_when_drawn_and_nothing_is_copied() -> None:
    images = torch.arange(24.0).reshape(4, 2, 3)
    tasks = GroupedPermutations(6, 2, group_size=1, generator=seeded())
    samples = tasks.samples(1, images, torch.arange(4))

    assert samples.inputs is images

    batch = samples.select(torch.tensor([3, 0]))
    assert batch.x.equal(images.flatten(1)[[3, 0]][:, tasks.permutations[1]])
    assert batch.labels.tolist() == [3, 0]


def test_events_stay_bytes_until_they_are_drawn_and_time_stays_first() -> None:
    events = torch.randint(0, 3, (5, 4, 2, 3), generator=seeded()).to(torch.uint8)
    tasks = GroupedPermutations(6, 1, generator=seeded())
    samples = tasks.samples(0, events, torch.arange(4), batch_axis=1)
    x, labels = samples.select(torch.tensor([2, 1, 0]))

    assert (x.shape, x.dtype, labels.tolist()) == ((5, 3, 6), torch.float32, [2, 1, 0])
    assert x[4, 0].tolist() == events[4, 2].flatten()[tasks.permutations[0]].tolist()


def test_an_order_that_is_shuffled_once_more_keeps_what_lies_outside_the_window() -> None:
    tasks = GroupedPermutations(1000, 1, generator=seeded())
    for share in (0.1, 0.5, 0.9):
        order = tasks.reshuffled(0, share, seeded(1))
        assert order.sort().values.equal(torch.arange(1000))
        # a random order of n places keeps one of them in the mean
        assert float((order == tasks.permutations[0]).float().mean()) == pytest.approx(1 - share, abs=0.006)


def test_pairs_are_balanced() -> None:
    tasks = GroupedPermutations(10, 680, generator=seeded())
    pairs = BalancedPairs(torch.arange(100, 680), tasks.group)
    drawn = pairs.draw(8000, seeded(1))

    assert pairs.share_in_group(drawn) == pytest.approx(0.5, abs=0.02)
    assert float((drawn.first == drawn.second).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert int(torch.cat(drawn).min()) >= 100


def test_pairs_hold_their_shares_where_some_groups_have_one_task() -> None:
    group = torch.tensor([0, 0, 1, 2, 3])
    drawn = BalancedPairs(torch.arange(5), group).draw(8000, seeded())
    mates = (drawn.first != drawn.second) & (group[drawn.first] == group[drawn.second])
    assert float(mates.float().mean()) == pytest.approx(0.25, abs=0.02)


def test_pairs_of_tasks_that_have_no_mates_are_one_task_or_strangers() -> None:
    first, second = BalancedPairs(torch.arange(4), torch.arange(4)).draw(4000, seeded())
    assert float((first == second).float().mean()) == pytest.approx(0.5, abs=0.03)


def test_the_images_of_a_pair_are_two_sets() -> None:
    first, second = disjoint_image_sets(10, 5, seeded())
    assert sorted(first.tolist() + second.tolist()) == list(range(10))
    with pytest.raises(ConfigError, match="of 6 images need 12, but there are 10"):
        disjoint_image_sets(10, 6, seeded())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupedPermutations(1, 1, generator=seeded()), "num_features should be at least 2, but is 1"),
        (lambda: GroupedPermutations(5, 0, generator=seeded()), "num_tasks should be at least 1, but is 0"),
        (lambda: GroupedPermutations(5, 1, 0, generator=seeded()), "group_size should be at least 1, but is 0"),
        (lambda: GroupedPermutations(5, 1, window=(2, 6), generator=seeded()), r"1 to 5 features, but is \(2, 6\)"),
        (lambda: GroupedPermutations(5, 8, generator=seeded()).split(3), "from 1 to 2 .*, but is 3"),
        (lambda: GroupedPermutations(5, 8, generator=seeded()).split(1, (1, 4)), r"from 0 to 3 .*, but has \[4\]"),
        (lambda: GroupedPermutations(5, 8, generator=seeded()).reshuffled(0, 1.5, seeded()), "0 to 1, but is 1.5"),
        (lambda: BalancedPairs(torch.arange(2), torch.arange(2), 1.5), "share from 0 to 1, but is 1.5"),
        (lambda: BalancedPairs(torch.arange(0), torch.arange(2)), "at least one task"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_samples_that_do_not_fit_are_refused() -> None:
    tasks = GroupedPermutations(6, 1, generator=seeded())
    with pytest.raises(ShapeError, match=r"orders are of 6 features, but a sample of shape \(4,\) does not fit"):
        tasks.samples(0, torch.zeros(3, 4), torch.arange(3))

    with pytest.raises(ShapeError, match="3 labels, but batch_axis=0"):
        TaskSamples(torch.zeros(2, 6), torch.arange(3))


@pytest.mark.parametrize(
    "order", [torch.arange(5), torch.arange(7), torch.zeros(6, dtype=torch.int64), torch.arange(6) + 1]
)
def test_an_order_that_is_no_permutation_of_the_features_is_refused(order: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match=r"order needs each of the 6 features of a sample once"):
        TaskSamples(torch.zeros(3, 2, 3), torch.arange(3), order=order)


def write(path, **changed):
    draw = np.random.default_rng(0)
    arrays = {"images": draw.integers(0, 256, (6, 28, 28), dtype=np.uint8), "labels": np.arange(6)} | changed
    np.savez(path, **arrays)
    return path


def test_a_file_of_digits_keeps_its_order(tmp_path) -> None:
    path = write(tmp_path / "mine.npz")
    digits = read_digit_file(path)
    assert (digits.images * 255).round().byte().numpy().tolist() == np.load(path)["images"].tolist()
    assert digits.labels.tolist() == list(range(6))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": np.zeros((6, 27, 28), np.uint8)}, r"mine.npz, images: expected bytes \(N, 28, 28\).*\(6, 27, 28\)"),
        ({"images": np.zeros((6, 28, 28))}, r"expected bytes \(N, 28, 28\), but got float64"),
        ({"images": np.zeros((0, 28, 28), np.uint8)}, "expected bytes"),
        ({"labels": np.arange(5)}, r"labels: expected 6 integers.*int64 \(5,\)"),
        ({"labels": np.full(6, 10)}, "labels from 0 to 9, but 6 are not, first 10 at index 0"),
        ({"labels": np.full(6, 1.0)}, "expected 6 integers"),
    ],
)
def test_files_with_other_arrays_are_refused(tmp_path, changed, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_digit_file(write(tmp_path / "mine.npz", **changed))


def test_files_that_are_missing_damaged_or_lack_an_array_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_digit_file(tmp_path / "none.npz")

    (tmp_path / "text.npz").write_text("images")
    with pytest.raises(DataError, match="damaged or of another kind"):
        read_digit_file(tmp_path / "text.npz")

    np.savez(tmp_path / "old.npz", image=np.zeros(1))
    with pytest.raises(DataError, match="did you mean 'image'"):
        read_digit_file(tmp_path / "old.npz")


def test_more_images_than_memory_is_meant_for_are_refused_before_they_are_made_floats(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("spikebridge.data.io.safe_open.MAX_BYTES", 5 * 28 * 28 * 4)
    monkeypatch.setattr("spikebridge.data.images.labelled.MAX_BYTES", 5 * 28 * 28 * 4)
    with pytest.raises(DataError, match="expected at most 5 images, but got 6"):
        read_digit_file(write(tmp_path / "mine.npz"))
