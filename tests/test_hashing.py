"""N-grams by their hashes: what is a word, the same ids from C and from NumPy on any text, in any company."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from making import of_files
from understudy import hashing
from understudy.data.normalization import normalize
from understudy.data.text import TextConfig
from understudy.errors import ArtifactError
from understudy.hashing import HASHES_FILE, LIBRARY, SETTINGS_FILE, Hashing, Sizes, all_hashes
from understudy.tokenization import TextEncoder, copy_tokenizer

ROOT = Path(__file__).parents[1]
PIECES = ["a", "b", "ab", "'", " ", "\n", "!", "é", "中", "“", "🙂", "\0", "\ud800", "A", "\u0085", "9", "Σ", "\x7f"]
TEXTS = st.lists(
    st.one_of(
        st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
        st.text(st.characters(exclude_categories=[]), max_size=30),
    ),
    max_size=5,
)
SIZES = st.builds(Sizes, st.integers(1, 3), st.lists(st.integers(2, 8), max_size=3, unique=True).map(tuple))
needs_c = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module", autouse=True)
def library() -> None:
    """The library of this source, whatever was installed."""
    made = LIBRARY.stat().st_mtime if LIBRARY.exists() else 0
    if shutil.which("cc") and made < LIBRARY.with_name("hashing.c").stat().st_mtime:
        subprocess.run([sys.executable, ROOT / "hatch_build.py"], check=True)
        hashing._library.cache_clear()


def of(*texts: str, words: int = 1, inside: tuple[int, ...] = ()) -> Hashing:
    """A tokenizer that keeps the n-grams of the texts."""
    sizes = Sizes(words, inside)
    return Hashing.of(sizes, all_hashes(sizes, texts, 1000))


def known(hashing: Hashing, text: str, max_words: int = 1000) -> set[int]:
    (ids,) = hashing.encode([text], max_words)
    return set(ids.tolist()) - {0}


def in_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "fast", lambda: False)


@needs_c
@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS, SIZES, st.integers(1, 6))
def test_c_and_numpy_give_equal_ids(seen: list[str], texts: list[str], sizes: Sizes, words: int) -> None:
    assert hashing.fast()
    seen, texts = ([normalize(text, ()) for text in some] for some in (seen, texts))
    ways = []
    for fast in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hashing, "fast", lambda fast=fast: fast)
            hashes = all_hashes(sizes, seen, words)
            ways.append([hashes, *Hashing.of(sizes, hashes).encode([*texts, *seen], words)])
    assert len(ways[0]) == 1 + len(texts) + len(seen)
    for one, other in zip(*ways, strict=True):
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


@needs_c
@pytest.mark.parametrize("text", ["x" * 500_000, "ab " * 200_000, "'" * 200_000, "中" * 100_000])
def test_megabytes_are_no_different(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = of("x" * 500_000, "ab ab", "'", "中 中", words=2, inside=(3,))
    fast = made.encode([text, "ab"], 10_000_000)
    in_numpy(monkeypatch)
    slow = made.encode([text, "ab"], 10_000_000)
    assert [ids.tolist() for ids in fast] == [ids.tolist() for ids in slow]
    assert fast[0].any() and fast[1].any()


@pytest.fixture(params=["c", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both implementations, the first where there is a compiler."""
    if request.param == "numpy":
        in_numpy(monkeypatch)
    elif not hashing.fast():
        pytest.skip("no C compiler")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Good, GOOD film", ["good", ",", "film"]),
        ("don't 'quote' it's", ["don't", "'", "quote", "it's"]),
        ("a-b c_d e.f", ["a", "-", "b", "c", "_", "d", "e", ".", "f"]),
        ("naïve “œuvre”…", ["naïve", "“", "œuvre", "”", "…"]),
        ("日本 ok🙂🙂", ["日", "本", "ok", "🙂"]),
        ("हिन्दी\u3000x\u00a0y", ["हिन्दी", "x", "y"]),
        (" \n\t", []),
        ("", []),
    ],
)
@pytest.mark.usefixtures("way")
def test_what_a_word_is(text: str, words: list[str]) -> None:
    each = of(*words)
    assert len(each) == len(words)
    assert known(each, text) == known(each, " ".join(words)) == set(range(1, len(words) + 1))
    assert len(of(text)) == len(words)


@pytest.mark.usefixtures("way")
def test_ngrams_have_an_order_and_end_with_their_text() -> None:
    pair = of("not good", words=2)
    assert len(pair) == 3
    assert len(known(pair, "good not")) == len(known(pair, "not, good")) == 2
    assert len(known(pair, "so not good at all")) == 3
    (first, second) = pair.encode(["not", "good"], 9)
    assert (len(first), len(second)) == (1, 1)
    triple = of("not very good", words=3)
    assert len(triple) == 6
    assert len(known(triple, "very good not very")) == 5


@pytest.mark.usefixtures("way")
def test_subwords_are_those_of_a_word_with_its_ends() -> None:
    made = of("abc", inside=(3,))  # abc; _ab, abc, bc_
    assert len(made) == 4
    assert len(known(made, "xabcx")) == 1
    assert len(known(made, "abx")) == 1
    assert known(of("a", inside=(3,)), "!a!") == {1}  # of a word of one letter there are none of three but itself


@pytest.mark.usefixtures("way")
def test_an_ngram_counts_once_and_a_text_of_none_is_padding() -> None:
    made = of("a b")
    assert [ids.tolist() for ids in made.encode(["a a a", "c", ""], 9)] == [known_once(made, "a"), [0], [0]]
    assert made.encode([], 9) == []


def known_once(made: Hashing, text: str) -> list[int]:
    return sorted(known(made, text))


@pytest.mark.usefixtures("way")
def test_words_behind_the_limit_are_not_read() -> None:
    made = of("a b c d", words=2)
    assert known(made, "a b c d", max_words=2) == known(made, "a b")
    assert all_hashes(Sizes(2), ["a b c d"], 2).tolist() == all_hashes(Sizes(2), ["a b"], 9).tolist()


@pytest.mark.usefixtures("way")
def test_company_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a b", "", "Σας ΣΑΣ", "c'd é", "x " * 50, "b\na"]
    made = of(*texts, words=2, inside=(2,))
    together = [ids.tolist() for ids in made.encode(texts, 99)]
    assert together == [made.encode([text], 99)[0].tolist() for text in texts]
    monkeypatch.setattr(hashing, "_CHUNK", 3)
    assert together == [ids.tolist() for ids in made.encode(texts, 99)]


def test_the_numbers_of_a_file_stay_what_they_are() -> None:
    found = all_hashes(Sizes(3, (3,)), ["Not very good!"], 99)
    assert found.tolist()[:3] == [1222443325, 959054872, 3722014807]
    assert len(found) == 4 + 3 + 2 + 3 + 4 + 4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), max_size=400))
def test_kept_hashes_are_found_again(values: list[int]) -> None:
    made = Hashing.of(Sizes(), np.array(values, np.uint32))
    short = sorted({value >> (16 - made.bits) for value in values})
    assert made.hashes.tolist() == short
    assert made.starts[-1] == len(made) == len(short)


def test_what_is_saved_is_read_again_and_copied(tmp_path: Path) -> None:
    made = of("the film was not good", words=2, inside=(3, 5))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    made.save(tmp_path / "a")
    copy_tokenizer(of_files(tmp_path / "a"), tmp_path / "b")
    again = TextEncoder.load(of_files(tmp_path / "b"), TextConfig(("html",), 4))
    expected = made.encode(["the film was not"], 9)[0].tolist()
    assert again.encode(["The film<br />was not good"])[0].tolist() == expected


@pytest.mark.parametrize(
    "change",
    [
        {"ngrams": 4}, {"ngrams": 0}, {"ngrams": "2"}, {"subwords": [1]}, {"subwords": [9]}, {"subwords": 3},
        {"bits": 3}, {"bits": -1}, {"bits": None},
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_in_one_line(change: dict[str, object], tmp_path: Path) -> None:
    of("a b c d e f g h", words=2).save(tmp_path)
    settings = json.loads((tmp_path / SETTINGS_FILE).read_text())
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(settings | change))
    with pytest.raises(ArtifactError, match="is not what was written") as error:
        TextEncoder.load(of_files(tmp_path), TextConfig((), 9))
    assert "\n" not in str(error.value)


def test_junk_and_missing_files_are_refused(tmp_path: Path) -> None:
    of("a b").save(tmp_path)
    (tmp_path / HASHES_FILE).write_bytes(b"junk")
    with pytest.raises(ArtifactError, match="is not what was written"):
        TextEncoder.load(of_files(tmp_path), TextConfig((), 9))
    (tmp_path / HASHES_FILE).unlink()
    with pytest.raises(ArtifactError, match=r"lists no hashing\.npy, so none is opened"):
        TextEncoder.load(of_files(tmp_path), TextConfig((), 9))


@needs_c
def test_the_build_goes_on_without_a_compiler(tmp_path: Path) -> None:
    home = tmp_path / "src" / "understudy"
    home.mkdir(parents=True)
    shutil.copy(ROOT / "hatch_build.py", tmp_path)
    shutil.copy(LIBRARY.with_name("hashing.c"), home)
    build = [sys.executable, tmp_path / "hatch_build.py"]
    assert subprocess.run(build, env={"PATH": "/usr/bin:/bin"}, check=False).returncode == 0
    assert [file.name for file in home.iterdir() if file.suffix == ".so"] == ["_hashing.so"]
    for compiler in ("no-such-compiler", "false"):  # missing, or broken: no library, above all no older one
        done = subprocess.run(build, env={"PATH": "/usr/bin:/bin", "CC": compiler}, capture_output=True, check=False)
        assert done.returncode == 1
        assert [file.name for file in home.iterdir()] == ["hashing.c"]
