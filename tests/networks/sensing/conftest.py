"""Generated scenes are rendered once: they are functions of their names, and nothing writes into a recording."""

from collections.abc import Iterator
from typing import Any

import pytest

from spikebridge.data.recordings.recording import Recording
from spikebridge.networks.sensing import data


@pytest.fixture(autouse=True, scope="session")
def scenes_rendered_once() -> Iterator[None]:
    """The scenes of `generated_parts` and `tumbling_parts`; a test that renders one itself gets a new one."""
    render_recording = data.render_recording
    rendered = dict[tuple[Any, ...], Recording]()

    def render(scene: Any, duration: float, dt: float, image_interval: float, *, name: str) -> Recording:
        key = (name, duration, dt, image_interval)
        if key not in rendered:
            rendered[key] = render_recording(scene, duration, dt, image_interval=image_interval, name=name)

        return rendered[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "render_recording", render)
        yield
