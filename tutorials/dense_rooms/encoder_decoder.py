"""A network for dense tasks: one encoder that all tasks share, one decoder for each task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

Encoder = Callable[[Any], Any]

# As in the networks of Standley et al. With Keras's default of 0.99 the moving statistics need
# hundreds of steps until they are the network's own.
_MOMENTUM = 0.9


def dense_model(
    channels: Mapping[str, int],
    image_shape: Sequence[int],
    *,
    encoder: Encoder | None = None,
    decoder_width: int = 16,
) -> keras.Model:
    """Build a shared encoder with a decoder for every task.

    A decoder doubles the resolution until it is the image's: bilinear upsampling, the encoder's own
    map of that resolution beside it (if the encoder gives one), a separable convolution. Outputs
    are linear: values for L1, logits for classes.

    Args:
        channels: Task -> how many channels its output has; `keras_tag.datasets.taskonomy` says.
        image_shape: `(height, width, channels)`.
        encoder: From images in [0, 1] to a feature map, or to a list of maps from fine to coarse:
            a function, or a Keras model such as `keras.applications.ResNet50(include_top=False,
            weights=None, input_shape=...)`. None: `xception_encoder()`. A model is used, not
            copied: for a `GroupedModel` take `keras_tag.build_from(joint)`, which copies, or make a
            new encoder for each network.
        decoder_width: How many channels a decoder has.

    Returns:
        A functional model with dict outputs `[batch, height, width, channels]`. The names of a
        task's layers begin with the task's, those of the default encoder with "encoder".

    Raises:
        ValueError: No task, or an encoder whose map can't be brought to the size of the image by
            doubling.

    Example:
        >>> model = dense_model({"depth": 1, "normal": 3}, (64, 64, 3))
        >>> model.compile("adam", loss="mean_absolute_error")

    Reference:
        Standley et al., ICML 2020, arXiv:1905.07553, use such networks: a shared Xception encoder
        and one decoder per task.
    """
    if not channels:
        raise ValueError("Expected `channels` to name at least one task. Received: channels={}.")
    image = keras.Input(tuple(image_shape), name="image")
    encoded = (encoder or xception_encoder())(image)
    maps = list(encoded) if isinstance(encoded, (list, tuple)) else [encoded]
    size = tuple(image_shape[:2])
    height, width = maps[-1].shape[1:3]
    doublings = round(size[0] / height).bit_length() - 1
    if (height * 2**doublings, width * 2**doublings) != size:
        raise ValueError(
            f"Expected an encoder whose map becomes {size[0]} x {size[1]} by doubling. Received: "
            f"{height} x {width}. Choose an image size that is a multiple of the encoder's stride."
        )
    # Height -> the map of the encoder that decoders concatenate at this height.
    beside = {feature.shape[1]: feature for feature in maps[:-1]}
    outputs = {
        task: _decode(task, maps[-1], doublings, beside, decoder_width, depth)
        for task, depth in channels.items()
    }
    return keras.Model(image, outputs)


def xception_encoder(widths: Sequence[int] = (16, 32, 64)) -> Encoder:
    """Return a small encoder like that of Xception.

    Every width halves the resolution: the first by a convolution, the others by two separable
    convolutions with a shortcut past them, each followed by batch normalization.

    Args:
        widths: Channels of the stages, from fine to coarse.

    Returns:
        A function from images to a list of feature maps, one per width.

    Reference:
        Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017,
        arXiv:1610.02357.
    """

    def encode(image: Any) -> list[Any]:
        layers = keras.layers
        x = layers.Conv2D(
            widths[0], 3, strides=2, padding="same", use_bias=False, name="encoder_0_conv"
        )(image)
        x = layers.BatchNormalization(momentum=_MOMENTUM, name="encoder_0_norm")(x)
        x = layers.Activation("relu", name="encoder_0")(x)
        maps = [x]
        for stage, width in enumerate(widths[1:], start=1):
            name = f"encoder_{stage}"
            past = layers.Conv2D(
                width, 1, strides=2, padding="same", use_bias=False, name=f"{name}_past"
            )(x)
            past = layers.BatchNormalization(momentum=_MOMENTUM, name=f"{name}_past_norm")(past)
            for k in (1, 2):
                x = layers.SeparableConv2D(
                    width, 3, padding="same", use_bias=False, name=f"{name}_conv{k}"
                )(x)
                x = layers.BatchNormalization(momentum=_MOMENTUM, name=f"{name}_norm{k}")(x)
                if k == 1:
                    x = layers.Activation("relu", name=f"{name}_relu")(x)
            x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)
            x = layers.Activation("relu", name=name)(layers.Add(name=f"{name}_add")([x, past]))
            maps.append(x)
        return maps

    return encode


def _decode(
    task: str, x: Any, doublings: int, beside: Mapping[int, Any], width: int, channels: int
) -> Any:
    layers = keras.layers
    for k in range(doublings):
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{task}_up{k}")(x)
        if x.shape[1] in beside:
            x = layers.Concatenate(name=f"{task}_beside{k}")([x, beside[x.shape[1]]])
        x = layers.SeparableConv2D(
            width, 3, padding="same", use_bias=False, name=f"{task}_conv{k}"
        )(x)
        x = layers.BatchNormalization(momentum=_MOMENTUM, name=f"{task}_norm{k}")(x)
        x = layers.Activation("relu", name=f"{task}_relu{k}")(x)
    # Float32 outputs, also in mixed precision, so that losses are of float32.
    return layers.Conv2D(channels, 3, padding="same", dtype="float32", name=task)(x)
