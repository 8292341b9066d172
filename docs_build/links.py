"""Links of a page to what is no page: pictures come along, all else is in the repository."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parent.parent
_BUILDER = _ROOT / "tutorials" / "build.py"
_PICTURE = re.compile(r"(!\[[^\]]*\]\()\.\./([^)]+)\)")


def on_files(files: Files, config: MkDocsConfig, **kwargs: Any) -> None:
    """Called by MkDocs: add the pictures."""
    for page in files.documentation_pages():
        for _, path in _PICTURE.findall(page.content_string):
            files.append(File.generated(config, path, abs_src_path=str(_ROOT / path)))


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Called by MkDocs for every page."""
    builder = _BUILDER.read_text("utf-8")
    # The one place that says where the repository is; importing it would ask for Jupyter.
    repository = re.search(r'^REPOSITORY = "(.*)"$', builder, re.M)[1]
    markdown = _PICTURE.sub(r"\1\2)", markdown)
    return re.sub(r"\]\(\.\./", f"]({repository}/blob/main/", markdown)
