"""Falls of people left out, for every gate: young and elderly people, a watch worn at any angle, energy with memory.

    spikebridge train senses --preset falls --num-folds 3 --num-seeds 3 --out runs/falls
    python research/senses/falls.py runs/falls --json research/senses/results/falls.json

Every person is left out once in a seed: recordings are summed over the folds, rows are mean and spread of the seeds.
Thresholds are those of the training, but in `false at 95`: there they let 95 % of the falls of a seed pass.

The row in 8 bits has its scales from 128 recordings of the training. Tried beside it, without a command here: two other
draws of them found 93.5 and 94.4 % of the falls, three draws of as many falls as other recordings 93.1 to 93.3, and all
recordings 94.4.
"""

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikebridge.deploy import quantize
from spikebridge.networks.senses.config import Config
from spikebridge.networks.senses.data.sets import folds_of_people, load_trials
from spikebridge.networks.senses.falls.model import BLOCK, DT, GATES, FallStages, falls_network
from spikebridge.networks.senses.falls.run import calibration_blocks, count_alarms, score_falls, trained_stages
from spikebridge.networks.senses.falls.train import Listened, gate_logits, listen, stage_scores, turned
from spikebridge.training import Run

WORD_PJ = 5.0  # half of 64 bits from a memory of 8 KB at 45 nm (M. Horowitz, ISSCC 2014)
FALLS_AT = 0.95
IN_INTEGERS = "cascade, 8 bits"
NUM_CALIBRATION = 128


def margins(stages: FallStages, data: Listened) -> dict[str, tuple[Tensor, Tensor]]:
    """By gate, how far the best logit of each fall in its span, and of each daily recording, is above the threshold."""
    tick = torch.arange(len(data.blocks))[:, None]
    falls = (tick >= data.span[:, 0]) & (tick < data.span[:, 1])
    counted = torch.where(data.is_fall, falls, tick < data.length)
    rows = {}
    for place, (gate, logits) in enumerate(gate_logits(stages, stage_scores(stages, data)).items()):
        best = (logits - stages.alarms[place]).masked_fill(~counted, -math.inf).amax(0)
        rows[gate] = (best[data.is_fall], best[~data.is_fall])

    return rows


def false_at(falls: Tensor, daily: Tensor) -> int:
    """Daily recordings with an alarm where this share of falls has one."""
    threshold = falls.sort().values[int((1 - FALLS_AT) * len(falls))]
    return int((daily >= threshold).sum())


def fold_row(network: Any, young: Listened, elderly: Listened, bits: int = 32) -> dict[str, float]:
    """The figures of a gate on the people of a fold."""
    figures = score_falls(network, young, bits)
    row = {
        "found": figures["sensitivity"] * int(young.is_fall.sum()),
        "falls": int(young.is_fall.sum()),
        "false an hour": figures["false_alarms_an_hour"],
        "seconds after the end of a fall": figures["seconds_after_fall"],
    }
    generator = torch.Generator().manual_seed(0)
    worn = count_alarms(network, turned(young, generator))
    row |= {"found, turned": worn["sensitivity"] * row["falls"], "false young, turned": worn["false_recordings"]}

    for name, one in (("young", figures), ("elderly", score_falls(network, elderly, bits))):
        row |= {
            f"false {name}": one["false_recordings"],
            f"daily {name}": one["daily_recordings"],
            f"awake {name}": one["awake"],
            **spent(name, one),
        }

    return row | spent("rest", score_falls(network, at_rest(), bits))


def spent(name: str, figures: dict[str, Any]) -> dict[str, float]:
    """The energy of an hour, of arithmetic and with memory words."""
    arithmetic = figures["energy_uj_an_hour"]
    return {
        f"uJ an hour, {name}": arithmetic,
        f"uJ an hour with memory, {name}": arithmetic + 1e-6 * WORD_PJ * figures["words_an_hour"],
    }


def at_rest() -> Listened:
    """A minute in which nothing moves, with the noise of a sensor of 10 mg."""
    generator = torch.Generator().manual_seed(0)
    blocks = 0.01 * torch.randn(round(60 / (BLOCK * DT)), 1, BLOCK, 3, generator=generator)
    blocks[..., 2] += 1.0
    return Listened(blocks, torch.tensor([len(blocks)]), torch.zeros(1, 2, dtype=torch.int64), np.zeros(1, np.int64))


def of_a_seed(folds: list[dict[str, float]]) -> dict[str, float]:
    """The figures of a gate over all folds of one seed: counts are sums, falls found are shares."""
    row = {
        name: (sum if name.startswith(("found", "falls", "false young", "false elderly", "daily")) else fmean)(
            [fold[name] for fold in folds]
        )
        for name in folds[0]
    }
    return {name: value / row["falls"] if name.startswith("found") else value for name, value in row.items()}


def spread_of(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation over seeds."""
    return {"mean": round(fmean(values), 4), "sd": round(stdev(values), 4) if len(values) > 1 else 0.0}


def main() -> None:
    """Prints and writes a row for each gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    run = Run.open(options.run)
    config = run.config_as(Config)
    trials = load_trials("falls", config.data)
    data = listen(trials)
    falling = np.unique(trials.person[data.is_fall.numpy()])  # the young ones: no elderly person fell
    folds = folds_of_people(trials, config.people, config.num_folds)
    rows: dict[str, dict[str, list[dict[str, float]]]] = {gate: defaultdict(list) for gate in (*GATES, IN_INTEGERS)}
    above: dict[str, dict[str, list[tuple[Tensor, Tensor]]]] = {gate: defaultdict(list) for gate in GATES}

    for path, child in run.children().items():
        _, fold, seed = path.split("/")
        people = folds[int(fold.rpartition("-")[2])]
        young, elderly = (
            data.select(np.flatnonzero(np.isin(data.person, people) & (np.isin(data.person, falling) == is_young)))
            for is_young in (True, False)
        )
        stages = trained_stages(child)
        for gate, margin in margins(stages, young).items():
            rows[gate][seed].append(fold_row(falls_network(gate, stages), young, elderly))
            above[gate][seed].append(margin)

        inputs = {"wrist": calibration_blocks(trials, people, NUM_CALIBRATION)}
        quantized = quantize(falls_network("cascade", stages).eval(), inputs)
        rows[IN_INTEGERS][seed].append(fold_row(quantized, young, elderly, bits=8))

    table: dict[str, Any] = {}
    for gate, seeds in rows.items():
        figures = [of_a_seed(folds) for folds in seeds.values()]
        # thresholds of integers are not moved
        for row, margin in zip(figures, above.get(gate, {}).values(), strict=False):
            row["false young at 95"] = false_at(*(torch.cat(column) for column in zip(*margin, strict=True)))
        table[gate] = {name: spread_of([row[name] for row in figures]) for name in figures[0]}
        print(gate, json.dumps(table[gate]))

    if options.json is not None:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
