"""The cost of integers: accuracy, memory, operations and energy on digits, distance on sensing, before and after.

    spikebridge train digits --preset five --out runs/digits-five
    python research/deploy/integers.py --digits runs/digits-five [--sensing RUN_OR_RECIPE]

Scales are chosen on training samples; the test split is only scored. Writes results/integers.json after each
network, and goes on where it was stopped. With `--aware`, four-bit weights are trained on for one epoch.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch

from spikebridge.deploy import QConfig, QConfigMapping, integer_model, quantize, saturation
from spikebridge.deploy.quantization.report import memory
from spikebridge.networks.digits import recipe as digits
from spikebridge.recipes.quantize import expenses
from spikebridge.training import WHOLE, Phase, Run, Settings, fit
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "integers.json"
CONFIGS = {
    "int8": QConfig(),
    "int8 power of two": QConfig(power_of_two=True),
    "int4 weights": QConfig(weights=4),
    "int4 weights power of two": QConfig(weights=4, power_of_two=True),
}
AWARE = "int4 weights, trained on"
NUM_CALIBRATION = 128


def main() -> None:
    """Measures, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=Path, default=Path("runs/digits-five"))
    parser.add_argument("--sensing", default=None)
    parser.add_argument("--aware", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.results.exists() else {"digits": [], "sensing": []}

    if options.sensing is not None:
        results["sensing"] = sensing_rows(options.sensing)
        write(options.results, results, "sensing")

    run = Run.open(options.digits)
    # the learned hybrid first, in all widths; the others in the usual ones
    jobs = [("learned", name) for name in CONFIGS]
    jobs += [(network, "int8") for network in run.config["networks"] if network != "learned"]
    jobs += [("learned", AWARE)] if options.aware else []

    for network, name in jobs:
        if any((row["network"], row["numbers"]) == (network, name) for row in results["digits"]):
            continue
        results["digits"].append(digits_row(run, network, name))
        write(options.results, results, "digits")


def write(path: Path, results: dict[str, Any], table: str) -> None:
    """Writes the results so far, and the environment in which this table was measured."""
    results["environment"] = {**results.get("environment", {}), table: describe_environment()}
    path.write_text(json.dumps(results, indent=1) + "\n")


def digits_row(run: Run, name: str, numbers: str) -> dict[str, Any]:
    """One network, all its seeds."""
    config = run.config_as(digits.Config)
    rows = []

    for path, child in run.children().items():
        if not path.startswith(f"{name}/"):
            continue

        network = digits.build(config)[name]
        child.load_weights(network)
        network.eval()
        inputs = {key: x for key, x in digits.calibration(config, NUM_CALIBRATION).items() if key in network.inputs}
        aware = numbers.endswith("trained on")
        qconfig = CONFIGS[numbers.partition(",")[0]]
        whole = quantize(network, inputs, QConfigMapping((qconfig,)))

        if aware:
            train_on(whole, config)

        rows.append({"seed": path, **compared(network, whole, config, inputs)})
        print(name, numbers, rows[-1], flush=True)

    losses = [100 * (row["before"] - row["after"]) for row in rows]
    spread = stdev(losses) if len(losses) > 1 else None

    return {"network": name, "numbers": numbers, "loss_points": fmean(losses), "sd": spread, "seeds": rows}


def compared(network: Any, whole: Any, config: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Accuracy, memory, clipping, and whether numpy gives the same bits."""
    some = {key: x[:, :8] for key, x in inputs.items()}
    model = integer_model(whole, some)
    with torch.no_grad():
        wanted = whole(some)[0]["answer"].numpy()

    answer = model.dequantize(model.run(model.quantize({key: x.numpy() for key, x in some.items()})))["answer"]
    clipped = [[one.path, one.share] for one in saturation(whole, inputs) if one.share > 0]

    return {
        "before": digits.measure(network, config)["accuracy"],
        "after": digits.measure(whole, config)["accuracy"],
        "same_bits": bool(np.array_equal(wanted, answer)),
        "clipped": clipped,
        "memory": vars(memory(network, whole, model, some)),
        "expenses": expenses(network, whole, some),
    }


def train_on(whole: Any, config: Any) -> None:
    """One epoch with integers inside, on the recipe's own objective."""
    training, _ = digits.recordings(config)
    data = digits.noisy_batches(config, training)
    optimizer = partial(torch.optim.AdamW, lr=config.lr / 10, weight_decay=0.01)
    phase = Phase("integers", WHOLE, partial(digits.objective, config=config), epochs=1, optimizer=optimizer, clip=1.0)
    fit(whole, [phase], data, settings=Settings(seed=0, batch_size=config.batch_size, accelerator="cpu", quiet=True))


def sensing_rows(word: str) -> list[dict[str, Any]]:
    """The trained networks of a sensing run: protocol A before and after."""
    from spikebridge.networks.sensing import recipe as sensing
    from spikebridge.networks.sensing.recipe import REGIONS, calibration, measure
    from spikebridge.recipes.target import resolve_target

    run = resolve_target(word).trained_run()
    config = run.config_as(sensing.Config)
    rows = []

    for path, child in run.children().items():
        network = sensing.build(config)[path.partition("/")[0]]
        child.load_weights(network)
        network.eval()
        inputs = calibration(config, 32)
        whole = quantize(network, inputs, QConfigMapping(tuple(QConfig(path) for path in REGIONS)))
        before = measure(network, config)
        after = measure(whole, config)
        some = {name: x[:, :8] for name, x in inputs.items()}
        model = integer_model(whole, some)
        rows.append({"network": path, "before": before, "after": after})
        rows[-1] |= {"clipped": [[one.path, one.share] for one in saturation(whole, some) if one.share > 0]}
        rows[-1] |= {"memory": vars(memory(network, whole, model, some)), "expenses": expenses(network, whole, some)}
        rows[-1]["loss_px"] = after["mean_distance_px"] - before["mean_distance_px"]
        print(rows[-1], flush=True)

    return rows


if __name__ == "__main__":
    main()
