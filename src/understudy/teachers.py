"""[teacher]: a model that is trained here or ready, or answers of a table, a function, an endpoint, an ensemble."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from .sections import Positive, Proportion, Section, TeacherConfig
from .soft_terms import LAYER_TERMS

PROMPT = (
    "Which one of these labels fits the text best: {labels}? Answer with the label and nothing else.\n\nText: {text}"
)
NO_NETWORK = "a teacher of kind {} has no layers, tokens or embeddings to start from"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class TableTeacher(Section):
    """A file with probabilities of every label, a text per row."""

    kind: Literal["table"] = "table"
    path: str = Field(description="file (.csv .tsv .jsonl .parquet), beside the recipe or in --data")
    text: str = Field("text", description="column of the text")
    id: str = Field("", description="column of the ids that `prepare` gives; empty: rows are found by their text")
    scale: Literal["probability", "log_probability", "logit"] = Field("probability", description="what the cells hold")
    tolerance: Proportion = Field(0.01, description="how far from 1 the probabilities of a row may sum")
    label_map: dict[str, str] = Field({}, description="the table's label names to the task's")
    max_missing: Proportion = Field(0.1, description="share of the training texts that may be without an answer")


class FunctionTeacher(Section):
    """A Python function: texts → probabilities."""

    kind: Literal["function"] = "function"
    function: str = Field(
        pattern=r"^[^:]+(\.py)?:[A-Za-z_]\w*$",
        description="module:name, or file.py:name beside the recipe or in --data",
    )
    test: bool = Field(True, description="let `benchmark` ask it for the test texts, too")


class EndpointTeacher(Section):
    """A language model behind an OpenAI-compatible chat-completions endpoint."""

    kind: Literal["endpoint"] = "endpoint"
    url: str = Field(description="base of the API: https://host/v1, to which /chat/completions is added")
    model: str = Field(min_length=1, description="name of the model there")
    key_variable: str = Field("", description="environment variable that holds the API key; empty: no key is sent")
    system: str = Field("", description="system message")
    prompt: str = Field(PROMPT, description="user message; {text} and {labels} are filled in")
    label_map: dict[str, str] = Field({}, description="what the model calls the labels, to the task's")
    answers: Literal["logprobs", "samples"] = Field(
        "logprobs", description="read the probabilities of the answer's tokens, or take the shares of several answers"
    )
    samples: Positive = Field(5, description="answers per text, where token probabilities do not decide")
    alpha: float = Field(0.5, gt=0, description="added to the count of every label among the samples")
    temperature: float = Field(1.0, gt=0, description="of the samples; token probabilities are asked for at 0")
    max_tokens: int = Field(16, ge=0, description="longest answer; 0: not sent")
    body: dict[str, Any] = Field({}, description="further fields of the request, such as seed")
    concurrency: Annotated[int, Field(ge=1, le=256)] = Field(8, description="calls at the same time")
    timeout: float = Field(60.0, gt=0, description="seconds to wait for an answer")
    retries: int = Field(6, ge=0, description="further tries of a call that fails")
    price_per_million_input: float = Field(0.0, ge=0, description="price of a million tokens sent")
    price_per_million_output: float = Field(0.0, ge=0, description="price of a million tokens answered")
    max_cost: float = Field(
        0.0, ge=0, description="most that the answers of a run may cost, by these prices; 0: no limit"
    )
    test: bool = Field(True, description="let `benchmark` ask it for the test texts, too")

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with http:// or https:// and name a host")
        if parts.username or parts.password or parts.query:
            raise ValueError("must hold no password and no query; the API key goes into key_variable's variable")
        return url.rstrip("/").removesuffix("/chat/completions")

    @field_validator("key_variable")
    @classmethod
    def _named(cls, name: str) -> str:
        if name and not _VARIABLE.fullmatch(name):  # the value may be a key: it is not repeated
            raise ValueError("must be the name of an environment variable, which holds the key")
        return name

    @field_validator("prompt")
    @classmethod
    def _asks(cls, prompt: str) -> str:
        if "{text}" not in prompt:
            raise ValueError("must contain {text}")
        return prompt

    @field_validator("body")
    @classmethod
    def _further(cls, body: dict[str, Any]) -> dict[str, Any]:
        ours = {"model", "messages", "temperature", "max_tokens", "logprobs", "top_logprobs", "n", "stream"} & set(body)
        if ours:
            raise ValueError(f"must not set {', '.join(sorted(ours))}")
        return body

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.max_cost and not (self.price_per_million_input or self.price_per_million_output):
            raise ValueError("max_cost needs price_per_million_input or price_per_million_output")
        return self


class EnsembleTeacher(Section):
    """Classifiers of the same task, unlike ones at best: the mean of their calibrated probabilities."""

    kind: Literal["ensemble"] = "ensemble"
    members: list[str] = Field(
        min_length=2, description="directories of calibrated ONNX artifacts, beside the recipe or in --data"
    )
    weights: Literal["equal", "fitted"] = Field(
        "equal", description="of the mean; fitted: those that make the validation labels likeliest"
    )
    test: bool = Field(True, description="let `benchmark` ask it for the test texts, too")

    @field_validator("members")
    @classmethod
    def _distinct(cls, members: list[str]) -> list[str]:
        if len(set(members)) != len(members):
            raise ValueError("must name each directory once")
        return members


OtherTeacher = TableTeacher | FunctionTeacher | EndpointTeacher | EnsembleTeacher
TEACHER_KINDS: dict[str, type[Section]] = {
    "model": TeacherConfig,
    "table": TableTeacher,
    "function": FunctionTeacher,
    "endpoint": EndpointTeacher,
    "ensemble": EnsembleTeacher,
}


def _kind(raw: Any) -> Any:
    return raw.get("kind", "model") if isinstance(raw, dict) else getattr(raw, "kind", "model")


AnyTeacher = Annotated[
    Annotated[TeacherConfig, Tag("model")]
    | Annotated[TableTeacher, Tag("table")]
    | Annotated[FunctionTeacher, Tag("function")]
    | Annotated[EndpointTeacher, Tag("endpoint")]
    | Annotated[EnsembleTeacher, Tag("ensemble")],
    Discriminator(_kind),
]


def only_of_one_label(teacher: Section) -> str:
    """What a teacher has that is for one label per text, as one says it; empty if it can have several."""
    if isinstance(teacher, EndpointTeacher):
        return 'teacher.kind = "endpoint"'
    if isinstance(teacher, TableTeacher) and "tolerance" in teacher.model_fields_set:
        return "teacher.tolerance"
    policy = isinstance(teacher, TeacherConfig) and teacher.label_policy != "exact"
    return "teacher.label_policy" if policy else ""


def unread_label_settings(kind: str, given: set[str]) -> str:
    """Why a setting of [label] has no effect with such a teacher; empty if all that are given have one."""
    unread = {"folds", "device", "hidden_states", "attention", *(() if kind == "function" else ("batch_size",))} & given
    if unread:
        return f"label.{sorted(unread)[0]} is for a teacher that is a model, and this one is a {kind}: remove it"
    return ""


def unread_settings(teacher: Section, label: Section, benchmark: Section, students: Sequence[Any]) -> str:
    """Why a recipe asks its teacher for what it has not: another training, layers, speed; empty if it does not."""
    if isinstance(teacher, TeacherConfig):
        vain = "label.folds trains the teacher again, and train = false leaves it as it is: set folds = 0"
        return vain if label.model_dump()["folds"] and not teacher.train else ""
    kind = str(teacher.model_dump()["kind"])
    for student in students:
        if student.kind == "cut":
            return f"student {student.name}: {NO_NETWORK.format(kind)}: choose another kind than cut"
        if getattr(student, "teacher_embeddings", False):
            return f"student {student.name}: {NO_NETWORK.format(kind)}: set teacher_embeddings = false"
        if getattr(student, "tokens", "words") == "teacher":
            return f'student {student.name}: {NO_NETWORK.format(kind)}: set tokens = "words"'
        if weights := [weight for weight in LAYER_TERMS if getattr(student, weight)]:
            return f"student {student.name}: {NO_NETWORK.format(kind)}: set {' and '.join(weights)} to 0"
    if "pipeline" in benchmark.model_fields_set:
        return f"benchmark.pipeline times a teacher that is a model, and this one is a {kind}: remove it"
    return unread_label_settings(kind, label.model_fields_set)
