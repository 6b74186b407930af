"""Spyx, which runs in JAX: the same work as `works.layer_alone`, compiled by XLA before it is timed.

Its neuron resets one step later, by subtraction; the measure waits for the result, since JAX returns before it is done.
"""

import os

import numpy as np
import torch
from torch import Tensor

from research.speed.beside_peers.works import Work


def spyx_alone(shape: tuple[int, ...]) -> Work:
    """A for Spyx, forward and backward through time, on one thread.

    Raises:
        ImportError: Spyx or JAX is not installed (the extra `bench`).
    """
    # XLA asks at its start how many threads to make; its own flags leave a second one at work
    os.environ["NPROC"] = "1"
    import jax
    import jax.numpy as jnp
    from flax import nnx
    from spyx import axn
    from spyx import nn as spiking

    layer = spiking.LIF(shape[2:], beta=0.5, activation=axn.arctan(), rngs=nnx.Rngs(0))
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.normal(0.3, 0.5, shape), dtype=jnp.float32)

    def spikes_of(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        spikes, _ = spiking.run(layer, x)
        return spikes.sum(), spikes

    step = jax.jit(jax.value_and_grad(spikes_of, has_aux=True))

    def run() -> Tensor:
        (_, spikes), gradient = step(x)
        gradient.block_until_ready()
        return torch.from_dlpack(spikes)

    return run
