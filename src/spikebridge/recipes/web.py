"""Trained networks as a web page: the networks of a run or of a bundle, and the inputs that their recipe offers."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikebridge.analysis.energy import hardware_profile
from spikebridge.deploy.web.compiler import check_compiler
from spikebridge.deploy.web.inputs import WebInputs
from spikebridge.deploy.web.modules import Prices
from spikebridge.deploy.web.page import PageNetwork, WrittenPage, write_page
from spikebridge.errors import DataError
from spikebridge.recipes.bundle import class_names
from spikebridge.recipes.load import RECIPES, load_recipe
from spikebridge.recipes.recipe import Recipe, defines
from spikebridge.recipes.target import Target

if TYPE_CHECKING:
    from spikebridge.analysis.templates import Drawing
    from spikebridge.deploy.bundle.bundle import Bundle

_PROFILE = "45nm-int8"


def bundle_page(bundle: "Bundle", out: Path, *, folder: bool) -> WrittenPage:
    """Writes the integer model of a bundle as a page."""
    check_compiler()
    network, inputs = _bundle_network(bundle)
    return write_page(out, inputs.title, [network], inputs, page_prices(), folder=folder)


def _bundle_network(bundle: "Bundle") -> tuple[PageNetwork, WebInputs]:
    """The network of a bundle, and the inputs that its recipe offers."""
    from spikebridge.analysis.plots.bundle_diagram import draw_bundle
    from spikebridge.deploy.c.export import bundle_sample

    model, sample, ticks = bundle_sample(bundle)
    card = bundle.manifest.card
    recipe = str(card.get("recipe", ""))
    name = str(card.get("network") or bundle.path.resolve().stem)
    module = load_recipe(recipe) if recipe in RECIPES else None
    inputs = _inputs_of(module, recipe, card.get("config"), card.get("results"))
    if not inputs.classes and inputs.answer is not None:
        inputs = replace(inputs, classes=class_names(bundle))

    about = inputs.networks.get(name, "")
    return PageNetwork(name, about, model, sample, ticks, _drawings(draw_bundle(asdict(bundle.manifest)))), inputs


def _drawings(drawing: "Drawing") -> tuple[str, str]:
    """The wide and the narrow form of a drawing."""
    return (drawing.narrow if drawing.is_too_wide else str(drawing)), drawing.narrow


def run_page(
    target: Target,
    network: str | None,
    out: Path,
    data: Path | None,
    progress: Callable[[str], None],
    *,
    folder: bool,
) -> WrittenPage:
    """Writes the trained networks of a run as a page, one of each name, side by side."""
    check_compiler()
    networks, inputs = run_networks(target, network, data, progress)
    return write_page(out, inputs.title, networks, inputs, page_prices(), folder=folder)


def run_networks(
    target: Target, network: str | None, data: Path | None, progress: Callable[[str], None]
) -> tuple[list[PageNetwork], WebInputs]:
    """The trained networks of a run, quantised to 8 bits, and the inputs that its recipe offers."""
    from spikebridge.analysis.plots.network_diagram import draw_network
    from spikebridge.recipes.quantize import QuantizeOptions, quantized_networks

    run = target.trained_run()
    first, _, trained = target.trained_network(network)
    results = trained.results() if trained.finished else {}
    inputs = _inputs_of(target.recipe, run.recipe, run.config, results)
    networks: dict[str, PageNetwork] = {}
    numbers: dict[str, dict[str, Any]] = {}

    for path, quantized in quantized_networks(
        target.recipe, run, QuantizeOptions(network=network, data=data), progress
    ):
        name = path.partition("/")[0]
        if name not in networks:
            about = inputs.networks.get(name, "")
            sample = quantized.integer_inputs()
            drawings = _drawings(draw_network(quantized.trained))
            numbers[name] = {key: x.detach().numpy() for key, x in quantized.trained.state_dict().items()}
            networks[name] = PageNetwork(name, about, quantized.model, sample, quantized.ticks, drawings)

    if not networks:
        raise DataError(f"{run.path} has no weights of {first!r}")

    # as the recipe lists them, the hybrid first
    order = [name for name in target.recipe.build(target.settings) if name in networks]
    if defines(target.recipe, "trained_web"):
        inputs = target.recipe.trained_web(inputs, numbers[order[0]])

    return [networks[name] for name in order], inputs


def page_prices() -> Prices:
    """The prices of operations on 8-bit integers."""
    profile = hardware_profile(_PROFILE)
    return Prices(profile.mac, profile.ac, profile.title)


def _inputs_of(recipe: Recipe | None, name: str, config: Any, results: Any) -> WebInputs:
    inputs = WebInputs()
    if recipe is not None and defines(recipe, "web"):
        inputs = recipe.web(config or {}, results or {})

    return inputs if inputs.title else replace(inputs, title=f"A network of {name}" if name else "A network")
