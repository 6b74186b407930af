import gzip
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikebridge.data.images.mnist import load_mnist, read_idx
from spikebridge.data.io.npz import read_npz
from spikebridge.errors import ConfigError, DataError

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def small_mnist():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    labels = draw.integers(0, 10, 30, dtype=np.uint8)
    return images[:20], labels[:20], images[20:], labels[20:]


def write_idx(folder, packed=False):
    (folder / "mnist").mkdir()
    for name, array in zip(NAMES, small_mnist(), strict=True):
        content = idx_bytes(array)
        path = folder / "mnist" / (name + ".gz" * packed)
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)


def write_npz(folder, **changed):
    (folder / "mnist").mkdir()
    arrays = dict(zip(KEYS, small_mnist(), strict=True)) | changed
    np.savez(folder / "mnist" / "digits.npz", **arrays)


@pytest.mark.parametrize("layout", ["idx", "gz", "npz"])
def test_all_layouts_give_the_same_digits(tmp_path, layout):
    {"idx": write_idx, "gz": lambda f: write_idx(f, packed=True), "npz": write_npz}[layout](tmp_path)
    train_images, train_labels, test_images, test_labels = small_mnist()
    mnist = load_mnist(tmp_path, num_validation=5)

    assert (mnist.test.images * 255).round().byte().numpy().tolist() == test_images.tolist()
    assert mnist.test.labels.tolist() == test_labels.tolist()

    whole = torch.cat([mnist.train.images, mnist.validation.images])
    assert sorted(whole.flatten(1).sum(1).mul(255).round().tolist()) == sorted(train_images.sum((1, 2)).tolist())
    assert len(mnist.validation.labels) == 5 and len(mnist.train.labels) == 15
    assert sorted(torch.cat([mnist.train.labels, mnist.validation.labels]).tolist()) == sorted(train_labels.tolist())


def test_labels_stay_with_their_images_when_shuffled(tmp_path):
    write_npz(tmp_path)
    train_images, train_labels, *_ = small_mnist()
    label_of = {image.tobytes(): label for image, label in zip(train_images, train_labels, strict=True)}
    train = load_mnist(tmp_path, num_validation=0).train

    for image, label in zip(train.images, train.labels, strict=True):
        assert label_of[(image * 255).round().byte().numpy().tobytes()] == label


def test_too_large_a_validation_part_is_refused(tmp_path):
    write_npz(tmp_path)
    with pytest.raises(ConfigError, match=r"from 0 to 19 .* but got 1000"):
        load_mnist(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_images": np.zeros((20, 8, 8), np.uint8)}, r"train_images: expected bytes \(N, 28, 28\).*\(20, 8, 8\)"),
        ({"train_images": np.zeros((20, 28, 28))}, r"expected bytes .* but got float64"),
        ({"train_images": np.zeros((0, 28, 28), np.uint8)}, r"expected bytes"),
        ({"train_labels": np.zeros(19, np.uint8)}, r"train_labels: expected 20 integers"),
        ({"test_labels": np.full(10, 11, np.uint8)}, r"labels from 0 to 9, but 10 are not, first 11 at index 0"),
        ({"test_labels": np.array([None] * 10)}, "test_labels: expected numbers, but the header declares object"),
    ],
)
def test_arrays_of_a_wrong_kind_are_refused(tmp_path, changed, message):
    write_npz(tmp_path, **changed)
    with pytest.raises(DataError, match=message):
        load_mnist(tmp_path)


def test_a_missing_array_is_named_with_what_is_there(tmp_path):
    np.savez(tmp_path / "a.npz", train_imagse=np.zeros(1))
    with pytest.raises(DataError, match="'train_images', but there is none; did you mean 'train_imagse'"):
        read_npz(tmp_path / "a.npz", ["train_images"])


GOOD_IDX = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))


def test_a_good_idx_file_is_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(GOOD_IDX)
    array = read_idx(path)

    assert array.shape == (3, 2, 2) and array.ravel().tolist() == list(range(12))

    # the array may be written to
    array[0, 0, 0] = 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an idx file, but the file is empty"),
        (b"\0\0", "byte 0: expected an idx file, 00 00 08 .* but got 00 00"),
        (b"hello, this is text", "byte 0: expected an idx file, .* but got 68 65 6c 6c"),
        (b"\0\0\x0d\x01" + GOOD_IDX[4:], "byte 0: .* but got 00 00 0d 01"),
        (b"\0\0\x08\x00", "byte 0"),
        (GOOD_IDX[:10], "byte 10: expected the lengths of 3 axes, but the file ends"),
        (GOOD_IDX[:-1], "byte 16: expected 12 values .* but the file ends at byte 27"),
        (GOOD_IDX + b"\0", "byte 16: expected 12 values .* but there are more"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "byte 4: expected at most 1073741824 values, but it declares"),
        (b"\0\0\x08\x03" + b"\0" * 4 + b"\xff" * 8, "byte 4: expected at most"),
        (gzip.compress(GOOD_IDX, mtime=0)[:-9], "gzip file is damaged or cut"),
        (gzip.compress(GOOD_IDX, mtime=0)[:-1] + b"x", "gzip file is damaged"),
        (b"\x1f\x8bnonsense", "gzip file is damaged"),
        (gzip.compress(b"text", mtime=0), "byte 0: expected an idx file"),
    ],
)
def test_a_damaged_idx_file_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)

    assert str(path) in str(caught.value)


@pytest.mark.parametrize("read", [read_idx, lambda path: read_npz(path, ["a"])], ids=["idx", "npz"])
def test_a_folder_and_a_missing_file_are_reported_apart(tmp_path, read):
    with pytest.raises(DataError, match="but this is a folder"):
        read(tmp_path)
    with pytest.raises(DataError, match="but there is no such file"):
        read(tmp_path / "nothing")


@pytest.mark.parametrize("packed", [False, True])
def test_a_size_that_is_only_declared_takes_no_memory(tmp_path, packed):
    """The header promises 1 GiB; the file holds four bytes of it."""
    path = tmp_path / "liar"
    content = b"\0\0\x08\x01" + struct.pack(">I", 2**30) + b"abcd"
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    tracemalloc.start()

    with pytest.raises(DataError, match="the file ends at byte 12"):
        read_idx(path)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 2**23


def npz_with(text, values=b""):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + values


def header(kind, shape):
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (
            npz_with(header("|u1", "(1099511627776,)")),
            "expected numbers in at most",
        ),
        (npz_with(header("|u1", "(-5,)")), "expected numbers in at most"),
        (npz_with(header("|u1", "(0, 1099511627776)")), "in at most"),
        (npz_with(header("|O", "(1,)"), b"x"), "declares object"),
        (
            npz_with(header("|u1", "(3,)"), b"ab"),
            "expected 3 bytes .* 2 are there",
        ),
        (npz_with(header("|u1", "(1,)"), b"ab"), "there are more"),
        (npz_with("{'descr': '|u1'}\n"), "header of an array of numbers"),
        (npz_with("{'descr': ('|u1', \n"), "header of an array of numbers"),
        (npz_with("{'descr': '|u1', 'shape': (007,)}\n"), "header of an array of numbers"),
        (npz_with("__import__('os').system('true')\n"), "header of an array of numbers"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", r"version \(2, 0\), not \(1, 0\)"),
        (b"text", "header of an array of numbers"),
        (b"", "header of an array of numbers"),
    ],
)
def test_a_damaged_array_in_an_npz_file_is_one_clear_error(tmp_path, member, message):
    path = tmp_path / "damaged.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", member)

    with pytest.raises(DataError, match=message) as caught:
        read_npz(path, ["a"])

    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (b"text", "damaged or of another kind")])
def test_what_is_no_npz_file_is_refused(tmp_path, content, message):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_npz(path, ["a"])


@pytest.mark.parametrize("array", [np.arange(6).reshape(2, 3), np.asfortranarray(np.ones((2, 3))), np.zeros((0, 3))])
def test_an_npz_array_comes_back_as_it_was(tmp_path, array):
    np.savez_compressed(tmp_path / "a.npz", a=array)
    again = read_npz(tmp_path / "a.npz", ["a"])["a"]
    assert again.dtype == array.dtype and again.shape == array.shape and again.tolist() == array.tolist()


fuzz = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
damage = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)


def damaged(content, changes, cut):
    content = bytearray(content)
    for place, value in changes:
        content[place % len(content)] = value
    return bytes(content[: len(content) - cut % len(content)])


@fuzz
@given(damage, st.integers(0, 40), st.booleans())
def test_no_damage_of_an_idx_file_gives_another_error(tmp_path, changes, cut, packed):
    path = tmp_path / "fuzzed"
    path.write_bytes(damaged(gzip.compress(GOOD_IDX, mtime=0) if packed else GOOD_IDX, changes, cut))
    try:
        assert read_idx(path).dtype == np.uint8
    except DataError as error:
        assert str(path) in str(error)


@fuzz
@given(damage, st.integers(0, 40), st.booleans())
def test_no_damage_of_an_npz_file_gives_another_error(tmp_path, changes, cut, packed):
    path = tmp_path / "whole.npz"
    (np.savez_compressed if packed else np.savez)(path, a=np.arange(5))
    content = path.read_bytes()
    path = tmp_path / "fuzzed.npz"
    path.write_bytes(damaged(content, changes, cut))

    try:
        assert read_npz(path, ["a"])["a"].dtype.kind in "biuf"
    except DataError as error:
        assert str(path) in str(error)


def test_real_mnist_is_read(real_set):
    real_set("mnist")
    mnist = load_mnist()

    assert len(mnist.test.labels) >= 1000
    assert torch.bincount(mnist.train.labels, minlength=10).min() > 100

    ink = mnist.train.images.mean()
    assert 0.1 < ink < 0.17
