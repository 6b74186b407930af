"""The detector of the default weights, trained further on scenes and films of photographs.

    python research/sensing/variants/photographs.py                       # writes the run runs/photographs
    python research/sensing/variants/photographs.py --films 2 --epochs 1 --scenes 2 --out runs/short

All but the detector are the default weights. Scenes of photographs are a sixth of the generated scenes; films of
photographs are frames alone. The claims of the detector are fitted on validation scenes and films. Figures of the run:
`python research/sensing/closed_loop/photograph_loops.py --run runs/photographs`.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from research.sensing.variants.films import film_parts
from spikebridge.networks.sensing import recipe as sensing
from spikebridge.networks.sensing.data import generated_parts, run_parts, tumbling_parts
from spikebridge.networks.sensing.evaluation import benchmark
from spikebridge.networks.sensing.training.detector_samples import detector_samples
from spikebridge.networks.sensing.training.phases import BATCH_SIZE, detector_phase, load_parts
from spikebridge.networks.sensing.training.spread import fit_spread
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run, Settings, fit

_FAMILIES = (
    *("varied", "dark", "photographs", "varied", "textured", "dark", "varied", "photographs", "moving-camera"),
    *("dark", "varied", "deforming", "varied", "photographs", "dark", "distractors", "varied", "noisy"),
)
_NUM_SPREAD_PARTS = 20


def main() -> None:
    """Trains and evaluates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs") / "photographs")
    parser.add_argument("--scenes", type=int, default=36, help="generated scenes")
    parser.add_argument("--films", type=int, default=90, help="films of photographs")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    default: Any = shipped_run("sensing")
    config = sensing.Config(
        recording="generated",
        num_scenes=options.scenes,
        scenes=_FAMILIES,
        pathways=sensing.PathwayTraining(weights_from=str(default.path)),
        detector=sensing.DetectorTraining(epochs=options.epochs, lr=1e-3, num_scenes=6, box_noise=1.2),
    )

    run = Run.create(options.out, "sensing", config, resume=True)
    child = run.child("learned/seed-0")
    torch.manual_seed(0)
    network = config.network("learned")
    record = load_parts(network, str(default.path), str(default.path), child)
    trained = run_parts(config, "train")
    parts = [*trained, *tumbling_parts("train", config.detector.num_scenes), *film_parts("train", options.films)]
    samples = detector_samples(parts, seed=config.seed)

    steps = [detector_phase("learned, seed 0, finder", samples, config.detector, sensing.TEMPLATE_RATE)]
    settings = Settings(seed=0, batch_size=BATCH_SIZE, accelerator="cpu")
    fit(network, steps, samples, settings=settings, run=child)

    assert network.detector is not None
    held = [*generated_parts("validation", _NUM_SPREAD_PARTS, _FAMILIES), *film_parts("validation", _NUM_SPREAD_PARTS)]
    fitted = fit_spread(network.detector, detector_samples(held, seed=config.seed), sensing.TEMPLATE_RATE)
    child.save_weights(network)

    scored = run_parts(config, "test")
    score = benchmark.score(sensing.tracker_of(config, network), scored)
    child.save_results({**score, **record, "spread_factor": fitted.factor, "spread_exponent": fitted.exponent})
    run.save_results(benchmark.compare({"learned": [score]}, scored))
    print(run.path)


if __name__ == "__main__":
    main()
