"""Docstrings say `Example:`, as Keras's do; the reference shows it as code if it is `Examples:`."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Rename the section where there is `>>>` in it."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^Example:\n(?=\s+>>>)", "Examples:\n", obj.docstring.value, flags=re.M
            )
