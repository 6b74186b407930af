"""The grammar of programs: the tokens that may come next, by the types of the operators."""

from collections.abc import Mapping
from functools import lru_cache

from spikebridge.networks.reasoning.parsing.operators import DESCRIBE, OPERATORS, OperatorTable
from spikebridge.networks.reasoning.parsing.vocabulary import Vocabulary

_Stack = tuple[str, ...]
_CHOICE = "choice"
"""The bottom of the stack of a question's program: the value that a choice's program leaves."""
_FITS_CHOICE = ("object", "event", "possible event")
_ENDS: Mapping[str, tuple[_Stack, ...]] = {
    "question": (("answer",), (_CHOICE, "answer")),
    "cause": (("object",), ("event",)),
    "event": (("possible event",),),
}


class Grammar:
    """Tokens allowed after a stack of types.

    Args:
        vocabulary: of the programs.

    Example:
        >>> grammar = Grammar(Vocabulary())
        >>> stack = grammar.start("question")
        >>> for token in ("objects", "<color 1>"):
        ...     stack = grammar.push(stack, token)
        >>> stack, sorted(grammar.allowed(stack, "question"))  # a colour allows one operator
        (('choice', 'objects', 'color'), ['filter_color'])
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._table = OperatorTable((*OPERATORS, DESCRIBE), vocabulary.attributes)
        self._types = {slot: slot[1:].partition(" ")[0] for slot in vocabulary.slots}
        orders = {word: kind for word, kind in self._table.words.items() if kind == "order"}
        self._types |= orders
        self._writable = [token for token in vocabulary.outputs if token in self._table.rows]
        self._cached = lru_cache(maxsize=4096)(self._allowed)

    def start(self, kind: str) -> _Stack:
        """The stack before the first token."""
        return (_CHOICE,) if kind == "question" else ()

    def push(self, stack: _Stack, token: str) -> _Stack:
        """The stack after a token that is allowed."""
        if token in self._types:
            return (*stack, self._types[token])
        takes, gives = next(fit for fit in self._fits(stack, token))
        return (*stack[: len(stack) - len(takes)], gives)

    def allowed(self, stack: _Stack, kind: str) -> frozenset[str]:
        """Tokens that may come next, `<end>` among them where a program may end here.

        Args:
            stack: types of the values so far.
            kind: of the text, one of `TEXT_KINDS`.
        """
        return self._cached(stack, kind)

    def _allowed(self, stack: _Stack, kind: str) -> frozenset[str]:
        tokens = {token for token in self._writable if self._fits(stack, token)}
        top = stack[-1] if stack else ""
        values = top in ("objects", "events")
        tokens |= {word for word, type_ in self._types.items() if values and (type_ == "order") == (top == "events")}

        if top in {*self._types.values()}:  # the operator of a word follows directly
            tokens = {token for token in tokens if self._takes(token, top)}

        if stack in _ENDS[kind]:
            tokens.add("<end>")

        return frozenset(tokens)

    def _takes(self, token: str, top: str) -> bool:
        row = self._table.rows.get(token)
        return row is not None and any(s.takes and s.takes[-1] == top for s in row.signatures)

    def _fits(self, stack: _Stack, token: str) -> list[tuple[_Stack, str]]:
        found = []
        for signature in self._table.rows[token].signatures:
            takes = tuple(signature.takes)
            under = stack[len(stack) - len(takes) :] if len(takes) <= len(stack) else ()
            same = len(under) == len(takes) and all(map(_fits_type, under, takes))
            if same:
                found.append((takes, signature.gives))

        return found


def _fits_type(there: str, wanted: str) -> bool:
    return there == wanted or (there == _CHOICE and wanted in _FITS_CHOICE)
