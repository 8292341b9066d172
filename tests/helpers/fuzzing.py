"""Fuzzing: many inputs at night, a tenth of them, and always the same ones, in CI."""

import linecache
import traceback
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import keras_tag

PACKAGE = str(Path(keras_tag.__file__).parent)
ANSWERED, REFUSED = "answered", "refused"


def fuzz(nightly, pinned=(), least=0.1, shrink=True, slow=True, **strategies):
    """Make two tests of one check: `nightly` random inputs, and a tenth of that for CI.

    Args:
        nightly: How many inputs are tried at night.
        pinned: Inputs that are tried first, every time: those that once went wrong.
        least: The least share of either outcome; a fuzzer that is always refused shows nothing.
        shrink: Whether a failing input is made small, which takes hundreds of tries.
        slow: Whether the test for CI is marked as slow.
        **strategies: The check's arguments. It returns ANSWERED or REFUSED, or raises.

    Returns:
        A decorator.
    """
    numbers = [
        pytest.param(nightly // 10, id="ci", marks=[pytest.mark.slow] if slow else []),
        pytest.param(nightly, id="nightly", marks=pytest.mark.nightly),
    ]

    def decorate(check):
        @pytest.mark.parametrize("inputs", numbers)
        def test(inputs, record_property):
            outcomes = Counter()

            def tried(case):
                outcomes[check(**case)] += 1

            for case in pinned:
                tried(case)
            many = settings(
                max_examples=inputs,
                derandomize=inputs < nightly,
                database=None,
                deadline=None,
                print_blob=True,
                phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            many(given(case=st.fixed_dictionaries(strategies))(tried))()
            # `benchmarks/promises.py` reads these from pytest's report.
            for outcome in (ANSWERED, REFUSED):
                record_property(outcome, outcomes[outcome])
                assert outcomes[outcome] >= least * inputs, outcomes
            assert outcomes.total() >= inputs

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate


def refused(error, *words):
    """REFUSED, if the error is one that the package raised on purpose, and says what it is about.

    Args:
        error: What was raised.
        *words: The message must contain one of these.

    Raises:
        AssertionError: The error is an accident, from inside.
    """
    frame = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(frame.filename, frame.lineno).strip()
    meant = frame.filename.startswith(PACKAGE) and line.startswith("raise ")
    if not meant or not isinstance(error, (ValueError, TypeError, OSError)):
        raise AssertionError(f"an accident: {type(error).__name__}: {error}") from error
    assert len(str(error)) > 20, error
    assert not words or any(word in str(error) for word in words), (words, error)
    return REFUSED
