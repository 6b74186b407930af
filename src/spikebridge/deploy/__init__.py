"""From the trained network to other machines: bundles, NIR, ONNX, and a runner that needs no torch.

Names are looked up when they are first used: running a bundle needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikebridge.deploy.adapters import Adapted, adapt
    from spikebridge.deploy.bundle import Bundle
    from spikebridge.deploy.bundle_export import export
    from spikebridge.deploy.bundle_integers import add_integers
    from spikebridge.deploy.bundle_rebuild import rebuild
    from spikebridge.deploy.compare import Comparison, Tolerance, compare_bundle
    from spikebridge.deploy.integer import IntegerModel
    from spikebridge.deploy.integer_bundle import integer_runner
    from spikebridge.deploy.nir_read import NirPart, from_nir
    from spikebridge.deploy.nir_write import to_nir, write_nir
    from spikebridge.deploy.quantize_config import Quantization, Region
    from spikebridge.deploy.quantize_network import quantize
    from spikebridge.deploy.quantize_record import integer_model
    from spikebridge.deploy.quantize_report import memory, saturation
    from spikebridge.deploy.runner import Runner
    from spikebridge.deploy.streaming import Live
    from spikebridge.deploy.target import target_level

__all__ = [
    "Adapted",
    "Bundle",
    "Comparison",
    "IntegerModel",
    "Live",
    "NirPart",
    "Quantization",
    "Region",
    "Runner",
    "Tolerance",
    "adapt",
    "add_integers",
    "compare_bundle",
    "export",
    "from_nir",
    "integer_model",
    "integer_runner",
    "memory",
    "quantize",
    "rebuild",
    "saturation",
    "target_level",
    "to_nir",
    "write_nir",
]

_FILES = {
    "adapters": ("Adapted", "adapt"),
    "bundle": ("Bundle",),
    "bundle_export": ("export",),
    "bundle_integers": ("add_integers",),
    "bundle_rebuild": ("rebuild",),
    "compare": ("Comparison", "Tolerance", "compare_bundle"),
    "integer": ("IntegerModel",),
    "integer_bundle": ("integer_runner",),
    "nir_read": ("NirPart", "from_nir"),
    "nir_write": ("to_nir", "write_nir"),
    "quantize_config": ("Quantization", "Region"),
    "quantize_network": ("quantize",),
    "quantize_record": ("integer_model",),
    "quantize_report": ("memory", "saturation"),
    "runner": ("Runner",),
    "streaming": ("Live",),
    "target": ("target_level",),
}


def __getattr__(name: str) -> Any:
    for file, names in _FILES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{file}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__]
