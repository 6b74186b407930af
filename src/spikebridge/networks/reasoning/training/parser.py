"""Trains the question parser of the reasoning network on texts with programs, in minutes on one core.

    python -m spikebridge.networks.reasoning.training.parser --out runs/reasoning_parser

It is trained on generated texts, and on 564 real training questions of CLEVRER if `SPIKEBRIDGE_DATA` has them. It is
tested on 442 other real questions, and on 7476 real texts of what-if questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikebridge.data.catalog import find_files
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.scene import Question
from spikebridge.networks.reasoning.parsing.parser import Parser
from spikebridge.networks.reasoning.simulation.paraphrases import sample_paraphrase
from spikebridge.networks.reasoning.simulation.templates import SampledText, sample_text
from spikebridge.training.batches import Batches
from spikebridge.training.evaluation import evaluating
from spikebridge.training.loop import fit
from spikebridge.training.phase import WHOLE, Phase
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings


@dataclass(frozen=True)
class ParserConfig:
    """Settings of the training of the parser."""

    num_texts: int = 24000
    """Generated texts to train on."""
    real: Literal["auto", "yes", "no"] = "auto"
    """Whether to add real training texts; auto adds them if they exist."""
    num_features: int = 144
    """Features of each token."""
    num_layers: int = 2
    """Layers of encoder and decoder each."""
    epochs: int = 8
    """Passes over the texts."""
    batch_size: int = 64
    """Texts of a step."""
    lr: float = 1.2e-3
    """Initial learning rate of a cosine schedule."""
    seed: int = 0
    """Seed of initial weights, texts and order."""

    def __post_init__(self) -> None:
        """Refuses settings out of range."""
        for name in ("num_texts", "num_features", "num_layers", "epochs", "batch_size", "lr"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} needs to be above 0, but got {getattr(self, name)}")


PARSERS = {
    "quick": ParserConfig(num_texts=240, real="no", num_features=32, num_layers=1, epochs=2),
    "default": ParserConfig(),
}


def _build_parser(config: ParserConfig) -> Parser:
    """The network, untrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Parser(config.num_features, config.num_layers)


def sample_texts(seed: int, number: int) -> list[SampledText]:
    """Generated texts, a third in the wording of CLEVRER, the others in everyday words; seeds below 1000 train."""
    generator = np.random.default_rng([41, seed])
    return [(sample_text if k % 3 == 0 else sample_paraphrase)(generator) for k in range(number)]


def texts_of(questions: Sequence[Question]) -> list[SampledText]:
    """The texts of questions and of their choices, with their programs."""
    texts = []
    for question in questions:
        texts.append(SampledText("question", question.text, question.program))
        mark = "cause" if question.kind == "explanatory" else "event"
        texts += [SampledText(mark, choice.text, choice.program) for choice in question.choices]

    return texts


def _batches(parser: Parser, texts: Sequence[SampledText]) -> Batches:
    """Texts and programs as numbers."""
    vocabulary = parser.vocabulary
    read = [vocabulary.tokenize(one.text, one.kind) for one in texts]
    for text in read:
        vocabulary.check_known(text)

    written = [
        torch.tensor([vocabulary.outputs[t] for t in ("<begin>", *vocabulary.with_slots(one.program, text), "<end>")])
        for one, text in zip(texts, read, strict=True)
    ]

    tensors = {"texts": parser.encode(read), "programs": nn.utils.rnn.pad_sequence(written)}
    return Batches(tensors, batch=dict.fromkeys(tensors, 1))


def _objective(parser: Parser, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of each next token of the programs."""
    programs = batch["programs"]
    length = int((programs != 0).any(1).sum())
    texts = batch["texts"][: int((batch["texts"] != 0).any(1).sum())]
    logits = parser(texts, programs[: length - 1])
    wanted = programs[1:length]
    loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=0)
    right = ((logits.argmax(-1) == wanted) | (wanted == 0)).all(0).float().mean()

    return loss, {"whole": right}


def train_parser(config: ParserConfig, run: Run, quiet: bool = False, data: Path | None = None) -> dict[str, Any]:
    """Trains the parser and scores it on generated texts of other seeds, and on real ones if they exist."""
    parser = _build_parser(config)
    texts = sample_texts(config.seed, config.num_texts)
    real = _real_texts(config, data)
    if real:
        texts += texts_of(read_questions(real["train"]).questions)

    phase = Phase(
        "parser",
        train=WHOLE,
        objective=_objective,
        epochs=config.epochs,
        optimizer=partial(torch.optim.AdamW, lr=config.lr, weight_decay=0.01),
        scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=config.epochs),
        clip=1.0,
    )

    settings = Settings(seed=config.seed, batch_size=config.batch_size, accelerator="cpu", quiet=quiet)
    fit(parser, [phase], _batches(parser, texts), settings=settings, run=run)
    run.save_weights(parser)
    results = _score_parser(parser, real, min(1000, config.num_texts // 6))
    run.save_results(results)

    return results


def _real_texts(config: ParserConfig, data: Path | None) -> dict[str, Path]:
    if config.real == "no":
        return {}

    try:
        files = {path.name.partition(".")[0]: path for path in find_files("clevrer", data)}
    except DataError:
        if config.real == "yes":
            raise
        return {}

    return {
        "train": files["questions_explanatory_train_texts"],
        "test": files["questions_explanatory_real"],
        "what_if": files["questions_counterfactual_texts"],
    }


def _score_parser(parser: Parser, real: dict[str, Path], num_texts: int = 1000) -> dict[str, Any]:
    """Share of texts whose whole program is correct."""
    results: dict[str, Any] = {"num_parameters": sum(p.numel() for p in parser.parameters())}
    with evaluating(parser):
        texts = sample_texts(1000, num_texts)
        results["generated"] = float(np.mean(_correct(parser, texts)))

        if "test" in real:
            questions = read_questions(real["test"]).questions
            right = _correct(parser, texts_of(questions))
            results["real_texts"] = {"num": len(right), "exact": float(np.mean(right))}
            whole = []
            first = 0

            for question in questions:
                last = first + 1 + len(question.choices)
                whole.append(all(right[first:last]))
                first = last

            results["real_questions"] = {"num": len(whole), "exact": float(np.mean(whole))}

        if "what_if" in real:
            asked = read_questions(real["what_if"]).what_if_texts
            parsed = parser.parse([one.text for one in asked], ["question"] * len(asked))
            named = [_names(one.program, text.removed) for one, text in zip(parsed, asked, strict=True)]
            results["removed_objects"] = {"num": len(named), "exact": float(np.mean(named))}

    return results


def _correct(parser: Parser, texts: Sequence[SampledText]) -> list[bool]:
    parsed = parser.parse([one.text for one in texts], [one.kind for one in texts])
    return [one.program == text.program for one, text in zip(parsed, texts, strict=True)]


def _names(program: tuple[str, ...], removed: Sequence[str]) -> bool:
    """Whether a what-if program removes an object by values of the removed object."""
    if "filter_counterfact" not in program:
        return False

    until = program[: program.index("filter_counterfact")]
    values = [until[k - 1] for k, token in enumerate(until) if token in _FILTERS]

    return bool(values) and set(values) <= set(removed)


_FILTERS = ("filter_color", "filter_material", "filter_shape")


def main() -> None:
    """Trains and prints the results."""
    import tyro

    def run(config: ParserConfig, out: Path) -> None:
        print(train_parser(config, Run.create(out, "reasoning_parser", config)))

    tyro.cli(run, config=(tyro.conf.OmitArgPrefixes,))


if __name__ == "__main__":
    main()
