"""A small training with everything that a resume could lose, as a program that tests start and kill.

Usage: tiny_training.py RUN DEVICES DROPOUT DELAY [DIE_AT]

DELAY [s] is slept in every step. At step DIE_AT of the first attempt the second process kills itself.
"""

import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.training import Batches, Phase, Run, Settings, TimeSlices, fit


@dataclass(frozen=True)
class Config:
    seed: int = 3
    sizes: tuple[int, ...] = (3, 8, 2)


class Tiny(nn.Module):
    """A recurrent layer over time `(T, B, 3)` and a read-out of its last step."""

    def __init__(self, config: Config, dropout: float) -> None:
        super().__init__()
        num_inputs, num_hidden, num_outputs = config.sizes
        self.dropout = nn.Dropout(dropout)
        self.front = nn.Linear(num_inputs + num_hidden, num_hidden)
        self.back = nn.Linear(num_hidden, num_outputs)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.shape[1], self.front.out_features) if state is None else state
        for x_t in x:
            h = torch.tanh(self.front(torch.cat([self.dropout(x_t), h], dim=1)))
        return self.back(h), h


def on_slices(module: Any, batch: Any, state: Any) -> Any:
    y, state = module(batch["x"], state)
    return nn.functional.cross_entropy(y, batch["label"]), state


class Slow(Batches):
    delay = 0.0

    def select(self, indices: Tensor) -> dict[str, Tensor]:
        time.sleep(self.delay)
        return super().select(indices)


def noisy(batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    return {**batch, "x": batch["x"] + 0.1 * torch.randn(batch["x"].shape, generator=generator)}


class OnWhole:
    def __init__(self, die_at: int) -> None:
        self.die_at = die_at
        self.calls = 0

    def __call__(self, module: Any, batch: Any) -> Any:
        self.calls += 1
        second = os.environ.get("RANK") == "1" and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
        if second and self.calls == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

        y, _ = module(batch["x"])
        accuracy = (y.argmax(dim=1) == batch["label"]).float().mean()

        return nn.functional.cross_entropy(y, batch["label"]), {"accuracy": accuracy}


def on_parts(module: Any, batch: Any) -> Any:
    y, h = module(batch["x"])
    loss = nn.functional.cross_entropy(y, batch["label"])
    return {"front": loss + h.square().mean(), "back": loss}, {}, y.detach().mean(dim=0)


def level(module: Any, batch: Any, activity: Tensor) -> None:
    """A rule beside back-propagation: keeps the mean output low."""
    module.back.bias.grad += 0.1 * activity


def main(path: str, devices: int, dropout: float, delay: float, die_at: int = 0) -> None:
    config = Config()
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    network = Tiny(config, dropout)
    x = torch.randn(6, 26, 3)

    # 25 samples in batches of 8 leave a last batch of 1, which the second of two processes has nothing of
    tensors = {"x": x[:, :25], "label": (x.sum(dim=(0, 2)) > 0)[:25].long()}
    data = Slow(tensors, batch={"x": 1, "label": 0}, augment=noisy)
    data.delay = delay
    adam = partial(torch.optim.Adam, lr=0.02)
    sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    decay = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    two = {"front": adam, "back": sgd}
    phases = [
        Phase("whole", ("",), OnWhole(die_at), 3, adam, scheduler=decay, clip=0.5),
        Phase("parts", ("",), on_parts, 2, two, decay, gradients=level, accumulate=2, clip=0.5),
        Phase("slices", ("front",), on_slices, 2, adam, slices=TimeSlices({"x": 2})),
    ]

    settings = Settings(
        seed=config.seed, batch_size=8, devices=devices, accelerator="cpu", checkpoint_every=1, quiet=True
    )

    def validate(module: nn.Module) -> dict[str, float]:
        y, _ = module(x[:, 25:])
        return {"level": y.abs().mean().item() + torch.rand(1).item()}

    run = Run.create(path, "tiny", config, resume=True)
    fit(network, phases, data, settings=settings, run=run, validate=validate)
    run.save_weights(network)
    run.save_results({"done": True})


if __name__ == "__main__":
    words = sys.argv[1:]
    main(words[0], int(words[1]), float(words[2]), float(words[3]), *map(int, words[4:]))
