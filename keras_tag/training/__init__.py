"""The base of every Keras model of this package: losses by task, strategies, workers."""

import keras

if (backend := keras.backend.backend()) != "tensorflow":
    raise ImportError(
        "Expected Keras on TensorFlow, which TAGModel and GroupedModel train with. Received: "
        f"the backend {backend!r}. Set it before Keras is imported, in the shell: "
        "KERAS_BACKEND=tensorflow; or in Python: "
        "import os; os.environ['KERAS_BACKEND'] = 'tensorflow'. Selecting groups from a "
        "measured affinity (keras_tag.select_groups) needs no backend."
    )
