"""Networks on live streams: the step function of a network, a tracker or a bundle, and the stream that it needs."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikebridge.errors import ConfigError, DataError
from spikebridge.recipes.bundle import is_bundle, open_bundle
from spikebridge.recipes.load import RECIPES, load_recipe, recipe_file
from spikebridge.recipes.recipe import defines
from spikebridge.recipes.target import OwnRecipe, Target, resolve_target

if TYPE_CHECKING:
    from spikebridge.deploy.bundle.bundle import Bundle
    from spikebridge.deploy.streaming.samples import SampleSteps


def run_tracker(target: Target, network: str | None = None) -> Any:
    """A network of a run as a tracker; None if its recipe has none."""
    return target.recipe.tracker(target.trained_run(), network) if defines(target.recipe, "tracker") else None


def bundle_tracker(word: str, own: OwnRecipe, integers: bool) -> Any:
    """The network of a bundle as a tracker; None if its recipe has none."""
    name = open_bundle(word, own).manifest.card.get("recipe")
    if name not in RECIPES:
        return None

    recipe = load_recipe(name)
    return recipe.bundle_tracker(Path(word), integers) if defines(recipe, "bundle_tracker") else None


def event_steps(
    word: str, network: str | None, own: OwnRecipe, options: dict[str, Any], integers: bool, chip: Any = None
) -> Any:
    """The step function `output, state = step(inputs, state)` of a stream of events, and its `StreamRequest`.

    `options` are those of a tracker; `integers` chooses the integer model of a bundle, `chip` its parts on a chip.
    """
    if is_bundle(word):
        bundle = open_bundle(word, own, network)
        tracker = None if chip is not None else bundle_tracker(word, own, integers)
    else:
        target = resolve_target(word, own, network)
        tracker = run_tracker(target, network)

    from spikebridge.data.streams.sources import StreamRequest

    if tracker is not None:
        tracker = tracker.with_options(**options)
        return _tracker_steps(tracker), StreamRequest(tracker.sensing.dt, tracks_target=True)

    if is_bundle(word):
        from spikebridge.deploy.streaming.network import bundle_steps

        steps = bundle_steps(bundle, integers=integers, chip=chip)
    else:
        from spikebridge.deploy.streaming.torch_network import network_steps

        name, trained, _ = target.trained_network(network)
        inputs = target.inputs(trained)
        steps = network_steps(trained, inputs if isinstance(inputs, dict) else {name: inputs})

    spec = steps.spec
    return steps, StreamRequest(
        spec.bin,
        sensor=spec.sensor,
        frame=spec.frame,
        counts=spec.counts,
        max_together=steps.max_together,
        frames_on_demand=steps.wanted is not None,
    )


def _tracker_steps(tracker: Any) -> Any:
    """The step of a tracker with plain values as output."""

    def step(inputs: Any, state: Any) -> tuple[dict[str, Any], Any]:
        box, state = tracker.step(inputs, state)
        plain = {"confidence": round(float(state.confidence), 4), "lost": bool(state.lost)}
        return {"box": [round(float(value), 3) for value in box], **plain}, state

    return step


def sample_steps(word: str, network: str | None, own: OwnRecipe, integers: bool, chip: Any = None) -> Any:
    """The step function `answer, state = step(blocks, state)` of a stream of samples, and its `SampleRequest`."""
    from spikebridge.data.streams.samples import SampleRequest

    if is_bundle(word):
        steps = _bundle_sample_steps(open_bundle(word, own, network), integers, chip)
    else:
        from spikebridge.deploy.streaming.samples import SampleSteps

        _, trained, run = resolve_target(word, own, network).trained_network(network)
        reader = _sample_reader(word, run.recipe, run.config, run.results() if run.finished else {})
        from spikebridge.deploy.streaming.torch_network import network_advance

        steps = SampleSteps(reader, frozenset(trained.inputs), network_advance(trained))

    steps.warm_up()
    front = steps.reader.front_end

    return steps, SampleRequest(front.rate_hz, front.num_channels, front.block)


def sensor_steps(
    word: str,
    network: str | None,
    own: OwnRecipe,
    sources: Mapping[str, Path],
    speed: float,
    integers: bool = False,
    chip: Any = None,
) -> Any:
    """The step function of a network of several sensors, and the stream of their files and folders by input."""
    running: Any
    if is_bundle(word):
        from spikebridge.deploy.chips.bundle import bundle_runner
        from spikebridge.deploy.streaming.network import runner_advance

        bundle = open_bundle(word, own, network)
        card = bundle.manifest.card
        recipe = str(card.get("recipe"))
        results = card.get("results") or {}
        running = bundle_runner(bundle, integers, chip)
        outputs: Any = bundle.manifest.outputs
        inputs: Any = {name: (one.clock.period, one.shape) for name, one in bundle.manifest.inputs.items()}
        dt = bundle.manifest.dt
        advance = runner_advance(running)
    else:
        from spikebridge.deploy.streaming.torch_network import network_advance

        target = resolve_target(word, own, network)
        _, running, run = target.trained_network(network)
        recipe = run.recipe
        results = run.results()
        outputs = running.outputs if defines(target.recipe, "stream_inputs") else ()
        inputs = target.recipe.stream_inputs(run, running) if outputs else {}
        dt = running.dt
        advance = network_advance(running)

    stream = _stream_module(word, recipe, "open_sensors", "NAME=SOURCE is for senses")
    steps = stream.sensor_steps(outputs, inputs, dt, advance, running.wanted, results.get("classes", ()))
    if steps is None:
        raise ConfigError(
            f"{word} gives no answer on several sensors; NAME=SOURCE is for networks of senses that name classes"
        )

    return steps, stream.open_sensors(sources, steps, speed)


def run_samples(
    bundle: "Bundle", file: Path, integers: bool, chip: Any = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The inputs of a bundle from a file of samples, through the front end of its recipe, and the answers of `live`.

    Zeros fill the end.
    """
    import numpy as np

    from spikebridge.data.signals.files import read_series
    from spikebridge.data.streams.samples import SampleReplay, SampleRequest

    steps = _bundle_sample_steps(bundle, integers, chip)
    front = steps.reader.front_end
    series = read_series(file)
    if len(series) != 1:
        raise DataError(f"{file}: expected one series, but there are {len(series)}; `live --signal` plays all of them")

    replay = SampleReplay(series, SampleRequest(front.rate_hz, front.num_channels, front.block), name=str(file))
    blocks = replay.inputs(0, replay.num_blocks)
    inputs, _ = front.advance(np.concatenate(blocks), front.initial_state())
    steps(blocks, None)

    return {name: x for name, x in inputs.items() if name in bundle.manifest.inputs}, steps.finish()


def _bundle_sample_steps(bundle: "Bundle", integers: bool, chip: Any) -> "SampleSteps":
    from spikebridge.deploy.streaming.network import bundle_advance
    from spikebridge.deploy.streaming.samples import SampleSteps

    card = bundle.manifest.card
    reader = _sample_reader(f"{bundle.path}", str(card.get("recipe")), card.get("config"), card.get("results"))

    return SampleSteps(reader, frozenset(bundle.manifest.inputs), bundle_advance(bundle, integers=integers, chip=chip))


def _sample_reader(word: str, recipe: str, config: Any, results: Any) -> Any:
    module = _stream_module(
        word, recipe, "sample_reader", "--signal FILE is for signals; senses have --signal NAME=FILE"
    )
    return module.sample_reader(config or {}, results or {})


def _stream_module(word: str, recipe: str, hook: str, others: str) -> Any:
    """The module of a recipe that reads streams."""
    if recipe in RECIPES and recipe_file(recipe).with_name("stream.py").is_file():
        module = importlib.import_module(f"spikebridge.networks.{recipe}.stream")
        if hasattr(module, hook):
            return module

    raise ConfigError(f"{word} is of the recipe {recipe!r}, which reads no such stream; {others}")
