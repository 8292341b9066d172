"""Training steps between their forward pass and their loss, where a probe takes over."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from keras_tag.tag_model.probe import State


@dataclass(frozen=True, eq=False)
class OpenProbe:
    """A training step that is to be probed.

    Args:
        tape: Persistent; it records the step's forward pass.
        stop_recording: Closes the tape.
        state: The model's state before the forward pass.
        query: A batch of `probe_data`, or None.
    """

    tape: tf.GradientTape
    stop_recording: Callable[[], None]
    state: State
    query: Any


class OpenProbes:
    """The open probe of every replica: TensorFlow traces each in a thread of its own.

    A layer that reduces over the replicas in its forward pass (a synchronised BatchNormalization)
    makes the threads take turns inside of it, so that several probes are open at once.
    """

    def __init__(self) -> None:
        self._by_thread: dict[int, OpenProbe] = {}

    def open(self, probe: OpenProbe) -> None:
        """A step that is to be probed begins."""
        self._by_thread[threading.get_ident()] = probe

    def take(self) -> OpenProbe | None:
        """The probe of this replica's step, once; None if there is none."""
        return self._by_thread.pop(threading.get_ident(), None)
