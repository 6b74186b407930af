"""spikebridge: hybrid neural networks, artificial and spiking, linked by hybrid units."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spikebridge._moved import install

if TYPE_CHECKING:
    from spikebridge.pretrained.models import load_pretrained
    from spikebridge.threads import set_threads, threads_in_use

__all__ = ["__version__", "load_pretrained", "set_threads", "threads_in_use"]
__version__: str
install()

_HOMES = {
    "load_pretrained": "spikebridge.pretrained.models",
    "set_threads": "spikebridge.threads",
    "threads_in_use": "spikebridge.threads",
}


def __getattr__(name: str) -> Any:
    """Imported when it is first used, since `import spikebridge` loads nothing else."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)

    if name == "__version__":
        from importlib.metadata import version  # four fifths of the time of `import spikebridge`

        return version("spikebridge")

    raise AttributeError(f"module 'spikebridge' has no attribute {name!r}")
