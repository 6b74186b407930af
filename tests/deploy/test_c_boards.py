"""Projects of integer models for microcontrollers: equal to the bit on the emulated processor, with their figures."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spikebridge.cli.main import main
from spikebridge.deploy import Bundle
from spikebridge.deploy.c.boards import BOARDS, EMULATOR_FOLDER, Board, BoardFigures, measure, missing_tools
from spikebridge.deploy.c.export import WrittenC, bundle_sample, write_c
from spikebridge.errors import ExportError

needs_emulator = pytest.mark.skipif(bool(missing_tools()), reason="no compiler or emulator for ARM")
needs_cpp = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")

ARDUINO = """
#include <stdint.h>
struct Port {
    void begin(long) {}
    void print(const char *) {}
    void print(char) {}
    void print(long) {}
    void println() {}
};
static Port Serial;
static unsigned long micros() { return 0; }
"""


def project(whole: Bundle, folder: Path, board: Board) -> WrittenC:
    return write_c(*bundle_sample(whole), folder / f"small_{board.name}", board=board)


@needs_emulator
def test_each_board_gives_the_bits_of_the_integer_model(whole: Bundle, tmp_path: Path) -> None:
    figures: dict[str, BoardFigures] = {}
    for name, board in BOARDS.items():
        written = project(whole, tmp_path, board)
        before = sorted(written.folder.rglob("*"))
        figures[name] = measure(written.folder, written.name, board)

        # a measurement leaves the project as it was
        assert sorted(written.folder.rglob("*")) == before
        assert (figures[name].differ, figures[name].values > 0) == (0, True)
        assert figures[name].flash_bytes > written.table_bytes
        assert figures[name].ram_bytes >= written.state_bytes

    # a core without long multiplication needs more instructions
    assert figures["m0"].instructions > figures["m4"].instructions > 100
    joules = figures["m4"].instructions * 79e-12 * 3
    assert figures["m4"].energy_uj == pytest.approx(1e6 * joules)


@needs_emulator
def test_a_changed_weight_and_a_small_memory_are_told(whole: Bundle, tmp_path: Path) -> None:
    board = BOARDS["m4"]
    written = project(whole, tmp_path, board)
    with pytest.raises(ExportError, match=r"needs \d+ bytes of ram, Cortex-M4 \(mps2-an386\) has 64; choose a larger"):
        tight = replace(board, ram=64)
        measure(project(whole, tmp_path / "tight", tight).folder, written.name, tight)

    check = written.folder / EMULATOR_FOLDER / "check.c"
    text = check.read_text()
    start = text.index("{", text.index("out_0[")) + 1
    end = text.index(",", start)
    changed = (int(text[start:end]) + 1) % 100
    check.write_text(f"{text[:start]}{changed}{text[end:]}")

    assert measure(written.folder, written.name, board).differ > 0

    check.write_text("int main(void) { return missing(); }")
    with pytest.raises(ExportError, match="`make check` failed for the Cortex-M4: "):
        measure(written.folder, written.name, board)


@needs_cpp
def test_the_folder_is_a_library_of_arduino_and_platformio(whole: Bundle, tmp_path: Path) -> None:
    written = project(whole, tmp_path, BOARDS["m0"])
    about = dict(line.split("=", 1) for line in (written.folder / "library.properties").read_text().splitlines())
    assert (about["name"], about["includes"]) == ("small_m0", "small_m0.h")
    assert json.loads((written.folder / "library.json").read_text())["build"]["srcDir"] == "src"

    sketch = written.folder / "examples" / "small_m0" / "small_m0.ino"
    (tmp_path / "Arduino.h").write_text(ARDUINO)
    words = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-include", "Arduino.h", "-x", "c++"]
    subprocess.run([*words, f"-I{tmp_path}", f"-I{written.folder / 'src'}", str(sketch)], check=True, timeout=60)


def test_the_command_writes_a_project_and_tells_what_is_missing(
    whole: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    words: list[Any] = ["export", str(whole.path), "--target", "c", "--board", "m4", "--out", "small", "--json"]
    assert main(words) == 0

    said = capsys.readouterr()
    assert json.loads(said.out)["board"] is None
    assert "not measured: arm-none-eabi-gcc" in said.err
    assert (tmp_path / "small" / "src" / "small.c").is_file()

    assert main(["export", str(whole.path), "--board", "m4"]) == 2
    assert "--board m4 is for `--target c`" in capsys.readouterr().err
