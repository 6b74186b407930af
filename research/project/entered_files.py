"""Lists the files of the package that a call enters: those with a function that is called, by `sys.setprofile`.

    python research/project/entered_files.py                                  # the installed package
    PYTHONPATH=/path/to/src python research/project/entered_files.py --only unit network

`__init__` files and what runs while a module is imported do not count. `layout.py` makes a table of it. The calls:

- neuron: a step of LIF neurons, which runs the plain step function
- neuron steps: 24 steps of them at once, by the native library
- unit: a unit with all four steps and no neuron, on one signal
- network: two plain parts with delays, so that only the network's own files count
- spiking network: a network with a spiking part, a unit and a modulation
Each of these is called twice: the first call begins a stream, checks its signal and prepares what runs; the later one
continues the stream.

- training: `train sensing --preset quick`; the training loop alone with all that it calls, its files in `training/`,
  the recipe's `train` with its data and scores, and the whole command with its report
- tracker: `track` on a generated recording; the box of a bin of events alone, and six bins of which one has a frame
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import sys
import threading
from collections.abc import Callable
from inspect import CO_OPTIMIZED
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NamedTuple

PACKAGE = "spikebridge"


class Call(NamedTuple):
    """An observed call: the name of the function and the files that it may stand in, the old one first."""

    function: str
    files: tuple[str, ...]


class Entered:
    """The files of the package whose functions are called: altogether, and within each observed call."""

    def __init__(self, **observed: Call) -> None:
        self._package = str(Path(importlib.import_module(PACKAGE).__file__ or "").parent) + os.sep
        self._observed = observed
        self._active: dict[str, FrameType] = {}
        self.everything: set[str] = set()
        self.calls: dict[str, list[set[str]]] = {name: [] for name in observed}

    def __enter__(self) -> "Entered":
        # loaders and writers of a training have threads of their own
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(self._package):
            self._enter(frame)
        elif event == "return" and self._active:
            self._active = {name: call for name, call in self._active.items() if call is not frame}

    def _enter(self, frame: FrameType) -> None:
        code = frame.f_code
        file = code.co_filename.removeprefix(self._package).replace(os.sep, "/")
        for name, call in self._observed.items():
            if name not in self._active and code.co_name == call.function and file in call.files:
                self._active[name] = frame
                self.calls[name].append(set())

        sets = [self.everything, *(self.calls[name][-1] for name in self._active)]
        if file.endswith("__init__.py") or all(file in files for files in sets) or self._is_importing(frame):
            return

        for files in sets:
            files.add(file)

    def _is_importing(self, frame: FrameType | None) -> bool:
        """True while a module or the body of a class is executed."""
        while frame is not None:
            code = frame.f_code
            # functions alone have fast locals
            if not code.co_flags & CO_OPTIMIZED and code.co_filename.startswith(self._package):
                return True

            frame = frame.f_back

        return False

    def within(self, name: str) -> list[str]:
        """The files that the calls of a name entered."""
        if not self.calls[name]:
            call = self._observed[name]
            raise SystemExit(f"no function {call.function} of {' or '.join(call.files)} was called; has it moved?")

        return sorted(set().union(*self.calls[name]))


def find(name: str, *places: str) -> Any:
    """A name of the package from the first of several places that has it; a place may give it another name."""
    for place in places:
        module, _, other = place.partition(":")
        try:
            return getattr(importlib.import_module(f"{PACKAGE}.{module}"), other or name)
        except (ImportError, AttributeError):
            continue

    raise SystemExit(f"none of {', '.join(places)} has {name}; add its new place to {Path(__file__).name}")


def hybrid(name: str) -> Any:
    """A name that `hybrid` exports, or one of its two folders."""
    return find(name, "hybrid", "hybrid.unit", "hybrid.network")


def one_tick() -> Any:
    """The delay of one tick."""
    # before `ticks` there were numbers
    with contextlib.suppress(SystemExit):
        return hybrid("ticks")(1)
    return 1


def first_and_later(name: str, module: Callable[..., Any], signal: Any) -> dict[str, list[str]]:
    """The files of the call that begins a stream, and of the next one."""
    with Entered() as first:
        _, state = module(signal)
    with Entered() as later:
        module(signal, state)

    return {name: sorted(first.everything), f"{name}_later": sorted(later.everything)}


def enter_neuron() -> dict[str, list[str]]:
    """LIF neurons: one step, and 24 at once."""
    import torch

    lif = find("LIF", "neurons")
    step = first_and_later("neuron", lif(0.01, dt=0.001), torch.rand(1, 2, 4))
    return step | first_and_later("neuron_steps", lif(0.01, dt=0.001), torch.rand(24, 2, 4))


def enter_unit() -> dict[str, list[str]]:
    """A unit with a window, a kernel, a nonlinearity and a discretizer."""
    import torch

    kernel = hybrid("Exponential")(0.01, dt=0.001)
    discretizer = hybrid("SignedDelta")(0.5)
    unit = hybrid("HybridUnit")(hybrid("Tumbling")(6), kernel, torch.nn.Linear(4, 3), discretizer)

    return first_and_later("unit", unit, torch.rand(24, 2, 4))


def enter_network() -> dict[str, list[str]]:
    """Two plain parts at two clocks, linked both ways."""
    import torch

    class Sum(torch.nn.Module):
        def forward(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            return x + other

    every = hybrid("every")
    transmission = hybrid("Transmission")
    network = hybrid("HybridNetwork")(
        dt=0.001,
        inputs={"frames": every(0.006), "events": every(0.001)},
        parts={"slow": torch.nn.Identity(), "fast": Sum(), "out": Sum()},
        links=[
            transmission("frames", "slow"),
            transmission("events", "fast"),
            transmission("slow", "fast", held=True, into="other"),
            transmission("events", "out"),
            transmission("fast", "out", delay=one_tick(), into="other"),
        ],
        outputs=["out"],
    )

    signals = {"frames": torch.rand(4, 2, 3), "events": torch.rand(24, 2, 3)}
    return first_and_later("network", network, signals)


def enter_spiking_network() -> dict[str, list[str]]:
    """An ANN of frames, an SNN of events, a unit there and a modulation back."""
    import torch
    from torch import nn

    class Frames(nn.Module):
        def forward(self, x: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
            return x + motion

    every = hybrid("every")
    transmission = hybrid("Transmission")
    modulation = hybrid("Modulation")
    lif = find("LIF", "neurons")(0.01, dt=0.001)
    unit = hybrid("HybridUnit")

    network = hybrid("HybridNetwork")(
        dt=0.001,
        inputs={"frames": every(0.006), "events": every(0.001)},
        parts={"what": Frames(), "where": find("Sequential", "neurons")(fc=nn.Linear(6, 4), lif=lif)},
        links=[
            transmission("frames", "what"),
            transmission("events", "where"),
            transmission("where", "what", unit(hybrid("Tumbling")(6), hybrid("Mean")()), held=True, into="motion"),
            modulation("what", "where.lif.v_threshold", unit(None, None, nn.Softplus()), delay=one_tick()),
        ],
        outputs=["what"],
    )

    signals = {"frames": torch.rand(4, 2, 4), "events": torch.rand(24, 2, 6)}
    return first_and_later("spiking_network", network, signals)


def command(*words: str) -> None:
    """Runs a command of the package."""
    if code := find("main", "cli.main", "cli")(list(words)):
        raise SystemExit(f"{' '.join(words)}: exit code {code}")


def enter_training() -> dict[str, list[str]]:
    """The quick preset: the loop alone, the recipe with its data and scores, and the command with its report."""
    # the import of the command itself is no part of the training
    find("main", "cli.main", "cli")
    observed = {
        "recipe": Call("train", ("recipes/sensing.py", "networks/sensing/recipe.py")),
        "loop": Call("fit", ("training/loop.py",)),
    }
    with Entered(**observed) as entered:
        command("train", "sensing", "--preset", "quick", "--quiet", "--out", "run")

    loop = entered.within("loop")
    return {
        "train_loop": loop,
        "train_loop_in_training": [file for file in loop if file.startswith("training/")],
        "train_recipe": entered.within("recipe"),
        "train_command": sorted(entered.everything),
    }


def write_recording(folder: Path, num_frames: int = 5, bins: int = 6, dt: float = 1 / 240, side: int = 96) -> None:
    """A bright textured square that moves over a grey background, in the form of a user's own recording."""
    import numpy as np
    from PIL import Image

    background = np.random.default_rng(0).integers(60, 120, (side, side))
    square = np.random.default_rng(1).integers(150, 250, (16, 16))

    def picture(time: float) -> Any:
        image = background.copy()
        # a pixel a bin
        left = round(20 + time)
        image[30:46, left : left + 16] = square
        return image.astype(np.uint8)

    (folder / "frames").mkdir(parents=True)
    rows = ["file,t_us"]
    events = ["t,x,y,p"]

    for k in range(num_frames):
        Image.fromarray(picture(k * bins)).save(folder / "frames" / f"{k}.png")
        rows.append(f"{k}.png,{round(1e6 * k * bins * dt)}")

    for k in range((num_frames - 1) * bins):
        change = np.log(picture(k + 1) + 1.0) - np.log(picture(k) + 1.0)
        for y, x in np.argwhere(np.abs(change) > 0.3):
            events.append(f"{round(1e6 * (k + 0.5) * dt)},{x},{y},{int(change[y, x] > 0)}")

    (folder / "frames.csv").write_text("\n".join(rows) + "\n")
    (folder / "events.csv").write_text("\n".join(events) + "\n")
    (folder / "meta.json").write_text(json.dumps({"width": side, "height": side}))


def enter_tracker() -> dict[str, list[str]]:
    """The steps of the shipped tracker: one of events alone, and the six from one frame to the next."""
    write_recording(Path("recording"))
    find("main", "cli.main", "cli")
    step = Call("step", ("networks/sensing_tracker.py", "networks/sensing/tracker/tracker.py"))

    with Entered(step=step) as entered:
        command("track", "recording", "--init", "20,30,16,16", "--quiet")

    entered.within("step")
    steps = entered.calls["step"]

    # step 0 has the first frame and step 12 the third; in step 15 the last frame is done, and nothing is built
    return {"box": sorted(steps[15]), "box_with_frame": sorted(set().union(*steps[12:18]))}


PROBES: dict[str, Callable[[], dict[str, list[str]]]] = {
    "neuron": enter_neuron,
    "unit": enter_unit,
    "network": enter_network,
    "spiking_network": enter_spiking_network,
    "training": enter_training,
    "tracker": enter_tracker,
}


def main() -> None:
    """Prints the files that each call enters."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(PROBES), choices=PROBES)
    parser.add_argument("--out", type=Path, help="a file for the names")
    options = parser.parse_args()
    entered: dict[str, list[str]] = {}

    for name in options.only:
        # commands write into the working folder, and print their answers
        with TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
            entered |= PROBES[name]()

    if options.out is not None:
        options.out.write_text(json.dumps(entered) + "\n", encoding="utf-8")

    for name, files in entered.items():
        print(f"{name}: {len(files)}", *files, sep="\n    ")


if __name__ == "__main__":
    main()
