"""The question parser: a sequence-to-sequence transformer from questions in words to well-typed programs.

Events, in choices and in questions about causes, are read by a grammar instead (`event_words.py`).

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
from spikebridge.networks.reasoning.parsing.event_words import TextProgram, read_cause_question, read_event
from spikebridge.networks.reasoning.parsing.vocabulary import MAX_TEXT_LENGTH, TokenizedText, Vocabulary
from spikebridge.training.run.run import Run

_MAX_PROGRAM_LENGTH = 48
_BATCH_SIZE = 256
_MIN_PROBABILITY = 0.5  # a less probable program is refused: it would be a guess


class ParsedProgram(NamedTuple):
    """The program of a text, empty where none was found, and its probability under the network, 0 to 1."""

    program: tuple[str, ...]
    score: float


class Parser(nn.Module):
    """A transformer from texts to programs."""

    def __init__(self, num_features: int = 144, num_layers: int = 2) -> None:
        super().__init__()
        self.vocabulary = Vocabulary()
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
        """Logits of the token after each token of the programs, which start with `<begin>`; 0 pads behind the end."""
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
        """The same network with other attribute values: slots stand for values, so weights are unchanged."""
        kinds = tuple(self.vocabulary.attributes)
        if tuple(vocabulary.attributes) != kinds:
            raise ConfigError(
                f"the parser supports values of {', '.join(kinds)}, but got {', '.join(vocabulary.attributes)}"
            )

        # the copy shares its weights, and has tables of its own
        other = copy.copy(self)
        other.vocabulary = vocabulary
        other.grammar = Grammar(vocabulary)

        return other

    def question(self, video: int | str, text: str, choices: Sequence[str] = ()) -> Question:
        """A question and its choices in words as programs, as `read_question`."""
        return read_question(self, video, text, choices)

    def encode(self, texts: Sequence[TokenizedText]) -> Int[Tensor, "T B"]:
        """Texts as numbers, padded with 0."""
        rows = [torch.tensor([self.vocabulary.inputs[token] for token in text.tokens]) for text in texts]
        return nn.utils.rnn.pad_sequence(rows)

    @torch.no_grad()
    def parse(self, texts: Sequence[str], kinds: Sequence[str]) -> list[ParsedProgram]:
        """The programs of texts, each with its kind; raises `DataError` for an unknown word."""
        tokenized = [self.vocabulary.tokenize(text, kind) for text, kind in zip(texts, kinds, strict=True)]
        for text in tokenized:
            self.vocabulary.check_known(text)

        parsed = []
        for first in range(0, len(tokenized), _BATCH_SIZE):
            batch = slice(first, first + _BATCH_SIZE)
            parsed += self._decode(tokenized[batch], kinds[batch])

        return parsed

    def _decode(self, texts: Sequence[TokenizedText], kinds: Sequence[str]) -> list[ParsedProgram]:
        numbers = self.encode(texts)
        memory = self._encode_text(numbers)
        searches = [_Search(self, text, kind) for text, kind in zip(texts, kinds, strict=True)]
        programs = torch.full((1, len(texts)), self.vocabulary.outputs["<begin>"])

        while any(search.is_open for search in searches) and len(programs) <= _MAX_PROGRAM_LENGTH:
            scores = self._write(programs, memory, numbers)[-1].log_softmax(-1)
            following = torch.zeros(len(texts), dtype=torch.long)
            for b, search in enumerate(searches):
                if search.is_open:
                    following[b] = search.advance(scores[b])

            programs = torch.cat([programs, following[None]])

        return [search.result() for search in searches]


class _Search:
    def __init__(self, parser: Parser, text: TokenizedText, kind: str) -> None:
        self._numbers = parser.vocabulary.outputs
        self._tokens = list(parser.vocabulary.outputs)
        self._grammar = parser.grammar
        self._text = text
        self._kind = kind
        self._stack = parser.grammar.start(kind)
        self._program: list[str] = []
        self._log_probability = torch.zeros(())
        self.is_open = True

    def advance(self, scores: Float[Tensor, "V"]) -> int:
        """Writes the most probable token that is allowed, and gives its number; 0 for a dead end."""
        tokens = self._grammar.allowed(self._stack, self._kind)
        numbers = [self._numbers[token] for token in tokens if self._is_open_to(token)]
        if not numbers:
            self._program = []
            self.is_open = False
            return 0

        number = numbers[int(scores[numbers].argmax())]
        token = self._tokens[number]
        self._log_probability = self._log_probability + scores[number]
        if token == "<end>":
            self.is_open = False
        else:
            self._program.append(token)
            self._stack = self._grammar.push(self._stack, token)

        return number

    def result(self) -> ParsedProgram:
        """The program with the values of its slots; empty if it did not end."""
        slots = self._text.slots
        program = () if self.is_open else tuple(slots.get(token, token) for token in self._program)
        return ParsedProgram(program, float(self._log_probability.exp()))

    def _is_open_to(self, token: str) -> bool:
        return not token.startswith("<") or token == "<end>" or token in self._text.slots


def load_parser(run: Run) -> Parser:
    """The parser of a run, in eval mode."""
    num_features, num_layers = (run.config.get(name) for name in ("num_features", "num_layers"))
    if not isinstance(num_features, int) or not isinstance(num_layers, int):
        raise DataError(f"{run.path / 'config.json'} is damaged: it needs an integer num_features and num_layers")

    parser = Parser(num_features, num_layers).eval()
    run.load_weights(parser)

    return parser


def kind_of(program: Sequence[str]) -> str:
    """The kind of question of a program."""
    marks = {"unseen_events": "predictive", "filter_counterfact": "counterfactual", "belong_to": "explanatory"}
    return next((kind for token, kind in marks.items() if token in program), "descriptive")


def read_question(parser: Parser, video: int | str, text: str, choices: Sequence[str] = ()) -> Question:
    """A question and its choices in words as programs; the parser is in eval mode, errors are `DataError`."""
    asked = read_text(parser, text, "question")
    # the kind decides how the choices are read
    kind = kind_of(asked.program)
    if kind == "descriptive" and choices:
        raise DataError(f"this question has no choices: {text!r:.100}")
    if kind != "descriptive" and not choices:
        raise DataError(f"this question is {kind} and needs choices to judge: {text!r:.100}")

    read = [read_text(parser, choice, "cause" if kind == "explanatory" else "event") for choice in choices]
    judged = tuple(Choice(one.program, words, unused=one.unused) for one, words in zip(read, choices, strict=True))

    return Question(video, kind, asked.program, judged, text, unused=asked.unused)


def read_text(parser: Parser, text: str, kind: str) -> TextProgram:
    """The program of a text of a kind; raises `DataError` for a doubtful one, such as one with unknown words."""
    # events are read by a grammar, other questions by the network
    vocabulary = parser.vocabulary
    if kind != "question":
        return read_event(vocabulary, text, kind)

    asked = read_cause_question(vocabulary, text)
    if asked is not None:
        return asked

    hint = f"the nearest known wording: {nearest_question(vocabulary, text)!r}"
    tokens = vocabulary.tokenize(text, kind)
    # words first: a program of known words only would hide an unknown one
    try:
        vocabulary.check_known(tokens)
    except DataError as unknown:
        raise DataError(f"{unknown}; {hint}") from None

    (parsed,) = parser.parse([text], [kind])
    doubt = _doubt(vocabulary, tokens, parsed)
    if doubt:
        raise DataError(f"{text!r:.100} is not understood ({doubt}); {hint}")

    return TextProgram(parsed.program)


def _doubt(vocabulary: Vocabulary, tokens: TokenizedText, parsed: ParsedProgram) -> str:
    if not parsed.program:
        return "no program was found"

    reason = disagreement(tokens, vocabulary.with_slots(parsed.program, tokens))
    if reason:
        return f"the program that was found has no place for {reason}" if reason.startswith("'") else reason
    if parsed.score < _MIN_PROBABILITY:
        return f"the best program has a probability of {parsed.score:.2f}"

    return ""
