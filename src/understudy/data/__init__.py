"""Text and labels: read, check, normalise, cut, de-duplicate, store. Importing it needs no optional dependency."""

from .containment import containment_cut
from .formats import Chunk, Row, iter_rows
from .hub import HubSplit, load_hub
from .normalization import normalize
from .preparing import Prepared, prepare
from .reading import Reading, read_labeled, read_unlabeled
from .splitting import stratified_cut, stratified_subset
from .storing import digest, read_split, write_split
from .task import UNLABELED, Labels, Split, Task

__all__ = [
    "UNLABELED",
    "Chunk",
    "HubSplit",
    "Labels",
    "Prepared",
    "Reading",
    "Row",
    "Split",
    "Task",
    "containment_cut",
    "digest",
    "iter_rows",
    "load_hub",
    "normalize",
    "prepare",
    "read_labeled",
    "read_split",
    "read_unlabeled",
    "stratified_cut",
    "stratified_subset",
    "write_split",
]
