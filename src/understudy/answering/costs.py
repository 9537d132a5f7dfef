"""What an endpoint's answers cost: estimated before the first call, counted afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..teachers import EndpointTeacher
from .journal import Record

_CHARACTERS_PER_TOKEN = 4  # of English, roughly
_TOKENS_PER_CALL = 8  # of the roles around the messages, roughly


@dataclass(frozen=True)
class Bill:
    """Calls and tokens; `cost` is by the recipe's prices."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def __add__(self, other: Bill) -> Bill:
        return Bill(
            self.calls + other.calls, self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out,
            self.cost + other.cost,
        )  # fmt: skip

    def part(self, share: float) -> Bill:
        """The bill of so many times as many calls."""
        calls, sent, answered = (round(share * count) for count in (self.calls, self.tokens_in, self.tokens_out))
        return Bill(calls, sent, answered, share * self.cost)

    def __str__(self) -> str:
        calls = "call" if self.calls == 1 else "calls"
        tokens = f"{self.tokens_in:,} tokens sent, {self.tokens_out:,} answered"
        return f"{self.calls:,} {calls}, {tokens}, cost {self.cost:.4g}"


def estimated(config: EndpointTeacher, sent: Iterable[int], names: Iterable[str]) -> Bill:
    """The bill of calls whose messages have so many characters, answered with a label's name."""
    lengths = list(sent)
    tokens_in = sum(length // _CHARACTERS_PER_TOKEN + _TOKENS_PER_CALL for length in lengths)
    tokens_out = len(lengths) * (max(map(len, names)) // _CHARACTERS_PER_TOKEN + 1)
    return _priced(config, len(lengths), tokens_in, tokens_out)


def paid(config: EndpointTeacher, records: Iterable[Record]) -> Bill:
    """The bill of answers in the journal, by what the server says that it counted, else estimated."""
    total = Bill()
    for record in records:
        total += bill_of(config, record)
    return total


def bill_of(config: EndpointTeacher, record: Record) -> Bill:
    """The bill of one answer."""
    usage: Any = record.get("usage") or {}
    try:
        return _priced(config, 1, int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
    except (KeyError, TypeError, ValueError):
        return estimated(config, [int(record.get("sent", 0))], [str(record.get("answer", ""))])


def _priced(config: EndpointTeacher, calls: int, tokens_in: int, tokens_out: int) -> Bill:
    cost = tokens_in * config.price_per_million_input + tokens_out * config.price_per_million_output
    return Bill(calls, tokens_in, tokens_out, cost / 1e6)
