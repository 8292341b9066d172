"""A strategy against one device: the same models, data and optimizers on both."""

import contextlib

import keras
import numpy as np
from tag_models import data as make_data
from tag_models import mlp, relative

from keras_tag import TAGModel

KINDS = ("gradient", "optimizer", "first_order", "cosine")
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.01),
}


def use(dtype):
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)


def data(n):
    return make_data(n, dtype=keras.config.floatx())


def made(scope, optimizer, build=mlp, **kwargs):
    keras.utils.set_random_seed(0)
    with scope:
        tag = TAGModel(build(), **kwargs)
        # A loss object computes in the float type of when it was made.
        loss = {"a": "mse", "b": "binary_crossentropy", "c": keras.losses.Huber()}
        tag.compile(OPTIMIZERS[optimizer](), loss=loss)
        tag.optimizer.build(tag.trainable_variables)
    return tag


def scopes(strategy):
    return contextlib.nullcontext(), strategy.scope()


def whole_runs_agree(strategy, tolerance, kinds=KINDS, optimizers=OPTIMIZERS, batch_size=24):
    """Two epochs of even, fully labelled batches end in the same weights and affinity."""
    x, y = data(4 * batch_size)
    for kind in kinds:
        for optimizer in optimizers:
            runs = []
            for scope in scopes(strategy):
                tag = made(scope, optimizer, every=2, lookahead=kind)
                tag.fit(x, y, batch_size=batch_size, epochs=2, shuffle=False, verbose=0)
                assert tag.affinity().count.min() == 4
                runs.append((tag.affinity().mean, tag.model.get_weights()))
            (z, weights), (z2, weights2) = runs
            assert relative(z2, z) < tolerance, (kind, optimizer, relative(z2, z))
            flat, flat2 = (np.concatenate([w.ravel() for w in ws]) for ws in (weights, weights2))
            assert relative(flat2, flat) < tolerance, (kind, optimizer, relative(flat2, flat))


def probes_agree(strategy, tolerance, kinds=KINDS, optimizers=OPTIMIZERS):
    """One probe of uneven batches with missing labels and sample weights; it moves nothing.

    331 examples in batches of 64 end with 11, which no number of replicas divides.
    """
    x, y = data(331)
    y["a"][::3] = np.nan
    y["c"][:9] = np.nan
    weight = {k: np.random.default_rng(0).random(331).astype(x.dtype) for k in "abc"}
    for kind in kinds:
        for optimizer in optimizers:
            tags = [made(scope, optimizer, lookahead=kind) for scope in scopes(strategy)]
            for batch in (slice(0, 27), slice(320, 331)):
                part = x[batch], cut(y, batch), cut(weight, batch)
                before = [v.numpy() for v in everything(tags[1])]
                one, several = (tag.measure_affinity(*part) for tag in tags)
                assert np.isfinite(one).all()
                assert relative(several, one) < tolerance, (kind, optimizer, batch)
                for ours, theirs in zip(before, everything(tags[1]), strict=True):
                    np.testing.assert_array_equal(ours, theirs.numpy())


def uneven_fit_counts_every_probe(strategy):
    """331 examples in batches of 64: six steps, six probes of every pair."""
    x, y = data(331)
    tag = made(strategy.scope(), "adam", every=1)
    tag.fit(x, y, batch_size=64, shuffle=False, verbose=0)
    assert tag.probes == 6
    assert (tag.affinity().count == 6).all()


def cut(tree, batch):
    return {name: value[batch] for name, value in tree.items()}


def everything(tag):
    return [*tag.model.variables, *tag.optimizer.variables]
