"""The grammar of programs: the tokens that may come next, by the types of the operators."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

from spikebridge.networks.reasoning.parsing.operators import DESCRIBE, OPERATORS, OperatorTable, Signature
from spikebridge.networks.reasoning.parsing.vocabulary import Vocabulary

_Stack: TypeAlias = tuple[str, ...]  # types of the values of a program so far
_CHOICE = "choice"  # the bottom of the stack of a question's program: the value that a choice's program leaves
_TYPES_OF_CHOICES = ("object", "event", "possible event")
_ENDS: Mapping[str, tuple[_Stack, ...]] = {
    "question": (("answer",), (_CHOICE, "answer")),
    "cause": (("object",), ("event",)),
    "event": (("possible event",),),
}


class Grammar:
    """Tokens allowed after a stack of types; a colour allows only `filter_color`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._table = OperatorTable((*OPERATORS, DESCRIBE), vocabulary.attributes)
        orders = {word: kind for word, kind in self._table.words.items() if kind == "order"}
        self._type_of_word = {slot: slot[1:].partition(" ")[0] for slot in vocabulary.slots} | orders
        self._operators = [token for token in vocabulary.outputs if token in self._table.rows]
        self._cached = lru_cache(maxsize=4096)(self._allowed)

    def start(self, kind: str) -> _Stack:
        """The stack before the first token."""
        return (_CHOICE,) if kind == "question" else ()

    def push(self, stack: _Stack, token: str) -> _Stack:
        """The stack after a token that is allowed."""
        if token in self._type_of_word:
            return (*stack, self._type_of_word[token])

        signature = self._fitting(stack, token)[0]
        return (*stack[: len(stack) - len(signature.takes)], signature.gives)

    def allowed(self, stack: _Stack, kind: str) -> frozenset[str]:
        """Tokens that may come next in a text of a kind, `<end>` among them where a program may end."""
        return self._cached(stack, kind)

    def _allowed(self, stack: _Stack, kind: str) -> frozenset[str]:
        tokens = {token for token in self._operators if self._fitting(stack, token)}
        # a word filters the set on top: an attribute value objects, a word of order events
        top = stack[-1] if stack else ""
        if top == "objects":
            tokens |= {word for word, kind_of_word in self._type_of_word.items() if kind_of_word != "order"}
        elif top == "events":
            tokens |= {word for word, kind_of_word in self._type_of_word.items() if kind_of_word == "order"}
        elif top in self._type_of_word.values():
            # the operator of a word follows directly
            tokens = {
                token for token in tokens if any(s.takes[-1:] == (top,) for s in self._table.rows[token].signatures)
            }

        if stack in _ENDS[kind]:
            tokens.add("<end>")

        return frozenset(tokens)

    def _fitting(self, stack: _Stack, token: str) -> list[Signature]:
        """The signatures of an operator whose arguments are on top of the stack."""
        fitting = []
        for signature in self._table.rows[token].signatures:
            number = len(signature.takes)
            arguments = stack[len(stack) - number :] if number <= len(stack) else ()
            if len(arguments) == number and all(map(_fits, arguments, signature.takes)):
                fitting.append(signature)

        return fitting


def _fits(argument: str, parameter: str) -> bool:
    return argument == parameter or (argument == _CHOICE and parameter in _TYPES_OF_CHOICES)
