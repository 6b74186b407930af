"""Links and their units as files of a bundle: numbers, an ONNX file for the nonlinearity, a NIR file for Fire."""

from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.deploy.bundle import file_name
from spikebridge.deploy.bundle_draft import Draft, rhythm
from spikebridge.deploy.bundle_functions import DiscretizerFunction, KernelFunction, check_function
from spikebridge.deploy.bundle_parts import node_of_path
from spikebridge.deploy.bundle_recording import Sample
from spikebridge.deploy.bundle_stages import FUNCTION, is_known, stage_record
from spikebridge.deploy.manifest import LinkRecord, Setting, StageRecord, UnitRecord
from spikebridge.deploy.nir_write import to_nir
from spikebridge.deploy.onnx_write import write_onnx
from spikebridge.errors import ExportError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Kernel, Modulation, Transmission
from spikebridge.hybrid.discretizer import Fire
from spikebridge.hybrid.route import Route


def write_link(draft: Draft, network: HybridNetwork, route: Route, sample: Sample) -> LinkRecord:
    """Writes a link with its unit.

    Args:
        draft: the bundle on its way.
        network: in eval mode.
        route: the link.
        sample: what it carried.

    Raises:
        ExportError: a stage of the unit that no bundle holds; the message names the link and the stage.
    """
    link, unit = route.link, network.unit_of(route)
    tensors: dict[str, Tensor] = {}
    record = None if unit is None else _unit(draft, network, route, unit, sample, tensors)
    shape = tuple(sample.carried(route).shape[2:])
    initial: float | None = 0.0
    if isinstance(link, Transmission) and isinstance(link.initial, Tensor):
        initial, tensors["initial"] = None, link.initial.float().expand(shape)
    elif isinstance(link, Transmission):
        initial = float(link.initial)
    numbers = draft.save_tensors(f"units/{file_name(route.name)}.safetensors", tensors) if tensors else None
    acts: dict[str, Any] = {}
    if isinstance(link, Modulation):
        node, quantity = node_of_path(link.path)
        acts = {"kind": "modulation", "node": node, "quantity": quantity, "by": link.by}
    return LinkRecord(
        **{"kind": "transmission", **acts},
        name=route.name,
        source=link.source,
        target=link.part,
        shape=shape,
        emits=rhythm(route.clock),
        held=link.held,
        delay=link.delay,
        into=route.into,
        context=link.context,
        initial=initial,
        unit=record,
        numbers=numbers,
    )


def _unit(
    draft: Draft, network: HybridNetwork, route: Route, unit: HybridUnit, sample: Sample, tensors: dict[str, Tensor]
) -> UnitRecord:
    stages: dict[str, Any] = {}
    for stage in ("window", "kernel", "discretizer"):
        module = getattr(unit, stage)
        if isinstance(module, Fire):
            stages["fires"] = _fire(draft, network, route, unit, module, sample)
        elif module is not None and stage != "window" and not is_known(module):
            stages |= _function(draft, route, unit, sample, stage)
        elif module is not None:
            stages[stage], own = stage_record(module, f"the {stage} of link {route.name!r}")
            tensors |= {f"{stage}.{name}": value for name, value in own.items()}
    if unit.nonlinearity is not None and not isinstance(unit.nonlinearity, nn.Identity):
        signals = {"value": _after(route, unit, sample, "kernel").flatten(0, 1)[0]}
        if route.link.context is not None:
            signals["context"] = sample.signal(route.link.context)[0]
        content = write_onnx(unit.nonlinearity, signals, name=f"the nonlinearity of link {route.name!r}")
        stages["nonlinearity"] = draft.save(f"ann/{file_name(route.name)}.unit.onnx", content)
    return UnitRecord(**stages)


def _function(draft: Draft, route: Route, unit: HybridUnit, sample: Sample, stage: str) -> dict[str, Any]:
    """A stage that is not known by name, as a function of one window."""
    where = f"the {stage} of link {route.name!r}"
    values = _after(route, unit, sample, "window" if stage == "kernel" else "nonlinearity")
    check_function(unit, stage, values, where)
    settings: dict[str, Setting]
    function: nn.Module
    if isinstance(unit.kernel, Kernel) and stage == "kernel":
        function, settings = KernelFunction(unit.kernel), {"keep": False}
    else:
        discretizer: Any = unit.discretizer
        length = unit.window.length or 1 if unit.window is not None else 1
        function, settings = DiscretizerFunction(discretizer, length), {"kind": discretizer.kind}
    content = write_onnx(function, {"value": values[0].movedim(0, 1)}, name=where)
    file = draft.save(f"ann/{file_name(route.name)}.{stage}.onnx", content)
    return {stage: StageRecord(FUNCTION, settings), f"{stage}_function": file}


def _fire(draft: Draft, network: HybridNetwork, route: Route, unit: HybridUnit, fire: Fire, sample: Sample) -> str:
    try:
        x = _after(route, unit, sample, "nonlinearity").flatten(0, 1)
        written = to_nir(fire.layer, x, dt=route.clock.period * network.dt)
    except ExportError as reason:
        raise ExportError(f"the layer of Fire in link {route.name!r}: {reason}") from None
    return draft.save(f"units/{file_name(route.name)}.nir", written.content())


def _after(route: Route, unit: HybridUnit, sample: Sample, stage: str) -> Tensor:
    """What a stage of a unit gives on the sample, `(K, M, B, *N)`."""
    x = sample.signal(route.link.source)
    opens = torch.zeros(len(x), dtype=torch.bool) if route.trigger is not None else None
    context = None
    if route.link.context is not None:
        number = len(unit.window.cut(x, None)[0]) if unit.window is not None and unit.form == "cut" else len(x)
        context = sample.signal(route.link.context)[:1]
        context = context.expand(number, *context.shape[1:])
    with torch.no_grad():
        stages, _ = unit.stages(x, None, opens=opens, context=context)
    values: Tensor = getattr(stages, stage)
    if not len(values):
        raise ExportError(f"the unit of link {route.name!r} closes no window on the sample; give a longer one")
    return values
