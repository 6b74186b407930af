"""Questions in words to programs: a sequence to sequence network with attention that writes well-typed programs alone.

Encoder and decoder are transformers of two layers (A. Vaswani et al., NeurIPS 2017). The network reads and writes slots
in place of values (`parser_words`); at each step it may only write what the types allow (`parser_grammar`).
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
from spikebridge.networks.reasoning.parsing.vocabulary import LONGEST_TEXT, Text, Vocabulary

LONGEST_PROGRAM = 48


class ParsedProgram(NamedTuple):
    """A program that was read from a text, and how sure the network is of it, 0 to 1."""

    program: tuple[str, ...]
    score: float


class Parser(nn.Module):
    """Reads programs from texts.

    Args:
        num_features: of each token.
        num_layers: of encoder and decoder each.
        words: what it can read and write.

    Example:
        >>> parser = Parser(num_features=16, num_layers=1)
        >>> logits = parser(torch.ones(5, 2, dtype=torch.long), torch.ones(7, 2, dtype=torch.long))
        >>> logits.shape[:2]
        torch.Size([7, 2])
    """

    def __init__(self, num_features: int = 144, num_layers: int = 2, words: Vocabulary | None = None) -> None:
        super().__init__()
        self.words = words if words is not None else Vocabulary()
        self.grammar = Grammar(self.words)
        self.read = nn.Embedding(len(self.words.inputs), num_features)
        self.wrote = nn.Embedding(len(self.words.outputs), num_features)
        self.read_place = nn.Parameter(0.02 * torch.randn(LONGEST_TEXT + 1, 1, num_features))
        self.write_place = nn.Parameter(0.02 * torch.randn(LONGEST_PROGRAM + 1, 1, num_features))
        inner = 2 * num_features
        sizes: dict[str, Any] = {"d_model": num_features, "nhead": 4, "dim_feedforward": inner, "norm_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**sizes), num_layers, nn.LayerNorm(num_features), enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**sizes), num_layers, nn.LayerNorm(num_features)
        )
        self.output = nn.Linear(num_features, len(self.words.outputs))

    def forward(self, texts: Int[Tensor, "T B"], programs: Int[Tensor, "P B"]) -> Float[Tensor, "P B V"]:
        """Logits of the token after each one of the programs.

        Args:
            texts: numbers of tokens, 0 after the end.
            programs: numbers of tokens, beginning with that of `<begin>`, 0 after the end.
        """
        return self._write(programs, self._understand(texts), texts)

    def _understand(self, texts: Tensor) -> Tensor:
        inside = self.read(texts) + self.read_place[: len(texts)]
        return self.encoder(inside, src_key_padding_mask=(texts == 0).T)

    def _write(self, programs: Tensor, understood: Tensor, texts: Tensor) -> Tensor:
        inside = self.wrote(programs) + self.write_place[: len(programs)]
        future = torch.ones(len(programs), len(programs), dtype=torch.bool).triu(1)
        hidden = self.decoder(
            inside, understood, tgt_mask=future, memory_key_padding_mask=(texts == 0).T, tgt_is_causal=True
        )
        return self.output(hidden)

    def with_vocabulary(self, words: Vocabulary) -> "Parser":
        """The same network with other values of attributes: slots stand for them, so no weight is new.

        Args:
            words: with the same kinds of attribute.

        Raises:
            ConfigError: other kinds; they would need other slots.
        """
        if tuple(words.attributes) != tuple(self.words.attributes):
            raise ConfigError(
                f"the parser knows values of {', '.join(self.words.attributes)}, but got {', '.join(words.attributes)}"
            )
        other = copy.copy(self)
        other.words, other.grammar = words, Grammar(words)
        return other

    def question(self, video: int | str, text: str, choices: Sequence[str] = ()) -> Question:
        """A question and its choices in words as programs; see `read_question`."""
        return read_question(self, video, text, choices)

    def encode(self, texts: Sequence[Text]) -> Int[Tensor, "T B"]:
        """Texts as numbers, filled up with 0."""
        rows = [torch.tensor([self.words.inputs[token] for token in text.tokens]) for text in texts]
        return nn.utils.rnn.pad_sequence(rows)

    @torch.no_grad()
    def parse(self, texts: Sequence[str], kinds: Sequence[str]) -> list[ParsedProgram]:
        """The programs of texts.

        Args:
            texts: the words.
            kinds: of each text, one of `TEXT_KINDS`: `question`, `cause`, `event`.

        Returns:
            Of each text its program, an empty one where none ended within `LONGEST_PROGRAM` tokens.

        Raises:
            DataError: a word is not known.
        """
        read = [self.words.read(text, kind) for text, kind in zip(texts, kinds, strict=True)]
        for text in read:
            self.words.check(text)
        parsed = []
        for first in range(0, len(read), 256):
            part = slice(first, first + 256)
            parsed += self._decode(read[part], kinds[part])
        return parsed

    def _decode(self, texts: Sequence[Text], kinds: Sequence[str]) -> list[ParsedProgram]:
        outputs = list(self.words.outputs)
        numbers = self.encode(texts)
        understood = self._understand(numbers)
        stacks = [self.grammar.start(kind) for kind in kinds]
        written: list[list[str]] = [[] for _ in texts]
        sure = torch.zeros(len(texts))
        open_ = set(range(len(texts)))
        programs = torch.full((1, len(texts)), self.words.outputs["<begin>"])
        while open_ and len(programs) <= LONGEST_PROGRAM:
            scores = self._write(programs, understood, numbers)[-1].log_softmax(-1)
            following = torch.zeros(len(texts), dtype=torch.long)
            for b in sorted(open_):
                named = self.grammar.allowed(stacks[b], kinds[b])
                may = [
                    self.words.outputs[t] for t in named if not t.startswith("<") or t == "<end>" or t in texts[b].slots
                ]
                if not may:
                    written[b] = []
                    open_.discard(b)
                    continue
                following[b] = may[int(scores[b, may].argmax())]
                sure[b] += scores[b, following[b]]
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
        return [ParsedProgram(program, float(s.exp())) for program, s in zip(filled, sure, strict=True)]


def kind_of(program: Sequence[str]) -> str:
    """Which of the four kinds of question a program asks.

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
        video: the scene it is about.
        text: the question.
        choices: of all but a descriptive question.

    Raises:
        DataError: an unknown word, choices that are missing, or choices that nobody asked for.
    """
    program = _found(parser, [text], "question")[0]
    kind = kind_of(program)
    if kind == "descriptive" and choices:
        raise DataError(f"this question has no choices: {text!r:.100}")
    if kind != "descriptive" and not choices:
        raise DataError(f"this is a {kind} question and needs choices to judge: {text!r:.100}")
    mark = "cause" if kind == "explanatory" else "event"
    programs = _found(parser, choices, mark) if choices else []
    read = tuple(Choice(one, words) for one, words in zip(programs, choices, strict=True))
    return Question(video, kind, program, read, text)


def _found(parser: Parser, texts: Sequence[str], kind: str) -> list[tuple[str, ...]]:
    programs = [one.program for one in parser.parse(texts, [kind] * len(texts))]
    for text, program in zip(texts, programs, strict=True):
        if not program:
            raise DataError(f"no program was found for {text!r:.100}; ask in plainer words")
    return programs
