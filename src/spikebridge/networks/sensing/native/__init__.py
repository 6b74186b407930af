"""Kernels that the tracker alone uses, in plain C, each with the operation that says where it runs."""

from spikebridge.networks.sensing.native.alignment import ALIGNMENT
from spikebridge.networks.sensing.native.bin_events import BIN_EVENTS
from spikebridge.networks.sensing.native.correlation import TEMPLATE_FITS
from spikebridge.networks.sensing.native.fixed_convolution import FIXED_CONVOLUTION
from spikebridge.networks.sensing.native.orientation import ORIENTATION
from spikebridge.networks.sensing.native.pathway import PATHWAY_STEP
from spikebridge.networks.sensing.native.places import MEAN_PLACES
from spikebridge.networks.sensing.native.resampling import RESAMPLING
from spikebridge.ops.selection import Operation

# the operations by name, as `spikebridge doctor --paths` prints them
OPERATIONS: dict[str, Operation] = {
    "pathway step": PATHWAY_STEP,
    "orientation features": ORIENTATION,
    "resampling": RESAMPLING,
    "template fits": TEMPLATE_FITS,
    "alignment": ALIGNMENT,
    "mean places": MEAN_PLACES,
    "fixed convolution": FIXED_CONVOLUTION,
    "bin events": BIN_EVENTS,
}
