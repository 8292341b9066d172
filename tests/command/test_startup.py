"""Commands print their own lines: TensorFlow's start-up notices are left out, warnings are not."""

import os
import subprocess
import sys

import pytest

IMPORT = "from keras_tag.command.startup import import_keras; import_keras()"
# A stand-in that prints what TensorFlow does when it starts, and what it must not lose.
NOISY = """
import os, sys, warnings
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written\\n")
os.write(2, b"I0000 00:00:1795.25 21938 port.cc:153] oneDNN custom operations are on.\\n")
os.write(2, b"2026-01-01 10:00:00.1: I tensorflow/core/platform/cpu_feature_guard.cc:227] AVX2\\n")
os.write(2, b"To enable the following instructions: AVX2, in other operations, rebuild\\n")
os.write(2, b"W0000 00:00:1795.25 21938 gpu.cc:1] a warning of TensorFlow\\n")
warnings.warn("a warning of yours")
print("I say so", file=sys.stderr)
"""
NO_GPU = """
import os

class config:
    def list_physical_devices(kind):
        os.write(2, b"E0000 00:00:1795.25 317 cuda_platform.cc:52] failed call to cuInit: 303\\n")
"""


def stderr_of(code, folder=None, after="", **environment):
    kept = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    if folder:
        (folder / "keras.py").write_text(NOISY + after, "utf-8")
        (folder / "tensorflow.py").write_text(NO_GPU, "utf-8")
        kept["PYTHONPATH"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stderr


def test_notices_are_left_out_and_warnings_are_kept(tmp_path):
    said = stderr_of(IMPORT, tmp_path)
    for kept in ("a warning of TensorFlow", "a warning of yours", "I say so"):
        assert kept in said
    for left_out in ("InitializeLog", "oneDNN", "AVX2"):
        assert left_out not in said


@pytest.mark.parametrize("gpu", [False, True])
def test_a_gpu_that_fails_is_an_error_and_none_is_not(tmp_path, gpu):
    there = f"{str(tmp_path)!r}," if gpu else ""
    said = stderr_of(
        f"import keras_tag.command.startup as s; s._GPUS = ({there}); {IMPORT}", tmp_path
    )
    assert ("cuInit" in said) == gpu


def test_what_an_import_that_fails_said_is_not_lost(tmp_path):
    code = IMPORT.replace("; ", "\ntry:\n    ") + "\nexcept ImportError:\n    pass"
    said = stderr_of(code, tmp_path, after="raise ImportError('no backend')")
    assert "a warning of yours" in said
    assert "oneDNN" not in said


def test_a_user_who_asks_for_tensorflows_messages_gets_them(tmp_path):
    code = f"{IMPORT}\nimport keras"
    assert "oneDNN" in stderr_of(code, tmp_path, TF_CPP_MIN_LOG_LEVEL="0")


@pytest.mark.slow
def test_tensorflow_itself_starts_without_a_line():
    assert stderr_of(IMPORT) == ""
