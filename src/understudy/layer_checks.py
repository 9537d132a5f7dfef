"""Checks of a recipe's layers before anything is trained, from the configs of its models alone."""

from __future__ import annotations

from .config import CutStudent, PretrainedStudent, Recipe, StudentConfig, TeacherConfig, TransformerStudent


def check_layers(recipe: Recipe) -> None:
    """Raise RecipeError for a cut of more layers than the teacher has, and for a layer map that does not fit."""
    from .training.layers import map_layers
    from .training.networks import layers_and_width
    from .training.surgery import check_cut

    if not isinstance(recipe.teacher, TeacherConfig):
        return
    cuts = [student.layers for student in recipe.students if isinstance(student, CutStudent)]
    mapped = [student for student in recipe.students if student.hidden_weight or student.attention_weight]
    total = layers_and_width(recipe.teacher.source)[0] if cuts or mapped else 0
    for layers in cuts:
        check_cut(layers, total)
    for student in mapped:
        map_layers(student.layer_map, _layers(student), total)


def _layers(student: StudentConfig) -> int:
    from .training.networks import layers_and_width

    match student:
        case CutStudent():
            return student.layers if isinstance(student.layers, int) else len(student.layers)
        case PretrainedStudent():
            return layers_and_width(student.source)[0]
        case TransformerStudent():
            return student.layers
    return 0
