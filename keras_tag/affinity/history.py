"""Affinities over time: sums over blocks of successive probes, a few blocks per epoch.

Probes follow each other along one training run, so they are correlated: a standard error needs
sums over stretches of time (batch means), not single values, and so does a picture of how
affinities change. A handful of blocks per epoch is enough for both, and takes O(epochs x n^2)
memory however many probes were made.

This module knows arrays only. It never imports TensorFlow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

# An epoch has at most this many blocks. When that number is reached, each two successive blocks are
# merged, so a long epoch has between half of this number and all of it.
MOST_BLOCKS = 16
# The number of an epoch outside of `fit` (`train_on_batch`).
NO_EPOCH = -1
# The arrays of a run's history that are saved.
_STORED = ("row", "epoch", "total", "count", "probes")
# Those of the block that is not yet full.
_PRESENT = ("block_total", "block_count", "block_probes")


@dataclass(frozen=True, eq=False)
class AffinityHistory:
    """Blocks of successive probes, in the order of time.

    Args:
        row: `[num_blocks]` int64, which trained epoch a block is of: 0, 1, ... in the order of
            time, also over several calls of `fit`.
        epoch: `[num_blocks]` int64, that epoch's number in its `fit`; -1 outside of `fit`.
        total: `[num_blocks, num_tasks, num_tasks]` float64, the sum of the measured Z[i, j].
        count: `[num_blocks, num_tasks, num_tasks]` int64, how many were measured.
        probes: `[num_blocks]` int64, how many probes a block is of; at least every `count`.
        run: `[num_blocks]` int64, which of several pooled runs a block is of, 0, 1, ...; by
            default all are of one.
    """

    row: np.ndarray
    epoch: np.ndarray
    total: np.ndarray
    count: np.ndarray
    probes: np.ndarray
    run: np.ndarray = field(default_factory=lambda: np.zeros(0, "int64"))

    def __post_init__(self) -> None:
        if len(self.run) != len(self.row):
            object.__setattr__(self, "run", np.zeros(len(self.row), "int64"))

    @property
    def num_runs(self) -> int:
        """The number of pooled runs."""
        return int(self.run.max(initial=0)) + 1

    def part(self, blocks: np.ndarray) -> "AffinityHistory":
        """Return some of the blocks.

        Args:
            blocks: A mask or an index.
        """
        return AffinityHistory(*(getattr(self, part.name)[blocks] for part in fields(self)))

    def take(self, index: np.ndarray) -> "AffinityHistory":
        """Return the history of some of the tasks, in this order."""
        total, count = (part[:, index][:, :, index] for part in (self.total, self.count))
        return replace(self, total=total, count=count)

    @classmethod
    def empty(cls, num_tasks: int) -> "AffinityHistory":
        """Return a history without blocks."""
        none = np.zeros(0, "int64")
        shape = (0, num_tasks, num_tasks)
        return cls(none, none, np.zeros(shape), np.zeros(shape, "int64"), none)

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean over all probes, and their number.

        Returns:
            Means (NaN where nothing was measured) and counts, `[num_tasks, num_tasks]` each.
        """
        count = self.count.sum(axis=0)
        mean = np.full(count.shape, np.nan)
        np.divide(self.total.sum(axis=0), count, out=mean, where=count > 0)
        return mean, count


class HistoryRecorder:
    """A recorder of blocks while a model trains.

    An epoch that is repeated because training was resumed from inside of it replaces what was
    recorded of it: no probe counts twice. Any other epoch is added, so that a second `fit` never
    loses what the first measured.

    Nothing that it holds is changed in place, so `copy.copy` of it is independent of it.

    Args:
        num_tasks: The number of tasks.
    """

    def __init__(self, num_tasks: int) -> None:
        self.num_tasks = num_tasks
        self._open_epoch: int | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all blocks. An epoch in progress stays open."""
        self._closed = AffinityHistory.empty(self.num_tasks)
        self._open_blocks: list[_Block] = []
        # The block that is not yet full.
        self._present = self._no_probes()
        self._row = 0
        # Whether the open epoch came from a file. If it begins once more, it is a repetition.
        self._restored = False
        self.block_size = 1

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch.

        Args:
            epoch: Its number in `fit`.
        """
        if self._restored and self._open_epoch == epoch:
            self._open_blocks, self._present = [], self._no_probes()
        self._restored = False
        self.end_epoch()
        self._open_epoch = epoch

    def end_epoch(self) -> None:
        """End the epoch in progress, if there is one, and its last block."""
        self._close_present()
        self._closed = self.history()
        self._row += len(self._open_blocks) > 0
        self._open_blocks = []
        self._open_epoch = None
        self.block_size = 1

    def add_probe(self, affinity: np.ndarray) -> None:
        """Add a probe to the present block, and close the block if it is full then.

        Args:
            affinity: `[num_tasks, num_tasks]`; entries that are not finite are not counted.
        """
        finite, (total, count, probes) = np.isfinite(affinity), self._present
        self._present = total + np.where(finite, affinity, 0), count + finite, probes + 1
        if self._present[2] >= self.block_size:
            self._close_present()

    def add(self, total: np.ndarray, count: np.ndarray, probes: int | None = None) -> None:
        """Add a block to the epoch in progress. A full block is of `block_size` probes.

        Args:
            total: `[num_tasks, num_tasks]` float64, sums of the measured affinities.
            count: `[num_tasks, num_tasks]` int64, how many were measured.
            probes: How many probes were made; None: as many as the largest count.
        """
        probes = int(np.max(count) if probes is None else probes)
        blocks = [
            *self._open_blocks,
            (np.array(total, "float64"), np.array(count, "int64"), probes),
        ]
        if len(blocks) == MOST_BLOCKS:
            pairs = zip(blocks[::2], blocks[1::2], strict=True)
            blocks = [(a[0] + b[0], a[1] + b[1], a[2] + b[2]) for a, b in pairs]
            self.block_size *= 2
        self._open_blocks = blocks

    def _no_probes(self) -> "_Block":
        pairs = (self.num_tasks, self.num_tasks)
        return np.zeros(pairs), np.zeros(pairs, "int64"), 0

    def _close_present(self) -> None:
        if self._present[2]:
            self.add(*self._present)
            self._present = self._no_probes()

    @property
    def row(self) -> int:
        """The row of the epoch in progress, or of the next one."""
        return self._row

    def history(self) -> AffinityHistory:
        """Return all blocks so far, those of the epoch in progress included.

        Returns:
            An `AffinityHistory` that later calls don't change.
        """
        present = [self._present] if self._present[2] else []
        return self._with([*self._open_blocks, *present])

    def _with(self, blocks: list["_Block"]) -> AffinityHistory:
        """Return the closed blocks and some of the epoch in progress."""
        closed = self._closed
        if not blocks:
            return closed
        total, count, probes = zip(*blocks, strict=True)
        epoch = NO_EPOCH if self._open_epoch is None else self._open_epoch
        return AffinityHistory(
            np.append(closed.row, [self._row] * len(blocks)),
            np.append(closed.epoch, [epoch] * len(blocks)),
            np.concatenate([closed.total, total]),
            np.concatenate([closed.count, count]),
            np.append(closed.probes, probes),
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return the whole state as arrays, for `restore`."""
        epoch = self._open_epoch
        history = self._with(self._open_blocks)
        return {
            **{name: getattr(history, name) for name in _STORED},
            # The number of blocks of the open epoch (they are the last ones), whether that epoch
            # has a number, this number, and the block size.
            "open": np.array(
                [len(self._open_blocks), epoch is not None, epoch or 0, self.block_size], "int64"
            ),
            **{name: np.asarray(of) for name, of in zip(_PRESENT, self._present, strict=True)},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned.

        Args:
            state: Arrays by name.
        """
        self.clear()
        whole = AffinityHistory(*(np.asarray(state[name]) for name in _STORED))
        num_open, in_epoch, epoch, block_size = (int(v) for v in np.asarray(state["open"]))
        closed = len(whole.row) - num_open
        self._closed = whole.part(np.arange(closed))
        rest = whole.part(np.arange(closed, len(whole.row)))
        self._open_blocks = list(zip(rest.total, rest.count, rest.probes.tolist(), strict=True))
        total, count, probes = (np.array(state[name]) for name in _PRESENT)
        self._present = total, count, int(probes)
        self._row = int(self._closed.row.max(initial=-1)) + 1
        self._open_epoch = epoch if in_epoch else None
        self._restored = True
        self.block_size = block_size


# Total, count and probes.
_Block = tuple[np.ndarray, np.ndarray, int]
