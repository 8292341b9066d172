"""A Keras model around another one, which Keras trains as it trains the other."""

import inspect
from typing import Any

import keras

from keras_tag.training.distributed_model import DistributedModel


class WrappingModel(DistributedModel):
    """A model that calls the wrapped one, `model`, as if there were no wrapper."""

    model: keras.Model
    # Keras's, which declares them without a type.
    train_function: Any
    test_function: Any

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the wrapped model's outputs.

        The wrapped model is called as if there were no wrapper: the names of the operations in
        the graph are those of its own `fit`, and TensorFlow's graph rewriter goes by names.
        """
        if "training" not in inspect.signature(self.model.call).parameters:
            kwargs.pop("training", None)
        outputs = self.model(inputs, *args, **kwargs)
        if not self.built:
            self.build(None)
        return outputs

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the wrapped model's outputs."""
        return self(inputs, training=training)

    def summary(self, *args: Any, **kwargs: Any) -> Any:
        """Print the wrapped model's summary."""
        return self.model.summary(*args, **kwargs)

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Build from `config`, unless the wrapped model was loaded built."""
        if self.model.built:
            self.build(None)
        else:
            super().build_from_config(config)

    def make_kerass_train_function(self) -> Any:
        """Return a new train function of Keras's; `train_function` stays."""
        ours = self.train_function
        super().make_train_function(force=True)
        kerass, self.train_function = self.train_function, ours
        return kerass

    def make_kerass_test_function(self) -> Any:
        """Return a new test function of Keras's; `test_function` stays."""
        ours = self.test_function
        super().make_test_function(force=True)
        kerass, self.test_function = self.test_function, ours
        return kerass
