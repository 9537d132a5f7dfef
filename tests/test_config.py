"""Recipes: what they may say, what is refused, and how it is said."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from understudy.config import (
    STUDENT_KINDS,
    CutStudent,
    DataConfig,
    DistillConfig,
    Recipe,
    TeacherConfig,
    load_recipe,
    parse,
)
from understudy.errors import RecipeError
from understudy.soft_terms import FOLDED_STATES

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))
STUDENT: dict[str, Any] = {"name": "s", "kind": "cut"}
THREE = {"name": "mood", "labels": ["bad", "fair", "good"]}
RAW: dict[str, Any] = {
    "task": {"name": "mood", "labels": ["bad", "good"]},
    "data": {"train": "train.csv"},
    "students": [STUDENT],
}


def read(**changes: Any) -> Recipe:
    """A recipe with some sections replaced."""
    return parse(Recipe, copy.deepcopy(RAW | changes), "r.toml")


def refusal(**changes: Any) -> str:
    with pytest.raises(RecipeError) as error:
        read(**changes)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("r.toml: ")
    return str(error.value).removeprefix("r.toml: ")


def students(*given: dict[str, Any]) -> list[dict[str, Any]]:
    """Cuts of the teacher, named s, s1, s2, but for what is given."""
    return [STUDENT | ({"name": f"s{number}"} if number else {}) | student for number, student in enumerate(given)]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.task.name
    assert recipe.students


@pytest.mark.parametrize(
    ("file", "name"), [("tickets.toml", "tickets"), ("my own (2).toml", "my-own-2"), ("ñ.toml", "task")]
)
def test_a_task_without_a_name_has_that_of_its_recipe(tmp_path: Path, file: str, name: str) -> None:
    text = '[task]\nlabels = ["a", "b"]\n[data]\ntrain = "t.csv"\n[[students]]\nname = "s"\nkind = "cut"\n'
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert load_recipe(tmp_path / file).task.name == name


def test_there_are_recipes() -> None:
    assert "emotion" in {path.stem for path in RECIPES}


# Keys

KINDS = "cut, pretrained, transformer, textcnn, bilstm, bigru, gated-cnn, hashed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"studnets": []}, "unknown key 'studnets'; did you mean 'students'?"),
        ({"sed": 3}, "unknown key 'sed'; did you mean 'seed'?"),
        ({"wholly": 3}, "unknown key 'wholly'"),
        ({"cut": 3}, "unknown key 'cut'"),  # the name of a kind
        ({"teacher": {"epoch": 3}}, "unknown key 'teacher.epoch'; did you mean 'epochs'?"),
        ({"data": {"train": "x", "test_sise": 0.2}}, "unknown key 'data.test_sise'; did you mean 'test_size'?"),
        ({"quantize": {"textcnn": 1}}, "unknown key 'quantize.textcnn'"),
        ({"students": students({"layrs": 2})}, "unknown key 'students.0.layrs'; did you mean 'layers'?"),
        ({"students": students({}, {"int": 2})}, "unknown key 'students.1.int'"),
        ({"task": {"name": "mood"}}, "key 'task.labels' is missing"),
        ({"students": students({}, {"kind": "pretrained"})}, "key 'students.1.model' is missing"),
    ],
)  # fmt: skip
def test_a_key_that_is_unknown_or_missing(changes: dict[str, Any], message: str) -> None:
    assert refusal(**changes) == message


@pytest.mark.parametrize(
    ("kind", "key", "owners"),
    [
        ("cut", "teacher_embeddings", "textcnn or bilstm or bigru or gated-cnn"),
        ("transformer", "kernels", "textcnn"),
        ("textcnn", "layers", "cut or transformer or bilstm or bigru"),
        ("bilstm", "filters", "textcnn"),
    ],
)
def test_a_key_of_another_kind(kind: str, key: str, owners: str) -> None:
    message = f"key 'students.0.{key}' is for students of kind {owners}, not {kind}"
    assert refusal(students=students({"kind": kind, key: 1})) == message


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"name": "s"}, f"students.0: kind is missing; choose one of {KINDS}"),
        ({"kind": "cnn"}, "students.0: unknown kind 'cnn'; did you mean 'textcnn'?"),
        ({"kind": "bert"}, f"students.0: unknown kind 'bert'; choose one of {KINDS}"),
        ({"kind": 3}, f"students.0: unknown kind '3'; choose one of {KINDS}"),
    ],
)
def test_a_student_without_a_known_kind(student: dict[str, Any], message: str) -> None:
    assert refusal(students=[student]) == message


# Values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "bert"}, "teacher: input should be a table, got 'bert'"),
        ({"students": ["cut"]}, "students.0: input should be a table, got 'cut'"),
        ({"teacher": {"epochs": "3"}}, "teacher.epochs: input should be a valid integer, got '3'"),
        ({"teacher": {"epochs": True}}, "teacher.epochs: input should be a valid integer, got True"),
        ({"teacher": {"epochs": 0}}, "teacher.epochs: input should be greater than or equal to 1, got 0"),
        ({"teacher": {"learning_rate": 0}}, "teacher.learning_rate: input should be greater than 0, got 0"),
        (
            {"teacher": {"learning_rate": float("inf")}},
            "teacher.learning_rate: input should be a finite number, got inf",
        ),
        ({"distill": {"soft_weight": 1.5}}, "distill.soft_weight: input should be less than or equal to 1, got 1.5"),
        (
            {"teacher": {"schedule": "step"}},
            "teacher.schedule: input should be 'linear', 'cosine', 'constant' or 'plateau', got 'step'",
        ),
        (
            {"variants": ["int4"]},
            "variants.0: input should be 'fp32', 'fp16', 'int8', 'int8-dynamic', 'torchscript', 'exported' or "
            "'torch-fp16', got 'int4'",
        ),
        ({"students": students({"layers": "all"})}, "students.0.layers: input should be a valid integer, got 'all'"),
        (
            {"students": students({"layers": []})},
            "students.0.layers: must be how many (at least 1) or a list of distinct layers (from 0), got []",
        ),
        (
            {"students": students({"layers": [0, 0]})},
            "students.0.layers: must be how many (at least 1) or a list of distinct layers (from 0), got [0, 0]",
        ),
        (
            {"task": {"name": "mood", "labels": ["a"]}},
            "task.labels: list should have at least 2 items after validation, not 1, got ['a']",
        ),
        ({"task": {"name": "mood", "labels": ["a", "a"]}}, "task.labels: label names must be distinct and not empty"),
        ({"task": {"name": "mood", "labels": ["a", " "]}}, "task.labels: label names must be distinct and not empty"),
        (
            {"students": students({"name": "../x"})},
            "students.0.name: string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]*$', got '../x'",
        ),
    ],
)
def test_a_value_of_the_wrong_type_or_size(changes: dict[str, Any], message: str) -> None:
    assert refusal(**changes) == message


@pytest.mark.parametrize("layers", [1, 6, [0], [5, 2, 0]])
def test_layers_are_a_number_or_a_list(layers: int | list[int]) -> None:
    (student,) = read(students=students({"layers": layers})).students
    assert isinstance(student, CutStudent)
    assert student.layers == layers


# Combinations that make no sense


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"teacher": {"label_map": {"a": "b"}}},
            "teacher: label_map is for a ready classifier: set train = false",
        ),
        (
            {"teacher": {"label_policy": "abstain"}},
            "teacher: label_policy is for a ready classifier: set train = false",
        ),
        (
            {"teacher": {"train": False, "freeze_encoder": True, "epochs": 3, "dropout": 0.1}},
            "teacher: a ready classifier (train = false) is not trained: remove dropout, epochs, freeze_encoder",
        ),
        (
            {"teacher": {"train": False, "attention_dropout": False}},
            "teacher: a ready classifier (train = false) is not trained: remove attention_dropout",
        ),
        (
            {"students": students({"kind": "transformer", "width": 100, "heads": 3})},
            "students.0: width 100 must be a multiple of heads 3",
        ),
        (
            {"distill": {"soft_weight": 1, "class_weights": "balanced"}},
            "distill: class_weights act on the hard term, which soft_weight = 1 removes",
        ),
        (
            {"distill": {"soft_weight": 1, "label_smoothing": 0.1}},
            "distill: label_smoothing acts on the hard term, which soft_weight = 1 removes",
        ),
        ({"teacher": {"label_smoothing": 1.0}}, "teacher.label_smoothing: input should be less than 1, got 1.0"),
        (
            {"distill": {"soft_weight": 1}, "students": students({}, {"class_weights": "balanced"})},
            "students.1: class_weights act on the hard term, which soft_weight = 1 removes",
        ),
        (
            {"distill": {"loss": "mse", "temperature": 2.0}},
            "distill: loss mse does not read temperature: choose kl, bce or dkd, or remove the setting",
        ),
        (
            {"students": students({"loss": "bce", "other_weight": 1.0, "target_weight": 2.0})},
            "students.0: loss bce does not read other_weight, target_weight: choose dkd, or remove the setting",
        ),
        (
            {"task": THREE, "distill": {"loss": "dkd", "target_weight": 0, "other_weight": 0}},
            "distill: target_weight and other_weight are both 0, which leaves no soft term: raise one",
        ),
        (
            {"students": students({"loss": "dkd"})},
            "loss dkd needs three labels: with two there is nothing to decouple, and it would be kl; set loss = kl",
        ),
        (
            {"distill": {"soft_weight": 0, "correct_teacher": True}},
            "distill: loss and correct_teacher act on the soft term, which soft_weight = 0 removes",
        ),
        (
            {"distill": {"loss": "hard"}, "students": students({}, {"soft_weight": 0})},
            "students.1: loss and correct_teacher act on the soft term, which soft_weight = 0 removes",
        ),
        (
            {"distill": {"layer_map": "last"}},
            "distill: layer_map is read by hidden_weight and attention_weight, which are 0: raise one",
        ),
        (
            {"students": students({"kind": "textcnn", "hidden_weight": 1.0})},
            "students.0.hidden_weight: is for students that are transformers, like the teacher, and a textcnn has no "
            "such layers: remove it",
        ),
        (
            {"students": students({"kind": "transformer", "attention_weight": 1.0})},
            "students.0.attention_weight: compares attention token by token, and a transformer student learns tokens "
            "of its own: remove it",
        ),
        (
            {"distill": {"hidden_weight": -1}},
            "distill.hidden_weight: input should be greater than or equal to 0, got -1",
        ),
        *(
            ({"label": {"folds": 2}} | changes, f"{where}{FOLDED_STATES}")
            for where, changes in [
                ("", {"students": students({"hidden_weight": 1.0})}),
                ("label: ", {"label": {"folds": 2, "hidden_states": True}}),
            ]
        ),
        ({"label": {"folds": 1}}, "label.folds: must be 0 (off) or at least 2, got 1"),
        (
            {"label": {"folds": 2}, "teacher": {"train": False}},
            "label.folds trains the teacher again, and train = false leaves it as it is: set folds = 0",
        ),
        (
            {"students": students({"freeze_encoder": True, "prune_units": 0.5})},
            "students.0: freeze_encoder leaves the layers as they are, which prune_units would train: remove one",
        ),
        (
            {"students": students({"freeze_encoder": True, "hidden_weight": 1.0})},
            "students.0: freeze_encoder leaves the layers as they are, which hidden_weight would train: remove one",
        ),
        (
            {"teacher": {"mlm_learning_rate": 0.1}},
            "teacher: mlm_learning_rate is that of mlm_epochs, which are 0: set mlm_epochs, or remove it",
        ),
        (
            {"teacher": {"train": False, "mlm_epochs": 1}},
            "teacher: a ready classifier (train = false) is not trained: remove mlm_epochs",
        ),
        (
            {"teacher": {"schedule": "plateau"}},
            "teacher: schedule = plateau goes on until nothing improves: set patience to 1 or more",
        ),
        (
            {"distill": {"gold_learning_rate": 0.1}},
            "distill: gold_learning_rate is that of gold_epochs, which are 0: set gold_epochs, or remove it",
        ),
        (
            {"distill": {"quant_learning_rate": 0.1}},
            "distill: quant_learning_rate is that of quant_epochs, which are 0: set quant_epochs, or remove it",
        ),
        (
            {"students": students({"kind": "bilstm", "quant_epochs": 1})},
            "students.0.quant_epochs: is for students with matrix products in INT8, and a bilstm has none: remove it",
        ),
        (
            {"distill": {"quant_epochs": 1}, "variants": ["fp32"]},
            "student s: quant_epochs simulate static INT8, tables included, and variants have no int8: add it, or "
            "remove quant_epochs",
        ),
        (
            {"distill": {"quant_epochs": 1}, "quantize": {"method": "dynamic"}},
            "student s: quant_epochs simulate static INT8, tables included, and quantize.method is dynamic: remove "
            "one of them",
        ),
        (
            {"distill": {"quant_epochs": 1}, "quantize": {"embeddings": False}},
            "student s: quant_epochs simulate static INT8, tables included, and quantize.embeddings is false: remove "
            "one of them",
        ),
        (
            {"students": students({"recovery_epochs": 3})},
            "students.0: recovery_epochs come after pruning: set prune_heads or prune_units, or remove it",
        ),
        (
            {"students": students({"kind": "textcnn", "recovery_epochs": 3})},
            "students.0: recovery_epochs come after pruning: set prune_filters, or remove it",
        ),
        (
            {"students": students({}, {"name": "s"})},
            "students must have distinct names, got s, s",
        ),
        (
            {"students": students({"name": "teacher"})},
            "students.0.name: 'teacher' is the name of another model of the run; choose another",
        ),
        (
            {"students": students({"name": "a-no-teacher"})},
            "students.0.name: 'a-no-teacher' is the name of another model of the run; choose another",
        ),
        (
            {"students": students({"name": "a-hard-label"})},
            "students.0.name: 'a-hard-label' is the name of another model of the run; choose another",
        ),
        (
            {"controls": "none", "twins": ["no-teacher"]},
            'twins: controls = "none" asks for none: remove one of the two',
        ),
        ({"twins": ["hard-label", "hard-label"]}, "twins must be distinct, got hard-label, hard-label"),
        (
            {"quantize": {"method": "dynamic"}, "variants": ["int8", "int8-dynamic"]},
            "variants: int8 is dynamic already, by quantize.method: remove int8-dynamic",
        ),
        (
            {"quantize": {"method": "dynamic"}, "teacher": {"variants": ["int8-dynamic", "int8"]}},
            "variants: int8 is dynamic already, by quantize.method: remove int8-dynamic",
        ),
        (
            {"students": students({}, {"kind": "bigru"}), "variants": ["exported"]},
            "variants leave no file of s1: torch.export cannot write a bigru student; add another variant",
        ),
        (
            {
                "teacher": {"kind": "table", "path": "t.csv", "variants": ["int8"]},
                "students": students({"kind": "textcnn"}),
            },
            "key 'teacher.variants' is for teachers of kind model, not table",
        ),
        (
            {
                "data": {"train": "train.csv", "augment": 2},
                "teacher": {"kind": "table", "path": "t.csv"},
                "students": students({"kind": "textcnn"}),
            },
            "data.augment makes texts that are in no table: set it to 0, or take another teacher",
        ),
        ({"students": students({"max_length": 3})}, "students.0.max_length: must be 0 or at least 4, got 3"),
        ({"students": []}, "students: list should have at least 1 item after validation, not 0, got []"),
    ],
)
def test_combinations_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    assert refusal(**changes) == message


WITHOUT_GOLD: dict[str, Any] = {
    "data": {"train": "train.csv", "test": "test.csv", "train_labels": False}, "teacher": {"train": False},
    "distill": {"soft_weight": 1}, "controls": "none",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": {}}, "the teacher cannot be trained; set teacher.train = false"),
        ({"controls": "first"}, 'no student can learn without the teacher; set controls = "none"'),
        ({"distill": {"soft_weight": 0.9}}, "student s cannot have soft_weight = 0.9"),
        ({"students": students({}, {"correct_teacher": True})}, "student s1 cannot have correct_teacher"),
        ({"students": students({}, {"gold_epochs": 1})}, "student s1 cannot have gold_epochs = 1"),
        (
            {"tune": {"space": {"soft_weight": {"low": 0.1, "high": 1.0}, "epochs": {"low": 1, "high": 3}}}},
            "tune.space cannot have soft_weight",
        ),
    ],
)
def test_without_gold_labels_what_needs_them_is_refused(changes: dict[str, Any], message: str) -> None:
    read(**WITHOUT_GOLD)
    expected = f"data.train_labels = false leaves no gold labels: {message}"
    assert refusal(**WITHOUT_GOLD | changes) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train_labels": False}, "without train_labels a test split cut from train has no labels: set test"),
        ({"val": "v.csv", "val_size": 0.1}, "val_size is for a val split cut from train, and val is given: remove one"),
        (
            {"test": "t.csv", "test_size": 0.1},
            "test_size is for a test split cut from train, and test is given: remove one",
        ),
        ({"val_size": 0.0}, "without a `val` file, val_size must be above 0"),
        ({"test_size": 0}, "without a `test` file, test_size must be above 0"),
        ({"val_size": 0.5, "test_size": 0.5}, "val_size + test_size must leave rows to train on"),
        ({"val": "v.csv", "test_size": 1.0}, "val_size + test_size must leave rows to train on"),
        ({"hub_config": "split"}, "hub_config needs hub"),
        (
            {"unlabeled_limit": 5},
            "unlabeled_limit is about the texts of `unlabeled`, which names no file: remove it",
        ),
        (
            {"unlabeled": ["u.csv"], "unlabeled_min_words": 5, "unlabeled_max_words": 4},
            "unlabeled_max_words is below unlabeled_min_words, which leaves no text",
        ),
        ({"augment_ways": ["mix"]}, "augment_ways are ways to augment, which is 0: raise it, or remove them"),
    ],
)
def test_data_that_make_no_sense(data: dict[str, Any], message: str) -> None:
    assert refusal(data={"train": "train.csv"} | data) == f"data: {message}"


def test_what_is_near_to_them_is_fine() -> None:
    read(data={"train": "t", "val": "", "val_size": 0.3})
    read(data={"train": "t", "unlabeled": ["u"], "unlabeled_min_words": 5, "unlabeled_sentences": True})
    read(data={"train": "t", "augment": 1, "augment_ways": ["span"]})
    read(data={"train": "t", "val": "v", "test_size": 0.95})  # the 10 % of val are not cut
    read(data={"train": "t", "val": "validation", "test": "test", "hub": "a/b", "hub_config": "c"})
    read(teacher={"train": False, "label_map": {"a": "good"}, "max_length": 64, "model": "x"})
    read(distill={"soft_weight": 1.0, "class_weights": "none"})
    read(distill={"loss": "hard", "soft_weight": 0.5}, label={"folds": 2})
    read(students=students({"attention_weight": 1.0}), label={"folds": 2})  # attention has no axes
    assert parse(TeacherConfig, {"learning_rate": 1}, "x").learning_rate == 1.0


# Kinds of task

MULTI: dict[str, Any] = {"name": "t", "kind": "multi", "labels": ["a", "b", "c"]}
WORDS = [{"name": "cnn", "kind": "textcnn"}]


def test_a_multi_label_task_has_metrics_of_its_own() -> None:
    assert read(task=MULTI).task.metric == "micro_f1"
    assert read(task=MULTI | {"metric": "macro_f1"}).task.metric == "macro_f1"
    assert refusal(task=MULTI | {"metric": "accuracy"}) == (
        "task: metric = accuracy is not for a task of kind multi: choose micro_f1, macro_f1, subset_accuracy"
    )
    assert refusal(task=THREE | {"metric": "micro_f1"}) == (
        "task: metric = micro_f1 is not for a task of kind single: choose accuracy, macro_f1, macro_recall"
    )
    assert refusal(task=MULTI | {"labels": ["a", "b|c"]}).startswith("task: labels: 'b|c' holds '|'")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"task": MULTI, "teacher": {"stop_metric": "accuracy"}}, "teacher: stop_metric = accuracy is not for a task"),
        ({"task": MULTI, "distill": {"stop_metric": "macro_recall"}}, "stop_metric = macro_recall is not for a task"),
        ({"task": MULTI, "tune": {"objective": "accuracy"}}, "tune.objective = accuracy is not for a task"),
        ({"task": MULTI, "distill": {"loss": "dkd"}}, "loss dkd parts one right label from the others"),
        ({"task": MULTI, "calibrate": {"threshold_target": 0.8}}, "threshold_target is for threshold_for = precision"),
        ({"calibrate": {"threshold_for": "recall"}}, "threshold_for: for a task of kind multi"),
        ({"data": {"train": "x.csv", "label_separator": ";"}}, "label_separator: for a task of kind multi"),
        ({"data": {"train": "x.csv", "label": ""}}, "label names no column"),
        (
            {"task": MULTI, "teacher": {"kind": "endpoint", "url": "http://h/v1", "model": "m"}, "students": WORDS},
            'teacher.kind = "endpoint": for a task of kind single',
        ),
        (
            {"task": MULTI, "teacher": {"kind": "table", "path": "p.csv", "tolerance": 0.1}, "students": WORDS},
            "teacher.tolerance: for a task of kind single",
        ),
        (
            {"task": MULTI, "teacher": {"train": False, "label_policy": "merge"}},
            "teacher.label_policy: for a task of kind single",
        ),
    ],
)
def test_settings_of_the_other_kind_are_refused(sections: dict[str, Any], message: str) -> None:
    assert message in refusal(**sections)


# Inheritance


def test_students_inherit_distill_and_override_it() -> None:
    own = {"epochs": 9, "soft_weight": 0.0}
    recipe = read(distill={"epochs": 7, "temperature": 4.0}, students=students({}, own, {"kind": "textcnn"}))
    assert [(s.epochs, s.temperature, s.soft_weight) for s in recipe.students] == [
        (7, 4.0, 0.8),
        (9, 4.0, 0.0),
        (7, 4.0, 0.8),
    ]


@pytest.mark.parametrize("kind", STUDENT_KINDS)
def test_every_setting_of_distill_reaches_every_kind(kind: str) -> None:
    distill: dict[str, Any] = {
        "epochs": 2, "learning_rate": 0.5, "batch_size": 3, "schedule": "cosine", "warmup": 0.3, "weight_decay": 0.4,
        "dropout": 0.6, "clip": 0.7, "class_weights": "balanced", "label_smoothing": 0.1, "stop_metric": "accuracy",
        "patience": 4, "precision": "fp32", "device": "cpu", "temperature": 1.5, "soft_weight": 0.25, "loss": "dkd",
        "target_weight": 0.5, "other_weight": 8.0, "correct_teacher": True, "keep_epochs": True,
        "hidden_weight": 2.0, "attention_weight": 3.0, "layer_map": "last", "ema": 0.9, "gold_epochs": 2,
        "gold_learning_rate": 0.01, "quant_epochs": 1, "quant_learning_rate": 0.02,
    }  # fmt: skip
    assert set(distill) == set(DistillConfig.model_fields)
    model = {"model": "x"} if kind == "pretrained" else {}
    (student,) = read(task=THREE, distill=distill, students=[{"name": "s", "kind": kind, **model}]).students
    none: dict[str, Any] = {"hidden_weight": 0.0, "attention_weight": 0.0, "layer_map": "uniform"}
    without = {"transformer": {"attention_weight": 0.0}, "cut": {}, "pretrained": {}}
    expected = distill | without.get(kind, none)
    if kind in ("bilstm", "bigru", "hashed"):
        del expected["quant_epochs"], expected["quant_learning_rate"]
    assert student.model_dump(include=set(distill)) == expected
    assert all(value != DistillConfig.model_fields[name].default for name, value in distill.items())


@pytest.mark.parametrize(
    ("kind", "later"),
    [
        ("textcnn", {"prune_filters": 0.5, "recovery_epochs": 1, "tokens": "teacher"}),
        ("transformer", {"prune_heads": 0.5, "prune_units": 0.25, "recovery_epochs": 1}),
        ("bilstm", {"pooling": "max_mean", "tokens": "teacher"}),
    ],
)
def test_keys_that_came_later_are_no_part_of_what_was_made_without_them(kind: str, later: dict[str, Any]) -> None:
    (one, other) = read(students=students({"kind": kind}, {"kind": kind} | later)).students
    assert set(other.model_dump()) - set(one.model_dump()) == set(later)


def test_keys_of_data_that_came_later_are_no_part_of_what_was_made_without_them() -> None:
    later = {"unlabeled_sentences": True, "unlabeled_min_words": 3, "unlabeled_max_words": 9, "unlabeled_limit": 5}
    later |= {"augment": 1, "augment_ways": ["mask"]}
    plain = {"train": "t", "unlabeled": ["u"]}
    one, other = (read(data=data).data.model_dump() for data in (plain, plain | later))
    assert other == one | later
    assert not later.keys() & one.keys()


def test_a_student_with_its_own_loss_inherits_what_that_reads() -> None:
    distill = {"loss": "dkd", "temperature": 3.0, "other_weight": 8.0, "correct_teacher": True}
    own = [{}, {"loss": "mse"}, {"loss": "bce"}, {"loss": "kl", "temperature": 1.5}]
    recipe = read(task=THREE, distill=distill, students=students(*own))
    assert [(s.loss, s.temperature, s.other_weight, s.correct_teacher) for s in recipe.students] == [
        ("dkd", 3.0, 8.0, True),
        ("mse", 2.0, 1.0, True),
        ("bce", 3.0, 1.0, True),
        ("kl", 1.5, 1.0, True),
    ]
    assert refusal(students=students({"loss": ["kl"]})).startswith("students.0.loss: input should be 'kl', 'mse',")


def test_a_student_can_leave_out_the_transfer_that_others_do() -> None:
    shared = {"hidden_weight": 2.0, "layer_map": "last"}
    recipe = read(distill=shared, students=students({}, {"hidden_weight": 0}, {"layer_map": [0, 1, 5]}))
    assert [(s.hidden_weight, s.layer_map) for s in recipe.students] == [
        (2.0, "last"), (0.0, "uniform"), (2.0, [0, 1, 5]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        ({}, (False, False)),
        ({"students": students({}, {"hidden_weight": 1.0})}, (True, False)),
        ({"distill": {"attention_weight": 1.0}}, (False, True)),
        ({"tune": {"space": {"hidden_weight": {"low": 0.0, "high": 9.0}}}}, (True, False)),
        ({"label": {"attention": True}, "students": students({"hidden_weight": 1.0})}, (True, True)),
    ],
)
def test_what_students_are_to_learn_of_layers_is_labelled(changes: dict[str, Any], stored: tuple[bool, bool]) -> None:
    found = read(**changes).labelling
    assert (found.hidden_states, found.attention) == stored
    names = [name for name, asked in zip(("hidden_states", "attention"), stored, strict=True) if asked]
    assert set(found.decisive) == {"shard_size", "folds", *names}


def test_a_wrong_key_of_distill_is_named_where_it_is() -> None:
    assert refusal(distill={"temprature": 2.0}) == "unknown key 'distill.temprature'; did you mean 'temperature'?"
    assert refusal(distill="warm") == "distill: input should be a table, got 'warm'"


# Files


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"

    def message() -> str:
        with pytest.raises(RecipeError) as error:
            load_recipe(path)
        return str(error.value).removeprefix(f"{path}: ")

    assert message() == "no such recipe"
    path.mkdir()
    assert message() == "cannot be read: Is a directory"
    path.rmdir()
    path.write_text("seed = \n")
    assert message() == "not a TOML file: Invalid value (at line 1, column 8)"
    path.write_bytes(b"# \xff\n")
    assert message().startswith("not a TOML file: 'utf-8' codec can't decode byte 0xff in position 2")


def test_settings_do_not_change() -> None:
    config = DataConfig(train="x")
    with pytest.raises(ValueError, match="frozen"):
        config.train = "y"


def test_every_setting_is_described() -> None:
    sections = [Recipe, *STUDENT_KINDS.values()]
    sections += [f.annotation for f in Recipe.model_fields.values() if hasattr(f.annotation, "model_fields")]
    bare = {
        f"{section.__name__}.{name}"
        for section in sections
        for name, field in section.model_fields.items()
        if not field.description and name not in ("kind", *Recipe.model_fields)
    }
    assert bare == set()


def test_the_teachers_fp32_file_is_always_made_and_first() -> None:
    """And the files change nothing of how the teacher is trained."""
    given = [{}, {"variants": []}, {"variants": ["int8", "fp32", "int8"]}, {"variants": ["fp32", "torchscript"]}]
    teachers = [parse(TeacherConfig, raw, "x") for raw in given]
    assert [t.variants for t in teachers] == [["fp32"], ["fp32"], ["fp32", "int8"], ["fp32", "torchscript"]]
    assert all(teacher.model_dump() == teachers[0].model_dump() for teacher in teachers)
