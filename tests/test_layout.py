"""The package's folders: where a module may stand, what it may import, and how long it may be."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "keras_tag"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_FILES_AT_THE_ROOT, MOST_LINES = 8, 400

# What is not yet as it should be. A test fails when an entry is no longer needed.
LONG_TODAY: set[str] = set()
IN_CIRCLES_TODAY = {
}  # fmt: skip


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported_modules(path):
    """The modules of the package that a file imports anywhere, type checking and functions too.

    `from package import module` is an import of the module, `from package import name` one of the
    package's `__init__`. That Python loads `__init__` of every package above an imported module is
    not counted.
    """
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def import_graph():
    return {
        name: {found for found in imported_modules(path) if found in MODULES} - {name}
        for name, path in MODULES.items()
    }


def folder_graph(graph, folder):
    """Which child of a folder imports from which; a file of the folder itself is a child too."""
    inside = f"{folder}."

    def child(name):
        return inside + name.removeprefix(inside).split(".")[0] if name.startswith(inside) else None

    children = defaultdict(set)
    for name, imports in graph.items():
        for other in imports:
            if child(name) and child(other) and child(name) != child(other):
                children[child(name)].add(child(other))
    return children


def circles(graph):
    """The sets of nodes that reach each other (Tarjan), those of one node left out."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found


def shown(graph):
    """One closed walk of every circle, with arrows, for the message of a failing test."""
    lines = []
    for circle in circles(graph):
        walk = [circle[0]]
        while walk[-1] not in walk[:-1]:
            walk.append(min(set(graph[walk[-1]]) & set(circle)))
        walk = walk[walk.index(walk[-1]) :]
        lines.append(" -> ".join(walk) + f"   ({len(circle)} in this circle: {', '.join(circle)})")
    return "\n".join(lines)


def test_circles_are_found_and_shown():
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"b"}, "d": {"e"}, "e": set()}
    assert circles(graph) == [["b", "c"]]
    assert shown(graph).startswith("b -> c -> b ")
    assert not circles({"a": {"b", "c"}, "b": {"c"}})


def test_the_root_of_the_package_has_few_files():
    files = [path.name for path in FILES if path.parent == PACKAGE]
    assert len(files) <= MOST_FILES_AT_THE_ROOT, files


def test_no_module_is_long():
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    long = {short(name): lines for name, lines in lengths.items() if lines > MOST_LINES}
    assert long.keys() == LONG_TODAY, long


def short(name):
    return name.removeprefix("keras_tag.")


def check_circles(graph, allowed):
    members = {short(name) for circle in circles(graph) for name in circle}
    assert members <= allowed, f"new: {sorted(members - allowed)}\n{shown(graph)}"
    assert allowed <= members, f"no longer in a circle: {sorted(allowed - members)}"


def test_no_files_import_each_other_in_a_circle():
    check_circles(import_graph(), IN_CIRCLES_TODAY.get("files", set()))


@pytest.mark.parametrize(
    "folder", sorted({name.rpartition(".")[0] for name in MODULES if "." in name})
)
def test_no_folders_import_each_other_in_a_circle(folder):
    check_circles(folder_graph(import_graph(), folder), IN_CIRCLES_TODAY.get(folder, set()))


@pytest.mark.parametrize("name", ["affinity", "selection", "baselines", "resampling"])
def test_what_knows_arrays_only_never_loads_tensorflow(name):
    code = (
        f"import sys, keras_tag.{name} as package, pkgutil, importlib\n"
        "for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("set()", 0), done.stderr


def test_the_map_names_every_folder_and_files_that_exist():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    for folder in {path.parent.relative_to(PACKAGE).as_posix() for path in FILES} - {"."}:
        assert f"`{folder}/`" in text, folder
    for row in re.findall(r"^\| `(.*?)` .*\| (`.*\.py`) \|$", text, re.M):
        for file in re.findall(r"\w+\.py", row[1]):
            folders = [*re.findall(r"[a-z_/]+/", row[0])]
            assert any((PACKAGE / folder / file).exists() for folder in folders), row
    for path in re.findall(r"`((?:keras_tag|tests|docs|tutorials|benchmarks)/[\w./]*)`", text):
        assert (PACKAGE.parent / path).exists(), path


def test_a_folder_imports_only_from_folders_above_it_in_the_map():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    rows = [re.findall(r"`(\w+)/`", row) for row in re.findall(r"^\| (`\w+/`.*?) \|", text, re.M)]
    place = {folder: number for number, row in enumerate(rows) for folder in row}
    for name, imports in folder_graph(import_graph(), "keras_tag").items():
        for other in imports:
            if short(name) in place and short(other) in place:
                assert place[short(other)] <= place[short(name)], (name, other)
