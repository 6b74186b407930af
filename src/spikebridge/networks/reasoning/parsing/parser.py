"""The question parser: a sequence-to-sequence transformer from questions in words to well-typed programs.

Encoder and decoder are transformers of two layers (A. Vaswani et al., NeurIPS 2017). Attribute values are replaced by
slots (`vocabulary.py`), and decoding is constrained to the tokens that the types allow (`_grammar.py`).
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.reasoning.data.scene import Choice, Question
from spikebridge.networks.reasoning.parsing._grammar import Grammar
from spikebridge.networks.reasoning.parsing._nearest import nearest_question
from spikebridge.networks.reasoning.parsing.agreement import disagreement
from spikebridge.networks.reasoning.parsing.vocabulary import MAX_TEXT_LENGTH, TokenizedText, Vocabulary

_MAX_PROGRAM_LENGTH = 48
_LEAST_PROBABILITY = 0.5
"""A program below it is refused: it would be a guess."""


class _ParsedProgram(NamedTuple):
    """The program of a text, and its probability under the network, 0 to 1."""

    program: tuple[str, ...]
    score: float


class Parser(nn.Module):
    """A transformer from texts to programs.

    Args:
        num_features: of each token.
        num_layers: of encoder and decoder each.
        vocabulary: words, slots and tokens.

    Example:
        >>> parser = Parser(num_features=16, num_layers=1)
        >>> logits = parser(torch.ones(5, 2, dtype=torch.long), torch.ones(7, 2, dtype=torch.long))
        >>> logits.shape[:2]
        torch.Size([7, 2])
    """

    def __init__(self, num_features: int = 144, num_layers: int = 2, vocabulary: Vocabulary | None = None) -> None:
        super().__init__()
        self.vocabulary = vocabulary if vocabulary is not None else Vocabulary()
        self.grammar = Grammar(self.vocabulary)
        self.read = nn.Embedding(len(self.vocabulary.inputs), num_features)
        self.wrote = nn.Embedding(len(self.vocabulary.outputs), num_features)
        self.read_place = nn.Parameter(0.02 * torch.randn(MAX_TEXT_LENGTH + 1, 1, num_features))
        self.write_place = nn.Parameter(0.02 * torch.randn(_MAX_PROGRAM_LENGTH + 1, 1, num_features))
        inner = 2 * num_features
        sizes: dict[str, Any] = {"d_model": num_features, "nhead": 4, "dim_feedforward": inner, "norm_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**sizes), num_layers, nn.LayerNorm(num_features), enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**sizes), num_layers, nn.LayerNorm(num_features)
        )
        self.output = nn.Linear(num_features, len(self.vocabulary.outputs))

    def forward(self, texts: Int[Tensor, "T B"], programs: Int[Tensor, "P B"]) -> Float[Tensor, "P B V"]:
        """Logits of the token after each one of the programs.

        Args:
            texts: numbers of tokens, 0 after the end.
            programs: numbers of tokens, starting with that of `<begin>`, 0 after the end.
        """
        return self._write(programs, self._encode_text(texts), texts)

    def _encode_text(self, texts: Tensor) -> Tensor:
        inside = self.read(texts) + self.read_place[: len(texts)]
        return self.encoder(inside, src_key_padding_mask=(texts == 0).T)

    def _write(self, programs: Tensor, memory: Tensor, texts: Tensor) -> Tensor:
        inside = self.wrote(programs) + self.write_place[: len(programs)]
        future = torch.ones(len(programs), len(programs), dtype=torch.bool).triu(1)
        hidden = self.decoder(
            inside, memory, tgt_mask=future, memory_key_padding_mask=(texts == 0).T, tgt_is_causal=True
        )

        return self.output(hidden)

    def with_vocabulary(self, vocabulary: Vocabulary) -> "Parser":
        """The same network with other attribute values: slots stand for values, so weights are unchanged.

        Args:
            vocabulary: with the same kinds of attribute.

        Raises:
            ConfigError: other kinds; they would need other slots.
        """
        own = self.vocabulary.attributes
        given = vocabulary.attributes
        if tuple(given) != tuple(own):
            raise ConfigError(f"the parser supports values of {', '.join(own)}, but got {', '.join(given)}")

        other = copy.copy(self)
        other.vocabulary = vocabulary
        other.grammar = Grammar(vocabulary)

        return other

    def question(self, video: int | str, text: str, choices: Sequence[str] = ()) -> Question:
        """A question and its choices in words as programs; see `read_question`."""
        return read_question(self, video, text, choices)

    def encode(self, texts: Sequence[TokenizedText]) -> Int[Tensor, "T B"]:
        """Texts as numbers, padded with 0."""
        rows = [torch.tensor([self.vocabulary.inputs[token] for token in text.tokens]) for text in texts]
        return nn.utils.rnn.pad_sequence(rows)

    @torch.no_grad()
    def parse(self, texts: Sequence[str], kinds: Sequence[str]) -> list[_ParsedProgram]:
        """The programs of texts.

        Args:
            texts: the words.
            kinds: of each text, one of `TEXT_KINDS`: `question`, `cause`, `event`.

        Returns:
            The program of each text; empty where none ended within `_MAX_PROGRAM_LENGTH` tokens.

        Raises:
            DataError: a word is not known.
        """
        read = [self.vocabulary.tokenize(text, kind) for text, kind in zip(texts, kinds, strict=True)]
        for text in read:
            self.vocabulary.check_known(text)

        parsed = []
        for first in range(0, len(read), 256):
            part = slice(first, first + 256)
            parsed += self._decode(read[part], kinds[part])

        return parsed

    def _decode(self, texts: Sequence[TokenizedText], kinds: Sequence[str]) -> list[_ParsedProgram]:
        outputs = list(self.vocabulary.outputs)
        numbers = self.encode(texts)
        memory = self._encode_text(numbers)
        stacks = [self.grammar.start(kind) for kind in kinds]
        written: list[list[str]] = [[] for _ in texts]
        log_probability = torch.zeros(len(texts))
        open_ = set(range(len(texts)))
        programs = torch.full((1, len(texts)), self.vocabulary.outputs["<begin>"])

        while open_ and len(programs) <= _MAX_PROGRAM_LENGTH:
            scores = self._write(programs, memory, numbers)[-1].log_softmax(-1)
            following = torch.zeros(len(texts), dtype=torch.long)

            for b in sorted(open_):
                named = self.grammar.allowed(stacks[b], kinds[b])
                may = [
                    self.vocabulary.outputs[t]
                    for t in named
                    if not t.startswith("<") or t == "<end>" or t in texts[b].slots
                ]
                if not may:
                    written[b] = []
                    open_.discard(b)
                    continue

                following[b] = may[int(scores[b, may].argmax())]
                log_probability[b] += scores[b, following[b]]
                token = outputs[following[b]]
                if token == "<end>":
                    open_.discard(b)
                else:
                    written[b].append(token)
                    stacks[b] = self.grammar.push(stacks[b], token)

            programs = torch.cat([programs, following[None]])

        filled = [
            () if b in open_ else tuple(text.slots.get(token, token) for token in written[b])
            for b, text in enumerate(texts)
        ]
        return [_ParsedProgram(program, float(s.exp())) for program, s in zip(filled, log_probability, strict=True)]


def kind_of(program: Sequence[str]) -> str:
    """The kind of question of a program.

    Example:
        >>> kind_of(("unseen_events", "belong_to"))
        'predictive'
    """
    marks = {"unseen_events": "predictive", "filter_counterfact": "counterfactual", "belong_to": "explanatory"}
    return next((kind for token, kind in marks.items() if token in program), "descriptive")


def read_question(parser: Parser, video: int | str, text: str, choices: Sequence[str] = ()) -> Question:
    """A question and its choices in words as programs.

    Args:
        parser: trained, in eval mode.
        video: of the scene.
        text: the question.
        choices: of all but a descriptive question.

    Raises:
        DataError: an unknown word, missing choices, or choices of a descriptive question.
    """
    program = read_programs(parser, [text], "question")[0]
    kind = kind_of(program)
    if kind == "descriptive" and choices:
        raise DataError(f"this question has no choices: {text!r:.100}")
    if kind != "descriptive" and not choices:
        raise DataError(f"this question is {kind} and needs choices to judge: {text!r:.100}")

    mark = "cause" if kind == "explanatory" else "event"
    programs = read_programs(parser, choices, mark) if choices else []
    read = tuple(Choice(one, words) for one, words in zip(programs, choices, strict=True))

    return Question(video, kind, program, read, text)


def read_programs(parser: Parser, texts: Sequence[str], kind: str) -> list[tuple[str, ...]]:
    """The programs of texts that are understood.

    Args:
        parser: trained, in eval mode.
        texts: the words.
        kind: of all texts, one of `TEXT_KINDS`.

    Raises:
        DataError: a word is unknown, the program does not agree with the words, or it is too uncertain; the message
            has the nearest known wording.
    """
    tokenized = [parser.vocabulary.tokenize(text, kind) for text in texts]
    for text, tokens in zip(texts, tokenized, strict=True):
        try:
            parser.vocabulary.check_known(tokens)
        except DataError as unknown:
            raise DataError(f"{unknown}; {_hint(parser, text, kind)}") from None

    parsed = parser.parse(texts, [kind] * len(texts))
    for text, tokens, one in zip(texts, tokenized, parsed, strict=True):
        if doubt := _doubt(parser.vocabulary, tokens, one):
            raise DataError(f"{text!r:.100} is not understood ({doubt}); {_hint(parser, text, kind)}")

    return [one.program for one in parsed]


def _doubt(vocabulary: Vocabulary, tokens: TokenizedText, parsed: _ParsedProgram) -> str:
    """Why a program is not taken for that of its text; empty where it is."""
    if not parsed.program:
        return "no program was found"
    if why := disagreement(tokens, vocabulary.with_slots(parsed.program, tokens)):
        return f"the program that was found has no place for {why}" if why.startswith("'") else why
    if parsed.score < _LEAST_PROBABILITY:
        return f"the best program has a probability of {parsed.score:.2f}"

    return ""


def _hint(parser: Parser, text: str, kind: str) -> str:
    return f"the nearest known wording: {nearest_question(parser.vocabulary, text, kind)!r}"
