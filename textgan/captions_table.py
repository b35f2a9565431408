"""Captions of millions of images as flat arrays: Python lists of them would take ten times the memory.

N images, K captions over all images, T tokens over all captions
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class TokenTable(Sequence[list[list[int]]]):
    """Token ids of the captions of each image: `table[image]` is a list of captions."""

    def __init__(self, tokens: np.ndarray, ends: np.ndarray, starts: np.ndarray) -> None:
        self.tokens = tokens  # [T]
        self.ends = ends  # [K+1] caption k is tokens[ends[k] : ends[k+1]]
        self.starts = starts  # [N+1] image n has the captions starts[n] : starts[n+1]

    @classmethod
    def of_column(cls, column: pa.ChunkedArray) -> TokenTable:
        """From a Parquet column of lists of lists of ids."""
        outer, starts = _flat(column)
        inner, ends = _flat(pa.chunked_array([outer]))
        return cls(inner.to_numpy(zero_copy_only=False), ends, starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, image: int) -> list[list[int]]: ...
    @overload
    def __getitem__(self, image: slice) -> Sequence[list[list[int]]]: ...
    def __getitem__(self, image: int | slice) -> Any:
        if isinstance(image, slice):
            return [self[idx] for idx in range(len(self))[image]]
        ends = self.ends[self.starts[image] : self.starts[image + 1] + 1].tolist()
        return [self.tokens[first:last].tolist() for first, last in zip(ends, ends[1:], strict=False)]

    @property
    def longest(self) -> int:
        """Tokens of the longest caption."""
        return int(np.diff(self.ends).max(initial=0))

    def first_without_captions(self) -> int | None:
        """The first image that has none."""
        silent = np.flatnonzero(np.diff(self.starts) == 0)
        return int(silent[0]) if len(silent) else None

    def first_with_token_from(self, limit: int) -> int | None:
        """The first image with a token id of `limit` or more."""
        if not len(self.tokens) or self.tokens.max() < limit:
            return None
        token = int(np.flatnonzero(self.tokens >= limit)[0])
        caption = int(np.searchsorted(self.ends, token, side="right")) - 1
        return int(np.searchsorted(self.starts, caption, side="right")) - 1

    def rows(self, images: np.ndarray) -> TokenTable:
        """The table of some of the images."""
        captions, starts = _gathered(self.starts, images)
        tokens, ends = _gathered(self.ends, captions)
        return TokenTable(self.tokens[tokens], ends, starts)


class Flags(Sequence[list[bool]]):
    """One flag for each caption of each image."""

    def __init__(self, flags: np.ndarray, starts: np.ndarray) -> None:
        self.flags, self.starts = flags, starts  # [K], [N+1]

    @classmethod
    def first_of_each_language(cls, column: pa.ChunkedArray) -> Flags:
        """Whether a caption is the first of its language: that one says all that is known."""
        languages, starts = _flat(column)
        names = languages.dictionary_encode().indices.to_numpy(zero_copy_only=False)
        image = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        _, first = np.unique(image * (names.max(initial=0) + 1) + names, return_index=True)
        flags = np.zeros(len(names), dtype=bool)
        flags[first] = True
        return cls(flags, starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, image: int) -> list[bool]: ...
    @overload
    def __getitem__(self, image: slice) -> Sequence[list[bool]]: ...
    def __getitem__(self, image: int | slice) -> Any:
        if isinstance(image, slice):
            return [self[idx] for idx in range(len(self))[image]]
        return self.flags[self.starts[image] : self.starts[image + 1]].tolist()

    def rows(self, images: np.ndarray) -> Flags:
        """The flags of some of the images."""
        captions, starts = _gathered(self.starts, images)
        return Flags(self.flags[captions], starts)


def sentence_rows(column: pa.ChunkedArray, texts: pa.ChunkedArray) -> TokenTable:
    """For each caption of each image a list of one number: which of `texts` it is, counted from 1, for 0 is no text.

    Raises KeyError with a caption that is none of them.
    """
    captions, starts = _flat(column)
    found = pc.index_in(captions, value_set=texts.combine_chunks())
    if found.null_count:
        raise KeyError(captions.filter(found.is_null())[0].as_py())
    rows = found.to_numpy(zero_copy_only=False).astype(np.int64) + 1
    return TokenTable(rows, np.arange(len(rows) + 1), starts)


def _flat(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """Values of a column of lists, one after the other, and where each list begins, with the end of the last."""
    lists = column.combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks)
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return lists.flatten(), np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _gathered(starts: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the entries of `rows`, one row after the other, and where each row then begins."""
    lengths = starts[rows + 1] - starts[rows]
    begins = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return np.arange(begins[-1]) + np.repeat(starts[rows] - begins[:-1], lengths), begins
