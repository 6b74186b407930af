"""Accuracy from pixels and words: 500 generated test videos, 200 with light, noise, friction and speeds outside.

    python research/reasoning/videos.py

Test videos are 0 to 499, outside ones 1000 to 1199; no setting was chosen on any of them. A video has two questions of
each kind, or fewer. Choices whose outcome is uncertain (`question_answering/generated_questions.py`) are left out; a
third row has them, too.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from research.reasoning.question_answering.videos import Tally, score_videos
from spikebridge.networks.reasoning.data.scene import KINDS
from spikebridge.networks.reasoning.simulation.video import INSIDE, OUTSIDE
from spikebridge.pretrained.perception import shipped_detector, shipped_parser
from spikebridge.training.run.environment import describe_environment

PART = 20
RESULTS = Path(__file__).parent / "results" / "videos.json"
ROWS: dict[str, dict[str, Any]] = {
    "test": {"split": "test", "numbers": range(500), "ranges": INSIDE},
    "outside": {"split": "outside", "numbers": range(1000, 1200), "ranges": OUTSIDE},
    "test_with_doubtful_choices": {
        "split": "test",
        "numbers": range(500, 600),
        "ranges": INSIDE,
        "exclude_uncertain": False,
    },
}


def measure(share: float, parts: Path | None) -> dict[str, Any]:
    """The three rows, over a share of their videos; with a folder of parts a stopped run continues."""
    rows = {}
    for name, row in ROWS.items():
        numbers = row["numbers"][: max(1, round(share * len(row["numbers"])))]
        tally = Tally()
        seconds = 0.0

        for first in range(0, len(numbers), PART):
            part = _part({**row, "numbers": numbers[first : first + PART]}, parts, f"{name}-{first}")
            tally.add(part["tally"])
            seconds += part["seconds"]

        rows[name] = {**tally.results(), "seconds_a_video": seconds / len(numbers)}
        print(name, json.dumps(rows[name], indent=1), flush=True)

    return rows


def _part(row: dict[str, Any], parts: Path | None, name: str) -> dict[str, Any]:
    file = None if parts is None else parts / f"{name}-{len(row['numbers'])}.json"
    if file is not None and file.exists():
        part: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return part

    start = time.process_time()
    tally = score_videos(**row, detector=shipped_detector(), parser=shipped_parser())
    part = {"tally": tally.plain(), "seconds": time.process_time() - start}
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(part), encoding="utf-8")

    return part


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="share of the videos")
    parser.add_argument("--parts", type=Path, default=None, help="folder from which a stopped run continues")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = measure(options.share, options.parts)
    targets = dict.fromkeys(KINDS, 0.95)
    document = {"targets_per_question": targets, "rows": rows, "environment": describe_environment()}
    options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
