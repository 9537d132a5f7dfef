"""understudy: small, fast text classifiers that take the place of large ones. The runtime's public names."""

from .artifact import Artifact
from .classifier import Classifier, Prediction
from .errors import UnderstudyError

__all__ = ["Artifact", "Classifier", "Prediction", "UnderstudyError"]
