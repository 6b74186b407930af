"""Runs and bundles on a Hugging Face hub: upload with a model card, download with checked hashes.

    push(Path("runs/first"), "owner/name")
    pull("owner/name", Path("first"))
    network = spikebridge.load_pretrained("hf://owner/name")

A repository holds the files of the folder, `README.md` made from its record, and `files.json` with the SHA-256 of each
file. Nothing from a hub is executed: weights are safetensors, and the recipe is the one of this package. The address
and the token are those of `huggingface_hub` (`HF_ENDPOINT`, `HF_TOKEN`, `hf auth login`). Extra: `hub`.
"""

import json
import logging
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from spikebridge.data.io.atomic import atomic_folder, check_new, is_disk_full, write_text
from spikebridge.data.io.closed_folder import inside
from spikebridge.data.io.json_text import read_json
from spikebridge.data.io.records import is_plain_number
from spikebridge.deploy.bundle.bundle import MANIFEST, Bundle, digest_of, leads_out
from spikebridge.errors import ConfigError, DataError, import_extra
from spikebridge.pretrained.network import network_of_run
from spikebridge.training.run.run import Run

if TYPE_CHECKING:
    from torch import nn

_PREFIX = "hf://"
_FILES = "files.json"
_CARD = "README.md"
_FORMAT = "spikebridge files"
_RUN_FILES = ("config.json", "environment.json", "results.json", "metrics.jsonl", "weights.safetensors", "card.json")
_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
_MAX_FILES = 10_000
_REFUSALS = {
    401: "the hub refused it (401): log in with `hf auth login`, or set HF_TOKEN",
    403: "the hub refused it (403): the token may not do this",
    404: "the hub does not have it (404), or the token may not see it",
    413: "the hub refused it (413): a file is too large",
}
_NO_ANSWER = {"ConnectionError", "TimeoutError", "TransportError"}  # of Python, and of the client under the client


def push(folder: Path, repository: str, *, private: bool = False) -> str:
    """Uploads the folder of a finished run or of a bundle as one commit; gives the address of the repository.

    A missing repository `owner/name` is made, on request a private one.
    """
    _check_name(repository)
    names = _names(folder)

    # a copy, so that nothing of the folder changes while it is uploaded
    with TemporaryDirectory() as place, _one_line(repository):
        draft = Path(place)
        _copy_files(names, folder, draft)
        write_text(draft / _CARD, _model_page(folder, repository))
        digests = {name: digest_of(draft / name) for name in (*names, _CARD)}
        write_text(draft / _FILES, json.dumps({"format": _FORMAT, "sha256": digests}, indent=1) + "\n")
        api = _api()
        address = str(api.create_repo(repository, private=private, exist_ok=True))

        with _chosen_upload(api, repository):
            message = f"{folder.resolve().name}: new files"
            api.upload_folder(repo_id=repository, folder_path=draft, commit_message=message)

    return address


def pull(repository: str, out: Path) -> Path:
    """Downloads a run or a bundle from `owner/name` into a new folder, whole or not at all; every hash is checked."""
    _check_name(repository)
    check_new(out)

    with atomic_folder(out) as draft, TemporaryDirectory() as place:
        with _one_line(repository):
            snapshot = Path(_api().snapshot_download(repository, local_dir=place))
        _copy_files(_checked_names(snapshot, f"{_PREFIX}{repository}"), snapshot, draft)

    return out


def load_from_hub(address: str, *, seed: int | None = None) -> "nn.Module":
    """The network of a run at `hf://owner/name` with its weights, in eval mode; of the first seed if none is named."""
    with TemporaryDirectory() as place:
        run = Run.open(pull(address.removeprefix(_PREFIX), Path(place) / "run"))
        return network_of_run(run, address, seed)


def _names(folder: Path) -> list[str]:
    """The files of a run or bundle, and nothing else that lies in its folder."""
    if (folder / MANIFEST).is_file():
        return [MANIFEST, *Bundle.open(folder).manifest.files]
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} is neither a run folder nor a bundle")

    run = Run.open(folder)
    runs = {"": run, **{f"runs/{name}/": child for name, child in run.children().items()}}
    names = [f"{place}{name}" for place, one in runs.items() for name in _RUN_FILES if one.file(name).is_file()]
    if not any(name.endswith("weights.safetensors") for name in names):
        raise ConfigError(f"{folder} has no weights; train it first")

    return names


def _copy_files(names: Iterable[str], source: Path, target: Path) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(inside(source, name), target / name)


def _checked_names(folder: Path, where: str) -> list[str]:
    """The files that a repository lists, none of which may be missing, lead out of the folder, or have another hash."""
    if not (folder / _FILES).is_file():
        raise DataError(f"{where} has no {_FILES}, so it was not pushed by spikebridge; expected a run or a bundle")

    listed: Any = read_json(inside(folder, _FILES), "the list of files of a repository")
    digests = listed.get("sha256") if isinstance(listed, dict) and listed.get("format") == _FORMAT else None
    if not isinstance(digests, dict) or len(digests) > _MAX_FILES:
        raise DataError(f"{where}: {_FILES} is not a list of files")

    for name, digest in digests.items():
        # the list comes from the hub: a name in it may be anything
        if leads_out(name):
            raise DataError(f"{where}: the file {name!r} leads out of the folder")
        path = inside(folder, name)
        if not path.is_file():
            raise DataError(f"{where}: {name} is missing")
        if digest_of(path) != digest:
            raise DataError(f"{where}: {name} is damaged or was changed: its SHA-256 is not the one in {_FILES}")

    return list(digests)


def _model_page(folder: Path, repository: str) -> str:
    """The model card of a run or bundle: data, licence, command, energy, figures."""
    record = _record(folder)
    config = record.get("config")
    environment = record.get("environment")
    recipe = _field(record, "recipe", "unknown")
    figures = dict(_numbers(record.get("results")))
    energy = {key: value for key, value in figures.items() if "energy" in key.lower() or key.lower().endswith("nj")}
    kind = "bundle" if (folder / MANIFEST).is_file() else "run"

    lines = [
        "---",
        "library_name: spikebridge",
        "tags: [spiking-neural-network, hybrid-neural-network]",
        "---",
        f"# {repository.partition('/')[2]}",
        "",
        f"A {kind} of spikebridge, recipe `{recipe}`.",
        "",
        f"    spikebridge pull {repository}",
        "",
        "| | |",
        "|---|---|",
        f"| data | {_field(config, 'dataset', 'see the recipe')} |",
        f"| licence of the weights | {_licence(folder)} |",
        f"| command | `spikebridge train {recipe}` with `config.json` |",
        f"| revision | {_field(environment, 'git_revision', 'unknown')} |",
        "",
    ]
    for title, values in (("Energy", energy), ("Figures", figures)):
        rows = [f"| {_cell(key)} | {value:.6g} |" for key, value in values.items()]
        lines += [f"## {title}", "", *(["| | |", "|---|---|", *rows] if rows else ["Not recorded."]), ""]

    return "\n".join(lines)


def _record(folder: Path) -> dict[str, Any]:
    """Recipe, config, environment and results of a run or a bundle."""
    if (folder / MANIFEST).is_file():
        return dict(Bundle.open(folder).manifest.card)

    run = Run.open(folder)
    environment = run.environment() if run.file("environment.json").is_file() else {}
    results = run.results() if run.finished else {}
    return {"recipe": run.recipe, "config": run.config, "environment": environment, "results": results}


def _licence(folder: Path) -> str:
    file = inside(folder, "card.json")
    card: Any = read_json(file, "a model card") if file.is_file() else {}
    return _field(card, "weights_licence", "not stated: see the licence of the data")


def _field(fields: Any, name: str, missing: str) -> str:
    return _cell(str(fields.get(name, missing) if isinstance(fields, dict) else missing))


def _numbers(node: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of results by path; rows of tables are left out."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _numbers(value, f"{path}{key} ")
    elif is_plain_number(node):
        yield path.strip(), float(node)


def _cell(text: str) -> str:
    """A text without the signs of markup, for a table."""
    return re.sub(r"[|<>\n\r`]", " ", text)


def _check_name(repository: str) -> None:
    if not _NAME.fullmatch(repository):
        raise ConfigError(f"a repository is named owner/name, but got {repository!r}")


def _api() -> Any:
    hub = import_extra("huggingface_hub", "hub", "a hub needs")
    return hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


@contextmanager
def _chosen_upload(api: Any, repository: str) -> Iterator[None]:
    """Large files go by Xet if the hub has it, else by Git LFS. The client would try Xet alone, for minutes."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session

    # the client reads this constant at each upload
    before = constants.HF_HUB_DISABLE_XET
    token = f"{api.endpoint}/api/models/{repository}/xet-write-token/main"
    answer = get_session().get(token, headers=build_hf_headers())
    has_xet = answer.status_code == 200 and constants.HUGGINGFACE_HEADER_X_XET_ENDPOINT in answer.headers
    constants.HF_HUB_DISABLE_XET = before or not has_xet

    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


@contextmanager
def _one_line(repository: str) -> Iterator[None]:
    """Failures of a hub, of the store of its large files, or of the way there, as one line; its client says nothing."""
    try:
        with _quiet():
            yield
    except (ConfigError, DataError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and is_disk_full(error):
            raise
        raise DataError(f"{_PREFIX}{repository}: {_reason(error)}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """A block in which the client of a hub shows no bars, logs nothing and warns of nothing."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    log = logging.getLogger("huggingface_hub")
    level = log.level
    had_bars = not are_progress_bars_disabled()
    with warnings.catch_warnings(action="ignore"):
        disable_progress_bars()
        log.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            log.setLevel(level)
            if had_bars:
                enable_progress_bars()


def _reason(error: BaseException) -> str:
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)

    # the client wraps the answer of a server more than once
    codes = [getattr(getattr(one, "response", None), "status_code", None) for one in causes]
    code = next((one for one in codes if one is not None), None)
    if code is not None:
        return _REFUSALS.get(code, f"the hub answered {code}; try again later")

    kinds = {kind.__name__ for one in causes for kind in type(one).__mro__}
    words = f"{error}: {causes[-1]}" if len(causes) > 1 else str(error)
    words = " ".join(words.split())[:300] or type(error).__name__

    return f"the hub did not answer ({words})" if kinds & _NO_ANSWER else f"the hub refused it ({words})"
