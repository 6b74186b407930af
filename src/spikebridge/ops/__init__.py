"""Faster ways to the same numbers. `with reference():` turns them off; every test passes with and without."""

from spikebridge._requirements import check_versions

check_versions()  # before a name is used that an old PyTorch lacks

from spikebridge.ops.layers._spike_packing import pack_spikes  # noqa: E402
from spikebridge.ops.layers.pooling import MaxPool2d, max_pool2d  # noqa: E402
from spikebridge.ops.recomputation import recompute  # noqa: E402
from spikebridge.ops.selection import reference, without_native  # noqa: E402

__all__ = ["MaxPool2d", "max_pool2d", "pack_spikes", "recompute", "reference", "without_native"]
