"""The hybrids of the literature in the gallery train, equal their streams, and their bundles agree on other inputs."""

import ast
import math
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spikebridge.hybrid import HybridNetwork

pytestmark = pytest.mark.untyped

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "gallery" / "literature"
SCRIPTS = sorted(FOLDER.glob("[!_]*.py"))
END = runpy.run_path(str(FOLDER / "_main.py"))
MAX_LINES = 60  # of a network


def in_steps(network: HybridNetwork, inputs: dict[str, Tensor], ticks: int) -> dict[str, Tensor]:
    """The outputs of a network that gets one tick after another."""
    state = network.initial_state(inputs)
    rows: dict[str, list[Tensor]] = {name: [] for name in network.outputs}
    samples = {name: iter(x) for name, x in inputs.items()}
    for tick in range(ticks):
        now = {name: next(samples[name]) for name, clock in network.inputs.items() if clock.has(tick)}
        outputs, state = network.step(now, state)
        for name, y in outputs.items():
            rows[name] += [y] if len(y) else []

    return {name: torch.stack(values) for name, values in rows.items()}


def network_lines(script: Path) -> int:
    """Lines of the functions that build networks, and of the classes and functions that these name."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = {node.name: node for node in tree.body if isinstance(node, kinds)}
    waiting = [name for name in found if name.startswith("build")]
    used: set[str] = set()

    while waiting:
        name = waiting.pop()
        used.add(name)
        named = {node.id for node in ast.walk(found[name]) if isinstance(node, ast.Name)}
        waiting += sorted(named & found.keys() - used - set(waiting))

    return sum((node.end_lineno or node.lineno) - node.lineno + 1 for name, node in found.items() if name in used)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_hybrid_trains_and_streams_and_its_bundle_agrees_on_other_inputs(script: Path, tmp_path: Path) -> None:
    names: dict[str, Any] = runpy.run_path(str(script))
    scores, networks = names["run"](seed=0, updates=1, number=40)
    assert all(math.isfinite(value) for value in scores.values())

    for name, network in networks.items():
        example = names["example"](2)
        inputs = {key: example[key] for key in network.inputs}
        with torch.no_grad():
            whole, end = network.eval()(inputs)
            steps = in_steps(network, inputs, end.ticks)
        torch.testing.assert_close(steps, whole, rtol=1e-4, atol=1e-5)

        (comparison,) = END["compare"](network, names["example"], tmp_path / name)
        assert comparison.passed, str(comparison)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_network_has_few_lines(script: Path) -> None:
    assert 0 < network_lines(script) <= MAX_LINES
