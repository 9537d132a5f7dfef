"""Networks: load a pretrained one, cut it, make a fresh one, save it as an artifact's files and load it again."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
)
from transformers.utils import logging

from ..artifact import Artifact
from ..data.task import Kind
from ..errors import ArtifactError, InputError, first_line
from ..hashing import Hashing
from ..hub import repositories
from ..label_mapping import LabelMapping, read_mapping
from ..tokenization import load_tokenizer
from . import hub_tokenizers, narrowing, surgery
from .birnn import BiRNN
from .gated_cnn import GatedCNN
from .hashed import HashedNgrams
from .hub_classifier import HubClassifier as HubClassifier
from .origins import resolve
from .readiness import PROBLEMS, check_ready
from .textcnn import TextCNN

WordNetwork = TextCNN | BiRNN | GatedCNN
_WORD_NETWORKS: dict[str, type[WordNetwork | HashedNgrams]] = {
    "textcnn": TextCNN, "bilstm": BiRNN, "bigru": BiRNN, "gated-cnn": GatedCNN, "hashed": HashedNgrams,
}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A torch classifier with its tokenizer; `module(ids, mask)` gives logits."""

    module: nn.Module
    tokenizer: Tokenizer | Hashing
    pad_id: int
    architecture: str
    warnings: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def longest(self) -> int | None:
        """Tokens that there are position embeddings for; None where positions are not a table."""
        for name, layer in self.module.named_modules():
            if name.endswith("position_embeddings") and isinstance(layer, nn.Embedding):
                # RoBERTa and its like count positions from the one after the padding's
                return layer.num_embeddings - (0 if layer.padding_idx is None else layer.padding_idx + 1)
        return None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' own bars and load reports out of our progress."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_pretrained(
    name: str, labels: Sequence[str], dropout: float, seed: int, *, attention_dropout: bool = True
) -> Network:
    """A pretrained encoder with a new classification head for `labels`, seeded.

    `name` is a hub name, a local directory or `bundled:minilm-l6`. Raises InputError in one line.
    """
    source = resolve(name)
    try:
        config = AutoConfig.from_pretrained(source, num_labels=len(labels))
        narrowing.refuse_narrow(name, config)
        surgery.name_labels(config, labels)
        surgery.set_dropout(config, dropout, of_attention=attention_dropout)
        torch.manual_seed(seed)
        with quiet():
            model = AutoModelForSequenceClassification.from_pretrained(
                source, config=config, ignore_mismatched_sizes=True, dtype=torch.float32, use_safetensors=True
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"model {name!r} cannot be loaded: {first_line(error)}") from None
    return _network(model, source, name)


def layers_and_width(name: str) -> tuple[int, int]:
    """Layers and hidden size of a pretrained encoder, from its config alone."""
    config = _config(name)
    return int(config.num_hidden_layers), int(config.hidden_size)


def describe_pretrained(name: str) -> tuple[float, float]:
    """Parameters and multiplications per token of a pretrained encoder, from its config alone; approximate."""
    config = _config(name)
    width = int(config.hidden_size)
    inner = int(getattr(config, "intermediate_size", None) or getattr(config, "hidden_dim", None) or 4 * width)
    per_token = float(config.num_hidden_layers * (4 * width**2 + 2 * width * inner))
    return per_token + float(config.vocab_size * width), per_token


def load_classifier(name: str, kind: Kind = "single") -> tuple[Network, list[str]]:
    """A ready classifier for a task of that kind, and its label names in the order of its outputs.

    A single logit z, of a sigmoid, becomes the two logits [0, z], of which "not NAME" and NAME are the labels.
    """
    source = resolve(name)
    try:
        with quiet():
            model, report = AutoModelForSequenceClassification.from_pretrained(
                source, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True,
                use_safetensors=True,
            )  # fmt: skip
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise InputError(f"model {name!r} cannot be loaded: {first_line(error)}") from None
    narrowing.refuse_narrow(name, model.config)
    check_ready(name, model.config, report, kind)
    network = _network(model, source, name)
    if model.config.num_labels == 1:
        surgery.split_logit(model)
    return network, [str(label) for _, label in sorted(model.config.id2label.items())]


def set_labels(network: Network, mapping: LabelMapping) -> None:
    """Give a ready classifier the task's labels: in its weights where they are its own, else as what it answers."""
    assert isinstance(network.module, HubClassifier)
    if mapping.policy == "exact":
        surgery.regroup_outputs(network.module.model, mapping.groups, mapping.ours)
    else:
        network.module.mapping = mapping


def in_own_labels(network: Network) -> nn.Module:
    """A classifier as it answers before any mapping."""
    return HubClassifier(network.module.model) if isinstance(network.module, HubClassifier) else network.module


def cut(network: Network, layers: int | Sequence[int], dropout: float) -> HubClassifier:
    """A copy of a transformer with its lowest N layers, or the named ones (from 0), and an output per label."""
    assert isinstance(network.module, HubClassifier)
    model, mapping = surgery.cut(network.module.model, layers, dropout), network.module.mapping
    if mapping is not None:
        surgery.regroup_outputs(model, mapping.groups, mapping.ours)
    return HubClassifier(model)


def fresh_transformer(
    vocabulary: int, labels: Sequence[str], *, layers: int, width: int, heads: int, max_length: int, dropout: float
) -> HubClassifier:
    """A small BERT with random weights."""
    settings: dict[str, Any] = {
        "vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": 4 * width, "max_position_embeddings": max_length, "type_vocab_size": 1,
        "num_labels": len(labels), "pad_token_id": 0,
    }  # fmt: skip
    config = BertConfig(**settings)
    surgery.name_labels(config, labels)
    surgery.set_dropout(config, dropout)
    return HubClassifier(BertForSequenceClassification(config))


def replace_embeddings(module: HubClassifier, kept: Sequence[int], pad_id: int) -> None:
    """Keep the embedding rows of the `kept` old token ids, in this order."""
    surgery.replace_embeddings(module.model, kept, pad_id)


def check_length(network: Network, max_length: int) -> None:
    """Refuse texts that are longer than the model's positions."""
    if network.longest is not None and max_length > network.longest:
        raise InputError(f"max_length {max_length} is more than the {network.longest} positions of the model; lower it")


def freeze_encoder(module: nn.Module) -> None:
    """Leave only the classification head trainable."""
    if isinstance(module, HubClassifier):
        for parameter in module.model.base_model.parameters():
            parameter.requires_grad_(False)


def save(network: Network, directory: Path, kind: Kind = "single") -> None:
    """Write weights, config and tokenizer; a transformer's directory also loads with `from_pretrained`."""
    with _full_disk_is_an_os_error():
        if isinstance(network.tokenizer, Hashing):
            network.tokenizer.save(directory)
        else:
            network.tokenizer.no_padding()
            network.tokenizer.no_truncation()
            network.tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
        if isinstance(network.module, HubClassifier):
            if kind == "multi":
                network.module.model.config.problem_type = PROBLEMS[kind]
            with quiet():
                network.module.model.save_pretrained(directory)
            assert isinstance(network.tokenizer, Tokenizer)
            pad_token = network.tokenizer.id_to_token(network.pad_id)
            settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": pad_token}
            if network.longest is not None:
                settings["model_max_length"] = network.longest
            (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
        elif isinstance(network.module, WordNetwork | HashedNgrams):
            config = {"architecture": network.architecture, **network.module.config()}
            (directory / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
            save_file(network.module.state_dict(), directory / "model.safetensors")


def load(artifact: Artifact) -> Network:
    """The network of a torch artifact, in evaluation mode."""
    if "model.safetensors" not in artifact.files or "architecture" not in artifact.details:
        raise ArtifactError(
            f"{artifact.path} holds no trained torch model; give the directory that train or distill wrote"
        )
    architecture = str(artifact.details["architecture"])
    module: nn.Module
    try:
        if architecture in _WORD_NETWORKS:
            config = json.loads((artifact.path / "config.json").read_text(encoding="utf-8"))
            config.pop("architecture")
            module = _WORD_NETWORKS[architecture](**config)
            module.load_state_dict(load_file(artifact.path / "model.safetensors"))
        else:
            with quiet():
                module = HubClassifier(narrowing.open_classifier(artifact.path), read_mapping(artifact.path))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ArtifactError(f"{artifact.path} holds no model that can be loaded: {first_line(error)}") from None
    return Network(module.eval(), load_tokenizer(artifact), int(artifact.details["pad_id"]), architecture)


@contextmanager
def _full_disk_is_an_os_error() -> Iterator[None]:
    """Give a full disk the same error whichever library meets it: those in Rust raise classes of their own."""
    try:
        yield
    except Exception as error:  # tokenizers raises no narrower class
        if not any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def _network(model: PreTrainedModel, source: str, name: str) -> Network:
    found = hub_tokenizers.read(source, name)
    module = HubClassifier(model)
    if found.embeddings is not None:
        replace_embeddings(module, found.embeddings, found.pad_id)
        model.config.tokenizer_class = None  # the Python class, which reads other files
    return Network(module, found.tokenizer, found.pad_id, "transformer", found.warnings)


def _config(name: str) -> Any:
    try:
        return AutoConfig.from_pretrained(resolve(name, repositories.model_config))
    except (OSError, ValueError) as error:
        raise InputError(f"model {name!r} cannot be loaded: {first_line(error)}") from None
