"""A run folder: settings, results, environment, weights and checkpoints of one training.

```
config.json            the recipe's name and the values of its Config, re-loadable
metrics.jsonl          one row an epoch (or step), as JSON lines
results.json           the results, once the run is finished
weights.safetensors    the trained network
environment.json       versions, seed, git revision, device
checkpoint/            the state from which a stopped training resumes
run.lock               the process that trains, as long as it does
runs/NAME/             runs inside this one: one network of a comparison each
```

Reading a run needs no torch, but for its weights. Of several processes the first one writes; the others' runs write
nothing.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, TypeVar

from spikebridge._notebook import notebook_html
from spikebridge.data.io.atomic import is_temporary, write_text
from spikebridge.data.io.closed_folder import inside
from spikebridge.data.io.json_text import read_json
from spikebridge.errors import ConfigError, DataError
from spikebridge.training.run.config_io import from_plain, read_results, to_plain
from spikebridge.training.run.environment import describe_environment, is_first_process
from spikebridge.training.run.lock import LOCK_NAME, lock_folder
from spikebridge.training.run.metrics import MetricsFile

if TYPE_CHECKING:
    from torch import Tensor, nn

C = TypeVar("C")
_FORMAT = "spikebridge run"
VERSION = 1
_followers: ContextVar[tuple[Callable[[dict[str, Any]], None], ...]] = ContextVar("followers of rows", default=())
_FIRST_FILES = {"config.json", "environment.json", LOCK_NAME}


class Run:
    """A run folder. Make one with `Run.create`, read one with `Run.open`.

    Attributes:
        path: the folder.
        root: the folder that no link leads out of: that of the outermost run.
        recipe: name of the recipe that made it; for a recipe file of the user's own its path, which is shown and never
            opened.
        recipe_digest: SHA-256 of that file.
        config: its settings as plain values; `config_as` makes the recipe's own dataclass of them.
        loggers: names of loggers (`"tensorboard"`, `"wandb"`, `"mlflow"`) that get the rows of every training in this
            run and in the runs inside it.

    Example:
        >>> from dataclasses import dataclass
        >>> from tempfile import TemporaryDirectory
        >>> @dataclass(frozen=True)
        ... class Config:
        ...     sizes: tuple[int, ...] = (3, 4)
        >>> with TemporaryDirectory() as folder:
        ...     run = Run.create(Path(folder) / "first", "digits", Config())
        ...     run.log({"epoch": 1, "loss": 0.5})
        ...     run.save_results({"accuracy": 0.9})
        ...     again = Run.open(Path(folder) / "first")
        ...     (again.recipe, again.config_as(Config), again.metrics.rows(), again.results())
        ('digits', Config(sizes=(3, 4)), [{'epoch': 1, 'loss': 0.5}], {'accuracy': 0.9})
    """

    def __init__(
        self,
        path: Path,
        recipe: str,
        config: dict[str, Any],
        *,
        resumed: bool = False,
        recipe_digest: str | None = None,
        root: Path | None = None,
    ) -> None:
        self.path = path
        self.root = path if root is None else root
        self.recipe = recipe
        self.recipe_digest = recipe_digest
        self.config = config
        self.resumed = resumed
        self.loggers: tuple[str, ...] = ()
        self.writes = is_first_process()
        self._made: list[Path] = []  # parents that were made for it
        self._results: dict[str, Any] | None = None

    @classmethod
    def create(
        cls, path: Path | str, recipe: str, config: Any, *, resume: bool = False, recipe_digest: str | None = None
    ) -> "Run":
        """Starts a run in a new or empty folder, or resumes the run in it.

        Args:
            path: the folder; its parents are made too.
            recipe: name of the recipe.
            config: its settings, a dataclass.
            resume: resume the run if it exists, start it if not (so a job can always be launched with it).
            recipe_digest: SHA-256 of the recipe file, if it is not one of the package.

        Raises:
            ConfigError: the folder holds a run and resume is not set, a run of another recipe, version or config, or
                something that is no run.
            DataError: its config.json is damaged.
        """
        path = Path(path)
        plain = to_plain(config)
        run = cls(path, recipe, plain, resumed=resume, recipe_digest=recipe_digest)
        if not run.writes:
            return run

        if not run.file("config.json").exists():
            _begin(run)
            return run

        # a second training would mix its rows with those of the first
        if not resume:
            raise ConfigError(f"{path} holds a run already: resume it (--resume) or take another folder (--out)")

        run = cls.open(path)
        if run.recipe != recipe:
            raise ConfigError(
                f"{path} is a run of the recipe {run.recipe!r}, not of {recipe!r}; take another folder (--out)"
            )

        # as plain values of today's class, so that fields which moved are the same
        saved = run.config if isinstance(config, dict) else to_plain(run.config_as(type(config)))
        _check_same(saved, plain, path)
        run.resumed = True

        return run

    def lock(self) -> AbstractContextManager[None]:
        """A block in which no other process may train in the run; `fit` and the command line have it around them.

        Raises:
            ConfigError: another process trains in it.
        """
        return lock_folder(self.path) if self.writes else nullcontext()

    def discard(self) -> None:
        """Removes the folder of a run that wrote nothing but its settings, with the empty parents made for it."""
        # runs inside it may have been created, too
        if self.writes and {file.name for file in self.path.rglob("*") if not file.is_dir()} <= _FIRST_FILES:
            rmtree(self.path)
            with suppress(OSError):  # one that is not empty
                for parent in self._made:
                    parent.rmdir()

    @classmethod
    def open(cls, path: Path | str, root: Path | None = None) -> "Run":
        """Reads an existing run.

        Args:
            path: the folder.
            root: the folder around it that no link may leave; its own by default.

        Raises:
            ConfigError: the folder is not a run, or one of another version.
            DataError: its config.json is damaged, or a link that leads out of the folder.
        """
        path = Path(path)
        file = inside(path, "config.json", root)
        if not file.is_file():
            raise ConfigError(f"{path} is not a run folder: it has no config.json")

        head = _read_json(file)
        if head.get("format") != _FORMAT:
            raise ConfigError(f"{path} is not a run folder: its config.json was written by another program")

        if head.get("version") != VERSION:
            raise ConfigError(
                f"{path} is a run of version {head.get('version')}, but this program reads version {VERSION}"
            )

        recipe = head.get("recipe")
        config = head.get("config")
        if not isinstance(recipe, str) or not isinstance(config, dict):
            raise DataError(f"{path / 'config.json'} is damaged: it needs a recipe's name and its config")

        digest = head.get("recipe_sha256")
        if digest is not None and not isinstance(digest, str):
            raise DataError(f"{path / 'config.json'} is damaged: recipe_sha256 should be text, but is {digest!r:.100}")

        return cls(path, recipe, config, recipe_digest=digest, root=root)

    def file(self, name: str) -> Path:
        """The path of a file or folder of the run, to read or to write.

        Raises:
            DataError: a link leads out of the run.
        """
        return inside(self.path, name, self.root)

    @property
    def metrics(self) -> MetricsFile:
        """The rows of metrics.jsonl."""
        return MetricsFile(self.file("metrics.jsonl"))

    @property
    def checkpoint(self) -> Path:
        """The folder of the checkpoints."""
        return self.file("checkpoint")

    def config_as(self, kind: type[C]) -> C:
        """The settings as the recipe's dataclass.

        Raises:
            ConfigError: they are not settings of that class.
        """
        config: C = from_plain(kind, self.config, f"{self.path / 'config.json'}: config")
        return config

    def child(self, name: str) -> "Run":
        """A run inside this one with a folder of its own, started or resumed as this one is.

        Args:
            name: may have slashes: `"hybrid/seed-0"`.

        Raises:
            ConfigError: a name that leads out of the run, or a child that exists although the run was not resumed.
        """
        folders = Path(name).parts
        if not folders or Path(name).is_absolute() or ".." in folders:
            raise ConfigError(f"a run inside a run needs a name like 'hybrid/seed-0', but got {name!r}")

        path = self.path / "runs" / name
        self.file(f"runs/{name}")
        inner = Run.create(path, self.recipe, self.config, resume=self.resumed, recipe_digest=self.recipe_digest)
        inner.root = self.root
        inner.loggers = self.loggers

        return inner

    def children(self) -> dict[str, "Run"]:
        """The runs inside this one, by name."""
        folder = self.file("runs")
        for link in (path for path in folder.rglob("*") if path.is_symlink()):
            inside(folder, link.relative_to(folder), self.root)

        # runs inside of these have their own folder `runs`
        files = [file for file in folder.glob("**/config.json") if "runs" not in file.relative_to(folder).parts]
        paths = sorted(file.parent for file in files)
        return {path.relative_to(folder).as_posix(): Run.open(path, self.root) for path in paths}

    def first_child(self, network: str) -> "Run":
        """The first training of a network of a comparison, among the runs inside this one.

        Raises:
            DataError: there is none.
        """
        first = next((child for path, child in self.children().items() if f"{path}/".startswith(f"{network}/")), None)
        if first is None:
            raise DataError(f"{self.path} holds no trained network {network!r}; resume its training (--resume)")

        return first

    @property
    def finished(self) -> bool:
        """True if the run has its results."""
        return self.file("results.json").exists()

    def log(self, row: Mapping[str, Any]) -> None:
        """Adds a row to metrics.jsonl."""
        if self.writes:
            self.metrics.append(row)
            for follower in _followers.get():
                follower(dict(row))

    def save_results(self, results: Mapping[str, Any]) -> None:
        """Writes results.json; with it the run is finished."""
        self._results = to_plain(dict(results), "results")
        self._write("results.json", self._results)

    def results(self, kind: Any = dict[str, Any], sizes: dict[str, int] | None = None) -> dict[str, Any]:
        """The results, from results.json; in a process that writes nothing, the results that it saved.

        Args:
            kind: the typed dict that the recipe declares for them.
            sizes: lengths of named axes, which runs that belong together share.

        Raises:
            DataError: the run is not finished, or the file is damaged or of another recipe.
        """
        file = self.file("results.json")
        # the first process may not have written its own yet
        plain = None if self.writes else self._results
        if plain is None:
            if not self.finished:
                raise DataError(f"the run {self.path} has no results yet; resume it (--resume)")
            plain = _read_json(file)

        results: dict[str, Any] = read_results(kind, plain, file, sizes)
        return results

    def save_environment(self, **more: Any) -> None:
        """Writes environment.json: versions, platform, git revision, and `more` (seed, device, ...)."""
        self._write("environment.json", to_plain(describe_environment(**more), "environment"))

    def environment(self) -> dict[str, Any]:
        """The environment, from environment.json.

        Raises:
            DataError: it is missing or damaged.
        """
        return _read_json(self.file("environment.json"))

    def versions(self) -> dict[str, Any]:
        """The environment for a report: versions, platform and git revision, None where unknown.

        Raises:
            DataError: environment.json is missing or damaged.
        """
        environment = self.environment()
        return {name: environment.get(name) for name in ("spikebridge", "torch", "platform", "git_revision")}

    def save_weights(self, weights: "nn.Module | Mapping[str, Tensor]") -> None:
        """Writes weights.safetensors."""
        from spikebridge.training.run.weights import save_weights

        if self.writes:
            save_weights(self.file("weights.safetensors"), weights)

    def load_weights(self, module: "nn.Module") -> None:
        """Copies the run's weights into a network.

        Raises:
            DataError: there are none, or they are damaged.
            ConfigError: they are another network's.
        """
        from spikebridge.training.run.weights import load_weights

        load_weights(self.file("weights.safetensors"), module)

    def _repr_html_(self) -> str | None:
        """Results and learning curves, for a notebook."""
        trainings = {name: child.metrics.rows() for name, child in self.children().items()}
        facts = {"recipe": self.recipe, "folder": str(self.path)}
        own = {self.path.name: self.metrics.rows()}
        return notebook_html(
            "run_html", self.path.name, facts, self.results() if self.finished else {}, own | trainings
        )

    def _write(self, name: str, plain: Any) -> None:
        if self.writes:
            _write_json(self.file(name), plain)


@contextmanager
def follow_rows(follower: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """A block in which a function gets every row that any run writes; an error of the function ends the training."""
    token = _followers.set((*_followers.get(), follower))
    try:
        yield
    finally:
        _followers.reset(token)


def train_children(
    run: Run,
    networks: Iterable[str],
    seeds: Iterable[int],
    train: Callable[[str, int, Run], None],
    kind: Any = dict[str, Any],
) -> dict[str, list[dict[str, Any]]]:
    """The results of each network, one for each seed; `train(network, seed, child)` makes those that are missing.

    `kind` is the typed dict of one of them.
    """
    sizes: dict[str, int] = {}
    names = tuple(networks)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}

    # seeds outside, so that a stopped run has whole comparisons
    for seed in seeds:
        for name in names:
            child = run.child(f"{name}/seed-{seed}")
            if not child.finished:
                train(name, seed, child)
            results[name].append(child.results(kind, sizes))

    return results


def _begin(run: Run) -> None:
    path = run.path
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file; a run needs a folder (--out)")
    if path.is_dir() and any(not is_temporary(file) for file in path.iterdir()):
        raise ConfigError(f"{path} is not empty and not a run folder; take another folder (--out)")

    run._made = [parent for parent in path.parents if not parent.exists()]
    path.mkdir(parents=True, exist_ok=True)
    own = {} if run.recipe_digest is None else {"recipe_sha256": run.recipe_digest}
    head = {"format": _FORMAT, "version": VERSION, "recipe": run.recipe, **own}
    _write_json(run.file("config.json"), {**head, "config": run.config})
    _write_json(run.file("environment.json"), describe_environment())


def _check_same(saved: dict[str, Any], current: dict[str, Any], path: Path) -> None:
    names = [name for name in {**saved, **current} if saved.get(name) != current.get(name)]
    if names:
        first = names[0]
        raise ConfigError(
            f"{path} is a run with another config ({', '.join(names)}): {first} was {saved.get(first)!r} and is "
            f"{current.get(first)!r} now; resume with the same one or take another folder (--out)"
        )


def _write_json(path: Path, plain: Any) -> None:
    write_text(path, json.dumps(plain, indent=2, allow_nan=False) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    plain = read_json(path, "a file of a run")
    if not isinstance(plain, dict):
        raise DataError(f"{path} is damaged: it should hold an object, but holds a {type(plain).__name__}")
    return plain
