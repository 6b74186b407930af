"""The report's table of differences."""

from typing import Any

from spikebridge.networks.modulation.report import against


def test_differences_are_paired_by_seed() -> None:
    def trial(seed: int, acc: float) -> dict[str, Any]:
        return {"seed": seed, "acc": acc, "transfer": None, "forgetting": 0.0}

    scores = {"hmn": [trial(0, 0.9), trial(1, 0.8)], "snn": [trial(1, 0.5)]}
    (row,) = against("hmn", scores)

    assert (row["seeds"], row["ACC"], row["ACC is"]) == (1, 0.3, "n/a (needs 2 seeds)")
