"""Items that a continued model has never met begin where their neighbours are.

    vector_new = mean of vector_j over events on known items j within `_REACH` steps of one on it

So one visit in a known session already says what kind of item it is; at random it would say
nothing.  V items, N events, R new items, D width.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse

from pipeline.array_types import Bools
from training.data.reader import Histories
from training.nn.tables.item_embedding import ItemTable

_REACH = 3


def begin_new_items(
    items: ItemTable, histories: Histories, is_new: Bools, before_us: int | None
) -> None:
    """Write the rows of new items that have neighbours; all others stay as they are.

    Args:
        items: the tables, in which rows of known items are what the model learned.
        histories: what happened.
        is_new: (V + 1,) rows that the model does not know.
        before_us: what happened from then on is not looked at; None looks at everything.
    """
    shares = neighbour_shares(histories, is_new, before_us)  # (V + 1, V + 1)
    rows = torch.from_numpy(np.flatnonzero(np.diff(shares.indptr)))
    chosen = shares[rows.numpy()]
    with torch.no_grad():
        for table in (items.vector, items.entry):
            if table is not None:
                means = chosen @ table.weight.detach().cpu().numpy()
                table.weight[rows] = torch.from_numpy(means).to(table.weight)


def neighbour_shares(
    histories: Histories, is_new: Bools, before_us: int | None
) -> sparse.csr_array:
    """Of the known neighbours of each new item, the share of each; all other rows are empty."""
    is_past = np.ones(len(histories.item), np.bool_)
    if before_us is not None:
        is_past = np.asarray(histories.time_us) < before_us
    item = np.asarray(histories.item)[is_past].astype(np.int64)
    user = histories.user_of_event[is_past]
    pairs = []
    for apart in range(1, _REACH + 1):
        same_user = user[apart:] == user[:-apart]
        earlier, later = item[:-apart][same_user], item[apart:][same_user]
        pairs += [(earlier, later), (later, earlier)]
    row = np.concatenate([mine for mine, _ in pairs])
    column = np.concatenate([theirs for _, theirs in pairs])
    counts = is_new[row] & ~is_new[column]
    cells = (np.ones(int(counts.sum())), (row[counts], column[counts]))
    counted = sparse.coo_array(cells, shape=(len(is_new), len(is_new))).tocsr()
    total = np.asarray(counted.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(1 / np.maximum(total, 1)) @ counted)
