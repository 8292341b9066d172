"""The pages: their Python blocks run as written, they are short, linked, and in the site."""

import ast
import dataclasses
import pkgutil
import re
import typing
from pathlib import Path

import pytest
from page_blocks import blocks, run_pages

import keras_tag

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
# Pages whose blocks a test in another folder runs.
ELSEWHERE = {"celeba.md", "cli.md", "cluster.md", "demo.md", "grouped_model.md", "first_hour.md"}
HERE = [page for page in PAGES if page.name not in ELSEWHERE and blocks(page)]
# A process each: one begins with a strategy, the others divide the time.
SHARES = [["distributed.md"], [], []]
for number, page in enumerate(page for page in HERE if page.name not in SHARES[0]):
    SHARES[1 + number % 2].append(page.name)
# It shows all that was measured.
LONG = {"grouping_quality.md"}


@pytest.mark.slow
@pytest.mark.parametrize("share", range(len(SHARES)))
def test_the_blocks_of_a_page_run_from_top_to_bottom(share, tmp_path):
    run_pages([ROOT / "docs" / name for name in SHARES[share]], tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_at_most_1200_words(page):
    if page.name in LONG:
        pytest.skip("may be longer")
    # Code and tables count, numbers and signs don't.
    words = [word for word in page.read_text("utf-8").split() if re.search("[A-Za-z]", word)]
    assert len(words) <= 1200


def test_every_page_is_in_the_site():
    site = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in PAGES:
        assert f": {page.name}\n" in site, page.name


def test_the_reference_has_every_public_name_and_no_private_one():
    page = (ROOT / "docs" / "reference.md").read_text("utf-8")
    shown = re.findall(r"\]\[(keras_tag[\w.]*)\]", page)
    assert len(shown) == len(set(shown))
    for name in set(keras_tag.__all__) - {"__version__"}:
        assert f"keras_tag.{name}" in shown
    for path in shown:
        parts = path.split(".")
        assert len(parts) == 2 or parts[1] in {"selection", "datasets"}, path


def test_the_reference_describes_the_classes_of_which_public_fields_are():
    builder = (ROOT / "docs_build" / "reference.py").read_text("utf-8")
    found = re.findall(r'"(keras_tag(?:\.[a-z_]+)+\.[A-Z]\w+)": (\[.*\])', builder)
    described = {path: ast.literal_eval(methods) for path, methods in found}
    for path, methods in described.items():
        assert pkgutil.resolve_name(path).__doc__
        assert all(hasattr(pkgutil.resolve_name(path), method) for method in methods), path
    for public in map(keras_tag.__getattr__, set(keras_tag.__all__) - {"__version__"}):
        hints = typing.get_type_hints(public) if dataclasses.is_dataclass(public) else {}
        for field in filter(lambda name: not name.startswith("_"), hints):
            for hint in (hints[field], *typing.get_args(hints[field])):
                path = f"{getattr(hint, '__module__', '')}.{getattr(hint, '__qualname__', '')}"
                if path.startswith("keras_tag.") and hint.__name__ not in keras_tag.__all__:
                    assert path in described


def test_links_between_pages_lead_somewhere():
    for page in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), (page.name, link)
