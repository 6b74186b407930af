"""One NIR node in the terms of this package: kind, numbers and settings. No torch is needed.

NIR (J. E. Pedersen et al., Nature Communications 15:8122, 2024) describes continuous time. Its `LIF` is
`tau dv/dt = (v_leak - v) + r I`. With the input constant over a step of `dt` the exact solution is

    v = v_leak + decay (v - v_leak) + (1 - decay) r I,    decay = exp(-dt / tau)

and ours adds `r x` unscaled, so `r_ours = r_nir (1 - decay)`. A simulator that steps by Euler has the same with
`decay = 1 - dt / tau`; Spyx has that decay, but adds x as it is, whatever its files say of r. `IF` has no leak:
`r_ours = r_nir dt`. `CubaLIF` is integrated current first, then membrane, each exactly:
`i_ours = i_nir / (w_in (1 - decay_syn))`. NIR fires at `v > v_threshold`, this package at `v >= v_threshold`.

NIR has no field for a reset that is not to a value, a refractory time and an initial membrane; a node's metadata hold
them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.nir.file import one_line_errors
from spikebridge.errors import DataError

Integration: TypeAlias = Literal["exact", "euler"]
Reading: TypeAlias = Literal["exact", "euler", "unscaled"]
Reset: TypeAlias = Literal["zero", "subtract", "none"]
Array: TypeAlias = NDArray[Any]
Quantities: TypeAlias = tuple[str, dict[str, Array], dict[str, Any]]  # kind, numbers, settings

_MAX_STEPS = 1 << 20
_RESETS_OF_VERSION_1 = {"hard": "zero", "soft": "subtract"}


@dataclass(frozen=True)
class Step:
    """The integration of a membrane over `dt` seconds; "unscaled" leaks as by Euler, and adds its input as it is."""

    dt: float
    method: Reading = "exact"

    def leaking(self, tau: Any, who: str) -> tuple[Array, Array]:
        """The time constant with which an exact step leaks as much, and the share of the drive in a step."""
        tau = floats(tau)
        if not (tau > 0).all():
            raise DataError(f"{who} needs time constants above 0 s, but has {tau.min()}")
        if self.method == "exact":
            return tau, floats(-np.expm1(-self.dt / tau))

        share = floats(self.dt / tau)
        if (share > 1).any():
            raise DataError(f"{who} has a time constant of {tau.min()} s, shorter than the Euler step of {self.dt} s")

        with np.errstate(divide="ignore"):
            # a membrane that leaks all in one step gets a time constant so short that nothing is left
            exact = np.where(share < 1, -self.dt / np.log1p(-np.minimum(share, 1)), self.dt * 1e-3)

        return exact, share

    def taken(self, r: Any, *shares: Array | float) -> Array:
        """The part of its input that a membrane takes in a step."""
        if self.method == "unscaled":
            return np.ones_like(floats(r))

        product = floats(r)
        for share in shares:
            product = product * share

        # a product of arrays without axes is a number
        return np.asarray(product)


def quantities_of(name: str, node: Any, step: Step, reset: Reset | None = None) -> Quantities:
    """Kind, numbers and settings of a NIR node; IF becomes a LIF without leak, I and LI an Integrator.

    A `reset` replaces that of the node's metadata.
    """
    kind = type(node).__name__
    make = _KINDS.get(kind)
    if make is None:
        raise DataError(f"the NIR node {name!r} is a {kind}, which is not known; known are {', '.join(_KINDS)}")

    with one_line_errors(f"the NIR node {name!r} ({kind})"):
        kind, numbers, settings = make(node, step)
        for key, value in numbers.items():
            # a time constant without end is a neuron without leak
            endless = key.startswith("tau") and bool((value > 0).all())
            if not endless and not np.isfinite(value).all():
                raise DataError(f"{key} is not finite")

        metadata = node.metadata if isinstance(node.metadata, Mapping) else {}
        if kind in ("LIF", "CubaLIF"):
            settings |= _firing_settings(metadata, reset)

        if "v_initial" in metadata and "v_leak" in numbers and bool(np.isinf(numbers["tau"]).all()):
            numbers["v_leak"] = floats(metadata["v_initial"])

    return kind, numbers, settings


def uniform(values: Array) -> Array | float:
    """One float where all values are the same."""
    first = values.flat[0] if values.size else 0.0
    return float(first) if bool((values == first).all()) else values


def floats(value: Any) -> Array:
    """Numbers as float64; some writers keep torch tensors in a graph."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, dtype=np.float64)


def _firing_settings(metadata: Mapping[str, Any], reset: Reset | None) -> dict[str, Any]:
    # NIR has no field for either
    kind = reset or str(metadata.get("reset", "zero"))
    if reset is None:
        kind = _RESETS_OF_VERSION_1.get(kind, kind)

    if kind not in get_args(Reset):
        new = _RESETS_OF_VERSION_1.get(kind)
        raise DataError(
            f"the reset is {kind!r}; {f'it is now {new!r}' if new else 'known are zero, subtract and none'}"
        )

    refractory = int(metadata.get("refractory_steps", 0))
    if not 0 <= refractory <= _MAX_STEPS:
        raise DataError(f"it is refractory for {refractory} steps")

    return {"reset": kind, "refractory": refractory}


def _weights(node: Any) -> dict[str, Array]:
    return {name: floats(getattr(node, name)).astype(np.float32) for name in ("weight", "bias") if hasattr(node, name)}


def _threshold(node: Any) -> dict[str, Array]:
    reset = getattr(node, "v_reset", None)
    threshold = floats(node.v_threshold)
    return {"v_threshold": threshold, "v_reset": np.zeros_like(threshold) if reset is None else floats(reset)}


def _linear(node: Any, step: Step) -> Quantities:
    return "Affine", _weights(node), {}


def _conv(node: Any, step: Step) -> Quantities:
    num_axes = 1 if type(node).__name__ == "Conv1d" else 2
    numbers = _weights(node)
    if numbers["weight"].ndim != num_axes + 2:
        raise DataError(f"a weight of shape {numbers['weight'].shape} is no kernel over {num_axes} axes")

    settings: dict[str, Any] = {name: _sizes(getattr(node, name), num_axes) for name in ("stride", "dilation")}
    settings["padding"] = _padding(node.padding, numbers["weight"].shape[2:], settings["dilation"])
    settings["groups"] = int(np.asarray(node.groups))
    if not 1 <= settings["groups"] <= len(numbers["weight"]):
        raise DataError(f"groups are {settings['groups']}")

    return f"Conv{num_axes}d", numbers, settings


def _pool(node: Any, step: Step) -> Quantities:
    settings = {name: _sizes(getattr(node, name), 2) for name in ("kernel_size", "stride")}
    return type(node).__name__, {}, {**settings, "padding": _sizes(node.padding, 2, smallest=0)}


def _sizes(value: Any, num_axes: int, smallest: int = 1) -> tuple[int, ...]:
    sizes = np.ravel(np.asarray(value)).astype(np.int64)
    sizes = np.repeat(sizes, num_axes) if sizes.size == 1 else sizes
    if sizes.size != num_axes or (sizes < smallest).any() or (sizes > _MAX_STEPS).any():
        raise DataError(f"{sizes.tolist()} are no sizes over {num_axes} axes")
    return tuple(int(n) for n in sizes)


def _padding(value: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    mode = value.decode() if isinstance(value, bytes) else value
    if not isinstance(mode, str):
        return tuple((n, n) for n in _sizes(value, len(kernel), smallest=0))
    if mode not in ("same", "valid"):
        raise DataError(f"a padding is 'same', 'valid' or a number, but got {mode!r}")

    # an even kernel has one more zero behind than before, as in torch
    spans = [d * (k - 1) if mode == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
    return tuple((span // 2, span - span // 2) for span in spans)


def _flat(node: Any, step: Step) -> Quantities:
    return "Flatten", {}, {"start_dim": int(node.start_dim), "end_dim": int(node.end_dim)}


def _scale(node: Any, step: Step) -> Quantities:
    metadata = node.metadata if isinstance(node.metadata, Mapping) else {}
    return "Scale", {"gate" if metadata.get("quantity") == "gate" else "gain": floats(node.scale)}, {}


def _step_function(node: Any, step: Step) -> Quantities:
    return "Threshold", {"v_threshold": floats(node.threshold)}, {}


def _delay(node: Any, step: Step) -> Quantities:
    steps = np.rint(floats(node.delay) / step.dt)
    if steps.size == 0 or not ((steps >= 0) & (steps <= _MAX_STEPS)).all():
        raise DataError(f"delays are 0 to {_MAX_STEPS} steps of {step.dt:g} s, but are {steps.ravel()[:4]}")
    return "Delay", {"ticks": steps.astype(np.int64)}, {}


def _leaky(node: Any, step: Step) -> dict[str, Array]:
    # I and IF have no leak, and integrate over seconds
    if not hasattr(node, "tau"):
        r = floats(node.r)
        return {"tau": np.full_like(r, np.inf), "v_leak": np.zeros_like(r), "r": step.taken(r, step.dt)}

    tau, share = step.leaking(node.tau, type(node).__name__)
    return {"tau": tau, "v_leak": floats(node.v_leak), "r": step.taken(node.r, share)}


def _integrator(node: Any, step: Step) -> Quantities:
    return "Integrator", _leaky(node, step), {}


def _lif(node: Any, step: Step) -> Quantities:
    return "LIF", {**_leaky(node, step), **_threshold(node)}, {}


def _cuba(node: Any, step: Step) -> Quantities:
    kind = type(node).__name__
    tau, share = step.leaking(node.tau_mem, kind)
    tau_syn, share_syn = step.leaking(node.tau_syn, kind)
    r = step.taken(node.r, share, floats(node.w_in), share_syn)
    numbers = {"tau": tau, "tau_syn": tau_syn, "v_leak": floats(node.v_leak), "r": r}

    return kind, {**numbers, **(_threshold(node) if kind == "CubaLIF" else {})}, {}


_KINDS: dict[str, Callable[[Any, Step], Quantities]] = {
    "Affine": _linear,
    "Linear": _linear,
    "Conv1d": _conv,
    "Conv2d": _conv,
    "AvgPool2d": _pool,
    "SumPool2d": _pool,
    "Flatten": _flat,
    "Scale": _scale,
    "Threshold": _step_function,
    "Delay": _delay,
    "I": _integrator,
    "LI": _integrator,
    "IF": _lif,
    "LIF": _lif,
    "CubaLI": _cuba,
    "CubaLIF": _cuba,
}
KINDS = (*_KINDS, "Input", "Output", "NIRGraph")
