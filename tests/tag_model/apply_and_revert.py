"""The oracle: every task's step really taken on the model, everything measured, then reverted.

Plain Keras and eager TensorFlow: no StatelessScope, no shared forward pass, no compiled graph, and
nothing of the package. Slow, and right by inspection.
"""

import numpy as np
import tensorflow as tf


def affinity(model, optimizer, x, y, losses, shared, *, kind="optimizer", rate=None, steps=1):
    """`[num_tasks, num_tasks]` for the tasks in the order of `losses`.

    Args:
        losses: task -> keras Loss instance.
        shared: The variables that a step moves.
        kind: "optimizer" applies the given optimizer; "gradient" a plain step at `rate`;
            "first_order" and "cosine" multiply gradients.
    """
    tasks = list(losses)
    everything = [*model.variables, *optimizer.variables]

    def revert():
        for variable, value in zip(everything, saved, strict=True):
            variable.assign(value)

    def measure():
        # A training-mode pass moves seeds and statistics: put them back after each one.
        state = [(v, np.copy(v.numpy())) for v in model.non_trainable_variables]
        outputs = model(x, training=True)
        for variable, value in state:
            variable.assign(value)
        return [losses[task](y[task], outputs[task]) for task in tasks]

    # A pass may rewrite a kernel (SpectralNormalization does): a step starts from what it wrote.
    before = np.array([float(loss) for loss in measure()])
    saved = [np.copy(v.numpy()) for v in everything]
    rows, gradients = [], []
    for i in range(len(tasks)):
        for step in range(steps):
            with tf.GradientTape() as tape:
                loss = measure()[i]
            gradient = tape.gradient(loss, [v.value for v in shared])
            moved = [
                (tf.convert_to_tensor(g), v)
                for g, v in zip(gradient, shared, strict=True)
                if g is not None
            ]
            if step == 0:
                flat = [
                    np.zeros(v.shape) if g is None else tf.convert_to_tensor(g).numpy()
                    for g, v in zip(gradient, shared, strict=True)
                ]
                gradients.append(np.concatenate([g.ravel() for g in flat]))
            if kind == "optimizer":
                optimizer.apply_gradients(moved)
            else:
                for g, v in moved:
                    v.assign(v - (rate or 0.0) * g)
        rows.append(1 - np.array([float(loss) for loss in measure()]) / before)
        revert()
    products = np.array(gradients) @ np.array(gradients).T
    if kind == "first_order":
        return rate * products / before[None, :]
    if kind == "cosine":
        norms = np.sqrt(np.diag(products))
        return products / norms[:, None] / norms[None, :]
    return np.array(rows)
