"""Classifier: the one inference path. An ONNX artifact in, labels and probabilities out; no torch."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from .artifact import Artifact
from .choice import Choice, asked_for
from .data.storing import SPLIT_FILES
from .data.task import Task
from .decision import Decision
from .errors import ArtifactError, InputError, WorkError, first_line
from .machine import PROVIDERS, available_cores, has_vnni, instruction_set
from .onnx_checks import check_onnx
from .tokenization import TOKENIZER_FILES, TextEncoder, Tokens, batches, padded_batches

MODEL_FILE = "model.onnx"
CASCADE = "cascade"  # the variant of an artifact that holds others, its members
DEFER_BELOW = "defer_below"  # in its decision: the confidence from which on a member answers
LABELS_KEY = "labels"  # of the ONNX file's metadata: the label names as a JSON list, in the order of the logits
# Also of the metadata: an id that may fill up a text, because it changes nothing, not even by rounding.
PADDING_KEY = "padding_id"

_PACKAGES = {"cuda": "onnxruntime-gpu", "tensorrt": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}

_log = logging.getLogger(__name__)

# Tokens in one run of the session. Small groups stay in the cache: on 2,000 tweets and a 3-layer student one core
# answers within 5 % of its best rate from 512 to 4,096.
TOKENS_PER_RUN = 1024
_PADDED_PER_RUN = 16384  # where texts can be padded: n-grams, whose arithmetic is little more than the call itself


@dataclass(frozen=True)
class Prediction:
    """The chosen label, its calibrated probability, all of them by label, and the labels that apply.

    Where a text has one label, `labels` holds that one, and none if `label` is "abstained". In a multi-label task it
    holds those whose probability is at least their threshold, in the task's order, and may be empty; `label` is then
    merely the likeliest one.
    """

    label: str
    confidence: float
    probabilities: dict[str, float]
    labels: tuple[str, ...]


class Classifier:
    """A loaded artifact. A prediction never depends on the other texts, their order or the number of threads.

    That holds because texts of different length never share a batch (so nothing is padded, unless the file says that
    padding is exact), and because each run of the session uses one thread: `threads` runs go on at once. It is tested
    on the CPU; another provider's arithmetic is its own.
    """

    def __init__(self, artifact: Artifact, threads: int | None = None, provider: str = "cpu") -> None:
        if artifact.task is None or artifact.text is None or MODEL_FILE not in artifact.files:
            raise ArtifactError(
                f"{artifact.path} holds no {MODEL_FILE}; `understudy export` makes an ONNX artifact of a trained model"
            )
        self.artifact = artifact
        self.task: Task = artifact.task
        self.labels: tuple[str, ...] = artifact.task.labels
        self.decision = decision_of(artifact)
        if len(self.decision.thresholds) not in (0, len(self.labels)):
            raise ArtifactError(
                f"{artifact.path}: {len(self.decision.thresholds)} thresholds for {len(self.labels)} labels; run "
                "`understudy calibrate` again"
            )
        self.threads = threads or available_cores()
        self._encoder = TextEncoder.load(artifact, artifact.text)
        self._session = open_session(artifact.read(MODEL_FILE), provider, artifact.path / MODEL_FILE)
        width = self._session.get_outputs()[0].shape[-1]
        if isinstance(width, int) and width != len(self.labels):
            raise ArtifactError(f"{artifact.path}: the model has {width} outputs for {len(self.labels)} labels")
        said = self._session.get_modelmeta().custom_metadata_map
        self._padding_id = int(said[PADDING_KEY]) if PADDING_KEY in said else None
        inside = said.get(LABELS_KEY)
        if inside is not None and json.loads(inside) != list(self.labels):
            raise ArtifactError(
                f"{artifact.path}: the model answers {inside}, the manifest says {json.dumps(list(self.labels))}: "
                "copy the whole directory again or rerun its stage"
            )
        if note := note_on_arithmetic(artifact):
            _log.warning("%s: %s", artifact.path, note)
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    @classmethod
    def load(cls, path: str | Path, threads: int | None = None, provider: str = "cpu") -> Classifier:
        """Open an artifact directory, a cascade too, after checking the SHA-256 of its files; raises ArtifactError.

        `threads`: how many texts or groups of texts are worked on at once; by default one per available core.
        `provider`: cpu, cuda, tensorrt or openvino; raises InputError where it cannot run the model.
        """
        artifact = Artifact.load(Path(path), "model")
        artifact.verify(without=(MODEL_FILE, *TOKENIZER_FILES))  # these are checked as they are read, members' too
        return open_classifier(artifact, threads, provider)

    @property
    def nodes(self) -> dict[str, int]:
        """How many nodes of the graph each of onnxruntime's providers runs."""
        return nodes_by_provider(self._session)

    def predict(
        self,
        texts: Sequence[str],
        *,
        abstain_below: float | None = None,
        thresholds: Mapping[str, float] | None = None,
    ) -> list[Prediction]:
        """One prediction per text, in order; a text in which nothing can be seen gets one like any other.

        `predict_file` and the command line, which know rows without a text, give these no label. For `abstain_below`
        and `thresholds` by label see `choice`.
        """
        choice = self.choice(abstain_below, thresholds)
        return [
            Prediction(
                choice.label(row),
                choice.confidence(row),
                dict(zip(self.labels, map(float, row), strict=True)),
                choice.labels(row),
            )
            for row in self.predict_proba(texts)
        ]

    def choice(self, abstain_below: float | None = None, thresholds: Mapping[str, float] | None = None) -> Choice:
        """How probabilities become labels; raises InputError for what the task cannot be asked.

        Of one label per text: with `abstain_below` the label is "abstained" where none is as probable; with a threshold
        of a label this one is given from it on, and below it the likeliest of the others. In a multi-label task
        `thresholds` replace those of the artifact.
        """
        return asked_for(self.task, self.decision, abstain_below, thresholds)

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Calibrated probabilities (n, labels), in order; they sum to 1 but in a multi-label task."""
        return self.decision.probabilities(self.logits(texts))

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raw logits (n, labels), in order, before any temperature."""
        _check_texts(texts)
        result = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        tokens = self._encoder.encode(texts)
        exact = self._padding_id is not None
        groups = list(padded_batches(tokens, _PADDED_PER_RUN) if exact else batches(tokens, TOKENS_PER_RUN))
        run = self._pool.map if self._pool is not None and len(groups) > 1 else map
        for rows, logits in zip(groups, run(lambda rows: self._run([tokens[i] for i in rows]), groups), strict=True):
            result[rows] = logits
        if not np.isfinite(result).all():
            raise WorkError(f"{self.artifact.path}: the model gave a score that is not a number")
        return result

    def _run(self, tokens: list[Tokens]) -> NDArray[np.float32]:
        lengths = np.array([len(row) for row in tokens])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(mask.shape, self._padding_id or 0, dtype=np.int64)
        ids[mask] = np.concatenate(tokens)
        feed = {"input_ids": ids, "attention_mask": mask.astype(np.int64)}
        logits: NDArray[np.float32] = self._session.run(["logits"], feed)[0]
        return logits.astype(np.float32, copy=False)


class Cascade(Classifier):
    """Classifiers from cheap to large: each answers the texts that it is sure enough of, the last one the rest.

    A member answers where its own calibrated confidence is at least the cascade's threshold. That depends on the text
    alone, so that an answer never depends on its neighbours here either; probabilities are those of the member that
    answered.
    """

    def __init__(self, artifact: Artifact, threads: int | None = None, provider: str = "cpu") -> None:
        threshold = artifact.decision.get(DEFER_BELOW)
        if artifact.task is None or not isinstance(threshold, float):
            raise ArtifactError(f"{artifact.path}: the cascade lacks its task or its threshold; make it again")
        self.artifact, self.task, self.labels = artifact, artifact.task, artifact.task.labels
        self.decision = decision_of(artifact)
        self.threads = threads or available_cores()
        self.defer_below = threshold
        self.members = [Classifier(member, threads, provider) for member in members_of(artifact)]

    @property
    def nodes(self) -> dict[str, int]:
        """How many nodes of the members' graphs each of onnxruntime's providers runs."""
        return dict(sum((Counter(member.nodes) for member in self.members), Counter[str]()))

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Logits (n, labels) of the members that answered, in order, each divided by its member's temperature."""
        return self.answer(texts)[0]

    def answer(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The same, and which member answered each text, (n,)."""
        _check_texts(texts)
        result = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        answered_by = np.zeros(len(texts), dtype=np.int64)
        left = np.arange(len(texts))
        for place, member in enumerate(self.members):
            if not len(left):
                break
            logits = member.logits([texts[row] for row in left.tolist()])
            result[left], answered_by[left] = logits / member.decision.temperature, place
            left = left[member.decision.probabilities(logits).max(axis=1) < self.defer_below]
        return result, answered_by


def open_classifier(artifact: Artifact, threads: int | None = None, provider: str = "cpu") -> Classifier:
    """The classifier of an artifact: one model or a cascade."""
    kind = Cascade if artifact.details.get("variant") == CASCADE else Classifier
    return kind(artifact, threads, provider)


def members_of(artifact: Artifact) -> list[Artifact]:
    """The artifacts inside a cascade, cheap to large; none in any other."""
    return [Artifact.load(artifact.path / name, "model") for name in artifact.details.get("members", ())]


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise TypeError('predict takes a list of texts: predict(["…"]), not predict("…")')
    strange = next((text for text in texts if not isinstance(text, str)), "")
    if strange != "":
        raise TypeError(f"predict takes texts, got {strange!r:.60}; leave it out")


def decision_of(artifact: Artifact) -> Decision:
    """How the answers of an artifact are decided."""
    thresholds = tuple(map(float, artifact.decision.get("thresholds", ())))
    return Decision(artifact.task.kind if artifact.task else "single", artifact.temperature, thresholds)


def note_on_arithmetic(artifact: Artifact) -> str:
    """What to say of an INT8 file that was calibrated and checked on a CPU of another kind than this one."""
    if inside := members_of(artifact):
        return next(filter(None, map(note_on_arithmetic, inside)), "")
    made_on = artifact.details.get("instruction_set")
    quantized = str(artifact.details.get("variant")).startswith("int8")
    if not quantized or made_on is None or has_vnni(made_on) == has_vnni(instruction_set()):
        return ""
    if has_vnni(made_on):
        return (
            "calibrated on a CPU with VNNI, which this one lacks: INT8 sums may saturate here, so measure it here first"
        )
    return "calibrated on a CPU without VNNI, which this one has: its answers may differ a little from those measured"


def note_on_data(member: Artifact, data: Artifact) -> str:
    """What to say of a member that was calibrated on other splits than these; if not calibrated, made on other data.

    Texts without labels may differ: nobody is measured on them.
    """
    calibration = member.measurements.get("calibration", {})
    known = calibration.get("of", member.inputs).get("data", data.digest)
    if known == data.digest or calibration.get("splits") == data.digest_of(*SPLIT_FILES):
        return ""
    return "made on other data: its training or calibration may have seen these validation or test texts"


def open_session(model: Path | bytes, provider: str = "cpu", name: str | Path = "the graph") -> ort.InferenceSession:
    """An ONNX Runtime session of one thread that does not spin while idle; of bytes, `name` is what errors call them.

    Raises ArtifactError for what `check_onnx` refuses, and InputError if it would run on another provider than the one
    asked for, which onnxruntime only warns of. A file is read once: what runs is what was checked, whatever becomes of
    the file meanwhile.
    """
    wanted = offered(provider)
    content, name = (model, name) if isinstance(model, bytes) else (model.read_bytes(), model)
    check_onnx(content, name)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # never onnxruntime's own, which was not
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(
            content, options, providers=list(dict.fromkeys([wanted, PROVIDERS["cpu"]]))
        )  # fmt: skip
    except Exception as error:  # onnxruntime raises bare classes of its own
        raise ArtifactError(f"{name} cannot be run: {first_line(error)}") from None
    session._model_bytes = None  # kept for a fallback to other providers that is refused below: memory of a whole file
    if session.get_providers()[0] != wanted or nodes_by_provider(session).get(wanted, 1) == 0:
        raise InputError(
            f"provider {provider!r} cannot run {name} here, and onnxruntime would go on with the CPU: check its "
            "driver and libraries, or choose cpu"
        )
    return session


def nodes_by_provider(session: ort.InferenceSession) -> dict[str, int]:
    """How many nodes of its graph each provider was given; those registered alone, with 1, before onnxruntime 1.24."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {session.get_providers()[0]: 1}
    found = dict.fromkeys(session.get_providers(), 0)
    for part in session.get_provider_graph_assignment_info():
        found[part.ep_name] += len(part.get_nodes())
    return found


def offered(provider: str) -> str:
    """What onnxruntime calls a provider; raises InputError if the installed build has it not."""
    if provider not in PROVIDERS:
        raise InputError(f"unknown provider {provider!r}; choose one of {', '.join(PROVIDERS)}")
    if PROVIDERS[provider] not in ort.get_available_providers():
        here = [name for name, full in PROVIDERS.items() if full in ort.get_available_providers()]
        package = _PACKAGES[provider]
        raise InputError(
            f"provider {provider!r} is not in the installed onnxruntime, which has {', '.join(here)}: "
            f"pip uninstall onnxruntime, then pip install {package}"
        )
    return PROVIDERS[provider]
