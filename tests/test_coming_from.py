"""The page "Coming from another library": both blocks of a section give the same spikes and trained weights."""

import math
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from spikebridge.neurons import CubaLIF, Sequential

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
