"""Affinities over time: sums over blocks of successive probes, a few blocks per epoch.

Probes follow each other along one training run, so they are correlated: a standard error needs
sums over stretches of time (batch means), not single values, and so does a picture of how
affinities change. A handful of blocks per epoch is enough for both, and takes O(epochs x n^2)
memory however many probes were made.

This module knows arrays only. It never imports TensorFlow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# An epoch has at most this many blocks. When that number is reached, each two successive blocks are
# merged, so a long epoch has between half of this number and all of it.
MOST_BLOCKS = 16
# The number of an epoch outside of `fit` (`train_on_batch`).
NO_EPOCH = -1


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
        return AffinityHistory(
            self.row[blocks],
            self.epoch[blocks],
            self.total[blocks],
            self.count[blocks],
            self.probes[blocks],
            self.run[blocks],
        )

    def take(self, index: np.ndarray) -> "AffinityHistory":
        """Return the history of some of the tasks, in this order."""
        total = self.total[:, index][:, :, index]
        count = self.count[:, index][:, :, index]
        return AffinityHistory(self.row, self.epoch, total, count, self.probes, self.run)

    @classmethod
    def empty(cls, num_tasks: int) -> "AffinityHistory":
        """Return a history without blocks."""
        none = np.zeros(0, "int64")
        shape = (0, num_tasks, num_tasks)
        return cls(none, none, np.zeros(shape), np.zeros(shape, "int64"), none)

    def mean(self, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean over all probes, and their number.

        Args:
            weight: `[num_blocks]`, what a probe in each block weighs; None: all weigh the same.

        Returns:
            Means (NaN where nothing was measured) and counts, `[num_tasks, num_tasks]` each.
        """
        weight = np.ones(len(self.row)) if weight is None else weight
        count = self.count.sum(axis=0)
        total = np.tensordot(weight, self.total, axes=1)
        whole = np.tensordot(weight, self.count, axes=1)
        return np.divide(total, whole, out=np.full(total.shape, np.nan), where=count > 0), count


class HistoryRecorder:
    """A recorder of blocks while a model trains.

    An epoch that is repeated because training was resumed from inside of it replaces what was
    recorded of it: no probe counts twice. Any other epoch is added, so that a second `fit` never
    loses what the first measured.

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
        self._row = 0
        # The block that `expect` announced, and the blocks before it.
        self._coming: tuple[_Block, list[_Block]] | None = None
        # Whether the open epoch came from a file. If it begins once more, it is a repetition.
        self._restored = False
        self.block_size = 1

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch.

        Args:
            epoch: Its number in `fit`.
        """
        if self._restored and self._open_epoch == epoch:
            self._open_blocks = []
        self._restored = False
        self.end_epoch()
        self._open_epoch = epoch

    def end_epoch(self) -> None:
        """End the epoch in progress, if there is one."""
        closed = self.history()
        # Nothing is called from here on, so an interrupt comes before or after all of these lines.
        self._row += len(self._open_blocks) > 0
        self._closed = closed
        self._open_blocks = []
        self._open_epoch = None
        self.block_size = 1

    def add(self, total: np.ndarray, count: np.ndarray, probes: int | None = None) -> None:
        """Add a block to the epoch in progress. A full block is of `block_size` probes.

        Args:
            total: `[num_tasks, num_tasks]` float64, sums of the measured affinities.
            count: `[num_tasks, num_tasks]` int64, how many were measured.
            probes: How many probes were made; None: as many as the largest count.
        """
        probes = int(np.max(count)) if probes is None else probes
        block = np.array(total, "float64"), np.array(count, "int64"), probes
        # A new list, set in one step: after an interrupt it is the old one or the new one.
        blocks = [*self._open_blocks, block]
        if len(blocks) == MOST_BLOCKS:
            pairs = zip(blocks[::2], blocks[1::2], strict=True)
            blocks = [(a + d, b + e, c + f) for (a, b, c), (d, e, f) in pairs]
            self.block_size *= 2
        self._open_blocks = blocks

    @property
    def expects(self) -> bool:
        """Whether a block was announced and has not been received."""
        return self._coming is not None

    def expect(self, *block: Any) -> None:
        """Announce a block, before it is removed from where it was summed.

        A signal can raise an exception between any two lines. A caller that finds an announced
        block (`expects`) resets the sums it came from, again if need be, and calls `receive`. So
        the block is counted exactly once.

        Args:
            *block: Total, count and probes, as for `add`.
        """
        self._coming = block, self._open_blocks

    def receive(self) -> None:
        """Add the announced block, unless it has been added."""
        assert self._coming is not None
        block, before = self._coming
        if self._open_blocks is before:
            self.add(*block)
        self._coming = None

    def history(self, *present: Any) -> AffinityHistory:
        """Return all blocks so far, those of the epoch in progress included.

        Args:
            *present: Nothing, or the total, count and probes of a block that is not yet full.

        Returns:
            An `AffinityHistory` that later calls don't change.
        """
        closed, blocks = self._closed, list(self._open_blocks)
        if present and present[2]:
            blocks.append(present)
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
        history = self.history()
        return {
            "row": history.row,
            "epoch": history.epoch,
            "total": history.total,
            "count": history.count,
            "probes": history.probes,
            # The number of blocks of the open epoch (they are the last ones), whether that epoch
            # has a number, this number, and the block size.
            "open": np.array(
                [len(self._open_blocks), epoch is not None, epoch or 0, self.block_size], "int64"
            ),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned.

        Args:
            state: Arrays by name.
        """
        self.clear()
        arrays = [np.asarray(state[name]) for name in ("row", "epoch", "total", "count", "probes")]
        num_open, in_epoch, epoch, block_size = (int(v) for v in np.asarray(state["open"]))
        closed = len(arrays[0]) - num_open
        self._closed = AffinityHistory(*(array[:closed] for array in arrays))
        total, count, probes = (array[closed:] for array in arrays[2:])
        self._open_blocks = list(zip(total, count, probes.tolist(), strict=True))
        self._row = int(self._closed.row.max(initial=-1)) + 1
        self._open_epoch = epoch if in_epoch else None
        self._restored = True
        self.block_size = block_size


# Total, count, probes.
_Block = tuple[np.ndarray, np.ndarray, int]
