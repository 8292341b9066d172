"""Every public name of `keras_tag` exists, also where it is installed and in a zip archive."""

import shutil
import subprocess
import sys
from pathlib import Path

import keras_tag

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_there():
    for name in keras_tag.__all__:
        assert getattr(keras_tag, name) is not None
    assert set(keras_tag.__all__) <= set(dir(keras_tag))


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(keras_tag, "ThereIsNoSuchThing")


def test_what_is_built_has_the_files_that_are_read_and_works_from_a_zip_archive(tmp_path):
    for name in ("setup.py", "README.md", "LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    package = shutil.copytree(ROOT / "keras_tag", tmp_path / "keras_tag", ignore=ignore)
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "built"]
    subprocess.run(build, cwd=tmp_path, check=True)
    files = {path.relative_to(package) for path in package.rglob("*") if path.is_file()}
    built = tmp_path / "built" / "keras_tag"
    assert {path.relative_to(built) for path in built.rglob("*") if path.is_file()} == files
    archive = shutil.make_archive(tmp_path / "archive", "zip", tmp_path / "built")
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import jinja2, keras_tag
assert keras_tag.__file__.startswith(sys.argv[1])
assert keras_tag.Grouping.from_groups([("a", "b")]).tasks == ("a", "b")
assert keras_tag.datasets.published("celeba_tag").tasks
jinja2.PackageLoader("keras_tag.search", "").get_source(jinja2.Environment(), "report.html.j2")
"""
    subprocess.run([sys.executable, "-c", code, archive], check=True)
