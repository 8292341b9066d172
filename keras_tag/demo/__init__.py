"""All steps on real digits, from training to a report: `keras-tag demo`."""

from keras_tag.demo.run import run_demo

__all__ = ["run_demo"]
