"""Two tasks, one network

A network learns a first and then a second set of rules. With gates, each task has neurons of its own and the first
task stays; without gates it is forgotten.
"""

import torch
from torch import nn

from spikebridge.analysis.plots.figures import accuracy_bars, to_svg
from spikebridge.hybrid import Gate


def train(gated: bool, seed: int) -> float:
    """The accuracy [%] on the first task after the second one."""
    torch.manual_seed(seed)
    first = nn.Linear(20, 200)
    last = nn.Linear(200, 2)
    gate = Gate()

    x = torch.randn(400, 20)
    rules = torch.randn(2, 20)
    labels = [(x @ rule > 0).long() for rule in rules]
    masks = [(torch.rand(200) < 0.3).float() if gated else torch.ones(200) for _ in rules]

    def answer(task: int) -> torch.Tensor:
        gated_features, _ = gate(first(x).relu()[None], gate=masks[task])
        return last(gated_features[0])

    optimizer = torch.optim.SGD([*first.parameters(), *last.parameters()], lr=0.3)
    for task in (0, 1):
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(answer(task), labels[task]).backward()
            optimizer.step()

    return 100 * (answer(0).argmax(1) == labels[0]).float().mean().item()


scores = {name: [train(gated, seed) for seed in range(4)] for name, gated in (("gates", True), ("no gates", False))}
for name, values in scores.items():
    print(f"{name}: {sum(values) / 4:.0f} %")

picture = to_svg(accuracy_bars(scores, "accuracy on the first task after the second one [%]"))
