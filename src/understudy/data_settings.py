"""[data]: where the texts are, how they are cut into splits, and what else students learn on."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from .kinds import SEPARATOR
from .sections import Proportion, Section

Normalization = Literal["html", "nfc", "users", "links", "treebank", "lower"]
Way = Literal["mask", "span", "mix"]


class DataConfig(Section):
    """Where the texts are and how they are cut into splits."""

    later = frozenset(
        {
            "unlabeled_sentences",
            "unlabeled_min_words",
            "unlabeled_max_words",
            "unlabeled_limit",
            "augment",
            "augment_ways",
        }
    )

    train: str = Field(description="file of labelled texts, its URL#sha256=HEX, or a split name with `hub`")
    train_labels: bool = Field(
        True, description="false: labels in `train` are not read; students learn from a ready teacher alone"
    )
    val: str = Field("", description="validation file or split; empty: cut from train")
    test: str = Field("", description="test file or split; empty: cut from train")
    unlabeled: list[str] = Field([], description="files of texts without labels, added to the transfer set")
    unlabeled_sentences: bool = Field(False, description="each text of `unlabeled` becomes its sentences")
    unlabeled_min_words: int = Field(0, ge=0, description="least words of a text or sentence of `unlabeled`")
    unlabeled_max_words: int = Field(0, ge=0, description="most words of a text or sentence of `unlabeled`; 0: any")
    unlabeled_limit: int = Field(
        0, ge=0, description="at most this many texts or sentences of `unlabeled`, a random subset; 0: all"
    )
    augment: int = Field(
        0, ge=0, description="altered copies of each training text, added to the transfer set without a label"
    )
    augment_ways: list[Way] = Field(
        ["mask", "span", "mix"],
        min_length=1,
        description="chosen at random for each copy: some words replaced by _, a run of words, sentences of two texts",
    )
    hub: str = Field(
        "", description="data set on the Hugging Face hub (NAME[@REVISION]), of which train, val, test are splits"
    )
    hub_config: str = Field("", description="configuration of the hub data set")
    text: str = Field("text", description="column of the text")
    label: str = Field(
        "label", description="column of the label: a declared name, or its index; multi: a list of them, or one cell; "
        "empty: a column of 0 and 1 for each label, with its name",
    )  # fmt: skip
    label_separator: str = Field(
        SEPARATOR, min_length=1, description="multi: what stands between the labels in a cell; empty cell: no label"
    )
    val_size: Proportion = Field(0.1, description="share cut for validation when `val` is empty")
    test_size: Proportion = Field(0.1, description="share cut for test when `test` is empty")
    limit: int = Field(0, ge=0, description="at most this many training rows, a stratified subset; 0: all")
    test_limit: int = Field(0, ge=0, description="at most this many test rows, a stratified subset; 0: all")
    group_by: str = Field(
        "", description="column whose equal values stay in one split, or `containment`, or `near_duplicates`"
    )
    normalize: list[Normalization] = Field(["html", "nfc"], description="text normalisation, in this order")

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        cuts = {name: getattr(self, f"{name}_size") for name in ("val", "test") if not getattr(self, name)}
        for name in {"val", "test"} - set(cuts):
            if f"{name}_size" in self.model_fields_set:
                raise ValueError(f"{name}_size is for a {name} split cut from train, and {name} is given: remove one")
        for name, size in cuts.items():
            if not size:
                raise ValueError(f"without a `{name}` file, {name}_size must be above 0")
        if sum(cuts.values()) >= 1:
            raise ValueError("val_size + test_size must leave rows to train on")
        if self.hub_config and not self.hub:
            raise ValueError("hub_config needs hub")
        if not self.train_labels and not self.test:
            raise ValueError("without train_labels a test split cut from train has no labels: set test")
        return self

    @model_validator(mode="after")
    def _transfer(self) -> Self:
        of_files = sorted(name for name in self.model_fields_set if name.startswith("unlabeled_"))
        if of_files and not self.unlabeled:
            raise ValueError(f"{of_files[0]} is about the texts of `unlabeled`, which names no file: remove it")
        if self.unlabeled_max_words and self.unlabeled_max_words < self.unlabeled_min_words:
            raise ValueError("unlabeled_max_words is below unlabeled_min_words, which leaves no text")
        if "augment_ways" in self.model_fields_set and not self.augment:
            raise ValueError("augment_ways are ways to augment, which is 0: raise it, or remove them")
        return self
