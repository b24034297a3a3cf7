"""Item tables: metadata mixed in as HRNN eq. 2 says, and gradients of the rows that were used."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from training.data.reader import Features
from training.nn.tables.item_embedding import (
    FeatureEncoder,
    FeatureRows,
    FeatureShape,
    ItemTable,
)

FEATURES = Features(
    offsets=np.array([0, 2, 2, 3]),
    token=np.array([0, 1, 1], np.int32),
    token_names=np.array(["category:news", "category:sport"], np.object_),
    numbers=np.array([[1.0], [-2.0], [0.0]], np.float32),
    number_names=np.array(["price"], np.object_),
)
SHAPE = FeatureShape.of(FEATURES.token_names, FEATURES.number_names)
COLD = np.array([False, False, False, True])  # the third item; row 0 is the start token


def described_table() -> ItemTable:
    torch.manual_seed(0)
    table = ItemTable(3, 4, sparse=False, tied=True, features=SHAPE)
    with torch.no_grad():
        for parameter in table.parameters():
            parameter.normal_()
    table.describe(FEATURES, COLD)
    return table


def slow_row(table: ItemTable, item: int, mix: float) -> tuple[np.ndarray, float]:
    """(1 - l) * (vector, bias) + l * (w(f), b(f)), one item at a time."""
    weights = {name: value.detach().numpy() for name, value in table.named_parameters()}
    vector, bias = weights["vector.weight"][item], weights["bias.weight"][item, 0]
    if item == 0:
        return vector, bias
    tokens = FEATURES.token[FEATURES.offsets[item - 1] : FEATURES.offsets[item]]
    said = np.zeros(5)
    for token in tokens:
        said += weights["encoder.token.weight"][token] / len(tokens)
    said += weights["encoder.number.weight"] @ FEATURES.numbers[item - 1]
    said += weights["encoder.number.bias"]
    share = 1.0 if COLD[item] else mix
    return (1 - share) * vector + share * said[:4], (1 - share) * bias + share * said[4]


def test_rows_are_mixed_with_their_metadata() -> None:
    table = described_table()
    items = [2, 0, 3, 1, 3]
    for mix in (0.0, 0.3, 1.0):
        vectors, biases = table.rows(torch.tensor(items), mix)
        for row, item in enumerate(items):
            vector, bias = slow_row(table, item, mix)
            np.testing.assert_allclose(vectors[row].detach().numpy(), vector, atol=1e-5)
            np.testing.assert_allclose(biases[row].item(), bias, atol=1e-5)
        everything, _ = table.everything(mix)
        np.testing.assert_allclose(
            everything[1].detach().numpy(), slow_row(table, 2, mix)[0], atol=1e-5
        )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("scored", [SHAPE, None])
def test_what_is_known_of_an_item_is_added_to_what_steps_are_told(
    tied: bool, scored: FeatureShape | None
) -> None:
    torch.manual_seed(1)
    table = ItemTable(3, 4, False, tied, scored, entry_features=SHAPE)
    with torch.no_grad():
        for parameter in table.parameters():
            parameter.normal_()
    table.describe(FEATURES, COLD)
    weights = {name: value.detach().numpy() for name, value in table.named_parameters()}
    items = [2, 0, 3, 1, 3]
    vectors, _ = table.rows(torch.tensor(items), 0.3)
    entries = table.entries(torch.tensor(items), vectors).detach().numpy()
    for row, item in enumerate(items):
        expected = vectors[row].detach().numpy() if tied else weights["entry.weight"][item]
        if item > 0:
            tokens = FEATURES.token[FEATURES.offsets[item - 1] : FEATURES.offsets[item]]
            for token in tokens:
                expected = expected + weights["entry_encoder.token.weight"][token] / len(tokens)
            numbers = weights["entry_encoder.number.weight"] @ FEATURES.numbers[item - 1]
            expected = expected + numbers + weights["entry_encoder.number.bias"]
        np.testing.assert_allclose(entries[row], expected, atol=1e-5)
    if scored is None:
        assert torch.equal(vectors, table.vector(torch.tensor(items)))


def test_a_cold_item_is_its_metadata_alone() -> None:
    table = described_table()
    before = table.rows(torch.tensor([3]), 0.0)[0].clone()
    with torch.no_grad():
        table.vector.weight[3] += 100
    assert torch.equal(table.rows(torch.tensor([3]), 0.0)[0], before)


def test_gradients_hold_only_the_rows_that_were_looked_up() -> None:
    table = ItemTable(1000, 4, sparse=True, tied=True, features=None)
    vectors, biases = table.rows(torch.tensor([7, 3, 9]), 0.0)
    (vectors.sum() + biases.sum()).backward()
    assert table.vector.weight.grad is not None
    assert table.vector.weight.grad.is_sparse
    assert table.vector.weight.grad.coalesce().indices().tolist() == [[3, 7, 9]]


def test_untied_tables_tell_and_score_by_different_vectors() -> None:
    table = ItemTable(5, 4, sparse=False, tied=False, features=None)
    items = torch.tensor([1, 2])
    vectors, _ = table.rows(items, 0.0)
    assert not torch.equal(table.entries(items, vectors), vectors)
    tied = ItemTable(5, 4, sparse=False, tied=True, features=None)
    vectors, _ = tied.rows(items, 0.0)
    assert torch.equal(tied.entries(items, vectors), vectors)


def test_fields_go_by_the_names_of_tokens() -> None:
    names = ["category:brand=a", "word:red", "category:brand=b", "category:news", "old", "word:c"]
    assert FeatureShape.of(names, ["price"]) == FeatureShape(6, 1, (0, 1, 0, 2, 3, 1))


def test_a_perceptron_reads_the_fields_side_by_side() -> None:
    """Against the mean of each field's tokens, concatenated, and two layers above them."""
    rng = torch.Generator().manual_seed(0)
    width, hidden, inner = 5, 7, 3
    names = [*(f"category:size={size}" for size in "sml"), *(f"word:{word}" for word in "abcd")]
    encoder = FeatureEncoder(FeatureShape.of(names, ["price", "age"]), width, hidden)
    embedded = torch.randn(7, inner, generator=rng)
    first = torch.randn(hidden, 2 * inner + 2, generator=rng)  # of both fields and the numbers
    shift = torch.randn(hidden, generator=rng)
    out = encoder.out
    assert out is not None
    with torch.no_grad():
        encoder.token.weight[:3] = embedded[:3] @ first[:, :inner].T
        encoder.token.weight[3:] = embedded[3:] @ first[:, inner : 2 * inner].T
        encoder.number.weight.copy_(first[:, 2 * inner :])
        encoder.number.bias.copy_(shift)
    rows = [[0, 3, 4, 6], [], [5], [1, 2], [2, 6]]
    numbers = torch.randn(5, 2, generator=rng)
    features = FeatureRows(
        torch.tensor([0, *np.cumsum([len(row) for row in rows])]),
        torch.tensor([token for row in rows for token in row]),
        numbers,
    )
    described = encoder(features)
    for at, row in enumerate(rows):
        pieces = []
        for field in (range(3), range(3, 7)):
            mean, mine = torch.zeros(inner), [token for token in row if token in field]
            for token in mine:
                mean = mean + embedded[token] / len(mine)
            pieces.append(mean)
        layer = torch.relu(first @ torch.cat([*pieces, numbers[at]]) + shift)
        torch.testing.assert_close(described[at], out(layer))


def test_rows_of_metadata_are_taken_in_any_order() -> None:
    told = FeatureRows.of(FEATURES, torch.device("cpu")).take(torch.tensor([2, 0, 1, 0]))
    assert told.offsets.tolist() == [0, 1, 3, 3, 5]
    assert told.token.tolist() == [1, 0, 1, 0, 1]
    assert told.numbers[:, 0].tolist() == [0.0, 1.0, -2.0, 1.0]


@pytest.mark.parametrize("hidden", [0, 6])
def test_tokens_with_weights_of_their_own_are_summed_by_them(hidden: int) -> None:
    """Against a loop over tokens, before and after the rows are taken in another order."""
    torch.manual_seed(2)
    encoder = FeatureEncoder(SHAPE, 4, hidden)
    features = dataclasses.replace(FEATURES, weight=np.array([1.5, -2.0, 0.25], np.float32))
    rows = FeatureRows.of(features, torch.device("cpu"))
    weighted = encoder(rows.take(torch.tensor([2, 0, 1])))
    tokens = encoder.token.weight.detach()
    sums = [0.25 * tokens[1], 1.5 * tokens[0] - 2.0 * tokens[1], torch.zeros(tokens.shape[1])]
    for row, total, price in zip(weighted, sums, (0.0, 1.0, -2.0), strict=True):
        layer = total + encoder.number(torch.tensor([price]))
        out = layer if encoder.out is None else encoder.out(torch.relu(layer))
        torch.testing.assert_close(row, out)


def test_an_item_table_counts_tokens_by_their_weights() -> None:
    table = described_table()
    plain = table.rows(torch.tensor([1]), 1.0)[0]
    # Two tokens that count a half each are a mean.
    halves = np.array([0.5, 0.5, 1.0], np.float32)
    table.describe(dataclasses.replace(FEATURES, weight=halves), COLD)
    torch.testing.assert_close(table.rows(torch.tensor([1]), 1.0)[0], plain)
    table.describe(dataclasses.replace(FEATURES, weight=2 * halves), COLD)
    assert not torch.allclose(table.rows(torch.tensor([1]), 1.0)[0], plain)
