"""The report of an invented benchmark: what it shows, what it escapes, what it says plainly."""

from __future__ import annotations

import copy
import io
import json
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from invented import EVIL, MODELS, Score, simulate
from understudy import metrics
from understudy.artifact import Artifact, Plan, writing
from understudy.errors import ArtifactError
from understudy.recording import read_logits
from understudy.reporting import findings, model_card, plots, print_summary, report, summary_table
from understudy.reporting.documents import described
from understudy.reporting.formats import toml
from understudy.reporting.stage import write_report
from understudy.reporting.tables import class_tables, data_tables, results_table
from understudy.reporting.view import prepared
from understudy.soft_terms import whole_loss

PICTURES = (
    "accuracy.png", "tradeoff.png", "size.png", "training.png", "confusion.png", "calibration-reliability.png",
    "risk-coverage.png", "teacher_vs_student_accuracy.png", "teacher_vs_student_label_distribution.png",
)  # fmt: skip
TITLE = "Stages before and after a training"
FILES = {"report.html", "report.md", "report.txt", "results.json", "calibration.csv", *PICTURES}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("run") / "benchmark", EVIL)


@pytest.fixture(scope="module")
def results(benchmark: Path) -> Score:
    return json.loads((benchmark / "results.json").read_text())


@pytest.fixture(scope="module")
def out(benchmark: Path) -> Path:
    out = benchmark.parent / "report"
    out.mkdir()
    assert write_report(benchmark, out) == out / "report.html"
    return out


@pytest.fixture
def written(benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Score], tuple[str, str]]:
    """Writes a report of changed results without its pictures; gives the HTML and the Markdown."""

    def write(results: Score) -> tuple[str, str]:
        monkeypatch.setattr(plots, "draw", lambda evidence, out: [])
        source = tmp_path / "benchmark"
        shutil.copytree(benchmark, source, dirs_exist_ok=True)
        (source / "results.json").write_text(json.dumps(results))
        (tmp_path / "report").mkdir(exist_ok=True)
        page = write_report(source, tmp_path / "report")
        return page.read_text(), (tmp_path / "report" / "report.md").read_text()

    return write


def model(results: Score, key: str) -> Score:
    return next(entry for entry in results["models"] if f"{entry['name']}/{entry['variant']}" == key)


def shape(picture: Path) -> tuple[int, ...]:
    return tuple(matplotlib.image.imread(picture).shape)


def rows_of(html: str, title: str) -> list[str]:
    table = html[html.index(f"<h3>{title}</h3>") :]
    return re.findall(r"<tr.*?</tr>", table[: table.index("</table>")])


def test_everything_is_written(out: Path, benchmark: Path) -> None:
    assert {path.name for path in out.iterdir()} == FILES
    assert (out / "results.json").read_bytes() == (benchmark / "results.json").read_bytes()
    for name in PICTURES:
        height, width, _ = shape(out / name)
        assert 300 < height < 5000 and 700 < width < 3000
        assert f"]({name})" in (out / "report.md").read_text()


def test_the_page_needs_nothing_else(out: Path) -> None:
    html = (out / "report.html").read_text()
    for tag in re.findall(r"<[^>]*>", html):
        assert not re.search(r"(?:src|srcset|href)\s*=\s*(?!\"data:image/png;base64,)", tag)
    assert not re.search(r"https?://|@import|url\(|<script", html)
    assert html.count("data:image/png;base64,") == len(PICTURES)
    assert '<meta name="viewport"' in html and "prefers-color-scheme: dark" in html


def test_labels_are_never_markup(out: Path) -> None:
    html, markdown = (out / "report.html").read_text(), (out / "report.md").read_text()
    assert "<img src=x" not in html and "&lt;img src=x onerror=1&gt;" in html
    prose = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    assert "<img" not in prose and r"a\|b \$x\$ \`c\` \*d\*" in prose
    cells = [len(re.findall(r"(?<!\\)\|", row)) for row in rows_between(markdown, "### Per label", "F1 in %")]
    assert len(set(cells)) == 1


def test_the_same_comparison_stands_in_plain_text(results: Score, out: Path) -> None:
    text, tables = (out / "report.txt").read_text(), described(prepared(results))["tables"]
    assert "\\" not in text.partition("The recipe")[0] and "&lt;" not in text and "\x1b" not in text
    said = " ".join(text.split())
    assert all(" ".join(sentence.split()) in said for sentence in findings(results))
    for table in [tables["results"], *(table for part in list(tables.values())[1:] for table in part)]:
        body = text[text.index(f"{table.title}\n\n") :].partition(" ".join(table.note.split()[:4]))[0]
        for row in table.rows:
            assert all(cell.text in body for cell in row), table.title
            details = (part for cell in row for part in re.split("; |, ", cell.detail.replace(" to ", "–")))
            assert all(part in body for part in details), table.title
    lines = text.splitlines()
    assert all(line == line.rstrip() for line in lines)
    start = next(index for index, line in enumerate(lines) if line.startswith("  Label "))
    assert len({len(line) for line in lines[start + 2 : start + 4]}) == 1  # numbers end under each other


def test_every_measured_file_has_its_scores_by_label(results: Score) -> None:
    tables = class_tables(prepared(results))
    scored = {f"{m['name']}/{m['variant']}": m for m in results["models"] if m["per_class"] and m["variant"] != "none"}
    assert {cell.text for table in tables for cell in table.columns[2:]} == set(scored)
    for table in tables:
        for place, key in enumerate((cell.text for cell in table.columns[2:]), 2):
            rows = {row[0].text: row[place] for row in table.rows}
            for scores in scored[key]["per_class"]:
                expected = (f"{100 * scores[name]:.1f}" for name in ("f1", "precision", "recall"))
                assert [rows[scores["label"]].text, *rows[scores["label"]].detail.split(" / ")] == list(expected)
            macro = scored[key]["metrics"]["test"]["macro_f1"]
            assert rows["macro-F1"].text == f"{100 * macro['value']:.1f}"
            assert rows["macro-F1"].detail == " to ".join(f"{100 * bound:.1f}" for bound in macro["ci95"])


def rows_between(text: str, start: str, end: str) -> list[str]:
    part = text[text.index(start) : text.index(end)]
    return [line for line in part.splitlines() if line.startswith("|")]


def test_a_model_with_html_in_its_name_is_escaped(results: Score, written: Callable[[Score], tuple[str, str]]) -> None:
    changed = copy.deepcopy(results)
    model(changed, "cut3/int8")["name"] = "<b>cut"
    html, markdown = written(changed)
    assert "<b>" not in html and "&lt;b&gt;cut" in html and "<b>" not in markdown


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        (("params",), 4_567_000, "4.57 M"),
        (("bytes",), 7_654_321, "7.65"),
        (("metrics", "test", "accuracy", "value"), 0.54321, "54.32"),
        (("metrics", "test", "accuracy", "ci95"), [0.5111, 0.5777], "51.1 to 57.8"),
        (("metrics", "test", "ece", "value"), 0.1234, "12.3"),
        (("retention", "value"), 0.4567, "45.67"),
        (("retention", "ci95"), [0.4111, 0.4999], "41.1 to 50.0"),
        (("agreement", "value"), 0.3456, "34.6"),
        (("speed", 0, "p50"), 7.77, "7.77"),
        (("speed", 1, "texts_per_second"), 1777, "1,777"),
        (("speedup_vs", "pipeline"), 16.4, "16.4"),
        (("speedup_vs", "onnx_fp32"), 7.32, "7.32"),
    ],
    ids=lambda case: "-".join(map(str, case)) if isinstance(case, tuple) else None,
)
def test_every_number_of_the_table_is_in_results(results: Score, path: tuple[str, ...], value: Any, shown: str) -> None:
    def row(results: Score) -> str:
        table = results_table(prepared(results))
        return str(next(cells for cells in table.rows if (cells[0].text, cells[2].text) == ("cut3", "ONNX INT8")))

    changed = copy.deepcopy(results)
    holder = model(changed, "cut3/int8")
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    assert shown not in row(results) and shown in row(changed)


def test_the_table_says_split_and_n(out: Path) -> None:
    html = (out / "report.html").read_text()
    assert "Test split, n = 400, with 95 % intervals" in html
    assert len(rows_of(html, "Every file that was measured")) == 1 + 1 + len(MODELS)


def test_a_student_below_the_bag_of_words_is_called_so(results: Score, out: Path) -> None:
    beaten = copy.deepcopy(results)
    for pair in beaten["comparisons"]:
        if (pair["first"], pair["second"]) == ("textcnn/int8", "tfidf-lr/sklearn"):
            pair["difference"] = {"value": -0.04, "ci95": [-0.06, -0.02], "n": 400}
    model(beaten, "textcnn/int8")["metrics"]["test"]["accuracy"]["value"] = 0.1
    said = findings(beaten)
    assert any(line.startswith("textcnn/int8 is beaten by a bag of words") and "−4.00 points" in line for line in said)
    rows = results_table(prepared(beaten)).rows
    assert ("textcnn", "below tfidf-lr") in [(row[0].text, row[1].detail) for row in rows]


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.01, 0.03, "helped"), (-0.03, -0.01, "harmed"), (-0.01, 0.01, "made no difference")]
)
@pytest.mark.parametrize("swapped", [False, True])
def test_what_the_teacher_gave_follows_the_paired_interval(
    results: Score, low: float, high: float, verdict: str, swapped: bool
) -> None:
    changed = copy.deepcopy(results)
    pair = next(pair for pair in changed["comparisons"] if pair["second"] == "cut3-no-teacher/fp32")
    pair["difference"] = {"value": (low + high) / 2, "ci95": [low, high], "n": 400}
    if swapped:
        pair["first"], pair["second"] = pair["second"], pair["first"]
        pair["difference"] = {"value": -(low + high) / 2, "ci95": [-high, -low], "n": 400}
    said = [line for line in findings(changed) if "cut3-no-teacher" in line]
    assert len(said) == 1 and said[0].startswith(f"Learning from the teacher {verdict}")


def test_without_a_paired_test_the_two_intervals_decide(results: Score) -> None:
    changed = copy.deepcopy(results) | {"comparisons": []}
    for key, value in (("cut3/int8", 0.90), ("tfidf-lr/sklearn", 0.89)):
        bounds = [value - 0.02, value + 0.02]
        model(changed, key)["metrics"]["test"]["accuracy"] = {"value": value, "ci95": bounds, "n": 9}
    said = next(line for line in findings(changed) if "a bag of words" in line)
    assert "is above, but not beyond the interval, a bag of words" in said and "not a paired interval" in said


def test_the_best_student_is_chosen_on_validation(results: Score) -> None:
    assert findings(results)[0].startswith("Best student: cut3/int8, chosen on validation.")
    changed = copy.deepcopy(results)
    run = next(run for run in changed["training"] if run["name"] == "small")
    run["history"][run["best_epoch"] - 1]["val_accuracy"] = 0.99
    assert findings(changed)[0].startswith("Best student: small/int8, chosen on validation.")
    assert "chosen on the test split itself" in findings(changed | {"training": []})[0]


def test_answers_on_validation_choose_the_best_student_where_they_are_stored(
    results: Score, benchmark: Path, written: Callable[[Score], tuple[str, str]], tmp_path: Path
) -> None:
    """Before the training histories, which a cascade and what was trained elsewhere lack; the test split has no say."""
    changed = copy.deepcopy(results)
    run = next(run for run in changed["training"] if run["name"] == "small")
    run["history"][run["best_epoch"] - 1]["val_accuracy"] = 0.99
    model(changed, "textcnn/int8")["metrics"]["test"]["accuracy"]["value"] = 1.0
    for training in (changed["training"], []):
        assert "Best student: cut3/int8, chosen on validation." in written(changed | {"training": training})[1]
    students = ("cut3/int8", "small/int8", "textcnn/int8")
    for key, value in zip(students, (0.7, 0.8, 0.6), strict=True):
        model(changed, key)["validation"] = {"value": value, "ci95": [0.5, 0.9], "n": 200}
    assert findings(changed | {"training": []})[0].startswith("Best student: small/int8, chosen on validation.")
    del model(changed, "small/int8")["validation"]
    shutil.rmtree(tmp_path / "benchmark/val")
    shutil.copytree(benchmark, tmp_path / "benchmark", dirs_exist_ok=True, ignore=lambda _, names: {"val"} & {*names})
    source = tmp_path / "benchmark"
    (source / "results.json").write_text(json.dumps(changed | {"training": []}))
    write_report(source, tmp_path / "report")
    said = (tmp_path / "report/report.md").read_text()
    assert "Best student: textcnn/int8, chosen on the test split itself" in said


def test_what_became_of_other_stages_is_said(results: Score, written: Callable[[Score], tuple[str, str]]) -> None:
    changed = copy.deepcopy(results)
    teacher, cut = (next(run for run in changed["training"] if run["name"] == name) for name in ("teacher", "cut3"))
    history = [{"epoch": epoch, "val_nll": loss} for epoch, loss in ((1, 3.0), (2, 2.5), (3, 2.6))]
    teacher["mlm"] = {"history": history, "texts": 1234, "seconds": 1.0, "val_nll_before": 10.25}
    cut["gold_stage"] = {"kept": False, "val_nll_before": 0.3121, "val_nll_after": 0.3122}
    cut["quantized_stage"] = {"kept": True, "val_nll_before": 0.3131, "val_nll_after": 0.3094}
    html, markdown = written(changed)
    rows = [
        ("teacher", "masked tokens of 1,234 texts", "10.2500", "2.5000", "epoch 2 of 3 kept"),
        ("cut3", "gold labels alone", "0.3121", "0.3122", "taken back"),
        ("cut3", "INT8 simulated", "0.3131", "0.3094", "kept"),
    ]
    for row in rows:
        assert f"| {' | '.join(row)} |" in markdown
    assert [re.findall(r"<t[hd][^>]*>([^<]*)", row) for row in rows_of(html, TITLE)[1:]] == [list(row) for row in rows]
    del teacher["mlm"]["val_nll_before"]  # not measured by an older version
    changed["recipe"]["seeds"] = 2
    _, markdown = written(changed)
    assert "| teacher | masked tokens of 1,234 texts | – | 2.5000 | epoch 2 of 3 kept |" in markdown
    assert "Of several seeds, the first." in markdown
    plain = written(results)
    assert TITLE not in plain[0] and TITLE not in plain[1]


def test_a_card_says_what_became_of_later_stages(results: Score) -> None:
    changed = copy.deepcopy(results)
    cut = next(run for run in changed["training"] if run["name"] == "cut3")
    cut["gold_stage"] = {"kept": False, "val_nll_before": 0.3121, "val_nll_after": 0.3122}
    cut["quantized_stage"] = {"kept": True, "val_nll_before": 0.3131, "val_nll_after": 0.3094}
    card = model_card(changed, model(changed, "cut3/int8"))
    gold = "from gold labels alone: its validation NLL went from 0.3121 to 0.3122, and the stage was taken back."
    int8 = "with INT8 simulated: its validation NLL went from 0.3131 to 0.3094, and the stage was kept."
    assert card.index(f"It then learned on {gold}") < card.index(f"It then learned on {int8}")
    for other in (model_card(results, model(results, "cut3/int8")), model_card(changed, model(changed, "small/int8"))):
        assert "learned on" not in other


def test_who_was_still_learning_is_said(results: Score) -> None:
    changed = copy.deepcopy(results)
    for run in changed["training"]:
        run["history"] = [{"epoch": 1, "val_nll": 0.5}, {"epoch": 2, "val_nll": 0.48}]
    assert not any("still learning" in line for line in findings(changed))
    for run in changed["training"][:2]:
        run["history"][1]["val_nll"] = 0.4
    names = ", ".join(run["name"] for run in changed["training"][:2])
    assert f"{names} were still learning at the last epoch: give more epochs." in findings(changed)


def test_warnings_and_refusals_are_said_once_with_all_they_are_about(results: Score) -> None:
    changed = copy.deepcopy(results) | {"refused": ["int8 of x was refused: too much is lost"]}
    for key in ("cut3/int8", "small/int8"):
        model(changed, key)["warnings"] = ["few rows"]
    next(run for run in changed["training"] if run["name"] == "small")["warnings"] = ["no fair twin"]
    said = [line for line in findings(changed) if line.startswith(("Warning", "Refused"))]
    assert sorted(said) == [
        "Refused: int8 of x was refused: too much is lost.",
        "Warning, cut3/int8, small/int8: few rows",
        "Warning, small: no fair twin",
        "Warning, textcnn/int8: measured on a CPU without VNNI",
    ]


def test_empty_fields_leave_dashes(benchmark: Path, results: Score, tmp_path: Path) -> None:
    bare = copy.deepcopy(results) | {"recipe": {}, "data": {}, "training": [], "comparisons": [], "machine": {}}
    empty = ("retention", "agreement", "speedup_vs", "peak_rss", "load_ms", "params", "bytes", "calibration", "path")
    bare["models"] = [entry | dict.fromkeys(empty) | {"speed": [], "per_class": []} for entry in bare["models"]]
    nothing = {"value": None, "ci95": [None, None], "n": 400}
    model(bare, "small/fp16")["metrics"]["test"] = {"accuracy": nothing, "ece": nothing}
    source = shutil.copytree(benchmark, tmp_path / "benchmark")
    (source / "results.json").write_text(json.dumps(bare))
    shutil.rmtree(source / "logits")
    (tmp_path / "report").mkdir()
    html = write_report(source, tmp_path / "report").read_text()
    assert "None" not in html and "nan" not in re.sub(r"base64,[^\"]*", "", html)
    assert {path.name for path in (tmp_path / "report").glob("*.png")} == {
        "accuracy.png", "teacher_vs_student_accuracy.png"
    }  # fmt: skip
    for entry in bare["models"]:
        assert "None" not in model_card(bare, entry)
    Console(width=100, file=io.StringIO()).print(summary_table(bare))


def test_the_data_stage_record_is_understood(results: Score) -> None:
    split = {
        "rows": 3,
        "mean_words": 2.0,
        "classes": {"joy": 2, "love": 1},
        "majority": {"label": "joy", "share": 0.66},
    }
    record = {"splits": {"train": split, "unlabeled": {"rows": 9}}, "dropped": {"train": {"duplicate": 4}}}
    data = prepared(results | {"data": record})["data"]
    expected = {
        "rows": {"train": 3}, "counts": {"train": split["classes"]}, "majority": {"train": 0.66},
        "dropped": {"train: duplicate": 4},
    }  # fmt: skip
    assert data == expected | {"of_the_teacher": {}, "unlabeled": {}}


def test_texts_without_a_label_are_told_of(results: Score) -> None:
    origin = {"name": "u.csv", "what": "sentences", "texts": 1200, "made": 7000, "rows": 6543}
    told = results | {"data": results["data"] | {"unlabeled": {"unlabeled0": origin}}}
    table = next(table for table in data_tables(prepared(told)) if table.title == "Texts without a label")
    assert [[cell.text for cell in row] for row in table.rows] == [["u.csv", "sentences", "1,200", "7,000", "6,543"]]
    said = "it learned what the teacher says of 6,543 texts without a label"
    cards = {model["role"]: model_card(told, model) for model in told["models"]}
    assert said in cards["student"] and said not in cards["teacher"]
    assert "without a label" not in model_card(results, told["models"][-1])


def test_logits_of_other_texts_are_refused(benchmark: Path, tmp_path: Path) -> None:
    source = shutil.copytree(benchmark, tmp_path / "benchmark")
    np.savez(source / "logits" / "cut3-int8.npz", ids=np.array(["other"]), logits=np.zeros((1, 6), np.float32))
    with pytest.raises(ArtifactError, match="hold other ids"):
        write_report(source, tmp_path)
    with pytest.raises(ArtifactError, match=r"has no results\.json; `understudy benchmark` writes it"):
        write_report(tmp_path, tmp_path)


def test_logits_are_aligned_by_id(benchmark: Path, results: Score) -> None:
    labels, logits = read_logits(benchmark, [model["key"] for model in prepared(results)["models"]])
    for key, values in logits.items():
        table = metrics.confusion(labels, values.argmax(axis=1), len(EVIL))
        assert table.tolist() == model(results, key)["confusion"]


def test_the_summary_fits_a_terminal(results: Score) -> None:
    console = Console(width=100, file=io.StringIO(), record=True)
    wide = copy.deepcopy(results)
    model(wide, "cut3/int8")["name"] = "[red]a-student-with-a-very-long-name-indeed"
    console.print(summary_table(wide))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100 and "[red]" in text
    score = model(results, "small/int8")["metrics"]["test"]["accuracy"]
    row = next(line for line in text.splitlines() if "small/int8" in line)
    low, high = score["ci95"]
    assert f"{100 * score['value']:.2f} ({100 * low:.1f}–{100 * high:.1f})" in row


def test_the_card_says_how_to_load(results: Score) -> None:
    card = model_card(results, model(results, "cut3/int8"))
    assert 'Classifier.load("path/to/this/directory")' in card and "from_pretrained" not in card
    assert "&lt;img src=x onerror=1&gt;" in card and "<img" not in card
    accuracy = model(results, "cut3/int8")["metrics"]["test"]["accuracy"]
    assert f"| accuracy (task metric) | {accuracy['value']:.4f} | {accuracy['ci95'][0]:.4f} to" in card
    assert "temperature 2.0 and soft\\_weight 0.8" in card.replace("soft_weight", "soft\\_weight")
    assert "cross-entropy with the gold label, where S is T² · KL(teacher ‖ student)." in card
    assert "licence of the teacher" in card
    assert "AutoModelForSequenceClassification.from_pretrained(" in model_card(results, model(results, "teacher/torch"))


def test_the_whole_loss_is_said() -> None:
    assert whole_loss({"loss": "mse", "hidden_weight": 10.0, "attention_weight": 0.5}) == (
        "soft_weight · S + (1 − soft_weight) · cross-entropy with the gold label + 10 · H + 0.5 · A, where S is the "
        "mean squared difference of the centred logits; H is the mean squared distance of the first token's states, of "
        "length 1, over the layer map; A is the squared distance of the first token's attention over the layer map"
    )


def test_the_recipe_is_printed_astoml(results: Score) -> None:
    assert tomllib.loads(toml(results["recipe"] | {"hub": None})) == results["recipe"]


def test_the_stage_is_done_once(tmp_path: Path) -> None:
    with writing(tmp_path / "benchmark", Plan("benchmark", {}, {}), "benchmark") as draft:
        simulate(draft.path)
    made = report(tmp_path / "benchmark", tmp_path / "report")
    assert made.kind == "report" and set(made.files) == FILES
    assert made.inputs == {"benchmark": Artifact.load(tmp_path / "benchmark").digest}
    written = (tmp_path / "report" / "report.html").stat().st_mtime_ns
    assert report(tmp_path / "benchmark", tmp_path / "report") == made
    assert (tmp_path / "report" / "report.html").stat().st_mtime_ns == written
    with pytest.raises(ArtifactError, match="is a report directory, expected a benchmark directory"):
        report(tmp_path / "report", tmp_path / "other")


def test_the_summary_is_printed_with_its_findings(results: Score, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(results)
    lines = capsys.readouterr().out.splitlines()
    said = findings(results)
    assert [line for line in lines if line][-len(said) :] == said
    assert any("cut3/int8" in line and "–" in line for line in lines)


def test_the_card_says_what_the_student_learned_by(results: Score) -> None:
    changed = copy.deepcopy(results)
    changed["recipe"]["students"][0] |= {"loss": "mse", "correct_teacher": True}
    changed["recipe"]["label"] = {"folds": 5}
    name = changed["recipe"]["students"][0]["name"]
    card = model_card(changed, model(changed, f"{name}/int8"))
    assert "distilled with soft_weight 0.8, at most" in card and "the centred logits" in card
    assert "the logits of the two changed places" in card and "in 5 parts" in card
    changed["recipe"]["students"][0] |= {"loss": "dkd", "target_weight": 1.0, "other_weight": 8.0}
    card = model_card(changed, model(changed, f"{name}/int8")).replace("\\_", "_")
    assert "temperature 2.0, target_weight 1.0, other_weight 8.0 and soft_weight 0.8" in card
    assert "S is T² · (target_weight · KL of the target" in card
    plain = model_card(results, model(results, f"{name}/int8"))
    assert "changed places" not in plain and "out of fold" not in plain


def test_the_confidence_of_the_soft_labels_is_told(results: Score) -> None:
    changed = prepared(results | {"teacher_confidence": {"train": 0.991, "val": 0.934}})
    table = data_tables(changed)[-1]
    assert [[cell.text for cell in row] for row in table.rows] == [["train", "99.1"], ["val", "93.4"]]
    assert "all by the teacher trained on train" in table.note
    folds = changed | {"recipe": {"label": {"folds": 5}}}
    assert "train by 5 teachers, each without its part of it" in data_tables(folds)[-1].note
