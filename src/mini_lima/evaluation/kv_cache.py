"""What attention keeps of the answers in the making, in a form whose rows can come and go.

One layer's keys and values have the shape (rows, heads, columns, dimensions). All rows end in the
same column, and beyond it there is room for the next ones: transformers' own layer copies all that
it has in order to append a column, which for long answers costs more than attending does.
"""

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

ROOM = 64
"""Columns that the room grows by."""


class RowCache(Cache):
    """All layers of a model, which it fills while it reads and writes."""

    layers: list[Any]

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=_Layer)

    def keep(self, rows: torch.Tensor, unused: int) -> None:
        """Keep ``rows`` (indices), without the first ``unused`` columns."""
        for layer in self.layers:
            layer.keep(rows, unused)

    def join(self, other: "RowCache") -> None:
        """Add the rows of ``other``, which are no longer, so that they end where these end."""
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            mine.join(theirs)


class _Layer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    is_sliding = False  # where the window of a sliding layer ends is said by its mask

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        pass

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys = _appended(self.keys, self.length, key_states)
        self.values = _appended(self.values, self.length, value_states)
        self.length += key_states.shape[2]
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def keep(self, rows: torch.Tensor, unused: int) -> None:
        assert self.keys is not None
        assert self.values is not None
        self.keys = self.keys[:, :, unused:].index_select(0, rows)
        self.values = self.values[:, :, unused:].index_select(0, rows)
        self.length -= unused

    def join(self, other: "_Layer") -> None:
        self.keys = _joined(self.keys, self.length, other.keys, other.length)
        self.values = _joined(self.values, self.length, other.values, other.length)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1  # there is none


def _appended(kept: torch.Tensor | None, length: int, new: torch.Tensor) -> torch.Tensor:
    """``kept`` with the columns of ``new`` behind its first ``length``."""
    end = length + new.shape[2]
    if kept is None or kept.shape[2] < end:
        rows, heads, _, dimensions = new.shape
        # Zeros: what is masked out must not be NaN all the same.
        larger = new.new_zeros(rows, heads, end + ROOM, dimensions)
        if kept is not None:
            larger[:, :, :length] = kept[:, :, :length]
        kept = larger
    kept[:, :, length:end] = new
    return kept


def _joined(
    mine: torch.Tensor | None, length: int, theirs: torch.Tensor | None, their_length: int
) -> torch.Tensor:
    assert mine is not None
    assert theirs is not None
    rows, heads, columns, dimensions = mine.shape
    both = mine.new_zeros(rows + len(theirs), heads, columns, dimensions)
    both[:rows] = mine
    both[rows:, :, length - their_length : length] = theirs[:, :, :their_length]
    return both
