"""Files that only a host or a commit runs: they parse, and what they call exists."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
# A command that is not a file of the repository -> the package that brings it.
FROM_PACKAGE = {
    "pip": "",
    "pytest": "pytest",
    "mkdocs": "mkdocs-material",
    "ruff": "ruff",
    "mypy": "mypy",
    "end-of-file-fixer": "pre-commit-hooks",
    "check-added-large-files": "pre-commit-hooks",
    "check-yaml": "pre-commit-hooks",
}


def load(path):
    return yaml.safe_load(path.read_text("utf-8"))


def extra(name):
    """The requirements of an extra in setup.py, without their bounds."""
    assignments = {
        node.targets[0].id: node.value
        for node in ast.parse((ROOT / "setup.py").read_text("utf-8")).body
        if isinstance(node, ast.Assign)
    }

    def words(node):
        for item in node.elts:
            if isinstance(item, ast.Starred):
                yield from words(assignments[item.value.id])
            else:
                yield re.split(r"[\[<>=]", item.value)[0]

    extras = assignments["EXTRAS"]
    at = [key.value for key in extras.keys].index(name)
    return list(words(extras.values[at]))


def check_command(line, packages):
    """Assert that a shell line calls what is there, with markers that are registered."""
    command = line.split()[0]
    if command not in FROM_PACKAGE:
        assert os.access(ROOT / command, os.X_OK), line
        return
    assert FROM_PACKAGE[command] in ["", *packages], line
    for marker in re.findall(r"-m (\w+)", line):
        assert f'"{marker}: ' in (ROOT / "pyproject.toml").read_text("utf-8"), line


def test_every_hook_is_a_command_of_the_lint_extra():
    hooks = [
        hook for repo in load(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]
    ]
    assert {"ruff", "ruff-format", "mypy", "end-of-file-fixer", "check-added-large-files"} <= {
        hook["id"] for hook in hooks
    }
    assert "pre-commit" in extra("lint")
    for hook in hooks:
        assert hook["language"] == "system"
        check_command(hook["entry"], extra("lint"))


def test_no_file_is_larger_than_the_hook_allows():
    entry = re.search(r"--maxkb=(\d+)", (ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git clone")
    paths = [ROOT / name for name in listed.stdout.split("\0") if not name.endswith(".ipynb")]
    large = [
        path for path in paths if path.is_file() and path.stat().st_size > 1024 * int(entry[1])
    ]
    assert not large


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_commands_that_exist(path):
    ran = 0
    for name, job in load(path)["jobs"].items():
        assert job["timeout-minutes"] <= 180, name
        packages = []
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            for line in step.get("run", "").splitlines():
                for extras in re.findall(r'pip install .*"\.\[([\w,]+)\]"', line):
                    packages += [p for one in extras.split(",") for p in extra(one)]
                check_command(line, packages)
                ran += 1
    assert ran


def test_the_workflow_covers_every_python_that_setup_states():
    stated = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.py").read_text("utf-8"))
    workflow = load(ROOT / ".github" / "workflows" / "tests.yml")
    assert workflow["jobs"]["linux"]["strategy"]["matrix"]["python"] == stated
    # YAML 1.1 reads the key `on` as true.
    assert {"push", "pull_request", "schedule"} <= workflow[True].keys()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_what_the_host_asks_for(path):
    form = load(path)
    if path.name == "config.yml":
        assert form.keys() <= {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in {"textarea", "input", "dropdown", "checkboxes"}
        assert field["attributes"]["label"]


@pytest.mark.parametrize("script", [".ci/run", ".ci/versions"])
def test_a_script_of_ci_is_bash(script):
    subprocess.run(["bash", "-n", ROOT / script], check=True)


@pytest.mark.parametrize("fails", ["", "quick", "slow"])
def test_ci_ends_with_pytests_line_and_fails_if_either_run_fails(fails, tmp_path):
    """The real script with stand-ins for everything that it calls, and without an input."""
    (tmp_path / "pytest").write_text(
        'case "$*" in *slow*) run=slow ;; *) run=quick ;; esac\n'
        'echo "1 passed: $run"\n'
        f'[ "$run" != "{fails}" ]\n'
    )
    (tmp_path / "python3").write_text('mkdir -p "$3/bin" && touch "$3/bin/activate"\n')
    (tmp_path / "apt-get").write_text("exit 100\n")
    for name in ("pip", "ruff", "mypy"):
        (tmp_path / name).write_text("")
    for path in tmp_path.iterdir():
        path.write_text(f"#!/bin/sh\n{path.read_text()}")
        path.chmod(0o755)
    done = subprocess.run(
        [ROOT / ".ci" / "run"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "CI": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-2:] == ["1 passed: quick", "1 passed: slow"]
    assert bool(done.returncode) == bool(fails)


def test_the_citation_names_the_version():
    import keras_tag

    assert load(ROOT / "CITATION.cff")["version"] == keras_tag.__version__
