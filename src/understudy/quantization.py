"""quantize: FP32 ONNX artifact → INT8 (or FP16) artifact, compared with its source on validation before it is written.

understudy quantize runs/x/students/small/fp32 --data runs/x/data --out runs/x/students/small/int8
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import multilabel
from .artifact import Artifact, Draft, Plan, finished, short_name, writing
from .classifier import MODEL_FILE, PADDING_KEY, Classifier
from .config import QuantizeConfig
from .data.storing import TEST_FILE, read_split
from .data.task import Labels, Split
from .errors import MissingExtraError, WorkError
from .golden import golden_of
from .machine import instruction_set
from .metrics import Estimate, agreement, confusion, paired_difference
from .progress import Progress, Silent
from .thresholds import fitted_decision
from .tokenization import TextEncoder, copy_tokenizer

try:
    import onnx
    from onnx import ModelProto
except ImportError:
    raise MissingExtraError("Quantizing", "build") from None

from . import qdq, ranges
from .pooled_tables import insert_pooled

Precision = Literal["int8", "int8-dynamic", "fp16"]

_ENOUGH_ROWS = 500  # on fewer validation rows the gate could only toss a coin: it warns
_DYNAMIC = (
    "dynamic INT8: a prediction depends on the other texts of its batch, because activation ranges are taken from "
    "each batch; use static INT8 where the same text must always get the same answer"
)


class GateRefusedError(WorkError):
    """No rung of the ladder lost little enough on validation."""


@dataclass(frozen=True)
class Rung:
    """One way to quantise: how ranges are chosen, what stays FP32."""

    name: str
    ranges: Literal["best", "full"] = "best"
    products_in_fp32: float = 0.0  # share, worst first
    tables: bool = True

    def spared(self, products: int) -> int:
        """How many products stay FP32: at least one where there is a share."""
        return max(1, round(self.products_in_fp32 * products)) if self.products_in_fp32 else 0


LADDER = (
    Rung("all products and tables in INT8"),
    Rung("worst eighth of the products in FP32", products_in_fp32=1 / 8),
    Rung("full ranges, worst eighth in FP32", ranges="full", products_in_fp32=1 / 8),
    Rung("worst quarter of the products in FP32", products_in_fp32=1 / 4),
    Rung("worst quarter of the products and the tables in FP32", products_in_fp32=1 / 4, tables=False),
)


def quantize(
    model: Path,
    data: Path,
    out: Path,
    config: QuantizeConfig,
    *,
    precision: Precision = "int8",
    seed: int = 13,
    progress: Progress | None = None,
) -> Artifact:
    """Quantise on training texts; raises GateRefusedError when every rung of the ladder may lose too much.

    `int8` is what `config.method` says, `int8-dynamic` is dynamic whatever it says.
    The gate: the lower 95 % bound of the paired difference of the task metric on validation must lie above
    −max_loss points. It never falls back to dynamic.
    """
    progress = progress or Silent()
    source, texts = Artifact.load(model, "model"), Artifact.load(data, "data")
    inputs = {"model": source.digest, "data": texts.digest}
    plan = Plan(f"quantize-{precision}", config.model_dump(), inputs, seed)
    done = finished(out, plan, progress)
    if done is not None:
        return done
    for needed in (source, texts):
        needed.verify(without=(TEST_FILE,))
    assert source.task is not None
    with (
        writing(out, plan, "model") as draft,
        progress.track(f"{precision} {short_name(out)}", len(LADDER)) as advance,
    ):
        draft.task, draft.text = source.task, source.text
        draft.details = source.details | {"variant": precision}
        gate = _Gate(Classifier(source), read_split(data / "val.parquet", "val"), config, source.task.metric)
        copy_tokenizer(source, draft.path)
        rung, verdict = _first_accepted(_candidates(source, data, config, precision, seed), plan, draft, gate, advance)
        draft.details |= {"rung": rung, "instruction_set": instruction_set()}
        draft.measurements = {"gate": verdict.to_dict(), "tried": gate.tried}
        draft.golden = golden_of(draft.as_artifact(plan))
        draft.warnings += [
            *verdict.warnings,
            *([_DYNAMIC] if _is_dynamic(config, precision) else []),
        ]
    return Artifact.load(out)


def _is_dynamic(config: QuantizeConfig, precision: Precision) -> bool:
    return precision == "int8-dynamic" or (precision == "int8" and config.method == "dynamic")


@dataclass(frozen=True)
class Verdict:
    """A variant beside its source on validation."""

    difference: Estimate
    flips: int
    per_class: dict[str, float]
    passed: bool
    warnings: list[str]

    def describe(self) -> str:
        """In words."""
        d = self.difference
        low, value, high = (f"{100 * bound:+.2f}" for bound in (d.low, d.value, d.high))
        return f"the metric changes by {value} points [{low}, {high}] on {d.n} texts"

    def to_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "difference": self.difference.to_dict(), "flips": self.flips, "recall_change": self.per_class,
            "passed": self.passed,
        }  # fmt: skip


class _Gate:
    """Compares variants with their source on validation."""

    def __init__(self, source: Classifier, val: Split, config: QuantizeConfig, metric: str) -> None:
        self.val, self.config, self.metric, self.labels = val, config, metric, source.labels
        self.name = short_name(source.artifact.path)
        logits = source.logits(val.texts)
        # Of several labels per text both files answer by the thresholds that suit the source, calibrated or not.
        self.decision = fitted_decision(logits, val.labels)
        self.expected = self.decision.choose(logits)
        self.tried: list[dict[str, Any]] = []

    def compare(self, variant: Classifier) -> Verdict:
        found = self.decision.choose(variant.logits(self.val.texts))
        difference = paired_difference(self.val.labels, self.expected, found, self.metric, 2000, 0)
        few = len(self.val) < _ENOUGH_ROWS
        passed = few or not self.config.gate or difference.low >= -self.config.max_loss / 100
        before, after = (self._recalls(labels) for labels in (self.expected, found))
        warning = f"{len(self.val)} validation rows are too few to judge what was lost ({_ENOUGH_ROWS} wanted)"
        changes = {label: float(a - b) for label, a, b in zip(self.labels, after, before, strict=True)}
        flips = len(found) - round(agreement(found, self.expected).value * len(found))
        verdict = Verdict(difference, flips, changes, passed, [warning] if few else [])
        self.tried.append(verdict.to_dict())
        return verdict

    def _recalls(self, predicted: Labels) -> NDArray[np.float64]:
        if predicted.ndim == 2:
            scores = multilabel.per_class(multilabel.outcomes(self.val.labels, predicted))
            return np.array([row["recall"] for row in scores])
        table = confusion(self.val.labels, predicted, len(self.labels))
        shares: NDArray[np.float64] = np.diag(table) / np.maximum(table.sum(axis=1), 1)
        return shares


def _first_accepted(
    candidates: Iterator[tuple[str, ModelProto]],
    plan: Plan,
    draft: Draft,
    gate: _Gate,
    advance: Callable[[int], None],
) -> tuple[str, Verdict]:
    """Write the candidates in turn until one passes the gate."""
    verdict = None
    for rung, proto in candidates:
        onnx.save(proto, draft.path / MODEL_FILE)
        verdict = gate.compare(Classifier(draft.as_artifact(plan)))
        advance(1)
        if verdict.passed:
            advance(len(LADDER) - len(gate.tried))
            return rung, verdict
    assert verdict is not None
    raise GateRefusedError(
        f"{draft.details['variant']} of {gate.name} was refused: on validation {verdict.describe()}, "
        f"and a loss above {gate.config.max_loss:g} points cannot be excluded; raise quantize.max_loss, or ship fp32"
    )


def _candidates(
    source: Artifact, data: Path, config: QuantizeConfig, precision: Precision, seed: int
) -> Iterator[tuple[str, ModelProto]]:
    proto = onnx.load_model_from_string(source.read(MODEL_FILE))
    if precision == "fp16":
        qdq.halve(proto)
        yield "weights in FP16", proto
    elif _is_dynamic(config, precision):
        yield "dynamic ranges", _dynamic(proto, config)
    else:
        yield from _static(source, proto, read_split(data / "train.parquet", "train"), config, seed)


def _static(
    source: Artifact, proto: ModelProto, train: Split, config: QuantizeConfig, seed: int
) -> Iterator[tuple[str, ModelProto]]:
    assert source.text is not None
    encoder = TextEncoder.load(source, source.text)
    products = qdq.products(proto)
    observed = ranges.observe(proto, encoder, train, config.samples, seed)
    chosen = dict(zip((product.node for product in products), _chosen(source, proto, observed), strict=True))
    worst_first = sorted(chosen, key=lambda node: -chosen[node][1])
    full = {product.node: qdq.full_range(observed[product.activation]) for product in products}
    previous = None
    for rung in LADDER:
        candidate = ModelProto()
        candidate.CopyFrom(proto)
        spared = set(worst_first[: rung.spared(len(products))])
        qdq.insert_products(
            candidate,
            {node: full[node] if rung.ranges == "full" else chosen[node][0] for node in chosen if node not in spared},
        )
        if rung.tables and config.embeddings:
            if insert_pooled(candidate):
                candidate.metadata_props.add(key=PADDING_KEY, value="0")
            qdq.insert_tables(candidate)
        qdq.insert_recurrent(candidate)
        if candidate != previous:  # where there are few products, rungs can spare the same
            yield rung.name, candidate
        previous = candidate


def _chosen(source: Artifact, proto: ModelProto, observed: dict[str, qdq.Observed]) -> list[tuple[qdq.Range, float]]:
    """Of each product the range that the model was trained with, else the best for it; and what it changes."""
    given = source.details.get(ranges.TRAINED)
    if given is None:
        return ranges.best(proto, observed)
    if len(given) != len(qdq.products(proto)):
        raise WorkError(
            f"{short_name(source.path)} was trained with the INT8 ranges of {len(given)} matrix products, and its ONNX "
            f"file has {len(qdq.products(proto))}: another version of torch wrote it; distil the student again"
        )
    return ranges.judged(proto, observed, given)


def _dynamic(proto: ModelProto, config: QuantizeConfig) -> ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if config.embeddings:
        qdq.insert_tables(proto)
    qdq.insert_recurrent(proto)
    with tempfile.TemporaryDirectory() as directory:
        before, after = Path(directory) / "fp32.onnx", Path(directory) / "int8.onnx"
        onnx.save(proto, before)
        quantize_dynamic(before, after, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
        return onnx.load(after)
