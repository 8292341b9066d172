"""The import of Keras without the messages that TensorFlow prints when it starts."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Notices of TensorFlow's C++ code. `TF_CPP_MIN_LOG_LEVEL` does not reach those that are logged
# before its logging is set up. Warnings and errors begin with W and E and are kept.
_NOTICE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|I\d{4} |To enable the following instr"
    rb"|\S+ \S+: I (tensorflow|external)/"
)
# What a TensorFlow with CUDA says where there is no GPU. Where there is one, it is an error.
_NO_GPU = re.compile(rb"E\d{4} .*failed call to cuInit")
_GPUS = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")


def import_keras() -> None:
    """Import Keras and TensorFlow, and leave out TensorFlow's start-up notices.

    Everything else that is written to standard error meanwhile appears when the import has ended.
    Where `TF_CPP_MIN_LOG_LEVEL` is set, nothing is left out: the user has decided.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    with _without_notices():
        import keras  # noqa: F401
        import tensorflow as tf

        # TensorFlow looks for GPUs when it is first asked, and says then what it did not find.
        tf.config.list_physical_devices("GPU")


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    try:
        # TensorFlow writes to the descriptor, past Python's `sys.stderr`.
        real = os.dup(2)
    except OSError:  # There is no standard error.
        yield
        return
    with tempfile.TemporaryFile() as held:
        if sys.stderr:
            sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            if sys.stderr:
                sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            gpu = any(map(os.path.exists, _GPUS))
            for line in held:
                if not _NOTICE.match(line) and (gpu or not _NO_GPU.match(line)):
                    os.write(2, line)
