"""A bundle that runs without torch: numpy, onnxruntime and nir are all it needs.

bundle = Bundle.open("bundle/")
runner = Runner(bundle)
outputs, state = runner.step({"events": x}, runner.start(batch=1))     # one tick
outputs = runner.run(inputs)                                           # a whole recording
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle import Bundle
from spikebridge.deploy.manifest import InputRecord
from spikebridge.deploy.runner_links import Unit, open_link
from spikebridge.deploy.runner_parts import PartRunner, open_part
from spikebridge.deploy.runner_ticks import TickRunner
from spikebridge.errors import DataError, ShapeError

Values: TypeAlias = NDArray[Any]


class Runner(TickRunner):
    """A bundle, loaded.

    Args:
        bundle: an opened one.
        parts: other runners for some parts, by name.
        units: other units for some links, by name.

    Raises:
        DataError: a file of the bundle is damaged or does not fit.
    """

    def __init__(
        self,
        bundle: Bundle,
        parts: Mapping[str, PartRunner] | None = None,
        units: Mapping[str, Unit] | None = None,
    ) -> None:
        self.manifest = bundle.manifest
        given, made = dict(parts or {}), dict(units or {})
        super().__init__(
            self.manifest,
            {
                name: given[name] if name in given else open_part(bundle, name, record)
                for name, record in self.manifest.parts.items()
            },
            {link.name: open_link(bundle, link, made.get(link.name)) for link in self.manifest.links},
        )

    def taken(self, name: str, record: InputRecord, x: Values) -> Values:
        if x.shape[1:] != record.shape:
            raise ShapeError(f"input {name!r} needs a step {(len(x), *record.shape)}, but got {x.shape}")
        if record.dtype == "bool":
            if x.dtype != np.bool_:
                raise ShapeError(f"input {name!r} is a mask of flags, but got {x.dtype}")
            return x
        if x.dtype.kind not in "fbiu":
            raise ShapeError(f"input {name!r} needs numbers, but got {x.dtype}")
        taken: Values = x.astype(np.float32)
        if not np.isfinite(taken).all():
            raise DataError(f"input {name!r} has values that are not finite")
        return taken
