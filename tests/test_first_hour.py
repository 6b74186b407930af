"""Walks through the pages: every typed step in order, and its failures."""

from pathlib import Path

import pytest

from research.project import first_hour

pytestmark = pytest.mark.untyped

PAGE = """# A page

```sh
pip install spikebridge
spikebridge train digits             # minutes
spikebridge train digits --preset quick \\
    --out runs/first
spikebridge live sensing --events camera  # needs a camera
```

## A network

```python
x = 1
```

```python
>>> x + 1
3

```

```sh
spikebridge lst | cat
```
"""


def test_a_walk_takes_every_step_that_the_page_shows() -> None:
    steps = [(step.line, step.what, bool(step.python)) for step in first_hour.steps(PAGE)]
    assert steps == [
        (6, "spikebridge train digits --preset quick     --out runs/first", False),
        (13, "Python: A network", True),
        (17, "Python: A network", True),
        (24, "spikebridge lst | cat", False),
    ]


def test_failures_are_in_the_rows(tmp_path: Path) -> None:
    good, wrong, command = first_hour.walk(PAGE[PAGE.index("## A network") :], tmp_path)
    assert "failed" not in good
    assert "Expected:\n    3\nGot:\n    2" in wrong["failed"]
    assert "exit code 2" in command["failed"] and "did you mean 'list'?" in command["failed"]


def test_every_walk_has_a_page_with_steps() -> None:
    for page in first_hour.WALKS.values():
        assert len(list(first_hour.steps((first_hour.ROOT / page).read_text(encoding="utf-8")))) > 5
