"""Keeps TensorFlow's start-up lines out of every test process."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
