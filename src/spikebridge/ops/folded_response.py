"""The response of a linear read-out of spikes, folded: every spike adds its own patch to a map that leaks.

Behind the last spiking layer of a sensing network everything is linear: a convolution `W`, the leaky sum of the hybrid
unit, its map `F`, and the correlation with a template `K`. So they are one kernel for each channel of spikes, and the
response of a bin is

    m_c = decay_c m_c + sum_j G_cj * s_j,    r = sum_c m_c,    G_cj(v) = sum_{d + e + u = v} K(d) . F_c(e) W_cj(u)

With `K` of 11 x 11 cells and 3 x 3 for the others a spike adds 15 x 15 = 225 numbers, one map for all channels if they
leak alike. `K` changes at a frame; then the kernels are folded again.

Away from the border this is exact. Near it the layers, which see zeros outside of what the layer before gave, know
less: nearer than `margin(K)` cells the two differ.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import ShapeError


def margin(template: Float[Tensor, "B C K K"], mix: Float[Tensor, "C C E E"]) -> int:
    """Cells from the border up to which the fold differs from the layers: half of `K` and half of `F`.

    Example:
        >>> margin(torch.zeros(1, 8, 11, 11), torch.zeros(8, 8, 3, 3))
        6
    """
    return template.shape[-1] // 2 + mix.shape[-1] // 2


def fold_kernels(
    out: Float[Tensor, "C J U U"],
    mix: Float[Tensor, "C C E E"],
    template: Float[Tensor, "B C K K"],
    alike: bool = False,
) -> Float[Tensor, "B M J S S"]:
    """One kernel a channel of spikes, for each template.

    Args:
        out: weights of the convolution behind the spikes, `W`.
        mix: weights of the unit's map, `F`.
        template: `K`, a sample.
        alike: whether all channels of the unit leak alike: then one map serves them, M = 1, else M = C.

    Returns:
        Kernels for `torch.nn.functional.conv2d`, of side `K + E + U - 2`.

    Example:
        >>> one = torch.ones(1, 1, 1, 1)
        >>> fold_kernels(2 * one, 3 * one, torch.tensor([[[[0.0, 1.0, 5.0]] * 3]])).flatten().tolist()[:3]
        [0.0, 6.0, 30.0]
    """
    sides = [weights.shape[-1] for weights in (out, mix, template)]
    if any(side % 2 == 0 for side in sides):
        raise ShapeError(f"a fold needs kernels of odd sides, but got {sides}")
    read = _spread(template, mix.transpose(0, 1))
    if alike:
        return _spread(read, out.transpose(0, 1)).unsqueeze(1)
    # each channel of the unit keeps a map of its own, so its kernels are not summed with the others'
    count = out.shape[0]
    kernels = [_spread(read[:, c : c + 1], out[c : c + 1].transpose(0, 1)) for c in range(count)]
    return torch.stack(kernels, 1)


def folded_step(
    spikes: Float[Tensor, "B J H W"],
    maps: Float[Tensor, "B M H W"],
    kernels: Float[Tensor, "B M J S S"],
    decay: Float[Tensor, " M"] | float,
) -> tuple[Float[Tensor, "B H W"], Float[Tensor, "B M H W"]]:
    """The response after one bin, and the maps that it is the sum of.

    Only spikes cost: `M S S` additions each.

    Args:
        spikes: what the last spiking layer gave; a value that is not 1 counts by its size.
        maps: after the bin before; zeros when a frame has come.
        kernels: of `fold_kernels`.
        decay: of each map in one bin.

    Example:
        >>> kernels = fold_kernels(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.ones(1, 1, 3, 3))
        >>> spikes = torch.zeros(1, 1, 4, 4)
        >>> spikes[0, 0, 0, 1] = 1.0
        >>> response, maps = folded_step(spikes, torch.zeros(1, 1, 4, 4), kernels, 0.5)
        >>> response[0, :2].tolist()
        [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]]
    """
    height, width = maps.shape[2:]
    if spikes.shape[2:] != maps.shape[2:] or spikes.shape[1] != kernels.shape[2]:
        raise ShapeError(
            f"spikes {tuple(spikes.shape)} do not fit maps {tuple(maps.shape)} and kernels {tuple(kernels.shape)}"
        )
    side = kernels.shape[-1]
    reach = side // 2
    leak = decay if isinstance(decay, float) else decay[:, None, None]
    padded = F.pad(leak * maps, (reach,) * 4)
    b, j, y, x = spikes.nonzero(as_tuple=True)
    # a spike at y is read at x by the weight of y - x: its patch is the kernel, turned round
    patches = kernels.flip((-2, -1))[b, :, j] * spikes[b, j, y, x][:, None, None, None]
    steps = torch.arange(side, device=maps.device)
    row, column = y[:, None, None] + steps[:, None], x[:, None, None] + steps[None, :]
    place = (row * padded.shape[-1] + column).unsqueeze(1) + (
        (b[:, None] * maps.shape[1] + torch.arange(maps.shape[1], device=maps.device)) * padded[0, 0].numel()
    )[:, :, None, None]
    flat = padded.reshape(-1).index_add(0, place.flatten(), patches.flatten())
    maps = flat.reshape(padded.shape)[:, :, reach : reach + height, reach : reach + width]
    return maps.sum(1), maps


def _spread(first: Float[Tensor, "B O A A"], second: Float[Tensor, "I O E E"]) -> Float[Tensor, "B I S S"]:
    """The kernel of one correlation after another: `sum_{d + e = v} first(d) . second(e)`."""
    reach = second.shape[-1] - 1
    return F.conv2d(F.pad(first, (reach,) * 4), second.flip((-2, -1)))
