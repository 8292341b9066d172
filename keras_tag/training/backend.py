"""The Keras backend that training needs."""

import keras


def check_backend() -> None:
    """Check that Keras runs on TensorFlow.

    Raises:
        ImportError: It runs on another backend.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ImportError(
            "Expected Keras on TensorFlow, which TAGModel and GroupedModel train with. Received: "
            f"the backend {backend!r}. Set it before Keras is imported, in the shell: "
            "KERAS_BACKEND=tensorflow; or in Python: "
            "import os; os.environ['KERAS_BACKEND'] = 'tensorflow'. Selecting groups from a "
            "measured affinity (keras_tag.select_groups) needs no backend."
        )
