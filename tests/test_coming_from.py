"""The page "Coming from another library": both blocks of a section give the same spikes and trained weights."""

import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikebridge.deploy import from_nir
from spikebridge.neurons import LIF, CubaLIF, Integrator, Sequential

pytestmark = pytest.mark.untyped

PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "coming-from.md"
SECTIONS = {"snnTorch": "snntorch", "SpikingJelly": "spikingjelly.activation_based.neuron", "Norse": "norse.torch"}


def blocks(section: str) -> dict[str, str]:
    """The code of a section: `py` of the other library, `python` of this one."""
    text = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (found,) = (part for part in text if part.startswith(f"{section}\n"))
    return dict(re.findall(r"^```(py|python)\n(.*?)^```$", found, re.MULTILINE | re.DOTALL))


def run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    """Runs code with some names and gives all of its names."""
    torch.manual_seed(5)
    names = {**names, "__name__": "page"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(code, str(PAGE), "exec"), names)

    return names


def first(outputs: Any) -> torch.Tensor:
    """The spikes of a network that may also give its state."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


@pytest.mark.parametrize("section", SECTIONS)
def test_both_blocks_do_the_same(section: str) -> None:
    pytest.importorskip(SECTIONS[section], reason="`make test` installs it", exc_type=ImportError)
    code = blocks(section)
    theirs = run(code["py"], {})

    # a section without a training loop of ours has that of the first one
    ours = run(code["python"], {"train": run(blocks("snnTorch")["python"], {})["train"]})
    torch.manual_seed(6)
    batches = [(3 * torch.rand(25, 8, 20), torch.randint(3, (8,))) for _ in range(3)]
    sides = [theirs, ours]
    shapes = [[tuple(p.shape) for p in side["network"].parameters()] for side in sides]

    assert shapes[0] == shapes[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spikes = [first(side["network"](batches[0][0])) for side in sides]

        assert 0.02 < spikes[0].detach().mean() < 0.9

        torch.testing.assert_close(*spikes)
        for side in sides:
            # its layers keep their state from one forward to the next
            if section == "SpikingJelly" and side is theirs:
                side["functional"].reset_net(side["network"])
            side["train"](side["network"], batches)

    pairs = list(zip(*(side["network"].parameters() for side in sides), strict=True))
    torch.manual_seed(5)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

    untrained = run(code["python"], {"train": None})["network"].parameters()
    assert any(not torch.allclose(one, fresh, atol=1e-3) for (one, _), fresh in zip(pairs, untrained, strict=True))


def test_the_row_of_lava_gives_the_spikes_of_its_equations() -> None:
    """u = (1 - du) u + x; v = (1 - dv) v + u; a spike above vth sets v to 0."""
    du = 0.3
    dv = 0.1
    vth = 2.0
    dt = 1e-3
    currents = torch.rand(60, 1, 8, generator=torch.Generator().manual_seed(3))
    u = torch.zeros(1, 8)
    v = torch.zeros(1, 8)
    expected = []

    for x in currents:
        u = (1 - du) * u + x
        v = (1 - dv) * v + u
        expected.append((v > vth).float())
        v = v * (1 - expected[-1])

    row = CubaLIF(-dt / math.log(1 - dv), -dt / math.log(1 - du), v_threshold=vth)
    spikes, _ = Sequential(row, dt=dt)(currents)

    assert 0.1 < spikes.mean() < 0.9

    torch.testing.assert_close(spikes, torch.stack(expected))


def membranes(x: torch.Tensor, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Spikes and `mem_rec` of snnTorch's neuron with a leak factor of 0.9."""
    snntorch = pytest.importorskip("snntorch", reason="`make test` installs it", exc_type=ImportError)
    neuron = snntorch.Leaky(beta=0.9, **settings)
    mem = neuron.init_leaky()
    steps = []

    for x_t in x:
        spikes, mem = neuron(x_t, mem)
        steps.append((spikes, mem))

    return torch.stack([spikes for spikes, _ in steps]), torch.stack([mem for _, mem in steps])


def test_the_rows_of_membranes_hold() -> None:
    x = 0.4 * torch.rand(30, 4, 6, generator=torch.Generator().manual_seed(3))
    tau = -0.001 / math.log(0.9)
    read_out, _ = Integrator(tau, dt=0.001)(x)

    torch.testing.assert_close(read_out, membranes(x, reset_mechanism="none")[1])
    layer = LIF(tau, dt=0.001)
    state = layer.initial_state(x[0])
    after = []
    for x_t in x:
        _, state = layer.step(x_t, state)
        after.append(state.v)

    spikes, before = membranes(x, reset_mechanism="zero")
    silent = spikes == 0

    assert 0.5 < silent.float().mean() < 0.99

    torch.testing.assert_close(torch.stack(after), membranes(x, reset_mechanism="zero", reset_delay=False)[1])
    torch.testing.assert_close(torch.stack(after)[silent], before[silent])
    assert bool((before[~silent] >= 1).all())


def test_a_loss_on_membranes_before_the_reset_has_the_values_and_gradients_of_snntorch() -> None:
    x = 0.4 * torch.rand(30, 4, 6, generator=torch.Generator().manual_seed(3))
    tau = -0.001 / math.log(0.9)
    spiking = LIF(tau, dt=0.001, detach_reset=True)
    charging = LIF(tau, dt=0.001, reset="none")
    here, there = (x.clone().requires_grad_() for _ in range(2))

    state = spiking.initial_state(x[0])
    mem_rec = []
    for x_t in here:
        mem_rec.append(charging.step(x_t, state)[1].v)
        _, state = spiking.step(x_t, state)

    mem = torch.stack(mem_rec)
    expected = membranes(there, reset_mechanism="zero")[1]
    torch.testing.assert_close(mem, expected)

    weights = torch.rand(30, 4, 6, generator=torch.Generator().manual_seed(4))
    (mem * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(here.grad, there.grad)


def nir_spikes(recurrent_bias: float, v_leak: float, v_threshold: float) -> list[list[float]]:
    """Spikes of a silent neuron with a recurrent connection: as Norse reads it from NIR, and as this package does."""
    nir = pytest.importorskip("nir")
    norse = pytest.importorskip("norse.torch", reason="`make test` installs it", exc_type=ImportError)

    one = np.ones(1, np.float32)
    end = np.array([1])
    nodes = {
        "input": nir.Input({"input": end}),
        "lif": nir.LIF(tau=0.01 * one, r=one, v_leak=v_leak * one, v_threshold=v_threshold * one, v_reset=0 * one),
        "back": nir.Affine(np.zeros((1, 1), np.float32), recurrent_bias * one),
        "output": nir.Output({"output": end}),
    }
    edges = [("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")]
    graph = nir.NIRGraph(nodes=nodes, edges=edges)

    with warnings.catch_warnings():
        # it calls a name of nirtorch that is deprecated
        warnings.simplefilter("ignore")
        reader = norse.from_nir(graph, ignore_warnings=True, dt=0.001)

    state = None
    theirs = []
    for _ in range(12):
        spikes, state = reader(torch.zeros(1, 1), state)
        theirs.append(spikes.item())

    ours, _ = from_nir(graph, dt=0.001)(torch.zeros(12, 1, 1))
    return [theirs, ours.flatten().tolist()]


def test_a_recurrent_bias_acts_at_the_first_step_here_and_not_as_norse_reads_it() -> None:
    # a bias of 20 charges the neuron by 2 in a tenth of its time constant, above its threshold
    theirs, ours = nir_spikes(recurrent_bias=20.0, v_leak=0.0, v_threshold=1.5)
    assert theirs == [0.0, *[1.0] * 11]
    assert ours == [1.0] * 12


def test_a_neuron_read_from_nir_starts_at_its_leak() -> None:
    # from 0 it reaches 0.5 of 0.8 after log(8 / 3) = 0.98 time constants, in the tenth step; it starts above
    theirs, ours = nir_spikes(recurrent_bias=0.0, v_leak=0.8, v_threshold=0.5)
    assert theirs == ours == [1.0, *[0.0] * 9, 1.0, 0.0]
