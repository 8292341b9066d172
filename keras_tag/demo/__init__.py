"""A search on real digits: what `keras-tag demo` runs."""

from keras_tag.demo.run import DemoSettings, run_demo

__all__ = ["DemoSettings", "run_demo"]
