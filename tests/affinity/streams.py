"""Streams of probes with a known mean, recorded as `TAGModel` records them."""

import numpy as np
from scipy.signal import lfilter

from keras_tag.affinity.history import HistoryRecorder


def autoregressive(rng, steps, streams, phi):
    """`[steps, streams]`, mean 0, variance 1, correlation phi between neighbours."""
    noise = rng.normal(size=(steps + 200, streams))
    return lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise, axis=0)[200:]


def recorded(probes, per_epoch, counted=None):
    """The history of `[steps, n, n]` probes; `counted` says which entries were measured."""
    n = probes.shape[1]
    counted = np.ones(probes.shape, bool) if counted is None else counted
    recorder = HistoryRecorder(n)
    for epoch, start in enumerate(range(0, len(probes), per_epoch)):
        recorder.begin_epoch(epoch)
        first, end = start, min(start + per_epoch, len(probes))
        while first < end:
            block = slice(first, min(first + recorder.block_size, end))
            total = np.where(counted[block], probes[block], 0.0).sum(axis=0)
            recorder.add(total, counted[block].sum(axis=0), block.stop - block.start)
            first = block.stop
        recorder.end_epoch()
    return recorder.history()
