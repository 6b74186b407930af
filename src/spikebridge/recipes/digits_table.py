"""The table of the digits recipe: what a network costs, means and spreads over seeds, and who is ahead of whom."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from torch import Tensor

from spikebridge.analysis import count_cost, energy, hardware_profile, measure_steps
from spikebridge.hybrid import HybridNetwork


def expenses(network: HybridNetwork, inputs: dict[str, Tensor]) -> dict[str, float]:
    """Operations and energy of one recording, and the wall time of a tick.

    Args:
        network: trained.
        inputs: some recordings; their mean counts. The first one is streamed for the time.
    """
    cost = count_cost(network, inputs)
    total = cost.total
    one = {name: x[:, :1].repeat(8, *[1] * (x.ndim - 1)) for name, x in inputs.items()}
    return {
        "macs": total.macs,
        "synops": total.synops,
        "updates": total.updates,
        "energy_nj": energy(cost, hardware_profile("45nm")).total * 1e9,
        "tick_ms": measure_steps(network, one).median * 1e3,
    }


def compare(scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The table of all networks over seeds, the learned hybrid beside each other one, and accuracy over time.

    Args:
        scores: what `score` gave, a list over seeds for each network.
    """
    return {
        "networks": [_row(name, seeds) for name, seeds in scores.items()],
        "learned against": _against("learned", scores),
        "accuracy by window": [
            {"network": name} | {str(k + 1): value for k, value in enumerate(_by_window(seeds))}
            for name, seeds in scores.items()
        ],
    }


def _row(name: str, seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = [100 * score["accuracy"] for score in seeds]
    means = {key: fmean(score[key] for score in seeds) for key in ("macs", "synops", "updates", "energy_nj", "tick_ms")}
    return {
        "network": name,
        "accuracy %": round(fmean(values), 2),
        "sd": round(stdev(values), 2) if len(values) > 1 else None,
        "seeds": len(values),
        "parameters": int(seeds[0]["parameters"]),
        "kMAC": round(means["macs"] / 1e3, 1),
        "ksynop": round(means["synops"] / 1e3, 1),
        "kupdate": round(means["updates"] / 1e3, 2),
        "energy nJ": round(means["energy_nj"], 1),
        "ms a tick": round(means["tick_ms"], 3),
    }


def _against(name: str, scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Differences seed by seed; "level" where the mean lies within two standard errors."""
    rows = []
    for other in scores:
        if other == name or name not in scores:
            continue
        pairs = zip(scores[name], scores[other], strict=True)
        gaps = [100 * (ours["accuracy"] - theirs["accuracy"]) for ours, theirs in pairs]
        mean, sd = fmean(gaps), stdev(gaps) if len(gaps) > 1 else None
        if sd is None:
            verdict = "one seed tells nothing"
        elif abs(mean) <= 2 * sd / len(gaps) ** 0.5:
            verdict = "level"
        else:
            verdict = "ahead" if mean > 0 else "behind"
        rows.append(
            {
                "network": other,
                "points": round(mean, 2),
                "sd": None if sd is None else round(sd, 2),
                "learned is": verdict,
            }
        )
    return rows


def _by_window(seeds: Sequence[Mapping[str, Any]]) -> list[float]:
    columns = zip(*(score["accuracy_by_window"] for score in seeds), strict=True)
    return [round(100 * fmean(column), 2) for column in columns]
