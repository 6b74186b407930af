"""Three nested rates and sequences of unequal lengths

J. Koutnik, K. Greff, F. Gomez and J. Schmidhuber, "A Clockwork RNN", ICML 2014, arXiv 1402.3511. Modules of one
recurrent network run at rates of their own: fast ones follow details, slow ones keep what lasts. In this hybrid form
the fast module is an SNN, the two slower ones are recurrent cells of an ANN.

Here a symbol is a pattern of spikes over 8 ms, four symbols are a word, and two to five words a sequence. A word
counts if it holds a certain symbol, once or more often; the answer is the number of such words. Sequences are padded,
and each stands still behind its end. Beside it: one recurrent cell at the rate of symbols, and the most frequent
answer.
"""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.hybrid import HybridNetwork, HybridUnit, Mean, Transmission, Tumbling, every, run_lengths
from spikebridge.neurons import LIF, Memory, Sequential
from spikebridge.training import WHOLE, Phase, Settings, StackSamples, evaluate, fit

SYMBOLS, CHANNELS = 4, 12
SYMBOL, WORD = 8, 32  # ticks
MOST = 5  # words
PATTERNS = torch.rand(SYMBOLS, SYMBOL, CHANNELS, generator=torch.Generator().manual_seed(0)) < 0.25


def build(nested=True):
    """The network of three rates, or of two."""
    fast = Sequential(fc=nn.Linear(CHANNELS, 48), lif=LIF(tau=0.006, v_threshold=0.5))
    middle = Sequential(gru=Memory(nn.GRUCell(48, 32)))
    slow = Sequential(gru=Memory(nn.GRUCell(32, 32)), out=nn.Linear(32, MOST + 1))
    if not nested:
        middle = Sequential(gru=Memory(nn.GRUCell(48, 40)))
        slow = nn.Linear(40, MOST + 1)

    return HybridNetwork(
        dt=0.001,
        inputs={"events": every(0.001)},
        parts={"fast": fast, "middle": middle, "slow": slow},
        links=[
            Transmission("events", "fast"),
            Transmission("fast", "middle", HybridUnit(Tumbling(SYMBOL), Mean())),
            Transmission("middle", "slow", HybridUnit(Tumbling(WORD // SYMBOL), Mean())),
        ],
        outputs=["slow"],
    )


def samples(number, seed):
    """Sequences of events `(T, 12)`, each with its number of words that count."""
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    for words in torch.randint(2, MOST + 1, (number,), generator=generator).tolist():
        symbols = torch.randint(SYMBOLS, (words, WORD // SYMBOL), generator=generator)
        events = PATTERNS[symbols].reshape(-1, CHANNELS)
        kept = torch.rand(events.shape, generator=generator) < 0.9
        noise = torch.rand(events.shape, generator=generator) < 0.03
        pairs.append(((events & kept | noise).float(), int((symbols == 0).any(1).sum())))

    return pairs


def objective(network, batch):
    """Cross-entropy and accuracy of the answers at the ends of the sequences."""
    events, labels, lengths = batch
    outputs, _ = run_lengths(network, {"events": events}, lengths)
    scores = outputs["slow"][lengths // WORD - 1, torch.arange(len(labels))]

    return cross_entropy(scores, labels), {"accuracy": (scores.argmax(-1) == labels).float().mean()}


def run(seed=0, updates=8, number=640):
    """Trains both networks on a number of sequences for `updates` epochs; accuracies on as many others."""
    batches = partial(DataLoader, batch_size=32, collate_fn=StackSamples((1, 0), pad={0: 0.0}))
    test = samples(number, 2 * 10**6 + seed)
    answers = torch.tensor([label for _, label in test])
    scores, networks = {"accuracy, most frequent answer [%]": 100 * answers.bincount().max().item() / len(test)}, {}
    settings = Settings(accelerator="cpu", quiet=True, seed=seed)

    for name in ("hybrid", "two rates"):
        torch.manual_seed(seed)
        network = networks[name] = build(nested=name == "hybrid")
        phase = Phase("all", WHOLE, objective, updates, partial(torch.optim.Adam, lr=0.005))
        fit(network, [phase], batches(samples(number, 100 + seed), shuffle=True), settings=settings)
        measured = evaluate(network, objective=objective, data=batches(test))
        scores[f"accuracy, {name} [%]"] = 100 * measured["accuracy"]

    return scores, {"hybrid": networks["hybrid"]}


def example(seed):
    """A small input."""
    sequences = [events for events, _ in samples(40, seed) if len(events) == 2 * WORD]
    return {"events": torch.stack(sequences[:2], 1)}


picture = draw_network(build())

if __name__ == "__main__":
    from _main import main

    main(run, example)
