"""Makes the notebook of the tutorial from its page: text becomes text cells, code becomes code cells.

python docs/tutorials/notebook.py           # writes train-your-own.ipynb
python docs/tutorials/notebook.py --check   # exit code 1 where the notebook differs from the page

Prompts and expected outputs are left out; the test of the page checks the outputs.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("train-your-own.md")
_BLOCK = re.compile(r"^```python\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)


def cells(page: str) -> list[dict[str, Any]]:
    """The cells of the notebook."""
    notebook_cells = []
    for number, piece in enumerate(_BLOCK.split(page)):
        # every second piece is a block of Python
        is_code = number % 2 == 1
        text = (_without_prompts(piece) if is_code else piece).strip()
        if not text:
            continue

        cell = {
            "cell_type": "code" if is_code else "markdown",
            "id": f"cell-{number}",
            "metadata": {},
            "source": text.splitlines(keepends=True),
        }
        code: dict[str, Any] = {"execution_count": None, "outputs": []} if is_code else {}
        notebook_cells.append(cell | code)

    return notebook_cells


def _without_prompts(block: str) -> str:
    """The typed lines of a block with prompts; a block without prompts as it is."""
    if not block.startswith(">>>"):
        return block

    typed = [line[4:] for line in block.splitlines() if line.startswith((">>> ", "... ", "..."))]
    return "\n".join(typed)


def notebook(page: str) -> str:
    """The notebook as JSON, of format 4.5."""
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }

    content = {"cells": cells(page), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Writes or checks the notebook."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    path = PAGE.with_suffix(".ipynb")
    new = notebook(PAGE.read_text(encoding="utf-8"))

    if parser.parse_args().check:
        return int(not path.exists() or path.read_text(encoding="utf-8") != new)

    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
