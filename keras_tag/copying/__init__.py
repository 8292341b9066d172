"""Copies of a functional model that keep what its training would not make anew."""
