"""Data whose number of batches nobody knows: its end is a step that was begun and never made."""

import keras
import numpy as np
import pytest
import runs
import tensorflow as tf
from quick import quick


def unknown(steps):
    def some():
        yield from runs.batches(0, steps)

    return tf.data.Dataset.from_generator(some, output_signature=runs.batches(0, 1).element_spec)


@pytest.mark.slow
@pytest.mark.parametrize("steps", quick([4, 5], [4]))
def test_the_end_is_as_in_keras_and_no_probe(steps):
    """Keras 3.15 counts the step of the batch that never came; so weights are Keras's only if
    that happens here too. It is no probe, and it doesn't change which steps are probed."""
    tag = runs.compiled()
    tag.fit(unknown(steps), epochs=3, verbose=0)
    keras.utils.set_random_seed(0)
    plain = runs.network()
    plain.compile(keras.optimizers.Adam(0.01), loss="mse")
    plain.optimizer.build(plain.trainable_variables)
    plain.fit(unknown(steps), epochs=3, verbose=0)
    assert runs.step(tag) == int(plain.optimizer.iterations.numpy())
    for ours, theirs in zip(tag.model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert tag.probes == runs.probes_of(3 * steps)
    np.testing.assert_array_equal(tag.affinity().count, tag.probes)
