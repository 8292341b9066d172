"""The whole path on real digits: what `keras-tag demo` runs."""

from keras_tag.demo.run import run_demo

__all__ = ["run_demo"]
