"""Other libraries of the field read our NIR with equal spikes, and we read theirs, every layer spiking."""

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nir
import pytest
import torch
from torch import Tensor, nn

from spikebridge.deploy import from_nir
from spikebridge.deploy.chips.loihi import LOIHI
from spikebridge.deploy.chips.network import part_on_chip
from spikebridge.deploy.nir.writer import write_nir
from spikebridge.neurons import IF, LIF, CubaLIF, Sequential, Stateful

with warnings.catch_warnings():
    # what the peers import is none of ours
    warnings.simplefilter("ignore")
    import norse.torch
    import sinabs.activation
    import sinabs.layers
    import sinabs.nir
    import snntorch
    import spikingjelly.activation_based as sj
    from snntorch.export_nir import export_to_nir as write_snntorch
    from snntorch.import_nir import import_from_nir as read_snntorch
    from spikingjelly.activation_based import nir_exchange

STEPS = 30
BATCH = 2
PEERS_STEP = 1e-4  # fixed in snnTorch, usual elsewhere


@pytest.fixture(autouse=True)
def quiet_peers() -> Iterator[None]:
    """Peers print, log and warn about themselves."""
    torch.manual_seed(0)
    logging.disable(logging.CRITICAL)

    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield

    logging.disable(logging.NOTSET)


def drive(*shape: int) -> Tensor:
    return torch.rand(STEPS, BATCH, *shape)


def spread(layer: Any, factor: float = 1.0) -> Any:
    """A layer with weights that make spikes."""
    with torch.no_grad():
        layer.weight.abs_().mul_(factor)
    return layer


def dense(neuron: Callable[[], Any]) -> dict[str, nn.Module]:
    first = spread(nn.Linear(4, 6), 0.8)
    second = spread(nn.Linear(6, 5), 0.8)
    return {"fc1": first, "lif1": neuron(), "fc2": second, "lif2": neuron()}


def by_layer(part: Sequential, x: Tensor) -> list[Tensor]:
    """The spikes of each spiking layer."""
    spikes = []
    for layer in part:
        x = layer(x)[0] if isinstance(layer, Stateful) else layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        spikes += [x] if isinstance(layer, Stateful) else []

    return spikes


def ours(part: Sequential, x: Tensor) -> Tensor:
    """Our output, after a look that every layer spikes, and not all the time."""
    with torch.no_grad():
        spikes = by_layer(part.eval(), x)

    for s in spikes:
        assert 0.02 < float(s.mean()) < 0.98

    return spikes[-1]


def written(part: Sequential, x: Tensor, path: Path, **how: Any) -> nir.NIRGraph:
    write_nir(path / "ours.nir", part, x, **how)
    return nir.read(path / "ours.nir")


def stepped(model: Any, x: Tensor, result: Callable[[Any], tuple[Tensor, Any]]) -> Tensor:
    """A model with explicit state, step by step."""
    state = None
    outputs = []
    with torch.no_grad():
        for x_t in x:
            y_t, state = result(model(x_t, state))
            outputs.append(y_t)

    return torch.stack(outputs)


@pytest.mark.parametrize(
    "neuron",
    [
        lambda: LIF(tau=8 * PEERS_STEP, dt=PEERS_STEP),
        lambda: CubaLIF(tau=8 * PEERS_STEP, tau_syn=2 * PEERS_STEP, dt=PEERS_STEP, v_threshold=2.0),
        lambda: IF(v_threshold=1.5, dt=PEERS_STEP),
    ],
    ids=["LIF", "CubaLIF", "IF"],
)
def test_spikingjelly_reads_ours_with_equal_spikes(neuron: Callable[[], Any], tmp_path: Path) -> None:
    part = Sequential(**dense(neuron))
    x = drive(4)
    theirs = nir_exchange.import_from_nir(written(part, x, tmp_path, integration="euler"), dt=PEERS_STEP)
    assert torch.equal(stepped(theirs.eval(), x, lambda result: result), ours(part, x))


def test_spikingjelly_reads_our_convolutions_pools_and_shapes(tmp_path: Path) -> None:
    layers = {
        "conv": spread(nn.Conv2d(2, 4, 3, padding=1)),
        "lif1": LIF(tau=8 * PEERS_STEP, dt=PEERS_STEP),
        "pool": nn.AvgPool2d(2),
        "flat": nn.Flatten(),
        "fc": spread(nn.Linear(16, 3)),
        "lif2": LIF(tau=8 * PEERS_STEP, dt=PEERS_STEP),
    }

    part = Sequential(**layers)
    x = drive(2, 4, 4)
    theirs = nir_exchange.import_from_nir(written(part, x, tmp_path, integration="euler"), dt=PEERS_STEP)

    assert torch.equal(stepped(theirs.eval(), x, lambda result: result), ours(part, x))


@pytest.mark.parametrize(
    "neuron",
    [
        lambda: LIF(tau=8 * PEERS_STEP, dt=PEERS_STEP),
        lambda: CubaLIF(tau=8 * PEERS_STEP, tau_syn=2 * PEERS_STEP, dt=PEERS_STEP, v_threshold=2.0),
    ],
    ids=["LIF", "CubaLIF"],
)
def test_snntorch_reads_ours_with_equal_spikes(neuron: Callable[[], Any], tmp_path: Path) -> None:
    part = Sequential(**dense(neuron))
    x = drive(4)
    theirs = read_snntorch(written(part, x, tmp_path, integration="euler")).float()
    assert torch.equal(stepped(theirs, x, lambda result: result), ours(part, x))


def test_sinabs_reads_ours_with_equal_spikes(tmp_path: Path) -> None:
    # its time constants count steps, its reset is soft: a part whose step is 1 s says the same
    part = Sequential(**dense(lambda: LIF(tau=8.0, dt=1.0, reset="subtract")))
    x = drive(4)
    theirs = sinabs.nir.from_nir(written(part, x, tmp_path), batch_size=BATCH)

    with torch.no_grad():
        y = theirs(x.transpose(0, 1).flatten(0, 1))

    y = y[0] if isinstance(y, tuple) else y

    assert torch.equal(y.unflatten(0, (BATCH, STEPS)).transpose(0, 1), ours(part, x))


def test_we_read_spikingjelly(tmp_path: Path) -> None:
    model = nn.Sequential(
        spread(sj.layer.Conv2d(2, 4, 3, padding=1)),
        sj.neuron.LIFNode(tau=4.0, decay_input=False),
        sj.layer.AvgPool2d(2),
        sj.layer.Flatten(),
        spread(sj.layer.Linear(16, 3)),
        sj.neuron.IFNode(v_threshold=2.0),
    )

    x = drive(2, 4, 4)
    nir.write(tmp_path / "theirs.nir", nir_exchange.export_to_nir(model, x[0], dt=PEERS_STEP))
    part = from_nir(tmp_path / "theirs.nir", dt=PEERS_STEP, integration="euler")
    sj.functional.reset_net(model)

    with torch.no_grad():
        y = torch.stack([model(x_t) for x_t in x])
        assert 0.02 < float(y.mean()) < 0.98
        assert torch.equal(part(x)[0], y)


def test_we_read_snntorch(tmp_path: Path) -> None:
    how = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
    model = nn.Sequential(
        spread(nn.Linear(4, 6)),
        snntorch.Leaky(beta=0.8 * torch.ones(6), threshold=torch.ones(6), **how),
        spread(nn.Linear(6, 5)),
        snntorch.Synaptic(
            alpha=0.5 * torch.ones(5), beta=0.8 * torch.ones(5), threshold=3 * torch.ones(5), **how, output=True
        ),
    )

    x = drive(4)
    nir.write(tmp_path / "theirs.nir", write_snntorch(model, x[0, :1], ignore_dims=[0]))
    part = from_nir(tmp_path / "theirs.nir", dt=PEERS_STEP, integration="euler")

    for layer in (model[1], model[3]):
        layer.reset_mem()

    with torch.no_grad():
        y = torch.stack([model(x_t)[0] for x_t in x])
        assert 0.02 < float(y.mean()) < 0.98
        assert torch.equal(part(x)[0], y)


def leaky(decay: float, number: int, is_last: bool) -> Any:
    """A layer of snnTorch that resets to zero."""
    how = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True, "output": is_last}
    return snntorch.Leaky(beta=decay * torch.ones(number), threshold=torch.ones(number), **how)


def lif_node(decay: float, number: int, is_last: bool) -> Any:
    """A layer of SpikingJelly that resets to zero."""
    return sj.neuron.LIFNode(tau=1 / (1 - decay), decay_input=False)


def graph_of_snntorch(model: nn.Module, x: Tensor) -> Any:
    return write_snntorch(model, x, ignore_dims=[0])


def graph_of_spikingjelly(model: nn.Module, x: Tensor) -> Any:
    return nir_exchange.export_to_nir(model, x, dt=PEERS_STEP)


@pytest.mark.parametrize(
    ("neurons", "graph"),
    [(leaky, graph_of_snntorch), (lif_node, graph_of_spikingjelly)],
    ids=["snntorch", "spikingjelly"],
)
def test_a_chain_of_another_library_has_the_numbers_of_ours_on_a_chip(
    neurons: Callable[[float, int, bool], Any], graph: Callable[[nn.Module, Tensor], Any], tmp_path: Path
) -> None:
    linears = [nn.Linear(4, 6, bias=False), nn.Linear(6, 3, bias=False)]
    for linear in linears:
        nn.init.normal_(linear.weight)

    theirs = nn.Sequential(linears[0], neurons(0.9, 6, False), linears[1], neurons(0.8, 3, True))
    nir.write(tmp_path / "theirs.nir", graph(theirs, torch.rand(1, 4)))
    tau = [-PEERS_STEP / math.log(decay) for decay in (0.9, 0.8)]
    ours = Sequential(linears[0], LIF(tau=tau[0]), linears[1], LIF(tau=tau[1]), dt=PEERS_STEP)

    spikes = (torch.rand(STEPS, BATCH, 4) < 0.4).float()
    read = from_nir(tmp_path / "theirs.nir", dt=PEERS_STEP, integration="euler", reset="zero")
    placed = [part_on_chip(part, spikes, LOIHI) for part in (ours, read)]
    numbers = [list(part.model("snn", PEERS_STEP).core.numbers.values()) for part in placed]

    assert all((a == b).all() for a, b in zip(*numbers, strict=True))
    assert 0.02 < float(placed[0](spikes)[0].mean()) < 0.98


def test_we_read_norse(tmp_path: Path) -> None:
    parameters = norse.torch.LIFBoxParameters(torch.full((6,), 200.0), torch.zeros(6), torch.full((6,), 0.3))
    last = norse.torch.LIFBoxParameters(torch.full((5,), 300.0), torch.zeros(5), torch.full((5,), 0.4))
    dt = 1e-3

    model = norse.torch.SequentialState(
        spread(nn.Linear(4, 6)),
        norse.torch.LIFBoxCell(parameters, dt=dt),
        spread(nn.Linear(6, 5)),
        norse.torch.LIFBoxCell(last, dt=dt),
    )

    x = drive(4)
    nir.write(tmp_path / "theirs.nir", norse.torch.to_nir(model, x[0, 0], dt=dt))
    # Norse multiplies its time constants by its step, so the step that fits them is dt * dt
    part = from_nir(tmp_path / "theirs.nir", dt=dt * dt, integration="euler")
    y = stepped(model, x, lambda result: result)

    with torch.no_grad():
        assert 0.02 < float(y.mean()) < 0.98
        assert torch.equal(part(x)[0], y)


@pytest.mark.parametrize(
    ("drives", "theirs", "our_spikes"),
    [
        ([0.7, 0.7, 0.7, 0.7], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]),  # one spike a step, no floor: equal
        ([2.5, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]),  # several spikes a step
        ([-4.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]),  # a floor at -v_threshold
    ],
)
def test_sinabs_may_spike_several_times_a_step_and_has_a_floor(
    drives: list[float], theirs: list[float], our_spikes: list[float], tmp_path: Path
) -> None:
    x = torch.tensor(drives).reshape(4, 1, 1)
    part = IF(dt=1.0, reset="subtract")
    model = sinabs.nir.from_nir(written(Sequential(part), x, tmp_path), batch_size=1)

    with torch.no_grad():
        y = model(x.flatten(0, 1))

    assert (y[0] if isinstance(y, tuple) else y).flatten().tolist() == theirs
    assert part(x)[0].flatten().tolist() == our_spikes


def test_we_read_sinabs(tmp_path: Path) -> None:
    # one spike a step at most, as anywhere but in sinabs
    how = {"batch_size": BATCH, "spike_fn": sinabs.activation.SingleSpike}
    model = nn.Sequential(
        spread(nn.Linear(4, 6)),
        sinabs.layers.IAFSqueeze(spike_threshold=torch.tensor(2.0), **how),
        spread(nn.Linear(6, 5)),
        sinabs.layers.IAFSqueeze(spike_threshold=torch.tensor(1.5), **how),
    )

    x = drive(4)
    rows = x.transpose(0, 1).flatten(0, 1)

    with torch.no_grad():
        model(rows)
        nir.write(tmp_path / "theirs.nir", sinabs.nir.to_nir(model, rows))
        for layer in (model[1], model[3]):
            layer.reset_states()
        y = model(rows).unflatten(0, (BATCH, STEPS)).transpose(0, 1)
        assert 0.02 < float(y.mean()) < 0.98

        part = from_nir(tmp_path / "theirs.nir", dt=1.0, reset="subtract")
        assert torch.equal(part(x)[0], y)
