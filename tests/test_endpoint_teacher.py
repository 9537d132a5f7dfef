"""An endpoint as a teacher, against a server on the loopback interface that misbehaves in every way it can."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from answers_kit import Listener, labelled, prepared, probabilities, settings, split_of
from fake_endpoint import Trouble, label_of, serving
from understudy.answering import ANSWERS, answer_test, client, expected_bill
from understudy.answering.journal import opened, read_journal
from understudy.artifact import Artifact
from understudy.errors import InputError, RecipeError, WorkError
from understudy.progress import Silent

KEY = "sk-a-secret-of-ours"
TESTED, ASKED = 6, 32  # texts of test; texts of train, val and unlabeled


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("data") / "home", (20, 8, TESTED, 4))


@pytest.fixture
def data(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    (tmp_path / "data").symlink_to(ready)
    return tmp_path / "data"


def endpoint(server: Any, **given: Any) -> Any:
    return settings("endpoint", url=server.url, model="m", **given)


def records(data: Path) -> list[dict[str, Any]]:
    return list(read_journal(data.parent / "journal.jsonl").values())


def test_token_probabilities_become_soft_labels_and_no_text_is_asked_for_twice(data: Path) -> None:
    with serving() as server:
        labels = labelled(data, endpoint(server))
        train = split_of(data, "train")
        sure = [[0.1, 0.9] if label_of(f"Text: {text}") == "good" else [0.9, 0.1] for text in train.texts]
        np.testing.assert_allclose(probabilities(labels, data, "train"), sure, atol=1e-6)
        assert len(server.answered) == len(set(server.answered)) == ASKED
        assert not any(text in prompt for prompt in server.answered for text in split_of(data, "test").texts)
        shutil.rmtree(data.parent / "labels")  # a run that lost its labels
        assert labelled(data, endpoint(server)).files == labels.files
        answers = answer_test(Artifact.load(data.parent / "teacher", ANSWERS), split_of(data, "test"), 64, Silent())
        assert len(server.answered) == ASKED + TESTED
    assert answers.logits is not None
    assert answers.said == ["Test split: m was asked: 6 calls, 600 tokens sent, 12 answered, cost 0"]
    assert labels.measurements["answers"]["by_tokens"] == ASKED


def test_without_token_probabilities_several_answers_are_counted(data: Path) -> None:
    say = lambda prompt, number: "bad" if number == 2 else label_of(prompt)  # noqa: E731
    with serving(logprobs=False, say=say) as server:
        labels = labelled(data, endpoint(server, samples=4, alpha=0.5, concurrency=1))
        assert len(server.answered) == 1 + 4 * ASKED  # the first one was asked for token probabilities
        good = np.array([label_of(f"Text: {text}") == "good" for text in split_of(data, "val").texts])
        found = probabilities(labels, data, "val")
        np.testing.assert_allclose(found[good], [[1.5 / 5, 3.5 / 5]] * good.sum(), atol=1e-6)
        np.testing.assert_allclose(found[~good], [[4.5 / 5, 0.5 / 5]] * (~good).sum(), atol=1e-6)
        again = labelled(data, endpoint(server, samples=5, alpha=2.0, concurrency=1))
        assert len(server.answered) == 1 + 5 * ASKED  # a sample more of each text
    np.testing.assert_allclose(probabilities(again, data, "val")[~good], [[7 / 9, 2 / 9]] * (~good).sum(), atol=1e-6)


def test_a_server_that_refuses_token_probabilities_is_asked_for_samples(data: Path) -> None:
    refusal = (400, {}, json.dumps({"error": {"message": "top_logprobs is not supported"}}).encode())

    with serving() as server:
        server.trouble = lambda number: refusal if server.bodies[-1].get("logprobs") else None
        labels = labelled(data, endpoint(server, samples=2, concurrency=1))
        assert [body.get("top_logprobs") for body in server.bodies[:3]] == [20, 5, None]
        assert len(server.bodies) == 2 + 2 * ASKED
        server.trouble = lambda number: refusal if server.bodies[-1].get("top_logprobs", 0) > 5 else None
        five = labelled(data, settings("endpoint", url=server.url, model="other", concurrency=1))
        assert five.measurements["answers"]["by_tokens"] == ASKED
        assert len(server.bodies) == 2 + 2 * ASKED + 1 + ASKED
    assert labels.measurements["answers"]["by_samples"] == ASKED


def test_answers_that_name_no_label_are_recorded_counted_and_left_out(data: Path) -> None:
    texts = [split_of(data, name).texts[0] for name in ("train", "val")]
    say = lambda prompt, number: "who knows" if prompt.endswith(tuple(texts)) else label_of(prompt)  # noqa: E731
    with serving(say=say) as server:
        labels = labelled(data, endpoint(server, samples=3))
    facts = labels.measurements["answers"]
    assert (facts["without_a_label"], facts["samples_without_a_label"], facts["by_tokens"]) == (2, 6, ASKED - 2)
    assert labels.measurements["unanswered"] == {"train": 1}
    np.testing.assert_allclose(probabilities(labels, data, "val")[0], [0.5, 0.5])
    assert sum(record["answer"] == "who knows" for record in records(data)) == 8
    assert "2 texts got no answer that names a label" in facts["said"]


def test_every_kind_of_trouble_is_overcome_and_paid_answers_are_not_asked_for_again(data: Path) -> None:
    kinds: list[Trouble] = [
        (429, {"Retry-After": "0.01"}, b""), (500, {}, b"oh"), "cut", (200, {}, b"{not json"), (503, {}, b""),
        (200, {}, b'{"choices": []}'), (429, {"Retry-After": "Sat, 01 Jan 2000 00:00:00 GMT"}, b"{}"),
        (200, {}, b"[1]"), "nonsense",
    ]  # fmt: skip
    with serving(trouble=lambda number: kinds[number // 2 % len(kinds)] if number % 2 else None) as server:
        labels = labelled(data, endpoint(server, concurrency=3, retries=12))
    assert len(server.bodies) > 1.9 * ASKED
    assert len(server.answered) == len(set(server.answered)) == ASKED == len(records(data))
    assert labels.measurements["teacher_calls"] == ASKED


def test_a_rate_limit_is_waited_for_by_all(data: Path) -> None:
    begun: list[float] = []

    def trouble(number: int) -> Trouble | None:
        begun.append(time.monotonic())
        return (429, {"Retry-After": "0.5"}, b"") if number == 1 else None

    with serving(trouble=trouble) as server:
        labelled(data, endpoint(server, concurrency=2))
    assert sum(when - begun[0] < 0.5 for when in begun) <= 3  # two at a time: few are begun before the first is refused


def test_a_time_out_is_tried_again(data: Path) -> None:
    def trouble(number: int) -> None:
        time.sleep(0.6 if number == 1 else 0)

    with serving(trouble=trouble) as server:
        labelled(data, endpoint(server, concurrency=1, timeout=0.2))
    assert len(server.bodies) == ASKED + 1


def test_after_the_last_try_it_says_so_and_keeps_what_was_answered(data: Path) -> None:
    with serving(trouble=lambda number: (500, {}, b"down") if number > 12 else None) as server:
        with pytest.raises(WorkError, match=r"/v1/chat/completions gave no answer in 3 tries, the last time: 500 down"):
            labelled(data, endpoint(server, concurrency=2, retries=2))
        assert len(records(data)) == len(server.answered) == 12
        server.trouble = lambda number: None
        labelled(data, endpoint(server, concurrency=2, retries=2))
        assert len(server.answered) == ASKED


def test_the_key_is_sent_and_never_written(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_KEY", KEY)
    listener = Listener()
    with serving() as server:
        labelled(data, endpoint(server, key_variable="OUR_KEY"), listener)
        assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
        server.trouble = lambda number: (401, {}, json.dumps({"error": {"message": f"wrong key {KEY}"}}).encode())
        with pytest.raises(WorkError, match=r"answered 401: wrong key …$") as refusal:
            labelled(data, endpoint(server, key_variable="OUR_KEY", system="Be brief."))
        asked = len(server.bodies)
        assert asked - ASKED <= 16  # eight at a time: none is tried again, and few are begun after the first
    written = b"".join(file.read_bytes() for file in data.parent.rglob("*") if file.is_file())
    assert KEY.encode() not in written
    assert KEY not in str(refusal.value) + "".join(listener.notes)


def test_a_key_that_is_not_set_or_is_none(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUR_KEY", raising=False)
    with serving() as server, pytest.raises(RecipeError, match=r"variable OUR_KEY \(teacher.key_variable\) is not set"):
        labelled(data, endpoint(server, key_variable="OUR_KEY"))
    with pytest.raises(RecipeError) as error:
        endpoint(server, key_variable=KEY)
    assert KEY not in str(error.value)
    with serving() as server:
        labelled(data, endpoint(server))
    assert not any("Authorization" in headers for headers in server.headers)


def test_a_redirect_is_not_followed(data: Path) -> None:
    with serving() as elsewhere, serving() as server:
        server.trouble = lambda number: (302, {"Location": f"{elsewhere.url}/chat/completions"}, b"")
        with pytest.raises(WorkError, match="answered 302"):
            labelled(data, endpoint(server))
    assert elsewhere.bodies == []


PRICES = {"price_per_million_input": 1000.0, "price_per_million_output": 500.0}


def test_the_cost_is_told_before_the_first_call_and_held_against_its_limit(data: Path) -> None:
    with serving() as server:
        config = endpoint(server, **PRICES)
        texts = [text for name in ("train", "val", "unlabeled") for text in split_of(data, name).texts]
        bill = expected_bill(config, ["bad", "good"], texts, data.parent / "teacher")
        prompt = len(config.prompt.replace("{labels}", "bad, good").replace("{text}", ""))
        assert bill.calls == ASKED
        assert bill.tokens_in == sum((prompt + len(text)) // 4 + 8 for text in texts)
        assert bill.cost == pytest.approx((1000 * bill.tokens_in + 500 * bill.tokens_out) / 1e6)
        cost = rf"the answers would cost about \d\S+ \(38 calls, .*; paid so far: 0\), and max_cost is {bill.cost:g}"
        with pytest.raises(RecipeError, match=cost):  # the test texts are in it
            labelled(data, endpoint(server, **PRICES, max_cost=float(f"{bill.cost:g}")))
        assert server.bodies == []
        listener = Listener()
        labelled(data, config, listener)
        assert listener.notes[-2] == f"  m: {bill}, estimated; paid so far: 0"
        assert listener.notes[-1].startswith("  and for the test split, in `benchmark`: 6 calls, ")
        assert expected_bill(config, ["bad", "good"], texts, data.parent / "teacher").calls == 0


def test_answers_dearer_than_thought_stop_at_the_limit(data: Path) -> None:
    with (
        serving() as server,
        pytest.raises(WorkError, match=r"cost 2\.\d+, and max_cost is 2; they are kept in .*journal"),
    ):
        labelled(data, endpoint(server, **PRICES, max_cost=2.0, concurrency=1))  # about 1.7; 0.101 each
    assert len(server.answered) == 20


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        ({"system": "Be brief."}, lambda body: body["messages"][0] == {"role": "system", "content": "Be brief."}),
        ({"prompt": "Text: {text}"}, lambda body: body["messages"][0]["content"].startswith("Text: ")),
        ({"model": "n"}, lambda body: body["model"] == "n"),
        ({"max_tokens": 3}, lambda body: body["max_tokens"] == 3),
        ({"max_tokens": 0, "body": {"max_completion_tokens": 9}},
         lambda body: "max_tokens" not in body and body["max_completion_tokens"] == 9),
        ({"answers": "samples", "samples": 1}, lambda body: "logprobs" not in body and body["temperature"] == 1.0),
        ({"answers": "samples", "samples": 1, "temperature": 0.7}, lambda body: body["temperature"] == 0.7),
        ({"label_map": {"lovely": "good"}}, lambda body: "bad, lovely" in body["messages"][0]["content"]),
    ],
)  # fmt: skip
def test_what_changes_an_answer_is_asked_again(data: Path, change: dict[str, Any], sent: Any) -> None:
    with serving(say=lambda prompt, number: "bad") as server:
        labelled(data, endpoint(server))
        labelled(data, settings("endpoint", **{"url": server.url, "model": "m"} | change))
    assert len(server.bodies) == 2 * ASKED
    assert all(sent(body) for body in server.bodies[ASKED:])
    assert not any(sent(body) for body in server.bodies[:ASKED])


def test_what_changes_no_answer_keeps_the_labels(data: Path) -> None:
    with serving() as server:
        first = labelled(data, endpoint(server))
        again = labelled(
            data, endpoint(server, concurrency=2, timeout=9.0, retries=1, **PRICES, max_cost=100.0, test=False)
        )
    assert again.key == first.key
    assert len(server.bodies) == ASKED


def test_braces_of_a_text_are_left_as_they_are(data: Path) -> None:
    from understudy.answering.endpoint import Questions

    body = Questions(settings("endpoint", url="http://h/v1", model="m"), ["a", "b"]).body("{labels} {text} {x}", 20)
    assert body["messages"][0]["content"].endswith("Text: {labels} {text} {x}")


def test_a_line_that_was_cut_short_is_asked_for_again_and_a_damaged_one_is_refused(data: Path) -> None:
    journal = data.parent / "journal.jsonl"
    with serving() as server:
        labels = labelled(data, endpoint(server))
        journal.write_bytes(journal.read_bytes()[:-40])
        shutil.rmtree(data.parent / "labels")
        assert labelled(data, endpoint(server)).files == labels.files
        assert len(server.answered) == ASKED + 1
        assert len(records(data)) == ASKED
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], b"{}\n", *lines[2:]]))
    with pytest.raises(InputError, match=r"journal.jsonl: line 3 is damaged; delete this line"):
        read_journal(journal)


def test_an_answer_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "j") as journal:

        def check(descriptor: int) -> None:
            assert read_journal(tmp_path / "j")["k"]["answer"] == "good"
            assert journal.records == {}

        monkeypatch.setattr(os, "fsync", check)
        journal.add({"key": "k", "answer": "good"})
        assert set(journal.records) == {"k"}


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        opened(tmp_path / "j"),
        pytest.raises(InputError, match="another process is asking with"),
        opened(tmp_path / "j"),
    ):
        pass


@pytest.mark.wide
def test_killed_in_the_middle_no_answer_that_counts_is_asked_for_again(data: Path) -> None:
    """SIGKILL, three times, of the command; what the journal held by then is not asked for again."""
    from understudy.answering import appoint

    def slowly(number: int) -> None:
        time.sleep(0.02)

    with serving(trouble=slowly) as server:
        appoint(data, data.parent / "teacher", endpoint(server, concurrency=2), data.parent)
        command = [sys.executable, "-m", "understudy", "label", str(data.parent / "teacher")]
        command += ["--data", str(data), "--out", str(data.parent / "labels")]
        for count in (6, 14, 22):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
            while len(server.answered) < count:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
        while len(server.answered) < len(server.bodies):  # what the killed one had asked is still under way
            time.sleep(0.005)
        kept = {record["text"] for record in records(data)}
        asked = len(server.answered)
        assert len(kept) >= asked - 3 * 2  # all but those under way
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
        assert done.returncode == 0, done.stderr
    again = [prompt.rpartition("Text: ")[2] for prompt in server.answered[asked:]]
    assert not kept & set(again)
    assert len(again) == ASKED - len(kept)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "host/v1"}, "url: must begin with http:// or https:// and name a host"),
        ({"url": "https://me:secret@host/v1"}, "url: must hold no password and no query"),
        ({"prompt": "What is it?"}, "prompt: must contain {text}"),
        ({"body": {"model": "x"}}, "body: must not set model"),
        ({"max_cost": 1.0}, "max_cost needs price_per_million_input or price_per_million_output"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        settings("endpoint", **{"url": "https://host/v1", "model": "m"} | given)
    assert str(error.value).startswith(f"teacher: {message}")
    assert "secret" not in str(error.value)


def test_a_label_map_must_fit(data: Path) -> None:
    with serving() as server, pytest.raises(RecipeError, match=r"teacher.label_map: .*extra: 'fine'"):
        labelled(data, endpoint(server, label_map={"fine": "better"}))
