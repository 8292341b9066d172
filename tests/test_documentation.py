"""Every Python block of the pages runs as written."""

import re
from pathlib import Path

import pytest
from page_blocks import blocks, run_page

import keras_tag

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
WITH_BLOCKS = [page for page in PAGES if blocks(page)]
# Pages whose blocks a test in another folder runs.
ELSEWHERE = {"celeba.md", "cli.md", "demo.md", "grouped_model.md", "promises.md", "reference.md"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in WITH_BLOCKS if page.name not in ELSEWHERE], ids=lambda page: page.name
)
def test_the_blocks_of_a_page_run_from_top_to_bottom(page, tmp_path):
    run_page(page, tmp_path)


def test_every_page_is_in_the_site():
    site = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f": {page.name}\n" in site, page.name


def test_the_reference_has_every_public_name_and_no_private_one():
    shown = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text("utf-8"), re.M)
    for name in set(keras_tag.__all__) - {"__version__"}:
        assert f"keras_tag.{name}" in shown
    for path in shown:
        parts = path.split(".")
        assert len(parts) == 2 or parts[1] in {"selection", "datasets"}, path


def test_links_between_pages_lead_somewhere():
    for page in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), (page.name, link)
