"""Within-task pretraining: what is hidden, that it is learnt, and that the classifier starts from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from torch import Tensor, nn

from architectures import CONFIGS, save_encoder
from training_kit import Failing, PowerCutError, prepare_few
from understudy.artifact import Artifact, Draft, TextConfig
from understudy.config import TeacherConfig
from understudy.data.storing import read_split
from understudy.errors import RecipeError
from understudy.progress import Silent
from understudy.training import checkpoint, masked_lm, networks, train
from understudy.training.masked_lm import MaskedLM
from understudy.training.networks import Network

QUICK: dict[str, Any] = {
    "max_length": 16, "epochs": 1, "batch_size": 16, "learning_rate": 5e-3, "device": "cpu", "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its test split cannot be read."""
    return prepare_few(tmp_path_factory.mktemp("few"))


@pytest.fixture
def mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny tokenizers have no token for a mask: the unknown one serves."""
    monkeypatch.setattr(masked_lm, "MASKS", ("[UNK]", "<unk>"))


def teach(data: Path, out: Path, encoder: Path, progress: Any = None, **changes: Any) -> Artifact:
    return train(data, out, TeacherConfig(model=str(encoder), **QUICK | changes), progress=progress)


def weights(artifact: Artifact) -> bytes:
    return (artifact.path / "model.safetensors").read_bytes()


class Echo(nn.Module):
    """An encoder whose states tell nothing; keeps the ids that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 4)
        self.config = type("Config", (), {"hidden_size": 4})
        self.seen: list[Tensor] = []

    def get_input_embeddings(self) -> nn.Embedding:
        return self.table

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        self.seen.append(input_ids)
        return type("Output", (), {"last_hidden_state": self.table(input_ids)})


def masked() -> tuple[MaskedLM, Echo]:
    tokenizer = Tokenizer(models.WordLevel({f"w{number}": number for number in range(50)}, unk_token="w0"))
    tokenizer.add_special_tokens(["w0", "w1", "w2"])
    encoder = Echo()
    return MaskedLM(encoder, tokenizer, mask_id=3), encoder


def test_fifteen_of_a_hundred_tokens_are_hidden_and_none_that_is_special_or_padding() -> None:
    torch.manual_seed(0)
    module, encoder = masked()
    ids = torch.randint(10, 50, (400, 50))
    ids[:, 0], ids[:, -1] = 1, 2
    mask = torch.ones_like(ids)
    ids[:200, 40:], mask[:200, 40:] = 0, 0
    module.train()(ids, mask)
    (seen,) = encoder.seen
    words = (mask > 0) & (ids > 2)
    assert torch.equal(seen[~words], ids[~words])
    total = int(words.sum())
    assert int((seen == 3).sum()) / total == pytest.approx(0.15 * 0.8, abs=0.01)
    others = words & (seen != ids) & (seen != 3)
    assert int(others.sum()) / total == pytest.approx(0.15 * 0.1, abs=0.005)


def test_validation_hides_the_same_tokens_every_time_and_padding_changes_nothing() -> None:
    module, encoder = masked()
    module.eval()
    ids = torch.randint(10, 50, (3, 20))
    first, again = (module(ids, torch.ones_like(ids)) for _ in range(2))
    wider = nn.functional.pad(ids, (0, 9))
    padded = module(wider, (wider > 0).long())
    assert torch.equal(first, again)
    assert torch.allclose(first, padded)
    assert torch.equal(encoder.seen[0], encoder.seen[1])
    assert first[:, 1].tolist() == [3, 3, 3]  # of 20 tokens the fourth, the eleventh and the eighteenth


@pytest.mark.usefixtures("mask")
def test_the_texts_are_learnt_and_the_classifier_starts_from_that(data: Path, encoder: Path, tmp_path: Path) -> None:
    plain = teach(data, tmp_path / "plain", encoder)
    adapted = teach(data, tmp_path / "adapted", encoder, mlm_epochs=6, mlm_learning_rate=2e-3)
    found = adapted.measurements["mlm"]
    losses = [epoch["val_nll"] for epoch in found["history"]]
    assert len(losses) == 6
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.5
    assert found["val_nll_before"] > losses[0]
    assert found["texts"] == sum(len(read_split(data / f"{name}.parquet", name)) for name in ("train", "unlabeled"))
    assert weights(plain) != weights(adapted)
    assert len(adapted.measurements["history"]) == 1
    assert "mlm" not in plain.measurements and "mlm_epochs" not in plain.config


@pytest.mark.usefixtures("mask")
def test_a_killed_adaptation_goes_on_to_equal_weights(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint.Checkpoints, "due", lambda self: True)
    expected = teach(data, tmp_path / "whole", encoder, mlm_epochs=2)
    for steps in (7, 9):
        with pytest.raises(PowerCutError):
            teach(data, tmp_path / "broken", encoder, Failing(steps), mlm_epochs=2)
    found = teach(data, tmp_path / "broken", encoder, mlm_epochs=2)
    assert weights(found) == weights(expected)
    assert found.measurements["mlm"]["history"] == expected.measurements["mlm"]["history"]
    assert found.measurements["mlm"]["val_nll_before"] == expected.measurements["mlm"]["val_nll_before"]


@pytest.mark.usefixtures("mask")
@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_family_can_be_adapted(architecture: str, tmp_path: Path) -> None:
    source = save_encoder(architecture, tmp_path / "encoder")
    network = networks.load_pretrained(str(source), ["bad", "good"], 0.1, 1)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    config = TeacherConfig(model=str(source), **QUICK | {"mlm_epochs": 1})
    texts = ["a film so lovely that it is dreadful", "the hotel was not poor at all, was it"] * 8
    draft = Draft(tmp_path)
    masked_lm.adapt(draft, network, TextConfig((), 16), config, (texts, texts), seed=1, progress=Silent())
    (epoch,) = draft.measurements["mlm"]["history"]
    assert np.isfinite(epoch["val_nll"])
    changed = [name for name, value in network.module.state_dict().items() if not torch.equal(value, before[name])]
    assert any("embeddings" in name for name in changed)
    assert any("layer" in name for name in changed)
    assert not any("classifier" in name for name in changed)


def test_a_tokenizer_without_a_mask_is_refused(encoder: Path, tmp_path: Path) -> None:
    network = networks.load_pretrained(str(encoder), ["bad", "good"], 0.1, 1)
    bare = Network(network.module, Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), 0, "transformer")
    config = TeacherConfig(model="some/model", mlm_epochs=1)
    with pytest.raises(RecipeError) as error:
        masked_lm.adapt(Draft(tmp_path), bare, TextConfig((), 16), config, (["a"], ["a"]), seed=1, progress=Silent())
    assert str(error.value) == "teacher.mlm_epochs: some/model has no token for a mask: set mlm_epochs = 0"
