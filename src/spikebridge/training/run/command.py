"""The command that makes a run again, as a report shows it."""

from dataclasses import fields
from shlex import quote
from typing import Any


def train_command(recipe: str, config: Any) -> str:
    """What trains the same once more: the options that differ from the defaults.

    Args:
        recipe: its name.
        config: a dataclass of its settings.

    Example:
        >>> from spikebridge.networks.sensing.recipe import Config
        >>> train_command("sensing", Config(networks=("fixed", "none"), num_seeds=3, clips=True))
        'spikebridge train sensing --networks fixed none --num-seeds 3 --clips'
        >>> train_command("sensing", Config(recording="my disk"))
        "spikebridge train sensing --recording 'my disk'"
    """
    words = [f"spikebridge train {recipe}"]
    for setting in fields(config):
        value, option = getattr(config, setting.name), setting.name.replace("_", "-")
        if value == setting.default:
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", *(quote(str(one)) for one in (value if isinstance(value, tuple) else (value,)))]
    return " ".join(words)
