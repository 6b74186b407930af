"""A training of a program with `fit`: every command works on its run, or says in one line what to give."""

from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

from spikebridge.cli.main import main
from spikebridge.errors import ConfigError
from spikebridge.recipes.load import load_program, load_recipe
from spikebridge.training import WHOLE, Batches, Phase, Run, Settings, fit

PROGRAM = """
import torch
from torch import nn
from sizes import WIDTH
from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, every
from spikebridge.neurons import LIF, Sequential


def build(config):
    snn = Sequential(fc=nn.Linear(4, config["width"]), lif=LIF(v_threshold=0.1))
    nn.init.ones_(snn[0].weight)
    links = [Transmission("x", "snn"), Transmission("snn", "ann", HybridUnit(Tumbling(10), Mean()))]
    parts = {"snn": snn, "ann": nn.Linear(WIDTH, 2)}
    return HybridNetwork(dt=0.001, inputs={"x": every(0.001)}, parts=parts, links=links, outputs=["ann"])


def example():
    return {"x": torch.rand(20, 2, 4, generator=torch.Generator().manual_seed(0))}


def nothing():
    return None


def error(network, batch):
    return (network({"x": batch["x"]})[0]["ann"] - 1).square().mean()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program, a module beside it, and the run that it trains."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "sizes.py").write_text("WIDTH = 3\n")
    (folder / "mine.py").write_text(PROGRAM)
    program: ModuleType = load_program(folder / "mine.py")
    config = {"width": 3}

    torch.manual_seed(0)
    data = Batches({"x": torch.rand(20, 8, 4)}, batch={"x": 1})
    phase = Phase("all", WHOLE, program.error, 2, partial(torch.optim.SGD, lr=0.01))
    settings = Settings(accelerator="cpu", quiet=True)
    fit(program.build(config), [phase], data, settings=settings, run=Run.create(folder / "run", "mine", config))

    return folder


COMMANDS = ["draw", "doctor", "replay", "export", "quantize"]


@pytest.mark.untyped
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_the_function_that_builds_the_network(
    command: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [command, str(folder / "run")]
    assert main([*words, "--recipe", f"{folder / 'mine.py'}:build", "--json"]) == 0
    assert "build" in capsys.readouterr().out or command == "doctor"

    assert main(words) == 2
    error = capsys.readouterr().err
    assert "is a training of a program of yours, 'mine'; name the function" in error
    assert error.count("\n") == 1


def test_the_report_of_a_training_needs_no_program(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder / "run")]) == 0
    page = (folder / "run" / "report.html").read_text()
    assert "Learning curves" in page
    assert "width" in page

    assert main(["report", str(folder / "run"), "--recipe", f"{folder / 'mine.py'}:build"]) == 0
    assert ">Network<" in (folder / "run" / "report.html").read_text()


def test_fit_writes_the_weights_that_the_commands_load(folder: Path) -> None:
    network = load_program(folder / "mine.py").build({"width": 3})
    before = network.parts["ann"].weight.clone()
    Run.open(folder / "run").load_weights(network)
    assert not torch.equal(before, network.parts["ann"].weight)


def test_a_network_without_a_run_has_no_weights_to_export(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    word = f"{folder / 'mine.py'}:build"
    assert main(["export", word]) == 2
    assert f"give the run folder and --recipe {word}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("mine.py", "name the function that builds its network: --recipe .*mine.py:FUNCTION"),
        ("mine.py:bild", "has no function 'bild', which builds the network; did you mean 'build'"),
        ("mine.py:", "has no function ''"),
        ("mine.py:nothing", "nothing.. of .*mine.py should build a network, but gave None"),
        ("mine.py:example", "should build a network, but gave a dict"),
        ("mine.py:error", "should take nothing, or the config of the run, but needs more"),
        ("other.py:build", "there is no program .*other.py"),
        ("sizes.py:WIDTH", "has no function 'WIDTH'"),
    ],
)
def test_a_word_that_builds_no_network_is_one_line(
    word: str, says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["draw", str(folder / "run"), "--recipe", str(folder / word)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    with pytest.raises(ConfigError, match=says):
        raise ConfigError(error)


def test_each_recipe_imports_the_modules_beside_it(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        folder = tmp_path / f"{number % 2}{number}"
        folder.mkdir()
        (folder / "beside.py").write_text(f"NUMBER = {number}\n")
        (folder / "random.py").write_text("raise ImportError\n")  # named like one of Python's own
        (folder / "program.py").write_text("import random\nfrom beside import NUMBER\n")
        assert number == load_program(folder / "program.py").NUMBER


def test_a_recipe_without_its_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text("import not_beside_it\n")
    with pytest.raises(ConfigError, match="cannot be loaded: No module named 'not_beside_it'"):
        load_recipe(str(tmp_path / "alone.py"))
