"""The table of the modulation recipe: means and spreads over seeds, and HMN beside each rival, seed by seed."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, TypeAlias

from spikebridge.analysis.task_matrix import paired_difference
from spikebridge.recipes.modulation_methods import METHODS

Scores: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]
FIRST = "hmn"


def compare(scores: Scores) -> dict[str, Any]:
    """The table of all methods over seeds, paired differences, and accuracy over tasks.

    Args:
        scores: what `modulation_scores.score` gave, a list over seeds for each method.
    """
    return {
        "methods": [_row(name, seeds) for name, seeds in scores.items()],
        f"{FIRST} against": against(FIRST, scores),
        "after": {name: [seed["after"] for seed in seeds] for name, seeds in scores.items()},
    }


def inferred(seed: Mapping[str, Any]) -> float | None:
    """ACC with the task found from one unlabelled picture: by the unit, else by projections of the raw input."""
    modes = seed["modes"]
    if "per_sample" in modes:
        return float(modes["per_sample"])
    for way in ("inferred", "by input"):
        if way in modes:
            return float(modes[way]["1"]["accuracy"])
    return None


def _row(name: str, seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = seeds[0]
    row = {
        "method": name,
        "what": METHODS[name].about,
        "seeds": len(seeds),
        "ACC": _mean([seed["acc"] for seed in seeds]),
        "sd": _spread([seed["acc"] for seed in seeds]),
        "one picture": _mean([value for seed in seeds if (value := inferred(seed)) is not None]),
        "nearest gate": _mean(
            [seed["modes"]["nearest gate"]["1"]["accuracy"] for seed in seeds if "nearest gate" in seed["modes"]]
        ),
        "two nearest": _mean([seed["modes"]["two nearest"] for seed in seeds if "two nearest" in seed["modes"]]),
        "just learnt": _mean([seed["just_learnt"] for seed in seeds]),
        "forgetting": _mean([seed["forgetting"] for seed in seeds]),
        "transfer": _mean([seed["transfer"] for seed in seeds if seed["transfer"] is not None]),
        "FWT": _mean([seed["fwt"] for seed in seeds if seed["fwt"] is not None]),
        "BWT": _mean([seed["bwt"] for seed in seeds if seed["bwt"] is not None]),
        "unseen": _mean([seed["unseen"]["acc"] for seed in seeds if seed["unseen"]["acc"] is not None]),
        "opening": first["opening"][0]["mean"] if "opening" in first else None,
        "s a task": _mean([fmean(seed["seconds"]) for seed in seeds]),
    }
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}


def against(name: str, scores: Scores) -> list[dict[str, Any]]:
    """Differences seed by seed, over the seeds that both have.

    Args:
        name: of the method that the others are held against.
        scores: of all.
    """
    rows = []
    for other in scores:
        if name not in scores or other == name:
            continue
        theirs = {seed["seed"]: seed for seed in scores[other]}
        pairs = [(ours, theirs[ours["seed"]]) for ours in scores[name] if ours["seed"] in theirs]
        if not pairs:
            continue
        row: dict[str, Any] = {"method": other, "seeds": len(pairs)}
        for title, key in (("ACC", "acc"), ("transfer", "transfer"), ("forgetting", "forgetting")):
            there = [(a[key], b[key]) for a, b in pairs if a[key] is not None and b[key] is not None]
            if there:
                gap = paired_difference([a for a, _ in there], [b for _, b in there])
                row[title] = round(gap.mean, 4)
                row[f"{title} sd"] = None if gap.num_seeds < 2 else round(gap.sd, 4)
        gap = paired_difference([a["acc"] for a, _ in pairs], [b["acc"] for _, b in pairs])
        row["ACC is"] = verdict(gap.mean, gap.sd, gap.num_seeds)
        rows.append(row)
    return rows


def verdict(mean: float, sd: float, num_seeds: int) -> str:
    """Whether a paired difference is more than two standard errors.

    Example:
        >>> verdict(0.01, 0.002, 4), verdict(0.01, 0.02, 4), verdict(0.01, float("nan"), 1)
        ('ahead', 'level', 'one seed tells nothing')
    """
    if num_seeds < 2:
        return "one seed tells nothing"
    if abs(mean) <= 2 * sd / num_seeds**0.5:
        return "level"
    return "ahead" if mean > 0 else "behind"


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _spread(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None
