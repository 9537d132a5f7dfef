"""TextCNN is Kim's network, computed as one product, and no padding reaches its logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from training_kit import check_padding_stays_zero
from understudy.training.loop import pad
from understudy.training.textcnn import TextCNN

WIDTH, FILTERS, VOCABULARY, LABELS = 6, 5, 30, 3


def network(kernels: list[int], seed: int = 0) -> TextCNN:
    torch.manual_seed(seed)
    module = TextCNN(VOCABULARY, WIDTH, FILTERS, kernels, LABELS, dropout=0.3).eval()
    nn.init.normal_(module.bias)
    return module


def texts(seed: int, lengths: list[int]) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(1, VOCABULARY, length) for length in lengths]


def reference(module: TextCNN, ids: Tensor) -> Tensor:
    """Kim's network of nn.Conv1d with the same weights, for one text without padding."""
    words = module.embeddings(ids).T[None]
    pooled, first = [], 0
    for index, kernel in enumerate(module.kernels):
        convolution = nn.Conv1d(WIDTH, FILTERS, kernel)
        for j in range(kernel):
            rows = slice(first + j * FILTERS, first + (j + 1) * FILTERS)
            convolution.weight.data[:, :, j] = module.columns.weight.data[rows]
        convolution.bias.data = module.bias.data[index]  # type: ignore[union-attr]
        first += kernel * FILTERS
        padded = nn.functional.pad(words, ((kernel - 1) // 2, kernel // 2))
        pooled.append(torch.relu(convolution(padded)).amax(dim=-1))
    return module.classifier(torch.cat(pooled, dim=-1))


@pytest.mark.parametrize("kernels", [[3, 4, 5], [1], [2, 7], [3, 3]])
def test_it_equals_parallel_convolutions_and_a_maximum_over_time(kernels: list[int]) -> None:
    module = network(kernels)
    with torch.no_grad():
        for ids in map(torch.from_numpy, texts(1, [1, 2, 3, 4, 5, 9, 23])):
            torch.testing.assert_close(
                module(ids[None], torch.ones_like(ids[None])), reference(module, ids), atol=1e-5, rtol=1e-5
            )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(0, 12))
def test_padding_changes_no_logit(seed: int, lengths: list[int], extra: int) -> None:
    module, rows = network([3, 4, 5]), texts(seed, lengths)
    ids, mask = pad([*rows, np.ones(max(lengths) + extra, dtype=np.int64)], 0)
    garbage = torch.where(mask.bool(), ids, 7)  # whatever stands behind a text
    with torch.no_grad():
        together, disturbed = module(ids, mask), module(garbage, mask)
        alone = torch.cat([module(torch.from_numpy(r[None]), torch.ones(1, len(r), dtype=torch.int64)) for r in rows])
    torch.testing.assert_close(together[:-1], alone, atol=1e-6, rtol=1e-6)
    assert torch.equal(together, disturbed)


def test_it_sees_the_order_of_words() -> None:
    module = network([3])
    ids = torch.tensor([[4, 5, 6, 7], [7, 6, 5, 4]])
    with torch.no_grad():
        one, other = module(ids, torch.ones_like(ids))
    assert (one - other).abs().max() > 1e-3


def test_it_returns_logits_not_probabilities() -> None:
    module = network([3, 4, 5])
    nn.init.constant_(module.classifier.bias, -8.0)
    ids = torch.ones(2, 5, dtype=torch.int64)
    with torch.no_grad():
        assert module(ids, ids).max() < -1


def test_the_embedding_of_padding_stays_zero_in_training() -> None:
    check_padding_stays_zero(network([3]).train(), *pad(texts(2, [2, 9, 5]), 0))


def test_its_config_rebuilds_it() -> None:
    module = network([2, 3])
    twin = TextCNN(**module.config()).eval()
    twin.load_state_dict(module.state_dict())
    ids, mask = pad(texts(3, [4, 8]), 0)
    with torch.no_grad():
        assert torch.equal(twin(ids, mask), module(ids, mask))


def test_filters_that_leave_take_their_columns_with_them() -> None:
    """The answers become those with the others' maxima set to zero."""
    module, kept = network([2, 3, 4]), [[0, 3], [1, 2], [2, 4]]
    smaller = TextCNN(**module.config()).eval()
    smaller.load_state_dict(module.state_dict())
    smaller.keep(kept)
    mask = torch.zeros(3, FILTERS)
    for index, filters in enumerate(kept):
        mask[index, filters] = 1
    module.classifier.register_forward_pre_hook(lambda _, given: (given[0] * mask.flatten(),))
    ids, lengths = pad(texts(3, [4, 8, 1]), 0)
    with torch.no_grad():
        torch.testing.assert_close(smaller(ids, lengths), module(ids, lengths), atol=1e-6, rtol=1e-6)
    assert smaller.columns.weight.shape == (2 * (2 + 3 + 4), WIDTH)
    assert smaller.classifier.weight.shape == (LABELS, 2 * 3)
    rebuilt = TextCNN(**smaller.config())
    rebuilt.load_state_dict(smaller.state_dict())


def test_every_kernel_starts_as_its_convolution_would() -> None:
    torch.manual_seed(0)
    module = TextCNN(VOCABULARY, 64, 200, [3, 5], LABELS)
    for kernel, columns in zip((3, 5), module.columns.weight.split([200 * 3, 200 * 5]), strict=True):
        bound = (64 * kernel) ** -0.5
        assert float(columns.detach().abs().max()) == pytest.approx(bound, rel=0.01)
        assert abs(float(columns.detach().mean())) < 0.01 * bound
