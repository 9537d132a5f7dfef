"""understudy: small, fast text classifiers that take the place of large ones. The runtime's public names.

The stages that need no torch are functions here too (`quantize`, `report`, …), loaded when they are first named; those
that need it are in `understudy.training`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .artifact import Artifact
from .classifier import Classifier, Prediction
from .errors import UnderstudyError

if TYPE_CHECKING:
    from .annotating import annotate
    from .benchmarking import benchmark
    from .calibration import calibrate
    from .cascading import cascade
    from .choosing import choose
    from .fetching import fetch
    from .operating import operate
    from .preparation import prepare
    from .pseudo_labeling import pseudo_label
    from .pushing import push
    from .quantization import quantize
    from .reporting import report

__all__ = [
    "Artifact", "Classifier", "Prediction", "UnderstudyError", "annotate", "benchmark", "calibrate", "cascade",
    "choose", "fetch", "operate", "prepare", "pseudo_label", "push", "quantize", "report",
]  # fmt: skip

_STAGES = {
    "annotate": "annotating", "benchmark": "benchmarking", "calibrate": "calibration", "cascade": "cascading",
    "choose": "choosing", "fetch": "fetching", "operate": "operating", "prepare": "preparation",
    "pseudo_label": "pseudo_labeling", "push": "pushing", "quantize": "quantization", "report": "reporting",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _STAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_STAGES[name]}", __name__), name)
