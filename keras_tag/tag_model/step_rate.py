"""Default rate of a gradient step: the one at which it is as long as the optimizer's step."""

import numpy as np
import tensorflow as tf

from keras_tag.tag_model.lookahead import ProbePoint, Stepper


def matching_rate(point: ProbePoint, optimizer: Stepper) -> tf.Tensor:
    """Return the rate at which a gradient step changes the joint loss as the optimizer's step does.

    With the joint gradient g on the shared variables and the step D that the optimizer takes along
    it, both change the joint loss equally, to first order, at the rate `<D, g> / <g, g>`. For plain
    SGD that is the learning rate. An Adam step has about the size of its learning rate in every
    coordinate, however large g is: there a gradient step at the learning rate itself can be far too
    long or too short. Momentum may point against the gradient of one batch: the step's length along
    g counts, so the rate is `|<D, g>| / <g, g>`.

    Cost: one backward pass and one step of the optimizer.

    Args:
        point: The batch and the weights.
        optimizer: The optimizer's step on the shared variables.

    Returns:
        A scalar in the losses' dtype, not negative. NaN where the joint gradient is zero or one of
        the two is not finite.
    """
    gradient = point.joint_gradient()
    optimizer.begin()
    moved = optimizer.step(point.values, gradient, np.ones(len(gradient), bool))
    dtype = point.losses.dtype

    def inner(left: list[tf.Tensor], right: list[tf.Tensor]) -> tf.Tensor:
        return tf.add_n(
            [
                tf.reduce_sum(tf.cast(a, dtype) * tf.cast(b, dtype))
                for a, b in zip(left, right, strict=True)
            ]
        )

    step = [before - after for before, after in zip(point.values, moved, strict=True)]
    return tf.stop_gradient(tf.abs(inner(step, gradient)) / inner(gradient, gradient))
