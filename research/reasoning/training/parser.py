"""Trains the question parser of the reasoning network on texts with programs, in minutes on one core.

    python research/reasoning/training/parser.py --out runs/reasoning_parser

It is trained on generated texts, and on 564 real training questions of CLEVRER if `SPIKEBRIDGE_DATA` has them. It is
tested on 442 other real questions, and on 7476 real texts of what-if questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from research.reasoning.question_answering.what_if_texts import read_what_if_texts
from research.reasoning.training.paraphrases import sample_paraphrase
from research.reasoning.training.templates import SampledText, sample_text
from spikebridge.data.catalog import find_files
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, Question
from spikebridge.networks.reasoning.parsing.parser import Parser
from spikebridge.ops.modes import evaluating
from spikebridge.training.batches import Batches
from spikebridge.training.loop import fit
from spikebridge.training.phase import WHOLE, Phase
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings, check_positive


@dataclass(frozen=True)
class ParserConfig:
    """Settings of the training of the parser."""

    num_texts: int = 24000  # generated texts to train on
    real: Literal["auto", "yes", "no"] = "auto"  # whether to add real training texts; auto adds them if they exist
    num_features: int = 144  # features of each token
    num_layers: int = 2  # layers of encoder and decoder each
    epochs: int = 8  # passes over the texts
    batch_size: int = 64  # texts of a step
    lr: float = 1.2e-3  # initial learning rate of a cosine schedule
    seed: int = 0  # seed of initial weights, texts and order

    def __post_init__(self) -> None:
        check_positive(self, [name for name in vars(self) if name not in ("real", "seed")])


PARSERS = {
    "quick": ParserConfig(num_texts=240, real="no", num_features=32, num_layers=1, epochs=2),
    "default": ParserConfig(),
}


def sample_texts(seed: int, number: int) -> list[SampledText]:
    """Generated texts, a third in the wording of CLEVRER, the others in everyday words; seeds below 1000 train."""
    generator = np.random.default_rng([41, seed])
    return [(sample_text if k % 3 == 0 else sample_paraphrase)(generator) for k in range(number)]


def texts_of(questions: Sequence[Question]) -> list[SampledText]:
    """The texts of questions and of their choices, with their programs."""
    texts = []
    for question in questions:
        texts.append(SampledText("question", question.text, question.program))
        kind = "cause" if question.kind == "explanatory" else "event"
        texts += [SampledText(kind, choice.text, choice.program) for choice in question.choices]

    return texts


def train_parser(config: ParserConfig, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains the parser and scores it on generated texts of other seeds, and on real ones if they exist."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        parser = Parser(config.num_features, config.num_layers)

    texts = sample_texts(config.seed, config.num_texts)
    real = _real_texts(config)
    if real:
        texts += texts_of(read_questions(real["train"]))

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


def _batches(parser: Parser, texts: Sequence[SampledText]) -> Batches:
    """Texts and programs as numbers."""
    vocabulary = parser.vocabulary
    tokenized = [vocabulary.tokenize(text.text, text.kind) for text in texts]
    programs = []
    for text, tokens in zip(texts, tokenized, strict=True):
        vocabulary.check_known(tokens)
        program = ("<begin>", *vocabulary.with_slots(text.program, tokens), "<end>")
        programs.append(torch.tensor([vocabulary.outputs[token] for token in program]))

    tensors = {"texts": parser.encode(tokenized), "programs": nn.utils.rnn.pad_sequence(programs)}
    return Batches(tensors, batch=dict.fromkeys(tensors, 1))


def _objective(parser: Parser, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of each next token of the programs."""
    # a batch is as long as its longest row
    texts, programs = (batch[name][: int((batch[name] != 0).any(1).sum())] for name in ("texts", "programs"))
    logits = parser(texts, programs[:-1])
    following = programs[1:]
    loss = F.cross_entropy(logits.flatten(0, 1), following.flatten(), ignore_index=0)
    right = ((logits.argmax(-1) == following) | (following == 0)).all(0).float().mean()

    return loss, {"whole": right}


def _real_texts(config: ParserConfig) -> dict[str, Path]:
    """Files of real texts to train on and to test with; none where the data is missing."""
    if config.real == "no":
        return {}

    try:
        files = {path.name.partition(".")[0]: path for path in find_files("clevrer")}
    except DataError:
        if config.real == "yes":
            raise
        return {}

    return {
        "train": files["questions_explanatory_train_texts"],
        "test": files["questions_explanatory_real"],
        "what_if": files["questions_counterfactual_texts"],
    }


def _score_parser(parser: Parser, real: dict[str, Path], num_texts: int) -> dict[str, Any]:
    """The share of texts whose whole program is correct, of generated and of real texts."""
    results: dict[str, Any] = {"num_parameters": sum(p.numel() for p in parser.parameters())}
    with evaluating(parser):
        # seeds below 1000 train
        results["generated"] = float(np.mean(_correct(parser, sample_texts(1000, num_texts))))
        if real:
            questions = read_questions(real["test"])
            right = _correct(parser, texts_of(questions))
            results["real_texts"] = _share(right)

            # the texts of a question and of its choices follow each other
            rest = iter(right)
            whole = [all(list(islice(rest, 1 + len(question.choices)))) for question in questions]
            results["real_questions"] = _share(whole)

            # these have no programs: an object removed by values of the removed one counts as correct
            texts = read_what_if_texts(real["what_if"])
            parsed = parser.parse([text.text for text in texts], ["question"] * len(texts))
            pairs = zip(parsed, texts, strict=True)
            results["removed_objects"] = _share([_removes(one.program, text.removed) for one, text in pairs])

    return results


def _share(right: Sequence[bool]) -> dict[str, Any]:
    return {"num": len(right), "exact": float(np.mean(right))}


def _correct(parser: Parser, texts: Sequence[SampledText]) -> list[bool]:
    parsed = parser.parse([text.text for text in texts], [text.kind for text in texts])
    return [one.program == text.program for one, text in zip(parsed, texts, strict=True)]


def _removes(program: tuple[str, ...], removed: Sequence[str]) -> bool:
    """True if a program removes an object by values of the removed object."""
    if "filter_counterfact" not in program:
        return False

    selection = program[: program.index("filter_counterfact")]
    filters = {f"filter_{kind}" for kind in ATTRIBUTES}
    values = {value for value, token in pairwise(selection) if token in filters}

    return bool(values) and values <= set(removed)


def main() -> None:
    """Trains and prints the results."""
    import tyro

    def run(config: ParserConfig, out: Path) -> None:
        print(train_parser(config, Run.create(out, "reasoning_parser", config)))

    tyro.cli(run, config=(tyro.conf.OmitArgPrefixes,))


if __name__ == "__main__":
    main()
