"""A page of trained networks: one file, or the files of a web site, that send no request.

    write_page(Path("digits.html"), title, networks, WebInputs(), prices)

The file holds its script, whose hash its content security policy names, the modules, a sample, and a drawing of every
network. Names from outside are data, which the script writes as text.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.io.atomic import atomic_folder, check_new, write_bytes, write_text
from spikebridge.data.io.templates import file_template
from spikebridge.deploy.front_ends.resampling import Resampler
from spikebridge.deploy.integer.model import IntegerModel
from spikebridge.deploy.streaming.samples import PRE_ROLL
from spikebridge.deploy.web.compiler import compile_module
from spikebridge.deploy.web.inputs import WebInputs
from spikebridge.deploy.web.modules import ModuleText, Prices, front_end_module, network_module
from spikebridge.errors import ConfigError, ExportError

_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)  # of microphones and files [Hz]
_FOLDER = "spikebridge.deploy.web"
_MAX_SAMPLE = 60_000  # bytes of the samples of a page
_TYPES: Mapping[str, Any] = {
    "int8_t": np.int8,
    "uint8_t": np.uint8,
    "int16_t": np.int16,
    "int32_t": np.int32,
    "int64_t": np.int64,
}


@dataclass(frozen=True)
class PageNetwork:
    """A network of a page: its integer model, a sample of some ticks `(T, B, *N)`, and SVGs, wide and for a phone."""

    name: str
    about: str
    model: IntegerModel
    inputs: Mapping[str, NDArray[Any]]
    ticks: int
    drawings: tuple[str, str]


@dataclass(frozen=True)
class WrittenPage:
    """The written page or folder, its bytes, and those of its modules."""

    path: Path
    num_bytes: int
    module_bytes: dict[str, int]


def write_page(
    path: Path, title: str, networks: Sequence[PageNetwork], inputs: WebInputs, prices: Prices, *, folder: bool = False
) -> WrittenPage:
    """Writes a page as one file, or as a new folder of files for a web site, whole or not at all.

    Raises:
        ConfigError: there is no compiler.
        ExportError: the path is there already, or the networks cannot become a page.
    """
    check_new(path, ExportError)
    texts = page_modules(networks, inputs, prices)
    modules = {name: compile_module(text.c) for name, text in texts.items()}
    data = _data(networks, inputs, prices, texts)
    drawings = [(network.name, *network.drawings) for network in networks]
    sizes = {name: len(content) for name, content in modules.items()}

    if folder:
        data["modules"] = [{"url": f"{name}.wasm"} for name in modules]
        with atomic_folder(path) as draft:
            for name, content in modules.items():
                write_bytes(draft / f"{name}.wasm", content)
            for name in ("page.css", "page.js", "worker.js"):
                write_text(draft / name, _text(name))
            write_text(draft / "index.html", _html(title, inputs, drawings, data, in_files=True))

        return WrittenPage(path, sum(file.stat().st_size for file in path.iterdir()), sizes)

    data["modules"] = [{"base64": _base64(content)} for content in modules.values()]
    html = _html(title, inputs, drawings, data, in_files=False)
    write_text(path, html)

    return WrittenPage(path, len(html.encode()), sizes)


def page_modules(networks: Sequence[PageNetwork], inputs: WebInputs, prices: Prices) -> dict[str, ModuleText]:
    """The modules of a page by name: of its networks, then of its front end."""
    modules = {}
    for number, network in enumerate(networks):
        if not network.model.record.outputs:
            raise ExportError(
                f"{network.name!r} computes its outputs in floating point, so a page would have no answer; "
                "`spikebridge export` writes a bundle, which runs without torch"
            )
        missing = [name for name in network.model.record.inputs if name not in network.inputs]
        if missing:
            raise ExportError(
                f"{network.name}: a page runs integers alone, and its sample has no values of {missing[0]!r}, which "
                "stays in floating point; quantise the whole network, `spikebridge quantize RUN --bundle BUNDLE`"
            )

        shapes = {name: x.shape[2:] for name, x in network.inputs.items()}
        modules[f"network_{number}"] = network_module(network.model, shapes, prices, inputs.answer, inputs.recency)

    if inputs.front_end is not None:
        modules["front_end"] = front_end_module(inputs.front_end, _resamplers(inputs), inputs.phone)

    return modules


def _resamplers(inputs: WebInputs) -> list[Resampler]:
    """Resamplers from usual rates to that of a sound."""
    if inputs.kind != "sound" or inputs.rate_hz is None or inputs.front_end is None:
        return []

    resamplers = []
    block = int(np.prod(inputs.front_end.inputs["samples"]))
    for rate in _RATES:
        if rate != inputs.rate_hz:
            try:
                resamplers.append(Resampler(rate, round(inputs.rate_hz), block))
            except ConfigError:
                # the page names the rates that it takes
                continue

    return resamplers


def _data(
    networks: Sequence[PageNetwork], inputs: WebInputs, prices: Prices, modules: Mapping[str, ModuleText]
) -> dict[str, Any]:
    """Data of the page for its script, as JSON."""
    front = None
    if inputs.front_end is not None:
        described = modules["front_end"].description
        front = {
            **described,
            "ticks": inputs.front_end.ticks,
            "window": inputs.front_end.window,
            "preRoll": PRE_ROLL,
        }

    return {
        "kind": inputs.kind,
        "dt": networks[0].model.record.dt,
        "networks": [
            {
                "name": network.name,
                "about": network.about,
                # their signals are those of the sample
                "recorded": list(network.model.record.left_out),
                **modules[f"network_{number}"].description,
            }
            for number, network in enumerate(networks)
        ],
        "front": front,
        "rate": inputs.rate_hz,
        "channels": list(inputs.channels),
        "grid": list(inputs.grid),
        "sliders": [asdict(slider) for slider in inputs.sliders],
        "restart": inputs.restart,
        "slowdown": inputs.slowdown,
        "classes": list(inputs.classes),
        "examples": [_base64(np.round(255 * np.asarray(one)).astype(np.uint8).tobytes()) for one in inputs.examples],
        "tasks": [[int(place) for place in order] for order in inputs.tasks],
        "hasPhone": bool(inputs.phone),
        "prices": asdict(prices),
        "sample": _sample(networks),
    }


def _sample(networks: Sequence[PageNetwork]) -> dict[str, Any]:
    """Streams of integers for every network."""
    first = networks[0]
    a_stream = sum(x[:, :1].size for network in networks for x in network.inputs.values())
    batch = min(x.shape[1] for x in first.inputs.values())
    number = max(1, min(batch, _MAX_SAMPLE // max(a_stream, 1)))
    streams = [
        [{name: _integers(x[:, stream]) for name, x in network.inputs.items()} for network in networks]
        for stream in range(number)
    ]

    return {"ticks": first.ticks, "streams": streams}


def _integers(x: NDArray[Any]) -> dict[str, str]:
    """Integers as base64 in their narrowest type."""
    low = int(x.min(initial=0))
    high = int(x.max(initial=0))
    name = next(name for name, kind in _TYPES.items() if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return {"type": name, "base64": _base64(np.ascontiguousarray(x.astype(_TYPES[name])).tobytes())}


def _html(title: str, inputs: WebInputs, drawings: Sequence[Any], data: Mapping[str, Any], *, in_files: bool) -> str:
    script = _text("page.js")
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    sources = "'self'" if in_files else f"'sha256-{digest}'"
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {sources} 'wasm-unsafe-eval' blob:",
            "worker-src 'self'" if in_files else "worker-src blob:",
            "style-src 'self' 'unsafe-inline'" if in_files else "style-src 'unsafe-inline'",
            "img-src data: blob:",
            *(["connect-src 'self'"] if in_files else []),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )

    # in a script element nothing but its end tag is markup
    plain = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return file_template(_FOLDER, "page.html.j2").render(
        title=title,
        about=inputs.about,
        policy=policy,
        in_files=in_files,
        style=_text("page.css"),
        script=script,
        worker=_text("worker.js"),
        drawings=drawings,
        data=plain,
    )


def _text(name: str) -> str:
    return (files(_FOLDER) / name).read_text(encoding="utf-8")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
