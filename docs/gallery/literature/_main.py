"""The end of every program of this folder: its scores, and its networks as bundles on inputs that these do not hold."""

from pathlib import Path
from tempfile import TemporaryDirectory

from spikebridge.deploy import compare_bundle, export


def compare(network, example, folder, number=1):
    """Writes a bundle into a folder and compares it with its network on a number of inputs other than its sample."""
    examples = [example(seed) for seed in range(number + 1)]
    sample, *others = [{name: given[name] for name in network.inputs} for given in examples]
    bundle = export(network.eval(), sample, Path(folder) / "network.bundle")

    return [compare_bundle(bundle, inputs=inputs, network=network) for inputs in others]


def main(run, example):
    """Trains, and prints the scores and whether the bundle of each network agrees with it."""
    scores, networks = run()
    print(scores)

    for name, network in networks.items():
        with TemporaryDirectory() as folder:
            (comparison,) = compare(network, example, folder)

        print(f"the bundle of {name} agrees on other inputs: {comparison.passed}")
