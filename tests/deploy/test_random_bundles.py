"""Random networks of the core, as bundles: every level says the same, whatever clocks, windows, loops and delays."""

from pathlib import Path

import pytest
import torch
from pretend_onnx import pretend
from random_graphs import build, piece, random_graph, signals

from spikebridge.deploy import Bundle, compare, compare_bundle, export
from spikebridge.deploy.bundle import export as bundle_export
from spikebridge.deploy.bundle.trace import record_trace
from spikebridge.errors import ExportError

pytestmark = pytest.mark.untyped

TICKS = 20
REFUSED = (
    "an ONNX step has no value to read until then",
    "never fires",
    "closes no window",
    "NIR has no quantity",
    "does not hold",
)


def as_bundle(seed: int, path: Path, begins: int = 0, **kinds: bool) -> Bundle | None:
    """A random network's bundle, which continues its stream at a tick; None for one that holds what a bundle cannot."""
    graph = random_graph(seed, **kinds)
    network = build(graph, exact=False)
    inputs = signals(graph, begins + TICKS, exact=False)
    state = None

    if begins:
        with torch.no_grad():
            start = network.initial_state({name: x[:0] for name, x in inputs.items()})
            _, state = network(piece(graph, inputs, 0, begins), start, begins)
        later = piece(graph, inputs, begins, begins + TICKS)
        inputs = {name: later.get(name, x[:0]) for name, x in inputs.items()}

    try:
        return export(network, inputs, path / str(seed), ticks=TICKS, state=state)
    except ExportError as reason:
        assert any(word in str(reason) for word in REFUSED), f"graph {seed}: {reason}"
        return None


@pytest.mark.parametrize("number", range(3))
def test_rebuilt_and_run_without_torch_a_random_network_says_the_same(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    # most random networks are silent somewhere
    monkeypatch.setattr(bundle_export, "record_active_trace", record_trace)
    monkeypatch.setattr(compare, "record_active_trace", record_trace)
    compared = 0

    for seed in range(12 * number, 12 * number + 12):
        bundle = as_bundle(seed, tmp_path, begins=(0, 7, 10)[seed % 3], states=True)
        if bundle is None:
            continue
        comparison = compare_bundle(bundle)
        assert comparison.passed, f"graph {seed}: {[row for row in comparison.rows if not row.passed]}"

        compared += 1

    assert compared >= 8


@pytest.mark.parametrize("seed", [6, 21, 54, 57, 123, 136])
def test_woken_parts_of_a_bundle_say_the_same(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(bundle_export, "record_active_trace", record_trace)
    monkeypatch.setattr(compare, "record_active_trace", record_trace)
    bundle = as_bundle(seed, tmp_path, wakes=True)

    assert bundle is not None
    assert bundle.manifest.flags
    comparison = compare_bundle(bundle)
    assert comparison.passed, [row for row in comparison.rows if not row.passed]
