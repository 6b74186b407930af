"""Generated scenes are rendered once: they are functions of their names, and nothing writes into a recording."""

from collections.abc import Iterator
from typing import Any

import pytest

from spikebridge.data.recordings.recording import Recording
from spikebridge.networks.sensing import data


@pytest.fixture(autouse=True, scope="session")
def scenes_rendered_once() -> Iterator[None]:
    """For the scenes of `generated_parts` and `tumbling_parts`; what a test renders itself is its own."""
    plain = data.render_recording
    known = dict[tuple[Any, ...], Recording]()

    def render(scene: Any, duration: float, dt: float, image_interval: float, *cameras: Any, name: str) -> Recording:
        if cameras:  # of films, which are not rendered twice
            return plain(scene, duration, dt, image_interval, *cameras, name=name)

        key = (name, duration, dt, image_interval)
        if key not in known:
            known[key] = plain(scene, duration, dt, image_interval=image_interval, name=name)

        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "render_recording", render)
        yield
