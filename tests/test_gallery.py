"""The scripts of the gallery run, each with a picture, and what they print is what their pages say."""

import ast
import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.untyped

GALLERY = Path(__file__).resolve().parent.parent / "docs" / "gallery"
SCRIPTS = sorted(GALLERY.glob("*.py"))
# lines that the docstrings of the scripts promise
PRINTED = {
    "codes": "phase      error 0.000, bound 0.000",
    "export": "all levels agree: True",
    "integer_run": "weights of 8 bits: equal to the quantised network: True",
    "learned_delay": "the spike of step 10 arrives at step 16",
    "live_stream": "equal to the whole: True",
    "question": "answer: red (ok, confidence 1.00)",
    "speed": "equal spikes: True",
    "initialisation": "with a state set every 50 ticks",
    "wake": "multiply-accumulates of the eye",
    "two_cameras": "one answer a frame: (4, 8, 10)",
}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_runs_and_has_a_picture(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(script))
    assert ElementTree.fromstring(names["picture"]).tag == "{http://www.w3.org/2000/svg}svg"

    title, _, text = names["__doc__"].partition("\n")
    assert title and text.strip()

    printed = capsys.readouterr().out
    assert PRINTED.get(script.stem, "") in printed
    assert printed
    # numbers of a training and of random inputs, which may change a little
    if script.stem == "tasks":
        gates, none = (int(share) for share in re.findall(r": (\d+) %", printed))
        assert gates > none + 5

    if script.stem == "modulation":
        quarters = ast.literal_eval(printed.partition(": ")[2])
        assert quarters[1] < 0.8 * quarters[0]
        assert quarters[3] < 0.8 * quarters[2]


@pytest.mark.parametrize("folder", [GALLERY, GALLERY / "literature"], ids=lambda path: path.name)
def test_an_index_lists_every_script_once(folder: Path) -> None:
    stems = {script.stem for script in folder.glob("[!_]*.py")}
    listed = [line for line in (folder / "index.md").read_text().splitlines() if line in stems]
    assert len(stems) >= 10
    assert sorted(listed) == sorted(stems)
