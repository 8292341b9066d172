"""A Keras model around another one, which Keras trains as it trains the other."""

import inspect
from typing import Any

import keras

from keras_tag.tag_model.weights_file import (
    in_wrapper_layout,
    is_of_another_model,
    to_wrapped_layout,
)
from keras_tag.training.distributed_model import DistributedModel


class WrappingModel(DistributedModel):
    """A model that calls the wrapped one, `model`, as if there were no wrapper.

    It has the inputs and outputs of the wrapped model and finds its layers. What a subclassed
    model does not have, such as `inputs`, its wrapper does not have either.
    """

    model: keras.Model
    # Keras's, which declares them without a type.
    train_function: Any
    test_function: Any
    _is_walked = False

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

    def export(self, *args: Any, **kwargs: Any) -> Any:
        """Export the wrapped model, as Keras exports it."""
        return self.model.export(*args, **kwargs)

    @property
    def layers(self) -> list[Any]:
        """The wrapped model's layers."""
        # Keras lays out its files by the wrapper's own, and asks for them next after its variables.
        if self._is_walked:
            self._is_walked = False
            own: list[Any] = super().layers
            return own
        wrapped: list[Any] = self.model.layers
        return wrapped

    def save_own_variables(self, store: Any) -> None:
        """Save as Keras does."""
        super().save_own_variables(store)
        self._is_walked = True

    def load_own_variables(self, store: Any) -> None:
        """Load as Keras does."""
        super().load_own_variables(store)
        self._is_walked = True

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Build from `config`, unless the wrapped model was loaded built."""
        if self.model.built:
            self.build(None)
        else:
            super().build_from_config(config)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """Return a layer of the wrapped model, by name or by index."""
        return self.model.get_layer(name, index)

    @property
    def inputs(self) -> Any:
        """The wrapped model's inputs, a list."""
        return self.model.inputs

    @property
    def outputs(self) -> Any:
        """The wrapped model's outputs, a list."""
        return self.model.outputs

    @property
    def input(self) -> Any:
        """The wrapped model's inputs, in their structure."""
        return self.model.input

    @property
    def output(self) -> Any:
        """The wrapped model's outputs, in their structure."""
        return self.model.output

    @property
    def input_shape(self) -> Any:
        """The shapes of the wrapped model's inputs."""
        return self.model.input_shape

    @property
    def output_shape(self) -> Any:
        """The shapes of the wrapped model's outputs."""
        return self.model.output_shape

    def save_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Save weights, optimizer and affinities as Keras saves weights.

        The wrapped model can load the file as well, a model like it too. Sharded files
        (`max_shard_size=`) only a wrapper can load: save `tag.model` for the wrapped model.
        """
        super().save_weights(filepath, *args, **kwargs)
        to_wrapped_layout(filepath)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Load weights as Keras does, also those that the wrapped model or one like it saved.

        Such a file holds no affinities and is loaded into `tag.model`; the optimizer starts anew.
        """
        if is_of_another_model(filepath):
            self.model.load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)
            return
        with in_wrapper_layout(filepath) as path:
            super().load_weights(path, skip_mismatch=skip_mismatch, **kwargs)

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
