"""The Python blocks of a Markdown page, run from top to bottom as a reader would."""

import re
from pathlib import Path

from fresh_process import run_alone


def blocks(page):
    """The page's blocks, without those that are files of their own (`# file: name`)."""
    return re.findall(r"```python\n(?!# file:)(.*?)```", Path(page).read_text("utf-8"), re.S)


def run_page(page, folder, before="", after=""):
    """Run the page in a process of its own, as a page may make a strategy; return its prints.

    `before` and `after` are code that runs with its blocks, and that it does not show.
    """
    assert blocks(page), page
    arguments = f"{str(page)!r}, {before!r}, {after!r}"
    return run_alone(
        f"import page_blocks; page_blocks.run_here({arguments})", cwd=folder, timeout=600
    )


def run_pages(pages, folder):
    """Run pages one after another in one process, each in a folder of its own."""
    run_alone(
        f"import page_blocks; page_blocks.run_all_here({[str(page) for page in pages]!r})",
        cwd=folder,
        timeout=900,
    )


def run_all_here(pages):
    import os

    for number, page in enumerate(pages):
        os.makedirs(str(number))
        os.chdir(str(number))
        run_here(page)
        os.chdir("..")


def run_here(page, before="", after=""):
    import sys

    import keras

    # A page may use what lies beside the notebooks; its reader is in a clone.
    sys.path.append(str(Path(page).parents[1] / "tutorials"))

    keras.utils.set_random_seed(0)
    names: dict = {"__name__": "__page__"}
    for number, block in enumerate([before, *blocks(page), after]):
        exec(compile(block, f"{Path(page).name}, block {number}", "exec"), names)
