"""A spiking actor with populations, and an ANN as its critic: PopSAN

G. Tang, N. Kumar, R. Yoo and K. P. Michmizos, "Deep Reinforcement Learning with Population-Coded Spiking Neural
Network for Continuous Control", CoRL 2020, arXiv 2010.09635. Populations of neurons with receptive fields turn each
number of the state into spikes, an SNN acts for five ticks, and the rates of output populations become the action. An
ANN, the critic, exists in training only.

Here a cart is to come to rest at a place, with a limited force (deterministic policy gradients with a replay memory).
Actor and critic have losses and optimizers of their own in one phase. Beside it: an ANN as actor, no force at all, and
the best linear controller with the same limit.
"""

import copy
from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.hybrid import Hold, HybridNetwork, HybridUnit, Mean, SpikingLayer, Transmission, Tumbling, every
from spikebridge.neurons import IF, CubaLIF, Sequential
from spikebridge.training import WHOLE, Callback, Phase, Settings, fit

STEPS = 5  # ticks of a decision
CARTS, LENGTH = 32, 40  # carts in parallel, decisions of an episode
DISCOUNT = 0.95


class Fields(nn.Module):
    """Responses of ten neurons for each number of the state, with learned centres and widths."""

    def __init__(self):
        super().__init__()
        self.centre = nn.Parameter(torch.linspace(-2, 2, 10).repeat(2, 1))
        self.width = nn.Parameter(torch.full((2, 10), 0.4))

    def forward(self, state):
        return (-0.5 * ((state.unsqueeze(-1) - self.centre) / self.width).square()).exp().flatten(1)


class Critic(nn.Module):
    """The value of an action in a state."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, state, action):
        return self.layers(torch.cat([state, action], -1))


def build(spikes=True):
    """The actor, with spikes or as an ANN of the same layers; its decoder ANN is the last part."""
    lif = partial(CubaLIF, tau=0.004, tau_syn=0.0015, v_threshold=0.5)
    sizes = (20 if spikes else 2, 64, 64, 10)
    layers = {}
    for i, pair in enumerate(pairwise(sizes)):
        layers |= {f"fc{i}": nn.Linear(*pair), f"fire{i}": lif() if spikes else nn.ReLU()}

    encoder = HybridUnit(Hold(STEPS), None, Fields(), SpikingLayer(IF(reset="subtract")))
    rates = HybridUnit(Tumbling(STEPS), Mean())
    return HybridNetwork(
        dt=0.001,
        inputs={"state": every(0.001 * STEPS)},
        parts={"snn": Sequential(**layers), "decoder": nn.Sequential(nn.Linear(10, 1), nn.Tanh())},
        links=[
            Transmission("state", "snn", encoder if spikes else None),
            Transmission("snn", "decoder", rates if spikes else None),
        ],
        outputs=["decoder"],
    )


def move(state, action):
    """The state of carts `(B, 2)`, place and speed, after a force for a tenth of a second, and the reward."""
    place, speed = state.unbind(-1)
    speed = speed + 0.2 * action[:, 0]
    place = place + 0.1 * speed
    return torch.stack([place, speed], -1), -(place.square() + 0.1 * speed.square() + 0.05 * action[:, 0].square())


def decide(actor, state):
    """The action in a state: each decision is a stream of its own."""
    return actor({"state": state.unsqueeze(0)})[0]["decoder"][0]


class Experience(IterableDataset):
    """Acts with noise, remembers, and gives batches of what was remembered."""

    def __init__(self, actor, updates, seed):
        self.actor, self.updates, self.seed = actor, updates, seed

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed)
        memory = []
        for update in range(self.updates):
            if update % LENGTH == 0:
                state = torch.rand(CARTS, 2, generator=generator) * 3 - 1.5
            with torch.no_grad():
                action = decide(self.actor, state)
            action = (action + 0.3 * torch.randn(CARTS, 1, generator=generator)).clamp(-1, 1)
            after, reward = move(state, action)
            memory.append((state, action, reward, after))
            state = after

            rows = torch.randint(len(memory) * CARTS, (128,), generator=generator)
            yield tuple(torch.cat(parts)[rows] for parts in zip(*memory, strict=True))


class Follower(Callback):
    """A copy of actor and critic, which follows them slowly and gives the targets of the critic."""

    def __init__(self, pair):
        self.copy = copy.deepcopy(pair).requires_grad_(False)

    def on_step_end(self, training, values):
        for slow, fast in zip(self.copy.parameters(), training.module.parameters(), strict=True):
            slow.lerp_(fast.detach(), 0.02)

    def losses(self, pair, batch):
        """The actor looks for actions of high value, the critic for the value of those that were done."""
        state, action, reward, after = batch
        with torch.no_grad():
            target = reward.unsqueeze(-1) + DISCOUNT * self.copy.critic(after, decide(self.copy.actor, after))

        value = pair.critic(state, action)
        return {
            "actor": -pair.critic(state, decide(pair.actor, state)).mean(),
            "critic": (value - target).square().mean(),
        }


def mean_return(policy, seed, number=200):
    """The mean sum of rewards of an episode over a number of carts."""
    state = torch.rand(number, 2, generator=torch.Generator().manual_seed(seed)) * 3 - 1.5
    total = torch.zeros(number)
    for _ in range(LENGTH):
        state, reward = move(state, policy(state))
        total = total + reward

    return total.mean().item()


def linear(state, gains):
    """A linear controller with a limited force."""
    return -(state @ gains).clamp(-1, 1).unsqueeze(-1)


def run(seed=0, updates=600, number=200):
    """Trains both actors and measures the mean return over a number of carts."""
    grid = torch.cartesian_prod(torch.linspace(0.5, 8, 16), torch.linspace(0.5, 8, 16))
    gains = max(grid, key=lambda gains: mean_return(partial(linear, gains=gains), 1))
    test = 2 * 10**6 + seed
    scores = {
        "return, no force": mean_return(lambda state: 0 * state[:, :1], test, number),
        "return, best linear controller": mean_return(partial(linear, gains=gains), test, number),
    }
    networks = {}
    settings = Settings(accelerator="cpu", quiet=True, seed=seed)
    optimizers = {"actor": partial(torch.optim.Adam, lr=0.001), "critic": partial(torch.optim.Adam, lr=0.003)}

    for name in ("hybrid", "ANN as actor"):
        torch.manual_seed(seed)
        actor = networks[name] = build(spikes=name == "hybrid")
        pair = nn.ModuleDict({"actor": actor, "critic": Critic()})
        follower = Follower(pair)
        experience = DataLoader(Experience(actor, updates, seed), batch_size=None)
        fit(
            pair,
            [Phase("both", WHOLE, follower.losses, 1, optimizers)],
            experience,
            settings=settings,
            callbacks=[follower],
        )
        with torch.no_grad():
            scores[f"return, {name}"] = mean_return(partial(decide, actor.eval()), test, number)

    return scores, {"hybrid": networks["hybrid"]}


def example(seed):
    """A small input."""
    return {"state": torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(seed))}


picture = draw_network(build())

if __name__ == "__main__":
    from _main import main

    main(run, example)
