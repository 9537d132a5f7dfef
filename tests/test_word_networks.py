"""Word networks over the teacher's own tokens: which are kept, how they start, and what they read of a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from architectures import save_encoder
from understudy.artifact import Artifact, TextConfig
from understudy.config import BiGRUStudent, TextCNNStudent
from understudy.data.storing import read_split
from understudy.data.task import Split
from understudy.tokenization import TextEncoder
from understudy.training import networks, vocabulary, word_networks
from understudy.training.networks import Network

TEXT = TextConfig(["html", "nfc"], 16)


@pytest.fixture(scope="module")
def teacher(finished_run: Path) -> Network:
    return networks.load(Artifact.load(finished_run / "teacher"))


@pytest.fixture(scope="module")
def transfer(finished_run: Path) -> Split:
    return read_split(finished_run / "data/train.parquet", "train")


def make(teacher: Network, transfer: Split, **changes: Any) -> tuple[Network, list[str]]:
    warnings: list[str] = []
    config = BiGRUStudent(**{"tokens": "teacher", "width": 8, "units": 4, "min_count": 1} | changes)
    return word_networks.over_tokens(config, teacher, TEXT, transfer, 2, warnings), warnings


def pieces(network: Network, text: str) -> list[str]:
    return network.tokenizer.encode(text).tokens


def test_texts_keep_the_teachers_tokens_but_for_the_marks_around_them(teacher: Network, transfer: Split) -> None:
    student, warnings = make(teacher, transfer)
    for text in transfer.texts[:50]:
        assert ["[CLS]", *pieces(student, text), "[SEP]"] == pieces(teacher, text)
    assert (warnings, pieces(teacher, "a")[0]) == ([], "[CLS]")  # whose tokenizer stayed as it was
    assert student.tokenizer.get_vocab_size() < teacher.tokenizer.get_vocab_size()
    assert student.module.get_parameter("embeddings.weight").shape == (student.tokenizer.get_vocab_size(), 8)


def test_rare_tokens_and_those_beyond_the_vocabulary_are_cut_smaller(teacher: Network, transfer: Split) -> None:
    sizes = [
        make(teacher, transfer, **change)[0].tokenizer.get_vocab_size()
        for change in ({}, {"min_count": 60}, {"vocabulary": 8})
    ]
    assert sizes[0] > max(sizes[1:])
    small, _ = make(teacher, transfer, vocabulary=8)
    assert all(len(pieces(small, word)) > 1 and "[UNK]" not in pieces(small, word) for word in ("wonderful", "lovely"))
    used = TextEncoder(teacher.tokenizer, TEXT).encode(transfer.texts)
    ids, counts = np.unique(np.concatenate(used), return_counts=True)
    frequent = vocabulary.most_frequent(used, 5, int(np.sort(counts)[-3]))
    assert sorted(counts[ids.searchsorted(frequent)]) == sorted(counts)[-len(frequent) :]
    assert 3 <= len(frequent) <= 5


def test_embeddings_start_as_the_teachers_table_turned_to_their_width(teacher: Network, transfer: Split) -> None:
    """As far apart as its largest directions let them be; padding is zero."""
    student, _ = make(teacher, transfer, teacher_embeddings=True)
    found = student.module.get_parameter("embeddings.weight").detach()
    model: Any = teacher.module.model
    whole, vocab = model.get_input_embeddings().weight.detach(), teacher.tokenizer.get_vocab()
    ours = sorted(student.tokenizer.get_vocab().items(), key=lambda item: item[1])
    rows = whole[torch.tensor([vocab[piece] for piece, _ in ours])]
    left, sizes, _ = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    expected = torch.cdist(left[:, :8] * sizes[:8], left[:, :8] * sizes[:8])
    inside = torch.arange(len(found)) != student.pad_id
    distances = torch.cdist(found, found)[inside][:, inside]
    scale = distances.sum() / expected[inside][:, inside].sum()
    torch.testing.assert_close(distances, expected[inside][:, inside] * scale, atol=1e-3, rtol=1e-3)
    assert torch.equal(found[student.pad_id], torch.zeros(8))
    plain = make(teacher, transfer)[0].module.get_parameter("embeddings.weight")
    assert not torch.allclose(plain[1:4], found[1:4], atol=0.05)


@pytest.mark.parametrize("family", ["xlm-roberta", "roberta"])
def test_padding_is_where_the_teachers_is(transfer: Split, tmp_path: Path, family: str) -> None:
    """RoBERTa and XLM-R count it as 1; the merges of RoBERTa's vocabulary cannot be trimmed, which is said."""
    source = networks.load_pretrained(str(save_encoder(family, tmp_path)), ["a", "b"], 0.0, 0)
    student, warnings = make(source, transfer, teacher_embeddings=True)
    assert warnings == ([vocabulary.UNTRIMMED] if family == "roberta" else [])
    module: Any = student.module
    assert student.tokenizer.id_to_token(student.pad_id) == source.tokenizer.id_to_token(source.pad_id)
    assert module.embeddings.padding_idx == student.pad_id
    assert len(module.embeddings.weight) >= student.tokenizer.get_vocab_size()
    text = transfer.texts[0]
    assert pieces(student, text) == [piece for piece in pieces(source, text) if piece not in ("<s>", "</s>")]


def test_words_are_the_default() -> None:
    assert TextCNNStudent().tokens == "words"
