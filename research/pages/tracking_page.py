"""The tables of the pages about tracking, made from results of research/sensing.

python research/pages/tracking_page.py           # writes the pages
python research/pages/tracking_page.py --check   # exit code 1 where a page differs from the results
"""

import sys
from pathlib import Path

from research.pages.made_page import write_or_check
from research.pages.tracking import between_frames, cameras, closed_loops


def main() -> int:
    """Writes or checks the pages."""
    tables = between_frames.TABLES | closed_loops.TABLES | cameras.TABLES
    return write_or_check(Path(__file__), __doc__, {name: make() for name, make in tables.items()})


if __name__ == "__main__":
    sys.exit(main())
