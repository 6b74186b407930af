"""The arguments of a command resolved: a run folder, a recipe, one of its networks, the settings to start from."""

import importlib
import logging
import os
import shlex
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from spikebridge.cli.command import OwnRecipe, parse_options
from spikebridge.cli.recipes import load_recipe, network_names, recipe_digest, recipe_files, recipe_id
from spikebridge.data.io.atomic import check_target, write_text
from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.pretrained import shipped_run
from spikebridge.training.run.environment import is_first_process
from spikebridge.training.run.run import Run

_log = logging.getLogger(__name__)

_RUNS = Path("runs")


_PACKAGED = OwnRecipe()
_TRAINED = ("weights.safetensors", "metrics.jsonl", "results.json")


@dataclass(frozen=True)
class _Target:
    """A recipe with settings, and the run they belong to, if any."""

    word: str
    module: ModuleType
    settings: Any
    run: Run | None = None

    def trained_run(self) -> Run:
        """The run with its weights.

        Raises:
            ConfigError: only a recipe was named.
        """
        if self.run is None:
            raise ConfigError(f"{self.word} has no trained weights; train it first: spikebridge train {self.word}")

        return self.run

    def for_data(self, data: Path | None) -> "_Target":
        """The same with the shipped weights that fit a file, where the recipe has several: its `weights_for(file)`.

        Raises:
            ConfigError: no weights are shipped for such a file.
        """
        if self.word not in recipe_files() or data is None or data.is_dir() or not hasattr(self.module, "weights_for"):
            return self

        run = shipped_run(self.module.weights_for(data))
        return self if run is None else _Target(self.word, self.module, run.config_as(self.module.Config), run)

    def training_note(self) -> str | None:
        """What is missing of the training: all of it, or its end; None for a finished run."""
        if self.run is None:
            return f"untrained: {self.word} has no trained weights, so its networks are checked as they are built"
        if self.run.finished:
            return None

        again = resume_command(self.run.recipe, self.word)
        files = [file for file in self.run.path.rglob("*") if file.is_file()]
        if any(file.parent.name == "checkpoint" or file.name in _TRAINED for file in files):
            return f"interrupted: the training of {self.word} has not ended; `{again}` resumes it"

        return f"untrained: {self.word} was started, but holds no weights yet; `{again}` trains it"

    def networks(self, name: str | None = None) -> dict[str, Any]:
        """The recipe's networks by name, or only the one that is named.

        Raises:
            ConfigError: there is no network of that name.
        """
        _log.info("building the networks")
        built = self.module.build(self.settings)
        if name is None:
            return dict(built)
        if name not in built:
            raise ConfigError(f"{self.word} has no network {name!r}: {did_you_mean(name, built)}")

        return {name: built[name]}

    def hybrid_network(self, name: str | None = None) -> tuple[str, Any]:
        """Name and network: the one that is named, or the first one.

        Raises:
            ConfigError: it is no hybrid network, so it has no parts and links to draw.
        """
        name, network = next(iter(self.networks(name).items()))
        if not _is_hybrid(network):
            raise ConfigError(f"{name!r} is a {type(network).__name__}; only a hybrid network can be drawn")

        return name, network

    def inputs(self, network: Any) -> Any:
        """What a network takes of the example: a hybrid network names its inputs, any other takes the first one."""
        example = self.module.example(self.settings)
        return {name: example[name] for name in network.inputs} if _is_hybrid(network) else next(iter(example.values()))

    def findings(self, name: str | None = None) -> list[dict[str, Any]]:
        """The doctor's findings about the recipe's networks, with the weights of the run where it has them."""
        from spikebridge.analysis.doctor.doctor import diagnose

        networks = self.networks(name)
        found = []

        for network_name, network in networks.items():
            trained = self._run_of(network_name)
            if trained is not None and hasattr(self.module, "trained"):
                networks[network_name] = self.trained_network(network_name)[1]
            elif trained is not None:
                trained.load_weights(network)

        for number, (network_name, network) in enumerate(networks.items(), start=1):
            _log.info("checking %s (%d of %d)", network_name, number, len(networks))
            found += [{"network": network_name} | asdict(one) for one in diagnose(network.eval(), self.inputs(network))]

        return found

    def trained_network(self, name: str | None = None) -> tuple[str, Any, Run]:
        """Name, network with its trained weights, and the run that trained it: the one that is named, or the first one.

        A recipe that keeps its weights in a way of its own says so in `trained(run)`, networks by name.

        Raises:
            ConfigError: only a recipe was named, or nothing was trained under that name.
        """
        run = self.trained_run()
        if hasattr(self.module, "trained"):
            networks = self.module.trained(run)
            if name is not None and name not in networks:
                raise ConfigError(f"{self.word} has no trained network {name!r}: {did_you_mean(name, networks)}")
            name, network = next((n, m) for n, m in networks.items() if name in (None, n))
            return name, network, self._run_of(name) or run

        name, network = next(iter(self.networks(name).items()))
        trained = self._run_of(name) or (run if (run.path / "weights.safetensors").exists() else None)
        if trained is None:
            raise ConfigError(f"{self.word} has no weights of {name!r}; train it first")

        trained.load_weights(network)
        return name, network, trained

    def _run_of(self, network: str) -> Run | None:
        """The run that trained a network: the inner run of its name, or the first one under it (a seed)."""
        inner = self.run.children() if self.run is not None else {}
        names = (name for name in inner if name == network or name.startswith(f"{network}/"))
        return next((inner[name] for name in names if (inner[name].path / "weights.safetensors").exists()), None)


def resolve_target(word: str, own: OwnRecipe = _PACKAGED, network: str | None = None) -> _Target:
    """A run folder, or a recipe by name or file; with a name comes the run that is shipped with the package, if any.

    Args:
        word: a name or path.
        own: the recipe file of a run that no recipe of the package made.
        network: the one that is wanted; a name that the recipe does not know is refused before PyTorch is imported.

    Raises:
        ConfigError: the word is none of these, the recipe file is not that of the run, or no network has the name.
    """
    recipe = recipe_word(word, own)
    known = network_names(recipe)
    if network is not None and known and network not in known:
        raise ConfigError(f"{word} has no network {network!r}: {did_you_mean(network, known)}")

    module = load_recipe(recipe)
    run = Run.open(Path(word)) if _is_run_folder(word) else shipped_run(word)
    if run is not None:
        return _Target(word, module, run.config_as(module.Config), run)

    return _Target(word, module, module.PRESETS[_default_preset(module)])


def recipe_word(word: str, own: OwnRecipe = _PACKAGED) -> str:
    """The name or file of the recipe that a word means: a run folder, shipped weights, or the recipe itself.

    Raises:
        ConfigError: the word is none of these, or the recipe file is not that of the run.
    """
    known = recipe_files()
    if _is_run_folder(word):
        return _recipe_of_run(Run.open(Path(word)), own)
    if own.recipe is not None:
        raise ConfigError(f"{word} is no run folder; --recipe names the recipe file of a run")

    if word not in known and Path(word).suffix != ".py":
        if (run := shipped_run(word)) is not None and run.recipe in known:
            return run.recipe
        raise ConfigError(f"{word!r} is neither a run folder nor a recipe: {did_you_mean(word, known)}")

    return word


def _is_run_folder(word: str) -> bool:
    return word not in recipe_files() and Path(word).is_dir()


def refuse_choices(word: str, own: OwnRecipe, network: str | None = None) -> None:
    """Refuses the recipe file, or the name of a network, beside a target that is a bundle.

    Raises:
        ConfigError: there is one.
    """
    if network is not None:
        raise ConfigError(f"{word} is a bundle, which holds one network; leave --network out")
    if own.recipe is not None:
        raise ConfigError(f"{word} is a bundle, which needs no recipe; leave --recipe out")


def is_bundle(word: str) -> bool:
    """Whether a word names the folder of a bundle."""
    return (Path(word) / "manifest.json").is_file()


def bundle_tracker(word: str, own: OwnRecipe = _PACKAGED, integers: bool = False) -> Any:
    """The network of a bundle as a tracker.

    Args:
        word: the folder of the bundle.
        own: there is no recipe file of a bundle.
        integers: whether what was quantised computes with integers.

    Returns:
        The tracker, or None if the bundle is of a recipe without one.

    Raises:
        ConfigError: a recipe file is given, or the network cannot be followed with.
        DataError: the bundle is damaged or incomplete.
    """
    refuse_choices(word, own)
    from spikebridge.deploy.bundle.bundle import Bundle

    recipe = Bundle.open(Path(word)).manifest.card.get("recipe")
    module: Any = load_recipe(recipe) if recipe in recipe_files() else None

    return module.bundle_tracker(Path(word), integers) if hasattr(module, "bundle_tracker") else None


def load_of_bundle(bundle: Any) -> Any:
    """What the parts and links of a bundle need on its sample (`analysis.measure_load`), bytes by its files."""
    import torch

    from spikebridge.analysis.chips import measure_load
    from spikebridge.deploy.bundle.rebuild import rebuild

    manifest = bundle.manifest
    memory = {name: float(manifest.files[part.file].size) for name, part in manifest.parts.items()}
    for link in manifest.links:
        if link.numbers is not None and link.source in memory:
            memory[link.source] += manifest.files[link.numbers].size

    numbers = bundle.numbers(manifest.sample.file)
    inputs = {name: torch.from_numpy(numbers[f"inputs.{name}"].copy()) for name in manifest.inputs}

    return measure_load(rebuild(bundle), inputs, memory)


def live_steps(
    word: str,
    network: str | None = None,
    own: OwnRecipe = _PACKAGED,
    options: dict[str, Any] | None = None,
    integers: bool = False,
) -> tuple[Any, Any]:
    """The step function of a live stream through a network, a tracker or a bundle, and the stream that it needs.

    Args:
        word: a run folder, a recipe with shipped weights, or the folder of a bundle.
        network: which of the recipe's networks; the first one without it.
        own: the recipe file of the run, if it is the user's own.
        options: of a tracker, such as `calibrate` and `detector`.
        integers: whether what was quantised of a bundle computes with integers.

    Returns:
        `output, state = step(inputs, state)`, and a `StreamRequest` of `data/streams`.

    Raises:
        ConfigError: the word is none of these, or the network takes no events.
    """
    if is_bundle(word):
        refuse_choices(word, own, network)
        tracker = bundle_tracker(word, own, integers)
        if tracker is not None:
            return _tracked(tracker, options)
        from spikebridge.deploy.bundle.bundle import Bundle
        from spikebridge.deploy.streaming.network import bundle_steps

        steps = bundle_steps(Bundle.open(Path(word)), integers=integers)
    else:
        target = resolve_target(word, own, network)
        if hasattr(target.module, "tracker"):
            return _tracked(target.module.tracker(target.trained_run(), network), options)
        from spikebridge.deploy.streaming.torch_network import network_steps

        name, trained, _ = target.trained_network(network)
        inputs = target.inputs(trained)
        steps = network_steps(trained, inputs if isinstance(inputs, dict) else {name: inputs})

    from spikebridge.data.streams.sources import StreamRequest

    spec = steps.spec
    return steps, StreamRequest(
        spec.bin, sensor=spec.sensor, frame=spec.frame, counts=spec.counts, most_together=steps.most_together
    )


def _tracked(tracker: Any, options: dict[str, Any] | None) -> tuple[Any, Any]:
    """The step function of a tracker, and the stream that it needs."""
    from spikebridge.data.streams.sources import StreamRequest

    tracker = tracker.with_options(**options or {})
    return _tracker_steps(tracker), StreamRequest(tracker.sensing.dt, tracks_target=True)


def live_samples(
    word: str, network: str | None = None, own: OwnRecipe = _PACKAGED, integers: bool = False
) -> tuple[Any, Any]:
    """The step function of a live stream of samples, and the stream that it needs.

    A recipe of the package whose networks read samples has a module `stream` with `sample_reader(config, results)`.

    Args:
        word: a run folder, a recipe with shipped weights, or the folder of a bundle.
        network: which of the recipe's networks; the first one without it.
        own: the recipe file of the run, if it is the user's own.
        integers: whether a bundle computes with its integer model.

    Returns:
        `answer, state = step(blocks, state)`, and a `data.streams.samples.SampleRequest`.

    Raises:
        ConfigError: the word is none of these, or the recipe reads no samples.
    """
    import numpy as np

    from spikebridge.data.streams.samples import SampleRequest
    from spikebridge.deploy.streaming.samples import SampleSteps

    if is_bundle(word):
        refuse_choices(word, own, network)
        from spikebridge.deploy.bundle.bundle import Bundle
        from spikebridge.deploy.streaming.network import bundle_advance

        bundle = Bundle.open(Path(word))
        reader = _reader_of_bundle(bundle)
        steps = SampleSteps(reader, frozenset(bundle.manifest.inputs), bundle_advance(bundle, integers=integers))
    else:
        target = resolve_target(word, own, network)
        _, trained, run = target.trained_network(network)
        reader = _sample_reader(word, run.recipe, run.config, run.results() if run.finished else {})
        from spikebridge.deploy.streaming.torch_network import network_advance

        steps = SampleSteps(reader, frozenset(trained.inputs), network_advance(trained))

    front = reader.front_end
    silence = np.zeros((front.block, front.num_channels), np.float32)
    steps([silence], None)  # libraries are loaded before the stream begins

    return steps, SampleRequest(front.rate_hz, front.num_channels, front.block)


def inputs_from_samples(bundle: Any, file: Path) -> dict[str, Any]:
    """The inputs of a bundle from a file of samples, through the front end of its recipe; ends are filled with zeros.

    Raises:
        ConfigError: the recipe of the bundle reads no samples.
        DataError: the file is damaged, holds several series, or has another rate or number of channels.
    """
    import numpy as np

    from spikebridge.data.signals.files import read_series
    from spikebridge.data.streams.samples import SampleReplay, SampleRequest

    front = _reader_of_bundle(bundle).front_end
    series = read_series(file)
    if len(series) != 1:
        raise DataError(f"{file}: expected one series, but there are {len(series)}; `live --signal` plays all of them")

    played = SampleReplay(series, SampleRequest(front.rate_hz, front.num_channels, front.block), name=str(file))
    inputs, _ = front.advance(np.concatenate(played.inputs(0, played.num_blocks)), front.initial_state())

    return {name: x for name, x in inputs.items() if name in bundle.manifest.inputs}


def _reader_of_bundle(bundle: Any) -> Any:
    card = bundle.manifest.card
    return _sample_reader(f"{bundle.path}", str(card.get("recipe")), card.get("config"), card.get("results"))


def _sample_reader(word: str, recipe: str, config: Any, results: Any) -> Any:
    known = recipe_files().get(recipe)
    if known is None or not known.with_name("stream.py").is_file():
        raise ConfigError(
            f"{word} is of the recipe {recipe!r}, which reads no samples of a sensor; --signal is for signals"
        )

    module = importlib.import_module(f"spikebridge.networks.{recipe}.stream")
    return module.sample_reader(config or {}, results or {})


def _tracker_steps(tracker: Any) -> Any:
    """The step of a tracker, its output as plain values."""

    def step(inputs: Any, state: Any) -> tuple[dict[str, Any], Any]:
        box, state = tracker.step(inputs, state)
        sure = {"confidence": round(float(state.confidence), 4), "lost": bool(state.lost)}
        return {"box": [round(float(value), 3) for value in box], **sure}, state

    return step


def open_run(path: Path, own: OwnRecipe = _PACKAGED) -> _Target:
    """A run folder with its recipe and settings.

    No code is taken from the folder, nor from a path in its files: the recipe is of the package, or the user names it.

    Raises:
        ConfigError: there is no such folder, it is not a run, or one of another version, or the recipe file is not that
            of the run.
    """
    if not path.is_dir():
        raise ConfigError(f"there is no run folder {path}; `spikebridge train RECIPE --out {path}` makes one")

    run = Run.open(path)
    module = load_recipe(_recipe_of_run(run, own))

    return _Target(str(path), module, run.config_as(module.Config), run)


def _recipe_of_run(run: Run, own: OwnRecipe) -> str:
    """The name of the run's recipe in the package, or the recipe file that the user named."""
    known = recipe_files()
    if run.recipe in known:
        if own.recipe is not None:
            raise ConfigError(f"{run.path} is a run of the recipe {run.recipe!r} of the package; leave --recipe out")
        return run.recipe

    if own.recipe is None:
        raise ConfigError(
            f"{run.path} is a run of {run.recipe!r}, which is no recipe of the package ({', '.join(known)}); if it is "
            "a recipe file of yours, name it: --recipe FILE.py"
        )

    word = str(own.recipe)
    if word in known:
        raise ConfigError(f"{run.path} is a run of {run.recipe!r}, not of the recipe {word!r} of the package")

    _check_recipe_file(run, word, own.edited)
    return word


def _check_recipe_file(run: Run, word: str, edited: bool) -> None:
    """Compares a recipe file with the one that started a run.

    Args:
        run: of a recipe file.
        word: path of the file.
        edited: whether a file that was edited meanwhile is accepted.

    Raises:
        ConfigError: it is another file.
    """
    digest = recipe_digest(word)
    if run.recipe_digest is None:
        warnings.warn(f"{run.path} has no hash of its recipe; {word} is taken unchecked", stacklevel=2)
    elif digest != run.recipe_digest and not edited:
        raise ConfigError(
            f"{word} is not the recipe file that {run.path} was started with, or was edited since (its SHA-256 is "
            f"{digest:.12}..., expected {run.recipe_digest:.12}...); restore it, or accept it with --edited"
        )


def _default_preset(module: ModuleType) -> str:
    """`default`, or the first preset where a recipe has none of that name."""
    return "default" if "default" in module.PRESETS else next(iter(module.PRESETS))


def initial_settings(module: ModuleType, recipe: str, words: list[str]) -> Any:
    """The settings that options change: those of the preset, or with --resume those of the resumed run.

    Args:
        module: the recipe.
        recipe: the word that named it.
        words: the options after it; only --preset, --out and --resume are looked at.
    """

    @dataclass(frozen=True)
    class Choice:
        preset: str | None = None
        out: Path | None = None
        resume: bool = False

    choice = parse_options(Choice, "spikebridge train", words, add_help=False)[0]
    if choice.preset is not None:
        if choice.preset not in module.PRESETS:
            raise ConfigError(
                f"{recipe} has no preset {choice.preset!r}: {did_you_mean(choice.preset, module.PRESETS)}"
            )

        return module.PRESETS[choice.preset]

    if choice.resume:
        path = choice.out or run_folder(recipe, resume=True)
        run = Run.open(path) if path.is_dir() and any(path.iterdir()) else None
        if run is not None and run.recipe == recipe_id(recipe):
            return run.config_as(module.Config)

    return module.PRESETS[_default_preset(module)]


def run_folder(recipe: str, resume: bool) -> Path:
    """runs/RECIPE, numbered: the newest one there is to resume, else the first free one.

    Raises:
        ConfigError: there are several processes, which could not agree on one.
    """
    if "RANK" in os.environ:
        raise ConfigError("several processes were started together: name the run folder they share (--out)")

    # a process that the first one started finds the folder made already
    resume = resume or not is_first_process()
    stem = Path(recipe).stem
    number = 1

    while (_RUNS / _numbered(stem, number)).exists():
        number += 1

    return _RUNS / _numbered(stem, max(number - 1, 1) if resume else number)


def resume_command(recipe: str, out: str) -> str:
    """The command that resumes a run.

    Example:
        >>> resume_command("digits", "my run")
        "spikebridge train digits --out 'my run' --resume"
    """
    return shlex.join(["spikebridge", "train", recipe, "--out", out, "--resume"])


def write_file(path: Path, text: str) -> None:
    """Writes a file of text in whole or not at all; its folder is made, too.

    Raises:
        ConfigError: it is a folder, a device, a pipe or a socket.
    """
    check_target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _is_hybrid(network: Any) -> bool:
    return hasattr(network, "inputs") and hasattr(network, "parts")


def _numbered(stem: str, number: int) -> str:
    return stem if number == 1 else f"{stem}-{number}"
