"""docs/tutorials/train-your-own.ipynb, made from the page beside it: text becomes text cells, code becomes code cells.

python docs/tutorials/notebook.py           # writes the notebook
python docs/tutorials/notebook.py --check   # exit code 1 where the notebook says something else than the page

Outputs are left out; the test of the page holds them. Lines after a prompt lose it, and so do the expected outputs.
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
    pieces = _BLOCK.split(page)
    made = []

    for number, piece in enumerate(pieces):
        text = (_without_prompts(piece) if number % 2 else piece).strip()
        if text:
            kind = "code" if number % 2 else "markdown"
            code: dict[str, Any] = {"execution_count": None, "outputs": []} if number % 2 else {}
            made.append({"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": _lines(text), **code})

    return made


def _without_prompts(block: str) -> str:
    """A block without prompts as it is; of one with prompts only what is typed."""
    if not block.startswith(">>>"):
        return block
    typed = [line[4:] for line in block.splitlines() if line.startswith((">>> ", "... ", "..."))]
    return "\n".join(typed)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def notebook(page: str) -> str:
    """The notebook as JSON, of format 4.5."""
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }

    whole = {"cells": cells(page), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Writes or checks the notebook."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    path = PAGE.with_suffix(".ipynb")
    new = notebook(PAGE.read_text(encoding="utf-8"))

    if parser.parse_args().check:
        return int(not path.exists() or path.read_text(encoding="utf-8") != new)

    draft = path.with_suffix(".ipynb.part")
    draft.write_text(new, encoding="utf-8")
    draft.replace(path)

    return 0


if __name__ == "__main__":
    sys.exit(main())
