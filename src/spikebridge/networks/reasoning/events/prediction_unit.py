"""The prediction unit: a hybrid unit that rolls out the motion of all objects of a scene and detects who will collide.

| unit | W window | H kernel | F nonlinearity | Q discretizer |
|---|---|---|---|---|
| prediction | last 20 samples | window history | roll-out over 7 samples | threshold |

The roll-out is a network of objects and pairs. At each of its steps every pair gives a score of "collides now", and a
message to both of its objects, which changes their velocity: by friction, and by impacts. As with the collision unit,
a spike means "these two collide", and its second channel is the frame, counted from the last sample.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from spikebridge.hybrid import HybridUnit, Tumbling
from spikebridge.networks.reasoning.events import prediction_inputs as inputs
from spikebridge.networks.reasoning.events.collision_unit import CollisionSpike, WindowHistory

NUM_SCORES = 8  # times of the roll-out at which pairs are scored, from the last sample on
_NUM_RECENT = 8  # samples of the past that the state of an object is read from
_NUM_HIDDEN = 16
_NUM_MESSAGES = 24
_FAR = 4.0  # distances are clipped here, in distances at which two objects touch
_SPEED = 4.0  # scale of velocities
_CHANGE = 0.25  # scale of changes of the velocity
_IMPOSSIBLE = -1e4  # score of a pair that is not there
_RARE = -3.0  # score of a pair before training


_Network: TypeAlias = Callable[[int, int, int], nn.Sequential]  # from numbers of inputs, features and outputs


class _Motion(NamedTuple):
    places: Float[Tensor, "N 2"]
    velocity: Float[Tensor, "N 2"]
    hidden: Float[Tensor, "N H"]


class _Pairs(NamedTuple):
    first: Int[Tensor, "E"]
    second: Int[Tensor, "E"]
    constant: Float[Tensor, "E C"]


def _dense_network(num_inputs: int, num_features: int, num_outputs: int) -> nn.Sequential:
    first = (nn.Linear(num_inputs, num_features), nn.SiLU())
    second = (nn.Linear(num_features, num_features), nn.SiLU())
    return nn.Sequential(*first, *second, nn.Linear(num_features, num_outputs))


class RollOut(nn.Module):
    """Scores of "collides at time t" for every pair of objects and each of the times, and of "never"."""

    def __init__(self, num_features: int, network: _Network) -> None:
        super().__init__()
        num_kinds = inputs.NUM_CHANNELS - inputs.KIND
        self.begin = network(3 * _NUM_RECENT + 4 + num_kinds, num_features, _NUM_HIDDEN + 2)
        self.meet = network(13 + 2 * _NUM_HIDDEN + 2 * num_kinds, num_features, _NUM_MESSAGES + 1)
        self.advance = network(2 + _NUM_HIDDEN + num_kinds + _NUM_MESSAGES, num_features, _NUM_HIDDEN + 2)
        self.log_friction = nn.Parameter(torch.tensor(-2.3))
        # an untrained roll-out is a straight line with friction, on which collisions are rare
        for straight in (self.begin, self.advance):
            for values in straight[-1].parameters():
                nn.init.zeros_(values)
        nn.init.constant_(list(self.meet.parameters())[-1], _RARE)

    def forward(self, h: Float[Tensor, "B O C T"]) -> Float[Tensor, "B P T2"]:
        return self.roll_out(h)[0]

    def roll_out(self, h: Float[Tensor, "B O C T"]) -> tuple[Float[Tensor, "B P T2"], Float[Tensor, "T3 N 2"]]:
        """The scores of the pairs of each scene, and the places of the objects that are there at the times after."""
        is_there = h[:, :, inputs.THERE, -1] > 0
        past = h[is_there]
        first, second = torch.triu_indices(h.shape[1], h.shape[1], 1, device=h.device)
        is_pair = is_there[:, first] & is_there[:, second]
        number = (is_there.flatten().cumsum(0) - 1).view_as(is_there)
        pairs = _directed(past, number[:, first][is_pair], number[:, second][is_pair])

        motion = self._begin(past)
        scores = []
        places = []
        for step in range(NUM_SCORES):
            score, message = self._meet(motion, pairs, step)
            scores.append(score)
            if step < NUM_SCORES - 1:
                motion = self._move(motion, message, past)
                places.append(motion.places)

        of_pairs = h.new_full((*is_pair.shape, NUM_SCORES), _IMPOSSIBLE)
        of_pairs[is_pair] = torch.stack(scores, -1)

        return F.pad(of_pairs, (0, 1)), torch.stack(places)

    def _begin(self, past: Float[Tensor, "N C T"]) -> _Motion:
        places = past[:, :2, -_NUM_RECENT:]
        steps = places[..., 1:] - places[..., :-1]
        detected = past[:, inputs.DETECTED] > 0
        samples = torch.arange(past.shape[-1], device=past.device)
        newest = torch.where(detected, samples, 0).amax(-1)
        oldest = torch.where(detected, samples, past.shape[-1]).amin(-1)
        ages = torch.stack([(past.shape[-1] - 1 - newest) / 4, (past.shape[-1] - 1 - oldest).clamp(max=16) / 8], -1)

        signals = (
            (_SPEED * steps).flatten(1),
            past[:, inputs.DETECTED, -_NUM_RECENT:],
            past[:, 2:6, -1],
            ages,
            past[:, inputs.KIND :, -1],
        )
        change = self.begin(torch.cat(signals, -1))
        velocity = steps[..., -2:].mean(-1) * self._decay + _CHANGE * change[:, -2:]

        return _Motion(places[..., -1], velocity, change[:, :-2])

    @property
    def _decay(self) -> Tensor:
        return (-self.log_friction.exp()).exp()

    def _meet(self, motion: _Motion, pairs: _Pairs, step: int) -> tuple[Float[Tensor, "P"], Float[Tensor, "N M"]]:
        first, second, constant = pairs
        offset = motion.places[second] - motion.places[first]
        approach = motion.velocity[second] - motion.velocity[first]
        square = approach.square().sum(-1, keepdim=True) + 1e-4
        nearest = -(offset * approach).sum(-1, keepdim=True) / square

        # the nearest approach within the step, and until the end
        soon = nearest.clamp(-1, 1)
        later = nearest.clamp(0, NUM_SCORES)
        signals = (
            offset.clamp(-_FAR, _FAR),
            _length(offset),
            _SPEED * approach,
            _SPEED * square.sqrt(),
            _length(offset + approach * soon),
            soon,
            _length(offset + approach * later),
            later / 4,
            torch.full_like(soon, step / NUM_SCORES),
            motion.hidden[first],
            motion.hidden[second],
            constant,
        )
        outputs = self.meet(torch.cat(signals, -1))
        number = len(first) // 2
        # the mean over both orders makes the score symmetric
        score = (outputs[:number, -1] + outputs[number:, -1]) / 2
        message = torch.zeros_like(motion.hidden[:, :1]).expand(-1, _NUM_MESSAGES)

        return score, message.index_add(0, first, F.silu(outputs[:, :-1]))

    def _move(self, motion: _Motion, message: Float[Tensor, "N M"], past: Float[Tensor, "N C T"]) -> _Motion:
        signals = (motion.hidden, _SPEED * motion.velocity, past[:, inputs.KIND :, -1], message)
        change = self.advance(torch.cat(signals, -1))
        velocity = motion.velocity * self._decay + _CHANGE * change[:, -2:]
        # with the mean of the velocities before and after
        places = motion.places + (motion.velocity + velocity) / 2

        return _Motion(places, velocity, motion.hidden + change[:, :-2])


def _length(vectors: Float[Tensor, "E 2"]) -> Float[Tensor, "E 1"]:
    return vectors.norm(dim=-1, keepdim=True).clamp(max=_FAR)


def _directed(past: Float[Tensor, "N C T"], first: Int[Tensor, "P"], second: Int[Tensor, "P"]) -> _Pairs:
    # who has touched seldom touches again
    distance = (past[first, :2] - past[second, :2]).norm(dim=1)
    nearest, sample = distance.min(-1)
    ago = (distance.shape[-1] - 1 - sample) / 8
    memory = torch.stack([nearest.clamp(max=_FAR), ago], -1)
    kind = past[:, inputs.KIND :, -1]
    both = (torch.cat([kind[a], kind[b], memory], -1) for a, b in ((first, second), (second, first)))

    return _Pairs(torch.cat([first, second]), torch.cat([second, first]), torch.cat([*both]))


class PredictionUnit(HybridUnit):
    """The hybrid unit from the past of the objects of scenes to the collisions of the next 35 frames."""

    def __init__(self, num_features: int = 48, network: _Network = _dense_network) -> None:
        history = WindowHistory(inputs.NUM_PAST)
        super().__init__(Tumbling(inputs.NUM_PAST), history, RollOut(num_features, network), CollisionSpike(0.0))
