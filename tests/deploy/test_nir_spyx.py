"""Files of Spyx are read back. They hold less than its neurons compute, so the computation is written here as well.

    spikes[t] = v[t - 1] > v_threshold       told one step late
    v[t] = beta v[t - 1] + x[t] - v_threshold spikes[t]

The files hold `tau = dt / (1 - beta)` and `r = beta`. Its LIF takes the threshold off after the leak, which neither NIR
nor this package has: its membranes are the same up to the first spike. Its IF, CuBaLIF and PSU_LIF are the same
throughout.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import nir
import numpy as np
import pytest
import torch

from spikebridge.deploy import from_nir

STEPS = 40
BATCH = 2
N = 6
HOW: dict[str, Any] = {"dt": 1.0, "integration": "unscaled", "reset": "subtract"}
ALPHA = 0.5
BETA = 0.75
THRESHOLD = 1.0
ProgramStep = Callable[[Any, Any], tuple[Any, Any]]


def drive() -> Any:
    # multiples of 1/8 keep every sum exact for a while, so nobody spikes by the last bit
    return np.random.default_rng(0).integers(0, 7, (STEPS, BATCH, N)).astype(np.float32) / 8


def file_of(*nodes: nir.NIRNode) -> nir.NIRGraph:
    """A graph as Spyx names it."""
    names = ["input", *(f"layer_{k}" for k in range(len(nodes))), "output"]
    ends = {"input": nir.Input({"input": np.array([N])}), "output": nir.Output({"output": np.array([N])})}
    inner = dict(zip(names[1:-1], nodes, strict=True))
    return nir.NIRGraph({**ends, **inner}, list(pairwise(names)))


def full(value: float) -> Any:
    return np.full(N, value, np.float32)


def cuba_node() -> nir.CubaLIF:
    return nir.CubaLIF(
        tau_mem=full(1 / (1 - BETA)),
        tau_syn=full(1 / (1 - ALPHA)),
        r=full(BETA),
        v_leak=full(0),
        v_threshold=full(THRESHOLD),
    )


def if_step(x: Any, v: Any) -> tuple[Any, Any]:
    spikes = (v > THRESHOLD).astype(np.float32)
    return spikes, v + x - spikes * THRESHOLD


def cuba_step(x: Any, state: Any) -> tuple[Any, Any]:
    v, i = np.split(state, 2, -1)
    spikes = (v > THRESHOLD).astype(np.float32)
    i = ALPHA * i + x
    return spikes, np.concatenate([BETA * (v - spikes * THRESHOLD) + i, i], -1)


def psu_step(x: Any, v: Any) -> tuple[Any, Any]:
    v = BETA * v + x
    return (v > THRESHOLD).astype(np.float32), v


def stepped(step: ProgramStep, x: Any, width: int = N) -> Any:
    state = np.zeros((BATCH, width), np.float32)
    outputs = []
    for x_t in x:
        y, state = step(x_t, state)
        outputs.append(y)

    return np.stack(outputs)


def ours(graph: nir.NIRGraph, x: Any) -> Any:
    with torch.no_grad():
        y = from_nir(graph, **HOW)(torch.from_numpy(x))[0].numpy()
    assert 0.05 < y.mean() < 0.95
    return y


@pytest.mark.parametrize(
    ("nodes", "step", "width", "late"),
    [
        ((nir.IF(r=full(1), v_threshold=full(THRESHOLD)),), if_step, N, 1),
        ((cuba_node(),), cuba_step, 2 * N, 1),
        (
            (nir.LI(tau=full(1 / (1 - BETA)), r=full(1), v_leak=full(0)), nir.Threshold(full(THRESHOLD))),
            psu_step,
            N,
            0,
        ),
    ],
    ids=["IF", "CuBaLIF", "PSU_LIF"],
)
def test_the_spikes_of_its_equations_are_ours(nodes: Any, step: ProgramStep, width: int, late: int) -> None:
    # an offset that no sum of eighths reaches: it fires above the threshold, we at it
    x = drive() + np.float32(0.003)
    theirs = stepped(step, x, width)
    assert np.array_equal(ours(file_of(*nodes), x)[: STEPS - late], theirs[late:])


def test_its_lif_is_the_same_up_to_the_first_spike() -> None:
    lif = nir.LIF(tau=full(1 / (1 - BETA)), r=full(BETA), v_leak=full(0), v_threshold=full(THRESHOLD))
    x = drive()
    _, state = from_nir(file_of(lif), **HOW)(torch.from_numpy(x[:2] / 8))
    values = [value for value in torch.utils._pytree.tree_leaves(state) if isinstance(value, torch.Tensor)]

    assert any(np.allclose(value, BETA * x[0] / 8 + x[1] / 8) for value in values if value.shape == (BATCH, N))


def test_what_spyx_itself_writes_is_read_with_equal_spikes() -> None:
    exchange = pytest.importorskip("spyx.nir")
    layer = pytest.importorskip("spyx.nn")
    jnp = pytest.importorskip("jax.numpy")
    nnx = pytest.importorskip("flax.nnx")

    x = drive() + np.float32(0.003)
    rngs = nnx.Rngs(0)
    weights = [nnx.Linear(N, N, rngs=rngs) for _ in range(2)]

    for one in weights:
        one.kernel[...] = jnp.abs(one.kernel[...])

    cuba = layer.CuBaLIF((N,), alpha=ALPHA, beta=BETA, threshold=THRESHOLD, rngs=rngs)
    model = layer.Sequential(weights[0], cuba, weights[1], layer.IF((N,), threshold=4 * THRESHOLD))
    theirs, _ = layer.run(model, jnp.asarray(x))
    graph = exchange.to_nir(model, {"input": np.array([N])}, {"output": np.array([N])}, dt=1)

    # each of the two layers of neurons tells its spikes one step late
    assert np.array_equal(ours(graph, x)[: STEPS - 2], np.asarray(theirs)[2:])
