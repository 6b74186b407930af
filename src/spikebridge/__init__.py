"""spikebridge: hybrid neural networks, artificial and spiking, linked by hybrid units."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from spikebridge._moved import install
from spikebridge.threads import set_threads, threads_in_use

if TYPE_CHECKING:
    from spikebridge.pretrained.models import load_pretrained

__all__ = ["__version__", "load_pretrained", "set_threads", "threads_in_use"]
__version__ = version("spikebridge")
install()


def __getattr__(name: str) -> Any:
    """Imported when it is first used, since `import spikebridge` loads nothing else."""
    if name == "load_pretrained":
        from spikebridge.pretrained.models import load_pretrained

        return load_pretrained
    raise AttributeError(f"module 'spikebridge' has no attribute {name!r}")
