"""A language model behind an OpenAI-compatible chat-completions endpoint as a teacher."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArtifactError, RecipeError, WorkError
from ..label_mapping import label_permutation
from ..teachers import EndpointTeacher
from .client import Client, RefusedError
from .costs import Bill, bill_of, estimated, paid
from .journal import Journal, Record, key_of
from .reading import Floats, has_token_probabilities, label_named, probabilities_of
from .rows import FLOOR

ALTERNATIVES = (20, 5)  # per token: OpenAI gives 20, some servers 5
_PLACE = re.compile(r"\{(text|labels)\}")


class Questions:
    """What an endpoint is asked, with the name of each label there in the task's order."""

    def __init__(self, config: EndpointTeacher, labels: Sequence[str]) -> None:
        self.config, self.labels = config, labels
        self.url = f"{config.url}/chat/completions"
        theirs = list(config.label_map) + [name for name in labels if name not in config.label_map.values()]
        try:
            self.names = [theirs[place] for place in label_permutation(theirs, labels, config.label_map)]
        except ArtifactError as error:
            raise RecipeError(f"teacher.label_map: {error}") from None

    def body(self, text: str, alternatives: int) -> dict[str, Any]:
        """The request for one answer: with token probabilities, or a sample if `alternatives` is 0."""
        config = self.config
        given = {"text": text, "labels": ", ".join(self.names)}
        prompt = _PLACE.sub(lambda place: given[place[1]], config.prompt)
        messages = [{"role": "system", "content": config.system}] if config.system else []
        body: dict[str, Any] = {"model": config.model, "messages": [*messages, {"role": "user", "content": prompt}]}
        body["temperature"] = 0 if alternatives else config.temperature
        if config.max_tokens:
            body["max_tokens"] = config.max_tokens
        if alternatives:
            body |= {"logprobs": True, "top_logprobs": alternatives}
        return body | config.body

    def key(self, body: Mapping[str, Any], sample: int) -> str:
        """The key of an answer in the journal."""
        return key_of({"url": self.url, "body": body, "sample": sample})

    def ladder(self, text: str, known: Collection[str]) -> list[int]:
        """How many alternatives to ask for, one after the other: what is known, else what servers give.

        Empty where token probabilities are not wanted, or the server had none for this text.
        """
        if self.config.answers == "samples":
            return []
        there = [number for number in ALTERNATIVES if self.key(self.body(text, number), 0) in known]
        sampled = self.key(self.body(text, 0), 0) in known
        return there or ([] if sampled else list(ALTERNATIVES))

    def bill(self, texts: Sequence[str], known: Collection[str]) -> Bill:
        """What asking for the texts would cost beside the answers that are known, if tokens decide where they can."""
        sent = []
        for text in dict.fromkeys(texts):
            ladder = self.ladder(text, known)
            asked = [(ladder[0], 0)] if ladder else [(0, sample) for sample in range(self.config.samples)]
            bodies = [(self.body(text, alternatives), sample) for alternatives, sample in asked]
            sent += [_characters(body) for body, sample in bodies if self.key(body, sample) not in known]
        return estimated(self.config, sent, self.names)


class Endpoint:
    """Asks in several threads; every answer is in the journal before it counts."""

    def __init__(self, questions: Questions, journal: Journal) -> None:
        self.questions, self.journal, self.config = questions, journal, questions.config
        self.tally = {"asked": 0, "by_tokens": 0, "by_samples": 0, "samples_without_a_label": 0, "without_a_label": 0}
        self._client: Client | None = None
        self._refused: set[int] = set()  # numbers of alternatives that the server does not give
        self._lock = Lock()
        self.bill = Bill()  # of the calls made here
        self._before = paid(self.config, list(journal.records.values())).cost

    def answer(self, texts: Sequence[str], advance: Callable[[int], None]) -> NDArray[np.float32]:
        """Log-probabilities (n, labels), NaN where no answer named a label. A text that occurs twice is asked once."""
        row = {text: index for index, text in enumerate(dict.fromkeys(texts))}
        found = np.full((len(row), len(self.questions.labels)), np.nan)
        pool = ThreadPoolExecutor(self.config.concurrency)
        try:
            asked = {pool.submit(self._answer, text): text for text in row}
            for future in as_completed(asked):
                found[row[asked[future]]] = future.result()
                advance(1)
        except BaseException:
            if self._client:
                self._client.cancel()
            pool.shutdown(cancel_futures=True)  # what is under way is paid for: it goes into the journal
            raise
        pool.shutdown()
        advance(len(texts) - len(row))
        found = np.maximum(found, FLOOR)
        logs = np.log(found / found.sum(axis=1, keepdims=True))
        return np.asarray(logs[[row[text] for text in texts]], dtype=np.float32)

    def _answer(self, text: str) -> Floats:
        found = self._by_tokens(text)
        if found is not None:
            self._count("by_tokens")
            return found
        return self._by_samples(text)

    def _by_tokens(self, text: str) -> Floats | None:
        for alternatives in self.questions.ladder(text, self.journal.records):
            if alternatives in self._refused and not self._known(text, alternatives):
                continue
            try:
                record = self._ask(text, alternatives, 0)
            except RefusedError as refusal:
                if refusal.status not in (400, 422) or "logprobs" not in refusal.reason.casefold():
                    raise
                self._refused.add(alternatives)
                continue
            if not has_token_probabilities(record["choice"]):
                self._refused.update(ALTERNATIVES)  # it offers none: other texts need not be asked for them
            return probabilities_of(record["choice"], self.questions.names)
        return None

    def _by_samples(self, text: str) -> Floats:
        """(count of a label + alpha) / (answers that name one + labels · alpha); NaN if none names one."""
        counts = np.zeros(len(self.questions.names))
        for sample in range(self.config.samples):
            named = label_named(self._ask(text, 0, sample)["answer"], self.questions.names)
            if named is None:
                self._count("samples_without_a_label")
            else:
                counts[named] += 1
        if not counts.any():
            self._count("without_a_label")
            return np.full(len(counts), np.nan)
        self._count("by_samples")
        smoothed = counts + self.config.alpha
        return np.asarray(smoothed / smoothed.sum())

    def _known(self, text: str, alternatives: int) -> bool:
        return self.questions.key(self.questions.body(text, alternatives), 0) in self.journal.records

    def _ask(self, text: str, alternatives: int, sample: int) -> Record:
        """The answer from the journal; the endpoint's if it is not there, put there before it is used."""
        body = self.questions.body(text, alternatives)
        key = self.questions.key(body, sample)
        if key in self.journal.records:
            return self.journal.records[key]
        self._check_limit()
        answer = self._connected().post(body)
        choice = answer["choices"][0]
        said = (choice.get("message") or {}).get("content")
        record: Record = {
            "key": key, "text": text, "model": self.config.model, "sample": sample,
            "answer": said if isinstance(said, str) else "",
            "choice": {"finish_reason": choice.get("finish_reason"), "logprobs": choice.get("logprobs")},
            "usage": answer.get("usage"), "sent": _characters(body),
        }  # fmt: skip
        self.journal.add(record)
        self._count("asked")
        self._charge(record)
        return record

    def _connected(self) -> Client:
        """The client, made for the first question that the journal does not answer: only then is a key needed."""
        with self._lock:
            if self._client is None:
                name = self.config.key_variable
                key = os.environ.get(name, "").strip() if name else ""
                if name and not key:
                    raise RecipeError(f"the environment variable {name} (teacher.key_variable) is not set")
                self._client = Client(self.questions.url, key, self.config.timeout, self.config.retries)
            return self._client

    def _charge(self, record: Record) -> None:
        with self._lock:
            self.bill += bill_of(self.config, record)
        self._check_limit()

    def _check_limit(self) -> None:
        cost = self._before + self.bill.cost
        if self.config.max_cost and cost > self.config.max_cost:
            raise WorkError(
                f"the answers have cost {cost:.4g}, and max_cost is {self.config.max_cost:g}; they are "
                f"kept in {self.journal.path}: raise max_cost to go on"
            )

    def _count(self, what: str) -> None:
        with self._lock:
            self.tally[what] += 1


def check_cost(config: EndpointTeacher, expected: Bill, spent: Bill) -> None:
    """Raise RecipeError before a call if all calls together would cost more than the recipe allows."""
    total = spent.cost + expected.cost
    if config.max_cost and total > config.max_cost:
        raise RecipeError(
            f"the answers would cost about {total:.4g} ({expected}; paid so far: {spent.cost:.4g}), and max_cost is "
            f"{config.max_cost:g}: raise it, or give fewer texts"
        )


def _characters(body: Mapping[str, Any]) -> int:
    return sum(len(message["content"]) for message in body["messages"])
