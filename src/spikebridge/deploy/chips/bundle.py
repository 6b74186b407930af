"""The parts on a chip in a bundle: `chips/NAME/PART.json` and `.safetensors`. No torch is needed to run them."""

from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.manifest import ChipRecord
from spikebridge.deploy.chips.catalog import chip_of
from spikebridge.deploy.chips.chip import ChipSpec
from spikebridge.deploy.chips.model import ChipModel, read_record
from spikebridge.deploy.integer.bundle import Signals, integer_runner, sample_signals
from spikebridge.deploy.runtime.runner import Runner
from spikebridge.deploy.stages.kernels import Forms
from spikebridge.errors import ConfigError, DataError


def _chip_record(bundle: Bundle, name: str) -> ChipRecord:
    """The record of a chip in a bundle."""
    for record in bundle.manifest.chips:
        if record.name == name:
            return record

    known = ", ".join(record.name for record in bundle.manifest.chips) or "none"
    raise DataError(
        f"{bundle.path} has no parts on the chip {name!r}, but on {known}; `spikebridge quantize RUN --chip {name}` "
        "makes a bundle with them"
    )


def chip_models(bundle: Bundle, chip: ChipSpec | str) -> dict[str, ChipModel]:
    """The parts of a bundle on a chip by name."""
    chip = chip_of(chip) if isinstance(chip, str) else chip
    models = {}
    for part, stem in _chip_record(bundle, chip.name).parts.items():
        where = f"{bundle.path}/{stem}.json"
        record = read_record(bundle.read(f"{stem}.json").decode("utf-8", "replace"), where)
        expected = bundle.manifest.parts.get(part)
        if expected is None or expected.shape != record.populations[-1].shape or record.part != part:
            raise DataError(f"{where} is of another network: the bundle has no part {part!r} of its shape")

        models[part] = ChipModel(chip, record, bundle.numbers(f"{stem}.safetensors"))

    return models


def chip_runner(bundle: Bundle, chip: ChipSpec | str, stages: Forms = None) -> Runner:
    """The network of a bundle with its parts on a chip in that chip's integers, the others as they are.

    Args:
        bundle: an opened bundle that `spikebridge quantize RUN --chip NAME` wrote.
        chip: the chip, or its name.
        stages: forms of user-defined stages by record name.

    Raises:
        ConfigError: there is no such chip.
        DataError: the bundle has no parts on it, or a file is damaged.
    """
    return Runner(bundle, chip_models(bundle, chip), stages=stages)


def bundle_runner(bundle: Bundle, integers: bool = False, chip: ChipSpec | None = None) -> Runner:
    """The runner of a bundle: in floats, its integer model, or with its parts on a chip."""
    if integers and chip is not None:
        raise ConfigError("--integers and --chip run the same parts; give one of them")
    if chip is not None:
        return chip_runner(bundle, chip)
    return integer_runner(bundle) if integers else Runner(bundle)


def recorded_signals(bundle: Bundle, name: str) -> Signals:
    """The signals of the pair in torch on the bundle's sample."""
    return sample_signals(bundle.manifest, bundle.numbers(_chip_record(bundle, name).sample))
