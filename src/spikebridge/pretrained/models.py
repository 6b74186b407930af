"""The networks that come with the package: a card for each, and loading one.

The texts of a card stand in `card.json` next to the weights; sizes, settings, figures and revision come from the record
of the training. Reading cards needs no torch.
"""

from dataclasses import dataclass
from functools import reduce
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikebridge.data.catalog import DATA_SETS
from spikebridge.data.io.json_text import read_json
from spikebridge.data.io.safe_open import checked_file
from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.pretrained import shipped, shipped_run
from spikebridge.pretrained.network import check_seed, network_of_run
from spikebridge.training.run.run import Run

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelCard:
    """Facts about a pretrained network before it is used.

    `num_values` counts weights and buffers of one network, `num_bytes` its files of weights of every seed. `data` has
    name, used part, licence and source of each data set of the training; `generated` is about data that the training
    made itself. `revision` is the git commit of the sources, with `-dirty` if they were changed.
    """

    name: str
    about: str
    returns: str
    num_values: int
    num_bytes: int
    weights_licence: str
    data: tuple[tuple[str, str, str, str], ...]
    generated: str
    figures: tuple[tuple[str, str], ...]
    command: str
    revision: str


def model_cards() -> list[ModelCard]:
    """The cards of all pretrained networks, in order."""
    return [model_card(name) for name in shipped()]


def model_card(name: str) -> ModelCard:
    """The card of one pretrained network.

    Example:
        >>> model_card("sensing_research").data[0][:3]
        ('fe240hz', 'training part of the recording', 'not stated: research use only')
        >>> model_card("sensin")
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: no pretrained network 'sensin': did you mean 'sensing'? Known: ...
    """
    run = _run(name)
    written: Any = read_json(run.file("card.json"), "the card of a pretrained network")
    files = sorted(run.path.rglob("*.safetensors"))
    results = run.results()
    known = {one.name: one for one in DATA_SETS}

    return ModelCard(
        name=name,
        about=written["about"],
        returns=written["returns"],
        num_values=_num_values(next(file for file in files if file.name == "weights.safetensors")),
        num_bytes=sum(file.stat().st_size for file in files),
        weights_licence=written["weights_licence"],
        data=tuple((one, used, known[one].licence, known[one].source) for one, used in written["data"]),
        generated=written["generated"].format_map(run.config),
        figures=tuple((what, _figure(results, value, spread)) for what, value, spread in written["figures"]),
        command=written["command"],
        revision=str(run.environment().get("git_revision")),
    )


def load_pretrained(name: str, *, seed: int | None = None) -> "nn.Module":
    """A pretrained network with its weights, in eval mode, on the CPU.

    Args:
        name: a network that comes with the package (`spikebridge models` lists them), or `hf://owner/name`, a run on a
            Hugging Face hub (extra `hub`).
        seed: the seed of its training, where there are several; None takes the one that the card names.

    Returns:
        A new module: changing it changes no other.

    Raises:
        ConfigError: no network has that name or seed.

    Example:
        >>> import spikebridge
        >>> unit = spikebridge.load_pretrained("reasoning")
        >>> (type(unit).__name__, unit.training)
        ('CollisionUnit', False)
        >>> spikebridge.load_pretrained("reasoning", seed=7)
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: 'reasoning' has no seed 7; it has 0, 1, 2
    """
    if name.startswith("hf://"):
        from spikebridge.pretrained.hub import load_from_hub

        return load_from_hub(name, seed=seed)

    # a part that is trained on its own has no recipe
    run = _run(name)
    if run.recipe == name and not run.children():
        from copy import deepcopy

        from spikebridge.pretrained.perception import shipped_detector, shipped_parser, shipped_predictor

        parts = {
            "reasoning_detector": shipped_detector,
            "reasoning_parser": shipped_parser,
            "reasoning_predictor": shipped_predictor,
        }
        check_seed(name, seed, {run.config["seed"]: run})
        return deepcopy(parts[name]())

    return network_of_run(run, name, seed)


def _run(name: str) -> Run:
    run = shipped_run(name)
    if run is None:
        raise ConfigError(f"no pretrained network {name!r}: {did_you_mean(name, shipped())}")
    return run


def _num_values(file: Path) -> int:
    from safetensors import safe_open

    with safe_open(checked_file(file, "weights"), framework="numpy") as tensors:
        return sum(prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118 - not a dict


def _figure(results: dict[str, Any], value: list[Any], spread: list[Any] | None) -> str:
    """A value of the results as text, with its standard deviation over seeds."""
    number = _lookup(results, value)
    deviation = None if spread is None else _lookup(results, spread)
    text = f"{number:.4g}"
    return text if deviation is None else f"{text} ± {deviation:.2g}"


def _lookup(results: dict[str, Any], path: list[Any]) -> float:
    try:
        value: Any = reduce(lambda node, key: node[key], path, results)
        return float(value)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"the results of a pretrained network have no number at {path}") from error
