"""[[students]]: the shapes that a student can have."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from .distill_settings import DistillConfig, EncoderConfig, FilterPruningConfig, PruningConfig
from .sections import NAME, Positive, Pretrained

Pooling = Literal["max", "max_mean"]
_POOLING = "what is read of the words' states: their maximum, or that and their mean"


class StudentBase(DistillConfig):
    later = frozenset({"truncation"})

    name: str = Field("student", pattern=NAME, description="name of its directory")
    max_length: int = Field(0, ge=0, le=8192, description="tokens kept of a text; 0: as the teacher")
    truncation: Literal["", "head", "head_tail"] = Field("", description="which tokens are kept; empty: as the teacher")

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name in ("teacher", "majority", "tfidf-lr") or name.endswith("-no-teacher"):
            raise ValueError(f"{name!r} is the name of another model of the run; choose another")
        return name

    @field_validator("max_length")
    @classmethod
    def _room(cls, length: int) -> int:
        if 0 < length < 4:
            raise ValueError(f"must be 0 or at least 4, got {length}")
        return length


class CutStudent(StudentBase, EncoderConfig):
    """The teacher with fewer layers."""

    kind: Literal["cut"] = "cut"
    layers: int | list[int] = Field(3, description="how many of the lowest layers, or which (from 0)")
    trim_vocabulary: bool = Field(True, description="drop the tokens that the transfer set never uses")

    @field_validator("layers")
    @classmethod
    def _some(cls, layers: int | list[int]) -> int | list[int]:
        numbers = [layers - 1] if isinstance(layers, int) else layers
        if not numbers or min(numbers) < 0 or len(set(numbers)) != len(numbers):
            raise ValueError(f"must be how many (at least 1) or a list of distinct layers (from 0), got {layers}")
        return layers


class PretrainedStudent(Pretrained, StudentBase, EncoderConfig):
    """Another pretrained encoder with its own tokenizer."""

    kind: Literal["pretrained"] = "pretrained"
    model: str = Field(description="hub name, directory (beside the recipe or in --data) or bundled:minilm-l6")
    trim_vocabulary: bool = Field(False, description="drop the tokens that the transfer set never uses")


class TransformerStudent(StudentBase, PruningConfig):
    """A small BERT from scratch, with a WordPiece vocabulary learnt on the training texts."""

    later = frozenset({"prune_heads", "prune_units", "recovery_epochs"})

    kind: Literal["transformer"] = "transformer"
    layers: Positive = Field(2, description="layers")
    width: Positive = Field(128, description="hidden size; the feed-forward layer has four times as many units")
    heads: Positive = Field(2, description="attention heads")
    vocabulary: Annotated[int, Field(ge=64)] = Field(8000, description="WordPiece vocabulary, at most")

    @model_validator(mode="after")
    def _heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class _WordStudent(StudentBase):
    """A network over embeddings of words, or of the pieces that the teacher cuts words into."""

    later = frozenset({"tokens"})

    tokens: Literal["words", "teacher"] = Field(
        "words", description="words learnt from train, or the teacher's own tokens: those that the transfer set uses"
    )
    width: Positive = Field(300, description="size of the embeddings")
    vocabulary: Annotated[int, Field(ge=8)] = Field(
        20000, description="most frequent words of train, at most; of the teacher's tokens, beside single characters"
    )
    min_count: Positive = Field(2, description="rarer words are unknown; rarer tokens of the teacher are cut smaller")
    teacher_embeddings: bool = Field(
        False, description="start from the teacher's table, rotated to `width`: a word as the mean of its pieces"
    )


class TextCNNStudent(_WordStudent, FilterPruningConfig):
    """Convolutions over word embeddings (Kim 2014)."""

    later = frozenset({"prune_filters", "recovery_epochs"})

    kind: Literal["textcnn"] = "textcnn"
    filters: Positive = Field(100, description="filters of each kernel size")
    kernels: list[Positive] = Field([3, 4, 5], min_length=1, description="kernel sizes, in words")


class _RecurrentStudent(_WordStudent):
    """A bidirectional recurrence."""

    later = frozenset({"pooling"})

    units: Positive = Field(150, description="units of each direction")
    layers: Positive = Field(1, description="layers")
    pooling: Pooling = Field("max", description=_POOLING)


class BiLSTMStudent(_RecurrentStudent):
    """A bidirectional LSTM over word embeddings; sizes of Tang et al. 2019 (castorini/d-bert, birnn_sst2.json)."""

    kind: Literal["bilstm"] = "bilstm"


class BiGRUStudent(_RecurrentStudent):
    """A bidirectional GRU over word embeddings: three quarters of the LSTM's weights."""

    kind: Literal["bigru"] = "bigru"


class GatedCNNStudent(_WordStudent):
    """Residual blocks of gated, depthwise-separable convolutions (after Dauphin et al. 2017 and Wu et al. 2019)."""

    kind: Literal["gated-cnn"] = "gated-cnn"
    width: Positive = Field(128, description="size of the embeddings, and of what the blocks add to")
    channels: Positive = Field(128, description="channels inside a block")
    kernel: Positive = Field(5, description="kernel size, in words")
    blocks: Positive = Field(2, description="blocks")
    pooling: Pooling = Field("max", description=_POOLING)


class HashedStudent(StudentBase):
    """N-grams of words, and of bytes inside words, each with a row of its own; pooled without order."""

    kind: Literal["hashed"] = "hashed"
    learning_rate: float = Field(1e-2, gt=0, description="peak learning rate of AdamW, higher for rows than for layers")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="share of n-grams that a step leaves out")
    max_length: int = Field(1000, ge=0, le=8192, description="words read of a text; 0: as the teacher's tokens")
    width: Annotated[int, Field(ge=0, le=64)] = Field(
        32, description="values of a row; 0: linear, a row is what an n-gram adds to the logits"
    )
    ngrams: Annotated[int, Field(ge=1, le=3)] = Field(2, description="words of the longest n-gram")
    subwords: list[Annotated[int, Field(ge=2, le=8)]] = Field([], description="sizes of n-grams of bytes inside a word")
    vocabulary: Annotated[int, Field(ge=8)] = Field(
        100_000, description="n-grams kept, at most: the most frequent of the transfer set"
    )
    min_count: Positive = Field(2, description="rarer n-grams are left out")

    @field_validator("truncation")
    @classmethod
    def _from_the_beginning(cls, truncation: str) -> str:
        if truncation == "head_tail":
            raise ValueError("a hashed student reads from the beginning: raise its max_length, which costs little")
        return truncation


WordStudent = TextCNNStudent | BiLSTMStudent | BiGRUStudent | GatedCNNStudent
StudentConfig = Annotated[
    CutStudent | PretrainedStudent | TransformerStudent | WordStudent | HashedStudent, Field(discriminator="kind")
]

STUDENT_KINDS: dict[str, type[StudentBase]] = {
    "cut": CutStudent,
    "pretrained": PretrainedStudent,
    "transformer": TransformerStudent,
    "textcnn": TextCNNStudent,
    "bilstm": BiLSTMStudent,
    "bigru": BiGRUStudent,
    "gated-cnn": GatedCNNStudent,
    "hashed": HashedStudent,
}
