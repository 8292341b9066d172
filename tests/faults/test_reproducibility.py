"""The same seed gives the same numbers in another process."""

import pytest
from fresh_process import run_alone

PATH = """
    import hashlib, json, sys
    import keras, numpy as np, tensorflow as tf
    import keras_tag

    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(int({seed}))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 6)).astype("float32")
    y = {{task: (x @ rng.normal(size=(6, 1))).astype("float32") for task in "abc"}}

    def build(tasks=("a", "b", "c")):
        inputs = keras.Input((6,))
        h = keras.layers.Dense(8, "tanh", name="trunk")(inputs)
        h = keras.layers.Dropout(0.2, name="drop")(keras.layers.BatchNormalization(name="norm")(h))
        return keras.Model(inputs, {{t: keras.layers.Dense(1, name=t)(h) for t in tasks}})

    def digest(arrays):
        content = hashlib.sha256()
        for array in arrays:
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()

    tag = keras_tag.TAGModel(build(), every=2)
    tag.compile("adam", loss="mse")
    tag.fit(x, y, batch_size=8, epochs=2, verbose=0)
    affinity = tag.affinity()
    grouping = keras_tag.select_groups(affinity, budget=2)
    served = keras_tag.GroupedModel(grouping, build)
    served.compile("adam", loss=dict.fromkeys("abc", "mse"))
    served.fit(x, y, batch_size=8, epochs=2, verbose=0)
    chosen = grouping.to_dict()
    del chosen["statistics"]  # Seconds.
    print(json.dumps({{
        "weights": digest(tag.model.get_weights()),
        "affinity": digest([affinity.mean, affinity.count, affinity.standard_error]),
        "history": digest([affinity.history.total, affinity.history.probes]),
        "seed": affinity.metadata["seed"],
        "grouping": chosen,
        "served": digest(served.get_weights()),
    }}))
"""


@pytest.mark.slow
def test_the_whole_path_is_the_same_in_another_process():
    one, again, other = (run_alone(PATH.format(seed=seed)) for seed in (5, 5, 6))
    assert one == again
    assert '"seed": 5' in one
    assert one != other
