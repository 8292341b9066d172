"""Metadata of affinities: it is kept, and compared when measurements are pooled."""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from streams import recorded

import keras_tag
from keras_tag import provenance
from keras_tag.affinity import Affinity

SETTINGS = {"lookahead": "gradient", "steps": 1, "batch_size": 32, "losses": {"a": "mse"}}


def measured(seed=0, **settings):
    probes = np.random.default_rng(seed).normal(size=(60, 2, 2))
    affinity = Affinity.from_history(("a", "b"), recorded(probes, 7))
    return replace(affinity, metadata={"seed": seed, "settings": {**SETTINGS, **settings}})


def test_parts_keep_it():
    affinity = measured(3)
    for part in (affinity.subset(["b"]), affinity.over(slice(2))):
        assert part.metadata == affinity.metadata


@pytest.mark.parametrize("pool", [lambda a, b: Affinity.combine([a, b]), Affinity.merge])
def test_pooled_runs_keep_each_their_own(pool):
    pooled = pool(pool(measured(1), measured(2)), measured(3))
    assert [run["seed"] for run in pooled.metadata["runs"]] == [1, 2, 3]
    assert pool(measured(), replace(measured(), metadata={})).metadata["runs"][1] == {}
    bare = replace(measured(), metadata={})
    assert pool(bare, bare).metadata == {}


@pytest.mark.parametrize("pool", [lambda a, b: Affinity.combine([a, b]), Affinity.merge])
def test_other_kinds_are_refused(pool):
    with pytest.raises(ValueError, match=r"one kind.*\['gradient', 'cosine'\]"):
        pool(measured(1), measured(2, lookahead="cosine"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batch_size": 64}, r"batch_size.*\[32, 64\]"),
        ({"steps": 2}, r"steps.*\[1, 2\]"),
        ({"losses": {"a": "mae", "b": "mse"}}, r"loss of 'a'.*\['mse', 'mae'\]"),
    ],
)
def test_other_settings_are_warned_about(change, told):
    with pytest.warns(UserWarning, match=told):
        Affinity.combine([measured(1), measured(2, **change)])


@pytest.mark.filterwarnings("error")
def test_what_makes_no_other_size_is_not():
    Affinity.combine([measured(1), measured(2, every=7, losses={"b": "mae"})])


@pytest.mark.parametrize("metadata", [{"a": object()}, ["a"], {"a": {1, 2}}])
def test_what_is_no_json_is_refused(metadata):
    with pytest.raises(ValueError, match="Expected `metadata`"):
        replace(measured(), metadata=metadata)


def test_a_source_checkout_that_was_never_installed_has_no_version(monkeypatch):
    def version(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(provenance, "version", version)
    assert provenance.versions() == {"keras_tag": "0+unknown"}


def test_the_version_is_the_installed_one():
    assert provenance.versions()["keras_tag"] == keras_tag.__version__
