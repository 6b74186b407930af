"""The command that makes a run again, as a report shows it."""

from dataclasses import fields, is_dataclass
from shlex import quote
from typing import Any


def train_command(recipe: str, config: Any) -> str:
    """What trains the same once more: the options that differ from the defaults.

    Args:
        recipe: its name.
        config: a dataclass of its settings.

    Example:
        >>> from spikebridge.networks.sensing.recipe import Config, ModelConfig
        >>> train_command("sensing", Config(networks=("fixed", "none"), num_seeds=3, clips=True))
        'spikebridge train sensing --networks fixed none --num-seeds 3 --clips'
        >>> train_command("sensing", Config(recording="my disk", model=ModelConfig(crop=48)))
        "spikebridge train sensing --recording 'my disk' --model.crop 48"
    """
    return " ".join([f"spikebridge train {recipe}", *_options(config)])


def _options(settings: Any, group: str = "") -> list[str]:
    """The options that differ from the defaults, those of inner groups with the group's name."""
    words = []
    for setting in fields(settings):
        value, option = getattr(settings, setting.name), setting.name.replace("_", "-")
        if is_dataclass(value):
            words += _options(value, f"{group}{option}.")
        elif value == setting.default:
            continue
        elif isinstance(value, bool):
            words.append(f"--{group}{option}" if value else f"--{group}no-{option}")
        else:
            words.append(f"--{group}{option}")
            words += [quote(str(one)) for one in (value if isinstance(value, tuple) else (value,))]
    return words
