"""Links of a page to what is not a page, such as a notebook, lead into the repository."""

import re
from pathlib import Path
from typing import Any

_BUILDER = Path(__file__).parent.parent / "tutorials" / "build.py"


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Called by MkDocs for every page."""
    builder = _BUILDER.read_text("utf-8")
    # The one place that says where the repository is; importing it would ask for Jupyter.
    repository = re.search(r'^REPOSITORY = "(.*)"$', builder, re.M)[1]
    markdown = re.sub(r"(!\[[^\]]*\])\(\.\./", rf"\1({repository}/raw/main/", markdown)
    return re.sub(r"\]\(\.\./", f"]({repository}/blob/main/", markdown)
