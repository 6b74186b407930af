"""The command line as people and machines meet it. A tiny recipe file stands for all recipes."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import pytest

import spikebridge as package
from spikebridge.cli import failure
from spikebridge.cli.command import Command, CommandResult
from spikebridge.cli.main import COMMANDS, main
from spikebridge.cli.words import refuse_misspelt
from spikebridge.pretrained import shipped, shipped_run
from spikebridge.recipes import target
from spikebridge.training.run.run import Run

pytestmark = pytest.mark.untyped

RECIPE = '''
"""A tiny recipe: adds numbers and calls it training."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork, Transmission, every


@dataclass(frozen=True)
class Optimizer:
    """How weights move."""

    lr: float = 0.5
    """Step size."""


@dataclass(frozen=True)
class Config:
    """What a run is made of."""

    steps: int = 3
    """How many numbers are added."""
    pause: float = 0.0
    """Seconds between two numbers."""
    widths: tuple[int, ...] = (1, 2)
    """Widths of layers."""
    use_bias: bool = True
    """Whether layers have a bias."""
    optimizer: Optimizer = Optimizer()
    RENAMED_FIELDS: ClassVar[dict[str, str]] = {"num_steps": "steps"}

    def __post_init__(self):
        if self.steps < 0:
            raise ConfigError(f"steps must be 0 or more, but got {self.steps}")


PRESETS = {"default": Config(), "quick": Config(steps=1)}


def train(config, run):
    print("adding")
    ledger = run.path / "ledger.txt"
    done = len(ledger.read_text().split()) if ledger.exists() else 0
    for number in range(done, config.steps):
        time.sleep(config.pause)
        with ledger.open("a") as file:
            file.write(f"{number}\\n")
    if config.steps == 13:
        raise RuntimeError("thirteen")
    if config.steps in (0, 14):
        raise ConfigError("nothing to add")
    total = sum(range(config.steps))
    table = [{"network": "only", "total": total}]
    return {"total": total, "lr": config.optimizer.lr, "nothing": float("nan"), "table": table}


def evaluate(run, data):
    return {"lines": len((run.path / "ledger.txt").read_text().split()), "data": None if data is None else str(data)}


def report(run):
    path = run.path / "report.html"
    path.write_text("<p>a report</p>")
    return path


def build(config):
    hybrid = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0)},
        parts={"ann": nn.Linear(2, 3)},
        links=[Transmission("x", "ann")],
        outputs=["ann"],
    )
    return {"only": nn.Linear(2, 1, bias=config.use_bias), "other": hybrid}


def example(config):
    return {"x": torch.zeros(3, 1, 2)}
'''


OWN = ("--recipe", "./my.py")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with a recipe file in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPIKEBRIDGE_DEBUG", raising=False)
    (tmp_path / "my.py").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs words that must be refused, and gives the one line that says why."""

    def run(*words: str) -> str:
        code = main(words)
        captured = capsys.readouterr()

        assert code == 2
        assert captured.out == ""
        assert captured.err.startswith("spikebridge: error: ")
        assert captured.err.count("\n") == 1

        return captured.err

    return run


SENSING = Path(package.__file__).parent / "pretrained" / "sensing"
MISSPELT = [
    "train digts",
    "doctor digts",
    "track somewhere --network sensng",
    "track somewhere --detector botth",
    "live sensing --events somewhere --detector botth",
    "sweep digits --search optunaa",
    "sweep digits --sett lr=0.1",
    "train digits --preset quik",
    "train digits --networks learned lerned",
    "train digits --split=tset",
    "train sensing --split=tset",
    "train sensing --networks lerned",
    "train modulation --methods xdg_ewcc --seed 1",
    "train reasoning --scenes reel",
    "eval sensing --protokol A",
    "eval sensing --split tset",
    "eval modulation --num-sample 3",
    "eval digits --dat x",
    "doctor digits --network lerned",
    "draw sensing --network lerned",
    "export digits --network lerned",
    "quantize digits --network lerned",
    "live digits --network lerned --events somewhere",
    f"eval {SENSING} --protokol A",
    f"doctor {SENSING} --network lerned",
]


@pytest.mark.parametrize("words", MISSPELT)
def test_a_misspelt_name_is_guessed(words: str, refused: Callable[..., str]) -> None:
    assert "did you mean " in refused(*words.split())


@pytest.mark.parametrize("option", ["--camera.noise", "--epochs", "--help", "--networks", "--lr", "--num_seeds"])
def test_an_option_of_a_recipe_is_left_to_the_parser(option: str) -> None:
    refuse_misspelt("digits", "Config", "spikebridge train digits", [option, "ann"], ["preset", "out"])


def test_settings_that_a_source_does_not_show_are_left_to_the_parser(here: Path) -> None:
    (here / "other.py").write_text("from elsewhere import Config, Evaluation\nimport here\nPRESETS = here.PRESETS\n")
    (here / "broken.py").write_text("class Config(")
    for file in ("other.py", "broken.py", "missing.py"):
        for kind in ("Config", "Evaluation"):
            refuse_misspelt(f"./{file}", kind, "spikebridge train", ["--any", "--preset", "one"], ["preset"])


HEAVY = ("numpy", "torch", "sklearn", "matplotlib", "lightning_fabric")


def test_words_that_read_sources_alone_import_no_large_library_and_no_recipe() -> None:
    """Nothing that takes seconds: help, lists, and what is misspelt."""
    program = f"""
        import sys
        from spikebridge.cli.main import main
        for words in {["--help", "list", "list --json", "data", "lst", *MISSPELT]}:
            main(words.split())
            heavy = [name for name in sys.modules if name in {HEAVY}]
            heavy += [name for name in sys.modules if name.startswith("spikebridge.networks.")]
            if heavy:
                sys.exit(f"{{words}}: {{heavy}}")
    """

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_list_shows_building_blocks_of_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert "LIF" in [block["name"] for block in found["blocks"]["neurons"]]
    # a state is exported, but no block to build with
    assert "LIFState" not in [block["name"] for block in found["blocks"]["neurons"]]
    assert all(block["summary"] for blocks in found["blocks"].values() for block in blocks)
    assert all(blocks for blocks in found["blocks"].values())


def test_every_stage_of_a_hybrid_unit_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    import spikebridge.hybrid as hybrid

    assert main(["list", "--json"]) == 0

    listed = json.loads(capsys.readouterr().out)["blocks"]
    stages = {"windows": hybrid.Window, "kernels": hybrid.Kernel, "discretizers": hybrid.Discretizer}
    for kind, stage in stages.items():
        exported = (getattr(hybrid, name) for name in hybrid.__all__)
        classes = {one.__name__ for one in exported if isinstance(one, type) and issubclass(one, stage)}
        assert {block["name"] for block in listed[kind]} == classes - {stage.__name__}


def test_list_shows_recipes_with_their_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert re.search(r"^  digits +\S.*presets: .*quick", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    for command in ("list", "train", "eval", "report", "draw", "doctor", "data", "copy"):
        assert re.search(rf"^  {command} +\S", text, re.MULTILINE)


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"spikebridge \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_help_of_a_recipe_lists_every_setting_with_its_value(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "./my.py", "--preset", "quick", "--help"]) == 0

    text = capsys.readouterr().out
    assert "How many numbers are added. (default: 1)" in " ".join(text.split())
    for option in ("--steps", "--widths", "--use-bias", "--optimizer.lr", "--resume", "--out", "--quiet", "--json"):
        assert option in text


@pytest.mark.parametrize("command", ["list", "train", "eval", "report", "draw", "doctor", "data", "copy"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: spikebridge {command}" in capsys.readouterr().out


def test_a_misspelt_command_is_guessed(refused: Callable[..., str]) -> None:
    assert "no command 'trian': did you mean 'train'?" in refused("trian")


def test_a_misspelt_recipe_is_guessed(refused: Callable[..., str]) -> None:
    assert "no recipe 'digit': did you mean 'digits'?" in refused("train", "digit")
    assert "did you mean 'digits'?" in refused("eval", "digit")
    assert "did you mean 'digits'?" in refused("copy", "digit", "mine.py")


def test_a_misspelt_preset_is_guessed(here: Path, refused: Callable[..., str]) -> None:
    assert "has no preset 'quik': did you mean 'quick'?" in refused("train", "./my.py", "--preset", "quik")


def test_a_misspelt_option_is_guessed(here: Path, refused: Callable[..., str]) -> None:
    assert "no option --stpes: did you mean --steps?" in refused("train", "./my.py", "--stpes", "4")
    assert "did you mean --optimizer.lr?" in refused("train", "./my.py", "--optimiser.lr=4")
    assert "did you mean --json?" in refused("list", "--jsno")


def test_an_option_of_release_0_1_names_its_successor(here: Path, refused: Callable[..., str]) -> None:
    # a field that moved into a group, and one that the recipe renamed
    assert "the option --lr is now --optimizer.lr (see" in refused("train", "./my.py", "--lr", "4")
    assert "the option --num-steps is now --steps (see" in refused("train", "./my.py", "--num_steps=4")


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [
        ("train sensing", "--thinning", "--frame-step"),
        ("train sensing", "--epochs", "--pathways.epochs"),
        ("train sensing", "--finding-shake", "--detector.box-noise"),
        ("train modulation", "--num-tasks", "--tasks.num-tasks"),
        ("train modulation", "--unit-lr", "--units.lr"),
        ("train digits", "--thinning", "--camera.frame-step"),
        ("train digits", "--noise", "--camera.noise"),
    ],
)
def test_a_renamed_option_of_a_recipe_names_its_successor(
    words: str, old: str, new: str, refused: Callable[..., str]
) -> None:
    assert f"the option {old} is now {new} (see" in refused(*words.split(), old, "1")


def test_an_option_like_no_other_is_refused_without_a_guess(here: Path, refused: Callable[..., str]) -> None:
    line = refused("train", "./my.py", "--zzz", "4")
    assert "no option --zzz: spikebridge train ./my.py --help lists them" in line


def test_an_argument_without_dashes_is_no_guess(here: Path, refused: Callable[..., str]) -> None:
    for words in ("replay", "draw", "doctor", "eval"):
        assert "did you mean" not in refused(words, "digits", "--preset", "quick")
    assert "did you mean" not in refused("eval", "digits", "--targt", "run")


def test_a_refused_choice_lists_what_can_be_typed(refused: Callable[..., str]) -> None:
    line = refused("sweep", "digits", "--search", "optunaa")
    assert "--search has no choice 'optunaa': did you mean 'optuna'? Known: optuna." in line


def test_a_word_too_many_is_refused(here: Path, refused: Callable[..., str]) -> None:
    assert "'quick' is an unexpected argument" in refused("train", "./my.py", "quick")
    assert "no command 'data mkae': did you mean 'make'? Known: check, make, send." in refused("data", "mkae", "x")


def test_missing_arguments_are_named(refused: Callable[..., str]) -> None:
    assert "RECIPE and FILE are missing (see spikebridge copy --help)" in refused("copy")
    assert "QUESTION is missing (see spikebridge ask --help)" in refused("ask", "video.npz")


def test_a_value_of_the_wrong_kind_is_refused(here: Path, refused: Callable[..., str]) -> None:
    for word in ("many", "1_3", "\u0663"):
        said = f"cannot read the value of --steps: expected an integer, but found {word!r} (see"
        assert f"spikebridge: error: {said}" in refused("train", "./my.py", "--steps", word)

    said = "cannot read the value of --optimizer.lr: expected a number, but found '1_3.5' (see"
    assert said in refused("train", "./my.py", "--optimizer.lr", "1_3.5")


def test_an_option_without_its_value_is_refused(here: Path, refused: Callable[..., str]) -> None:
    assert "Missing value for argument '--steps'" in refused("train", "./my.py", "--steps")


def test_a_setting_that_cannot_be_meant_is_refused_in_its_own_words(here: Path, refused: Callable[..., str]) -> None:
    line = refused("train", "./my.py", "--steps", "-1")
    assert line == "spikebridge: error: steps must be 0 or more, but got -1\n"
    assert not (here / "runs").exists()


def test_a_run_that_is_refused_at_once_leaves_no_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for steps, is_left in (("0", False), ("14", True)):  # what was done stays, for --resume
        assert main(["train", "./my.py", "--steps", steps, "--out", "one"]) == 2
        assert "nothing to add" in capsys.readouterr().err
        assert (here / "one").exists() == is_left


def test_the_recipe_comes_first(refused: Callable[..., str]) -> None:
    line = refused("train", "--preset", "quick")
    assert "the first argument must be a recipe: spikebridge train RECIPE [OPTIONS]" in line
    assert "the first argument must be a recipe" in refused("train")


def test_a_command_without_its_word_is_refused(refused: Callable[..., str]) -> None:
    assert "spikebridge draw --help" in refused("draw")
    assert "spikebridge copy --help" in refused("copy", "digits")


def test_a_missing_recipe_file_says_how_to_make_one(here: Path, refused: Callable[..., str]) -> None:
    assert "`spikebridge copy RECIPE ./none.py` makes one to edit" in refused("train", "./none.py")


def test_a_file_that_is_no_recipe_says_what_it_lacks(here: Path, refused: Callable[..., str]) -> None:
    (here / "half.py").write_text("Config = int\nPRESETS = {}\n")
    assert "half.py is not a recipe: it has no train, evaluate, report, build, example." in refused("train", "half.py")


def test_a_broken_recipe_file_is_named_with_its_line(here: Path, refused: Callable[..., str]) -> None:
    (here / "bad.py").write_text("x = 1\ndef f(:\n")
    assert "bad.py, line 2: " in refused("train", "bad.py")
    (here / "bad.py").write_text("import no_such_module\n")
    assert "bad.py cannot be loaded: No module named 'no_such_module'" in refused("train", "bad.py")


def test_a_setting_that_hides_an_option_of_train_is_refused(here: Path, refused: Callable[..., str]) -> None:
    (here / "clash.py").write_text(RECIPE.replace("steps: int", "quiet: int").replace("self.steps", "self.quiet"))
    (here / "clash.py").write_text((here / "clash.py").read_text().replace("Config(steps=1)", "Config()"))
    assert "Config has quiet, an option of the command itself" in refused("train", "clash.py")


def test_a_recipe_is_copied_once_and_never_over_another_file(
    here: Path, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["copy", "digits", "mine.py"]) == 0
    assert "spikebridge train mine.py" in capsys.readouterr().out

    (here / "mine.py").write_text("precious")
    assert "mine.py exists" in refused("copy", "digits", "mine.py")
    assert (here / "mine.py").read_text() == "precious"
    assert "must end in .py" in refused("copy", "digits", "mine.txt")


def test_a_copied_recipe_is_a_recipe(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", "digits", "mine.py"]) == 0
    assert main(["train", "mine.py", "--help"]) == 0
    assert "usage: spikebridge train mine.py" in capsys.readouterr().out


def test_the_installation_is_examined(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0

    facts = json.loads(capsys.readouterr().out)
    assert list(facts) == ["versions", "threads", "devices", "extras", "fast paths", "data"]
    assert facts["versions"]["torch"]
    assert facts["threads"]["used"] >= 1
    assert facts["extras"]["test"] is True


def test_training_gives_a_table_and_a_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "./my.py", "--out", "run", "--steps", "4", "--optimizer.lr", "2"]) == 0

    text = capsys.readouterr().out
    assert re.search(r"^network  total\nonly         6$", text, re.MULTILINE)
    assert text.endswith("report: run/report.html\n")
    assert (here / "run" / "report.html").exists()


def test_json_is_one_document_on_stdout_and_the_rest_goes_to_stderr(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "./my.py", "--out", "run", "--preset", "quick", "--json"]) == 0

    captured = capsys.readouterr()
    answer = json.loads(captured.out)

    assert answer["run"] == "run"
    assert answer["results"]["total"] == 0
    assert answer["results"]["nothing"] is None
    assert "adding" in captured.err


def test_options_change_single_settings_of_a_preset(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "./my.py", "--preset", "quick", "--optimizer.lr", "3", "--no-use-bias", "--widths", "5", "6"]
    assert main([*words, "--out", "run"]) == 0

    settings = json.loads((here / "run" / "config.json").read_text())
    text = json.dumps(settings)

    assert '"steps": 1' in text
    assert '"lr": 3.0' in text
    assert '"use_bias": false' in text
    assert '"widths": [5, 6]' in text


def test_runs_without_a_folder_are_numbered(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        assert main(["train", "./my.py", "--preset", "quick"]) == 0
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["my", "my-2", "my-3"]


def test_a_finished_folder_is_not_overwritten(
    here: Path, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "./my.py", "--out", "run"]) == 0
    capsys.readouterr()
    assert "--resume" in refused("train", "./my.py", "--out", "run")


def test_resume_starts_what_is_not_there_and_goes_on_with_what_is(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "./my.py", "--out", "run", "--steps", "4", "--resume"]) == 0
    (here / "run" / "ledger.txt").write_text("0\n1\n")
    assert main(["train", "./my.py", "--out", "run", "--resume", "--json"]) == 0
    assert (here / "run" / "ledger.txt").read_text().split() == ["0", "1", "2", "3"]


def test_resume_with_other_settings_is_refused(
    here: Path, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "./my.py", "--out", "run", "--steps", "4"]) == 0
    capsys.readouterr()
    assert "steps" in refused("train", "./my.py", "--out", "run", "--steps", "5", "--resume")


def test_processes_started_together_must_name_the_folder_they_share(
    here: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    assert "name the run folder they share (--out)" in refused("train", "./my.py")


def test_of_several_processes_only_the_first_one_tells(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["train", "./my.py", "--out", "run"]) == 0

    (here / "run" / "report.html").unlink()
    capsys.readouterr()
    monkeypatch.setenv("RANK", "1")

    assert main(["train", "./my.py", "--out", "run", "--resume", "--json"]) == 0
    assert capsys.readouterr().out == ""
    assert not (here / "run" / "report.html").exists()


def test_a_process_that_the_first_one_started_joins_its_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["train", "./my.py", "--steps", "2"]) == 0
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(["train", "./my.py", "--steps", "2"]) == 0
    assert [path.name for path in (here / "runs").iterdir()] == ["my"]


def test_quiet_reaches_a_recipe_that_knows_the_word(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loud = RECIPE.replace("def train(config, run):", "def train(config, run, quiet=False):")
    (here / "my.py").write_text(loud.replace('print("adding")', 'print("quiet" if quiet else "adding")'))
    assert main(["train", "./my.py", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("quiet\n")


@pytest.mark.parametrize(("name", "installed"), [("tensorbord", True), ("wandb", False)])
def test_a_logger_that_is_not_there_is_refused_before_a_folder_is_made(
    here: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, name: str, installed: bool
) -> None:
    if not installed:
        monkeypatch.setattr("spikebridge.training.callbacks.loggers.find_spec", lambda name: None)

    line = refused("train", "./my.py", "--logger", name)
    expected = (
        "did you mean 'tensorboard'" if installed else "the logger wandb is not installed: pip install -e '.[wandb"
    )

    assert expected in line
    assert not (here / "runs").exists()


def test_the_loggers_reach_every_run_of_a_recipe(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tells = RECIPE.replace('print("adding")', 'print("loggers:", *run.child("hybrid/seed-0").loggers)')
    (here / "my.py").write_text(tells)
    assert main(["train", "./my.py", "--logger", "tensorboard", "mlflow"]) == 0
    assert capsys.readouterr().out.startswith("loggers: tensorboard mlflow\n")


def test_ctrl_c_says_how_to_go_on(here: Path) -> None:
    words = ["train", "./my.py", "--out", "my run", "--steps", "1000", "--pause", "0.05"]
    process = subprocess.Popen(
        [sys.executable, "-m", "spikebridge", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # tests that run in the background ignore Ctrl-C, and so would what they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )

    ledger = here / "my run" / "ledger.txt"
    deadline = time.monotonic() + 60
    while not ledger.exists() and time.monotonic() < deadline:
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)

    assert process.returncode == 130

    last = error.splitlines()[-1]
    assert last == "spikebridge: stopped; `spikebridge train ./my.py --out 'my run' --resume` resumes"
    assert "Traceback" not in error


def test_a_run_is_evaluated_and_reported_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "./my.py", "--out", "run"]) == 0

    (here / "run" / "report.html").unlink()
    capsys.readouterr()

    assert main(["eval", "run", *OWN, "--data", ".", "--json"]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert (answer["lines"], answer["data"]) == (3, ".")
    assert main(["report", "run", *OWN]) == 0
    assert capsys.readouterr().out == "report: run/report.html\n"
    assert (here / "run" / "report.html").exists()


def test_several_runs_are_compared_on_one_page(
    here: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    assert main(["train", "./my.py", "--out", "one"]) == 0
    assert main(["train", "./my.py", "--steps", "5", "--out", "other"]) == 0
    for name, total in (("one", 3), ("other", 10)):
        Run.open(here / name).save_results({"total": total})

    capsys.readouterr()
    # the recipe of the runs is neither needed nor executed
    assert main(["report", "one", "other", "--out", "both.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": "both.html"}

    page = (here / "both.html").read_text()
    numbers = "".join(f'<td class="number">{number}</td>\n' for number in (3, 10, 7))

    assert f"<td>total</td>\n{numbers}" in page and "other − one" in page
    assert "<td>steps</td>" in page  # the setting that differs
    assert "No metrics were recorded." in page
    assert main(["report", "one", "other"]) == 0
    assert capsys.readouterr().out == "comparison: comparison.html\n"
    assert "runs of different names, but got one, one" in refused("report", "one", "./one")
    assert "this is a folder" in refused("report", "one", "other", "--out", "one")
    assert "--out names the file of a comparison" in refused("report", "one", "--out", "x.html")
    assert "none is not a run folder" in refused("report", "one", "none")
    assert "the folder of a run, but got none" in refused("report")


def test_a_network_is_replayed_on_a_page(
    here: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    assert main(["replay", "./my.py", "--network", "other", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["page"] == "other.html"
    assert [lane["lane"] for lane in told["lanes"]] == ["output of ann"]

    page = (here / "other.html").read_text()
    assert "Untrained: ./my.py has no trained weights" in page
    assert "sample 4 of a batch of 1 is not there" in refused(
        "replay", "./my.py", "--network", "other", "--sample", "4"
    )
    assert "there is no layer of neurons 'x'" in refused("replay", "./my.py", "--network", "other", "--layers", "x")
    assert "only a hybrid network" in refused("replay", "./my.py", "--network", "only")


def test_a_recipe_may_have_options_of_evaluation(
    here: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    options = '@dataclass(frozen=True)\nclass Evaluation:\n    times: int = 2\n    """How often."""\n\n\n'
    text = RECIPE.replace("def evaluate(run, data):", options + "def evaluate(run, data, options):")
    (here / "my.py").write_text(text.replace('{"lines":', '{"times": options.times, "lines":'))

    assert main(["train", "./my.py", "--out", "run"]) == 0

    capsys.readouterr()
    assert main(["eval", "run", *OWN, "--times", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["times"] == 5
    assert main(["eval", "run", *OWN, "--help"]) == 0
    assert "How often." in capsys.readouterr().out
    assert "no option --timse: did you mean --times?" in refused("eval", "run", *OWN, "--timse", "5")
    assert "the first argument must be a run folder or a recipe" in refused("eval", "--times", "5")


def test_what_is_shipped_can_be_opened() -> None:
    for name in shipped():
        run = shipped_run(name)
        assert run is not None
        assert run.results()


def test_a_recipe_without_weights_cannot_be_evaluated(here: Path, refused: Callable[..., str]) -> None:
    assert "./my.py has no trained weights; train it first" in refused("eval", "./my.py")


def test_a_folder_that_is_no_run_is_refused(here: Path, refused: Callable[..., str]) -> None:
    (here / "empty").mkdir()
    assert "empty" in refused("eval", "empty")
    assert "there is no run folder none" in refused("report", "none")
    assert "neither a run folder nor a recipe" in refused("draw", "none")


def test_a_run_of_another_version_of_its_recipe_is_refused(
    here: Path, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "./my.py", "--out", "run"]) == 0

    capsys.readouterr()
    before = (here / "my.py").stat().st_mtime_ns // 10**9 * 10**9
    (here / "my.py").write_text(RECIPE.replace("widths: tuple", "depths: tuple"))

    # as large, and edited in the same second: Python would take the bytecode that it kept
    os.utime(here / "my.py", ns=(before + 1, before + 1))
    assert "no field 'widths'" in refused("eval", "run", *OWN, "--edited")


def test_a_network_is_drawn(here: Path, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", "./my.py", "--network", "other", "--out", "pictures/other.svg"]) == 0

    text = capsys.readouterr().out
    assert "9 parameters" in text
    assert text.endswith("\n\ndrawing: pictures/other.svg\n")
    assert "<svg" in (here / "pictures" / "other.svg").read_text()
    assert "did you mean 'other'?" in refused("draw", "./my.py", "--network", "othr")
    assert "'only' is a Linear; only a hybrid network can be drawn" in refused("draw", "./my.py")


SILENT = """
def build(config):
    layer = nn.Linear(2, 1)
    nn.init.constant_(layer.bias, -100.0)
    return {"only": nn.Sequential(layer, nn.ReLU())}

"""


def test_the_doctor_examines_a_recipe_as_built_and_a_run_as_trained(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trains = """
def train(config, run):
    network = build(config)["only"]
    nn.init.constant_(network[0].bias, 100.0)
    run.child("only/seed-0").save_weights(network)
    run.save_results({})
    return {}
"""

    (here / "my.py").write_text(RECIPE + SILENT + trains)
    assert main(["doctor", "./my.py", "--json"]) == 1

    finding = json.loads(capsys.readouterr().out)["findings"][0]
    assert (finding["network"], finding["kind"]) == ("only", "dead")
    assert main(["doctor", "./my.py"]) == 1
    assert "remedy: " in capsys.readouterr().out
    assert main(["train", "./my.py", "--out", "run"]) == 0

    capsys.readouterr()
    assert main(["doctor", "run", *OWN]) == 0
    assert capsys.readouterr().out == "no findings: the networks look healthy\n"


def test_the_doctor_says_that_a_recipe_or_run_is_untrained_or_interrupted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saves = "\n\ndef train(config, run):\n    run.save_results({})\n    return {}\n"
    (here / "my.py").write_text(RECIPE + saves)

    assert main(["doctor", "./my.py", "--network", "only"]) == 0
    assert capsys.readouterr().out.startswith("untrained: ./my.py has no trained weights")
    assert main(["train", "./my.py", "--out", "run"]) == 0

    capsys.readouterr()
    assert main(["doctor", "run", *OWN, "--network", "only", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"training": "finished", "findings": []}

    (here / "run" / "results.json").unlink()
    assert main(["doctor", "run", *OWN, "--network", "only"]) == 1
    assert "untrained: run was started, but holds no weights yet" in capsys.readouterr().out

    (here / "run" / "checkpoint").mkdir()
    (here / "run" / "checkpoint" / "step-00000001.safetensors").write_bytes(b"")

    assert main(["doctor", "run", *OWN, "--network", "only"]) == 1
    assert "interrupted: the training of run has not ended; `spikebridge train " in capsys.readouterr().out


def test_the_path_of_a_report_is_printed_only_if_there_is_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without = RECIPE + "\n\ndef report(run):\n    return run.path / 'report.html'\n"
    (here / "without.py").write_text(without)

    assert main(["train", "./without.py", "--out", "other"]) == 0
    assert "report" not in capsys.readouterr().out
    assert main(["train", "./without.py", "--out", "another", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] is None


def test_a_command_of_some_seconds_shows_that_it_is_at_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(failure, "FIRST_LINE", 0.01)
    with failure.elapsed_time("spikebridge draw"):
        time.sleep(0.1)

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "spikebridge draw: 0 s"
    assert len(lines) < 6, "a file of output is not filled"

    log = logging.getLogger("spikebridge.networks")
    with failure.elapsed_time("spikebridge eval"):
        for number, name in enumerate(("learned", "snn"), start=1):
            log.info("evaluating %s (%d of %d)", name, number, 2)
            said = ""
            deadline = time.monotonic() + 20

            while f": evaluating {name} ({number} of 2), " not in said and time.monotonic() < deadline:
                time.sleep(0.01)
                said += capsys.readouterr().err

            assert f"spikebridge eval: evaluating {name} ({number} of 2), " in said

    assert not log.isEnabledFor(logging.INFO), "a program that uses the library chooses its own level"
    with failure.elapsed_time("spikebridge train", active=False):
        time.sleep(0.1)

    assert capsys.readouterr().err == ""


def test_on_a_terminal_the_time_is_one_line_that_is_removed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(failure, "FIRST_LINE", 0.01)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with failure.elapsed_time("spikebridge draw"):
        time.sleep(0.1)

    assert capsys.readouterr().err == "\r\x1b[Kspikebridge draw: 0 s\r\x1b[K"


def test_a_fault_of_the_program_is_one_line_unless_debug_asks_for_more(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["report", "run", *OWN]
    assert main(["train", "./my.py", "--out", "run"]) == 0

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(target, "open_run", Mock(side_effect=RuntimeError("thirteen")))
        assert main(words) == 1
        assert capsys.readouterr().err == "spikebridge: unexpected RuntimeError: thirteen (--debug shows where)\n"

        with pytest.raises(RuntimeError, match="thirteen"):
            main([*words, "--debug"])


def test_a_folder_that_cannot_be_written_is_one_line(here: Path, refused: Callable[..., str]) -> None:
    (here / "file").write_text("")
    assert "file" in refused("train", "./my.py", "--out", "file/run")
    assert "file" in refused("draw", "./my.py", "--network", "other", "--out", "file/other.svg")


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m spikebridge list | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert re.sub(r"spikebridge list: \d+ s\n", "", done.stderr) == ""
    assert done.returncode in (0, 141)


def test_the_reference_lists_every_command() -> None:
    page = (Path(__file__).resolve().parent.parent.parent / "docs" / "reference" / "command-line.md").read_text()
    assert [name for name in COMMANDS if f"| `{name}" not in page] == []


@dataclass(frozen=True, kw_only=True)
class Grumble(Command):
    """Warns and continues."""

    def execute(self) -> CommandResult:
        """Warns."""
        warnings.warn("two lines\nof one thought", stacklevel=1)
        return CommandResult({}, "done")


def test_a_warning_is_one_line_without_a_path(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(COMMANDS, "grumble", Grumble)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["grumble"]) == 0

    said = capsys.readouterr()
    assert (said.out, said.err) == ("done\n", "spikebridge: warning: two lines of one thought\n")


def test_the_doctor_takes_the_networks_of_a_recipe_that_loads_its_own_weights(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_weights = """
def train(config, run):
    run.child("only/seed-0").save_weights(nn.Linear(3, 3))
    run.save_results({})
    return {}


def trained(run):
    network = build(None)["only"]
    nn.init.constant_(network[0].bias, 100.0)
    return {"only": network}
"""

    (here / "my.py").write_text(RECIPE + SILENT + own_weights)
    assert main(["train", "./my.py", "--out", "run"]) == 0

    capsys.readouterr()
    assert main(["doctor", "run", *OWN]) == 0
