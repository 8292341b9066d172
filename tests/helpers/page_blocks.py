"""The Python blocks of a Markdown page, run from top to bottom as a reader would."""

import re
from pathlib import Path

from fresh_process import run_alone


def blocks(page):
    """The page's blocks, without those that are files of their own (`# file: name`)."""
    return re.findall(r"```python\n(?!# file:)(.*?)```", Path(page).read_text("utf-8"), re.S)


def run_page(page, folder):
    """Run the page in a process of its own, as a page may make a strategy; return its prints."""
    assert blocks(page), page
    return run_alone(
        f"import page_blocks; page_blocks.run_here({str(page)!r})", cwd=folder, timeout=600
    )


def run_here(page):
    import keras

    keras.utils.set_random_seed(0)
    names: dict = {"__name__": "__page__"}
    for number, block in enumerate(blocks(page), 1):
        exec(compile(block, f"{Path(page).name}, block {number}", "exec"), names)
