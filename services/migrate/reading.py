"""Reads one statement word by word, for whoever looks for what it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.migrate.tokens import Token

Name = tuple[str, ...]
"""A name with what it is qualified by, as PostgreSQL stores it."""


class Reading:
    """A place in a row of tokens. Words are compared in small letters; quoted names are never words."""

    def __init__(self, said: Sequence[Token]) -> None:
        self._said = said
        self._place = 0

    @property
    def is_done(self) -> bool:
        """Nothing is left."""
        return self._place >= len(self._said)

    def accept(self, *words: str) -> bool:
        """Step over `words` if they come next."""
        following = self._said[self._place : self._place + len(words)]
        if [_word(token) for token in following] != list(words):
            return False
        self._place += len(words)
        return True

    def accept_any(self, *words: str) -> str | None:
        """Step over the next word if it is among `words`; returns it."""
        return next((word for word in words if self.accept(word)), None)

    def has(self, *words: str) -> bool:
        """Whether `words` come next."""
        place, there = self._place, self.accept(*words)
        self._place = place
        return there

    def name(self) -> Name | None:
        """Step over a name, qualified or not; returns its parts as PostgreSQL stores them."""
        parts: list[str] = []
        while not self.is_done and self._said[self._place].kind in {"word", "name"}:
            parts.append(_identifier(self._said[self._place]))
            self._place += 1
            if not self._accept_symbol("."):
                break
        return tuple(parts) or None

    def names(self) -> Iterator[Name]:
        """Step over names with commas between them; what is in parentheses behind one does not count."""
        while (name := self.name()) is not None:
            yield name
            self.accept("*")
            self._skip_parentheses()
            if not self._accept_symbol(","):
                return

    def step(self) -> None:
        """Step over one token, whatever it is."""
        self._place += 1

    def rest(self) -> Sequence[Token]:
        """What is left."""
        return self._said[self._place :]

    def _accept_symbol(self, symbol: str) -> bool:
        if self.is_done or self._said[self._place].text != symbol:
            return False
        self._place += 1
        return True

    def _skip_parentheses(self) -> None:
        depth = 0
        while not self.is_done:
            text = self._said[self._place].text
            if depth == 0 and text != "(":
                return
            depth += {"(": 1, ")": -1}.get(text, 0)
            self._place += 1


def outermost(said: Sequence[Token]) -> list[Token]:
    """The tokens that stand in no parentheses."""
    depth, found = 0, list[Token]()
    for token in said:
        depth -= token.text == ")"
        if depth == 0 and token.text not in {"(", ")"}:
            found.append(token)
        depth += token.text == "("
    return found


def parts(said: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """`said` cut at the commas that stand in no parentheses."""
    depth, start = 0, 0
    for place, token in enumerate(said):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and token.text == ",":
            yield said[start:place]
            start = place + 1
    yield said[start:]


def contains(said: Sequence[Token], *words: str) -> bool:
    """Whether `words` stand in `said`, one behind the other."""
    heard = [_word(token) for token in said]
    return any(heard[place : place + len(words)] == list(words) for place in range(len(heard)))


def _word(token: Token) -> str:
    return token.text.lower() if token.kind in {"word", "symbol"} else ""


def _identifier(token: Token) -> str:
    return token.text[1:-1].replace('""', '"') if token.kind == "name" else token.text.lower()
