"""Global random-number generators: seeding, and saving and restoring their state.

They serve code that draws globally (dropout, augmentation in a data set). The framework's own stochastic parts hold
their seed and draw count in their state and do not use them.
"""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def derive_seed(*numbers: int) -> int:
    """One seed below 2**63 from several integers of at least 0; any other integers give an unrelated seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


def seed_rng(seed: int, rank: int = 0) -> None:
    """Seeds torch (CPU and GPUs), numpy and Python from the seed of a training and the number of the process."""
    torch.manual_seed(derive_seed(seed, rank, 0))
    np.random.seed(derive_seed(seed, rank, 1) % 2**32)
    random.seed(derive_seed(seed, rank, 2))


def shared_generator(seed: int) -> torch.Generator:
    """A generator for draws that are the same in every process; it begins as torch's own of the first process."""
    return torch.Generator().manual_seed(derive_seed(seed, 0, 0))


def get_rng_state() -> dict[str, Tensor]:
    """The states of all generators as tensors whose shapes never change; the GPU's is that of the current device."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    _, words, next_gauss = random.getstate()
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor([*np.asarray(keys).tolist(), position, has_gauss]),
        "numpy_gauss": torch.tensor(gauss, dtype=torch.float64),
        "python": torch.tensor(words),
        # NaN stands for Python's None: no cached Gaussian
        "python_gauss": torch.tensor(math.nan if next_gauss is None else next_gauss, dtype=torch.float64),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()

    return states


def set_rng_state(states: dict[str, Tensor]) -> None:
    """Sets all generators to captured states."""
    torch.set_rng_state(states["torch"].cpu())
    *keys, position, has_gauss = states["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, states["numpy_gauss"].item()))
    next_gauss = states["python_gauss"].item()
    random.setstate((3, tuple(states["python"].tolist()), None if math.isnan(next_gauss) else next_gauss))

    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())


@contextmanager
def preserve_rng_state() -> Iterator[None]:
    """Restores the state of every generator when the block ends."""
    states = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(states)
