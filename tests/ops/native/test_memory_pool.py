"""The memory pool: blocks are used again, and never while a tensor still shows them."""

import copy
import gc
import math
import sys
import threading

import pytest
import torch
from torch import Tensor

from spikebridge.neurons import LIF, Integrator
from spikebridge.ops import reference, without_native
from spikebridge.ops.native import memory_pool
from spikebridge.ops.native.memory_pool import MIN_BYTES, pool_empty
from spikebridge.ops.sequence import native

pytestmark = [
    pytest.mark.untyped,
    pytest.mark.skipif(sys.platform != "linux", reason="blocks are pooled on Linux alone"),
]

LARGE = (9, 4, 8192)  # more than MIN_BYTES in float32


@pytest.fixture(autouse=True)
def _empty_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_pool, "_pool", memory_pool._Pool())


def like(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(1, dtype=dtype)


def test_memory_is_used_again_once_its_tensor_is_gone() -> None:
    first = pool_empty(LARGE, like())
    place = first.data_ptr()
    del first
    assert pool_empty(LARGE, like()).data_ptr() == place


@pytest.mark.parametrize("keep", [lambda t: t[-1], lambda t: t.detach(), lambda t: t.numpy(), lambda t: t.view(-1)])
def test_whatever_still_shows_the_memory_keeps_it(keep: object) -> None:
    first = pool_empty(LARGE, like()).fill_(7)
    kept = keep(first)  # type: ignore[operator]
    place = first.data_ptr()
    del first
    gc.collect()
    second = pool_empty(LARGE, like()).fill_(1)

    assert second.data_ptr() != place
    assert float(torch.as_tensor(kept[0]).reshape(-1)[0]) == 7


def test_dtype_shape_and_order_are_those_asked_for() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        block = pool_empty(LARGE, like(dtype))
        assert block.shape == LARGE and block.dtype == dtype and block.is_contiguous()
        # a block begins with a cache line
        assert block.data_ptr() % 64 == 0 and block.storage_offset() == 0
        assert block.untyped_storage().nbytes() == math.prod(LARGE) * block.element_size()


def test_an_output_may_be_written_into_before_the_backward_pass() -> None:
    x = torch.ones(LARGE, requires_grad=True)
    y, _ = Integrator(math.inf, dt=1.0)(x)
    y.div_(2).sum().backward()
    assert x.grad is not None and x.grad[0, 0, 0].item() == LARGE[0] / 2


def idle_bytes() -> int:
    return sum(length * len(some) for length, some in memory_pool._pool.idle.items())


def test_a_block_serves_what_is_a_little_smaller_and_nothing_much_smaller() -> None:
    place = pool_empty((18 * MIN_BYTES,), like(torch.uint8)).data_ptr()
    assert pool_empty((16 * MIN_BYTES,), like(torch.uint8)).data_ptr() != place
    assert pool_empty((17 * MIN_BYTES,), like(torch.uint8)).data_ptr() == place


@pytest.mark.parametrize("size", [MIN_BYTES, MIN_BYTES + 1, 10**6, 2**20 + 4096, 123_456_789])
def test_a_block_is_at_most_a_quarter_larger_than_needed(size: int) -> None:
    assert size <= memory_pool._length_for(size) <= 1.25 * size


def test_idle_memory_is_bounded_and_the_size_that_was_used_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_pool, "MAX_IDLE", 8 * MIN_BYTES)
    # one block is lent at a time, so that each size is idle at most once
    for size in (4, 2, 1, 2, 4):
        del_me = pool_empty((size * MIN_BYTES,), like(torch.uint8))
        del del_me

    assert {length // MIN_BYTES: len(some) for length, some in memory_pool._pool.idle.items()} == {4: 1, 2: 1, 1: 1}
    for size in (1, 8):
        del_me = pool_empty((size * MIN_BYTES,), like(torch.uint8))
        del del_me

    assert {length // MIN_BYTES for length in memory_pool._pool.idle} == {8}


def test_the_bound_does_not_wait_for_an_old_size_whose_blocks_are_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_pool, "_allowed", lambda: 2 * MIN_BYTES)
    pool_empty((MIN_BYTES,), like(torch.uint8))
    again = pool_empty((MIN_BYTES,), like(torch.uint8))
    pool_empty((8 * MIN_BYTES,), like(torch.uint8))

    assert idle_bytes() == 0
    del again
    assert idle_bytes() == MIN_BYTES


def test_as_much_is_kept_idle_as_was_once_lent_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_pool, "MAX_IDLE", MIN_BYTES)
    lent = [pool_empty((2 * MIN_BYTES,), like(torch.uint8)) for _ in range(3)]
    places = {tensor.data_ptr() for tensor in lent}
    del lent

    assert idle_bytes() == 6 * MIN_BYTES

    again = [pool_empty((2 * MIN_BYTES,), like(torch.uint8)) for _ in range(3)]
    assert {tensor.data_ptr() for tensor in again} == places and idle_bytes() == 0

    monkeypatch.setattr(memory_pool, "_allowed", lambda: 2 * MIN_BYTES)
    del again

    assert idle_bytes() == 2 * MIN_BYTES


def test_small_and_other_places_take_ordinary_memory() -> None:
    assert pool_empty((3,), like()).untyped_storage().resizable()
    assert pool_empty(LARGE, torch.zeros(1, device="meta")).is_meta
    assert idle_bytes() == 0


def test_a_copy_has_memory_of_its_own() -> None:
    first = pool_empty(LARGE, like()).fill_(3)
    second = copy.deepcopy(first)
    place = first.data_ptr()
    del first

    assert second.data_ptr() != place and bool((second == 3).all())


def test_threads_never_share_a_block() -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(30):
            # the smallest block of float32 that is pooled
            block = pool_empty((MIN_BYTES // 4,), like()).fill_(number)
            if not bool((block == number).all()):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()

    for thread in threads:
        thread.join()

    assert not wrong


@pytest.mark.parametrize("path", ["native", "pytorch"])
@pytest.mark.parametrize("make", [lambda: LIF(0.01, dt=0.004), lambda: Integrator(0.01, dt=0.004, learn="tau")])
def test_nothing_is_read_from_what_a_block_held_before(path: str, make: object) -> None:
    if path == "native" and not native.available():
        pytest.skip(native.why_not())

    layer = make()  # type: ignore[operator]
    x = torch.randn(LARGE, generator=torch.Generator().manual_seed(1))

    def train() -> tuple[Tensor, Tensor | None]:
        signal = x.clone().requires_grad_()
        y, _ = layer(signal)
        y.backward(torch.linspace(0.5, 1.5, y.numel()).reshape(y.shape))
        return y.detach().clone(), signal.grad

    with reference():
        slow = train()

    for _ in range(2):
        # idle blocks hold NaN, which shows where it is read
        lent = [pool_empty(LARGE, like()).fill_(math.nan) for _ in range(3)]
        del lent

        if path == "native":
            fast = train()
        else:
            with without_native():
                fast = train()

        assert torch.equal(fast[0], slow[0])

        torch.testing.assert_close(fast[1], slow[1], rtol=1e-5, atol=1e-5)
