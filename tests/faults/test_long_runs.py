"""A long run traces nothing again, and keeps a bounded number of blocks per epoch."""

import keras
import runs

from keras_tag import TAGModel
from keras_tag.affinity.history import MOST_BLOCKS

CALLS = []


@keras.saving.register_keras_serializable(package="tests")
class Counted(keras.layers.Dense):
    """Its Python code runs when it is traced, not when it computes."""

    def call(self, inputs):
        CALLS.append(1)
        return super().call(inputs)


def test_nothing_is_traced_after_the_first_two_steps():
    inputs = keras.Input((6,))
    h = Counted(4, "tanh")(inputs)
    tag = TAGModel(
        keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(h) for task in runs.TASKS}),
        every=runs.EVERY,
    )
    tag.compile("adam", loss="mse")
    tag.fit(runs.batches(0, 2), verbose=0)  # One probed step, one that is not.
    traced = len(CALLS)
    tag.fit(runs.batches(0, 80), epochs=5, verbose=0)
    assert len(CALLS) == traced
    history = tag.affinity().history
    assert tag.probes == runs.probes_of(2 + 5 * 80)
    assert len(history.row) <= 6 * MOST_BLOCKS
    # 40 probes an epoch don't fit into blocks of one each: they were merged.
    assert len(history.row) < tag.probes / 2
