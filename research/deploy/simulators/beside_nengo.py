"""The LIF neuron of Nengo beside ours: firing rates over input currents.

    python -m venv peers-nengo && peers-nengo/bin/pip install -e . nengo   # Nengo is GPL: an environment of its own
    peers-nengo/bin/python research/deploy/simulators/beside_nengo.py

Both neurons get constant currents for 2 s at a step of 1 ms. Nengo interpolates a spike inside its step and starts the
refractory time there; here a spike falls on a step. So a period may differ by one step, and the rates by that much.
Writes results/beside_nengo.json.
"""

import json
import math
from pathlib import Path

import nengo
import numpy as np
import torch

from spikebridge.neurons import LIF, Sequential
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parents[1] / "results" / "beside_nengo.json"
DT = 1e-3
TAU_RC = 0.02
TAU_REF = 0.002
SECONDS = 2.0
CURRENTS = np.array([0.9, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 8.0])


def rates_of_nengo() -> np.ndarray:
    """Firing rates [Hz] of Nengo's neurons."""
    neuron = nengo.LIF(tau_rc=TAU_RC, tau_ref=TAU_REF)
    state = {name: np.zeros_like(CURRENTS) for name in neuron.state}
    total = np.zeros_like(CURRENTS)
    output = np.zeros_like(CURRENTS)

    for _ in range(round(SECONDS / DT)):
        neuron.step(DT, CURRENTS, output, **state)
        total += output > 0

    return total / SECONDS


def our_rates() -> np.ndarray:
    """Firing rates [Hz] of the neurons of the page's row."""
    neuron = LIF(TAU_RC, r=1 - math.exp(-DT / TAU_RC), refractory=TAU_REF)
    current = torch.tensor(CURRENTS, dtype=torch.float32).expand(round(SECONDS / DT), 1, len(CURRENTS))
    spikes, _ = Sequential(neuron, dt=DT)(current)
    return spikes.sum(dim=(0, 1)).numpy() / SECONDS


def main() -> None:
    """Prints and writes the rates."""
    rows = [
        {"current": float(current), "Nengo [Hz]": float(theirs), "here [Hz]": float(ours)}
        for current, theirs, ours in zip(CURRENTS, rates_of_nengo(), our_rates(), strict=True)
    ]
    for row in rows:
        periods = [1 / row[side] if row[side] else math.inf for side in ("Nengo [Hz]", "here [Hz]")]
        row["steps apart"] = 0.0 if periods[0] == periods[1] else round((periods[1] - periods[0]) / DT, 2)
        print(row)

    content = {"nengo": nengo.__version__, "rows": rows, "environment": describe_environment()}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
