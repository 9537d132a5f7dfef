"""How large the models of a recipe are and what they compute for a token, before any is made."""

from __future__ import annotations

from dataclasses import dataclass

from .config import (
    BiGRUStudent,
    BiLSTMStudent,
    CutStudent,
    GatedCNNStudent,
    HashedStudent,
    Recipe,
    StudentConfig,
    TeacherConfig,
    TextCNNStudent,
    TransformerStudent,
)


@dataclass(frozen=True)
class Size:
    """Parameters and multiplications per token of a model."""

    parameters: float
    per_token: float


def teacher_size(recipe: Recipe) -> Size:
    """Of a teacher that is a model, from its config; of another there is nothing to run."""
    if not isinstance(recipe.teacher, TeacherConfig):
        return Size(0, 0)
    from .training.networks import describe_pretrained

    return Size(*describe_pretrained(recipe.teacher.source))


def student_size(student: StudentConfig, teacher: Size) -> Size:
    """As if its vocabulary had all the words that it may have; of a cut as if the teacher had six layers."""
    match student:
        case CutStudent():
            layers = student.layers if isinstance(student.layers, int) else len(student.layers)
            share = min(1.0, layers / 6)
            return Size(teacher.parameters * (1 + share) / 2, teacher.per_token * share)
        case TransformerStudent():
            per_token = 12.0 * student.layers * student.width**2
            return Size(per_token + student.vocabulary * student.width, per_token)
        case TextCNNStudent():
            per_token = float(student.width * student.filters * sum(student.kernels))
            return Size(per_token + student.vocabulary * student.width, per_token)
        case BiLSTMStudent() | BiGRUStudent():
            inputs = student.width + 2 * student.units * (student.layers - 1)  # of the layers together
            gates = 4 if student.kind == "bilstm" else 3
            per_token = 2.0 * gates * student.units * (inputs + student.layers * student.units)
            return Size(per_token + student.vocabulary * student.width, per_token)
        case GatedCNNStudent():
            per_token = float(student.blocks * student.channels * (3 * student.width + student.kernel))
            return Size(per_token + student.vocabulary * student.width, per_token)
        case HashedStudent():
            row = student.width or 2.0
            return Size(student.vocabulary * row, row * student.ngrams)
        case _:
            from .training.networks import describe_pretrained

            return Size(*describe_pretrained(student.source))
