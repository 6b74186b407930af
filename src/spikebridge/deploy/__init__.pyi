from .adapters.libraries import adapt
from .bundle.bundle import Bundle
from .bundle.export import export
from .compare import Tolerance, compare_bundle, target_level
from .integer.bundle import integer_runner
from .integer.model import IntegerModel
from .nir.reader import from_nir
from .nir.writer import to_nir
from .quantization.config import QConfig, QConfigMapping
from .quantization.lowering import add_integers, integer_model
from .quantization.network import quantize
from .quantization.report import saturation
from .runtime.runner import Runner
from .streaming.loop import Live

__all__ = [
    "Bundle",
    "IntegerModel",
    "Live",
    "QConfig",
    "QConfigMapping",
    "Runner",
    "Tolerance",
    "adapt",
    "add_integers",
    "compare_bundle",
    "export",
    "from_nir",
    "integer_model",
    "integer_runner",
    "quantize",
    "saturation",
    "target_level",
    "to_nir",
]
