"""Make the notebooks from their sources, and run them.

A notebook's source is a script in jupytext's percent format in `tutorials/source/`. The badge and
the install cell, the same in all, are added here, so that the address of the repository is
written in one place.

    pip install ".[tutorials]"
    python tutorials/build.py                       # all, with outputs and pictures
    python tutorials/build.py 1_quickstart --no-run  # one, without outputs
"""

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

# There is no public address yet. This is the one place to put it into; then build again.
REPOSITORY = "https://github.com/OWNER/keras_tag"
FOLDER = Path(__file__).parent
SOURCES = sorted((FOLDER / "source").glob("*.py"))
# A package beside the notebooks that is no part of keras_tag; notebook 6 imports it.
HELPER = "dense_rooms"


def notebook(source: Path, repository: str = REPOSITORY) -> Any:
    """A notebook without outputs.

    Args:
        source: The script.
        repository: The address for the badge and the install cell.

    Returns:
        An `nbformat` notebook: the badge, the install cell, the cells of the script.
    """
    made = jupytext.read(source, fmt="py:percent")
    owner_and_name = repository.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/tutorials"
    badge = nbformat.v4.new_markdown_cell(
        f"[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"({colab}/{source.stem}.ipynb)"
    )
    # On Colab there is nothing beside the notebook.
    beside = (
        f'\nif not os.path.exists("{HELPER}"):  # It is beside this notebook in the repository.\n'
        f"    !git clone -q --depth 1 {repository} clone && mv clone/tutorials/{HELPER} ."
    )
    needs_helper = f"from {HELPER} import" in source.read_text("utf-8")
    install = nbformat.v4.new_code_cell(
        "import os\n\n"
        "# From the clone that this notebook is in, or, on Colab, from the repository.\n"
        "# If Colab asks you to restart the session after this cell, do so and go on with the "
        "next.\n"
        f'here = ".." if os.path.exists("../setup.py") else "git+{repository}"\n'
        'SOURCE = os.environ.get("KERAS_TAG_SOURCE", here)\n'
        "%pip install -q {SOURCE}" + beside * needs_helper,
        metadata={"tags": ["install"]},
    )
    title, *cells = made.cells
    made.cells = [title, badge, install, *cells]
    for number, cell in enumerate(made.cells):
        cell["id"] = f"{source.stem}-{number}"
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return made


def run(made: Any, folder: Path, *, install: bool = False, timeout: int = 900) -> Any:
    """Run a notebook's cells; the first error ends it.

    Args:
        made: The notebook, which gets its outputs.
        folder: Where it runs.
        install: Also run the install cell.
        timeout: Seconds for a cell.

    Returns:
        The notebook.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    # Grey lines of TensorFlow's start-up teach nobody anything.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    skipped = [] if install else [c for c in made.cells if "install" in c.metadata.get("tags", [])]
    sources = [cell.source for cell in skipped]
    for cell in skipped:
        cell.source = "# not run"
    shutil.copytree(FOLDER / HELPER, folder / HELPER, dirs_exist_ok=True)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(
        made, timeout=timeout, kernel_name="python3", resources=resources, record_timing=False
    ).execute()
    for cell, text in zip(skipped, sources, strict=True):
        cell.source, cell.execution_count = text, None
    _tidy(made)
    return made


def _tidy(made: Any) -> None:
    """Leave out what is neither a result nor the same on the next machine."""
    for cell in made.cells:
        cell["metadata"].pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]


def main() -> None:
    """Make all notebooks, or those that are named."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="such as 1_quickstart; by default all")
    parser.add_argument("--no-run", action="store_true", help="without outputs")
    options = parser.parse_args()
    for source in SOURCES:
        if options.names and source.stem not in options.names:
            continue
        made = notebook(source)
        if not options.no_run:
            with tempfile.TemporaryDirectory() as folder:
                run(made, Path(folder))
        path = FOLDER / f"{source.stem}.ipynb"
        nbformat.write(made, path)
        print(f"wrote {path.name}, {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
