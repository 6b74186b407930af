"""In-place layers: a module that writes into its input would change a signal that other parts read, too."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from spikebridge.errors import ConfigError


@contextmanager
def refuse_inplace(module: nn.Module, signals: Iterable[Tensor]) -> Iterator[None]:
    """Raises where a module, called inside, writes into one of the signals.

    Raises:
        ConfigError: the module writes into a signal.

    Example:
        >>> import torch
        >>> relu, x = nn.ReLU(inplace=True), torch.ones(2)
        >>> with refuse_inplace(relu, [x]):
        ...     y = relu(x)
        Traceback (most recent call last):
            ...
        spikebridge.errors.ConfigError: ReLU writes into its input, which others read, too; ...
    """
    given = [x for x in signals if not x.is_inference()]
    versions = [x._version for x in given]
    yield
    if [x._version for x in given] != versions:
        raise ConfigError(
            f"{type(module).__name__} writes into its input, which others read, too; give its layers inplace=False"
        )
