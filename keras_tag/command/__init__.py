"""The command `keras-tag`."""
