"""Random networks of the core, as bundles: every level says the same, whatever clocks, windows, loops and delays."""

from pathlib import Path

import pytest
from pretend_onnx import pretend
from random_graphs import build, random_graph, signals

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


def as_bundle(seed: int, path: Path, **kinds: bool) -> Bundle | None:
    """A random network's bundle, None for one that holds what a bundle cannot."""
    graph = random_graph(seed, **kinds)
    network = build(graph, exact=False)
    inputs = signals(graph, TICKS, exact=False)

    try:
        return export(network, inputs, path / str(seed), ticks=TICKS)
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

    for seed in range(20 * number, 20 * number + 20):
        bundle = as_bundle(seed, tmp_path)
        if bundle is None:
            continue
        comparison = compare_bundle(bundle)
        assert comparison.passed, f"graph {seed}: {[row for row in comparison.rows if not row.passed]}"

        compared += 1

    assert compared >= 5


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
