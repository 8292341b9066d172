"""Runs the nightly tests and writes down what they tried: the figures of docs/promises.md.

    python benchmarks/promises.py                  # all of them
    python benchmarks/promises.py tests/fuzz       # only these; the other figures stay

A test that tries many inputs, or many faults, says how many with pytest's `record_property(what,
number)`. What was recorded goes into promises.json beside this file, and from there into the table
of the page. A test that fails is written down as failed.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "promises.md"
PACKAGES = ("keras", "tensorflow", "numpy", "ortools", "hypothesis")
BEGIN, END = "<!-- from benchmarks/promises.json -->\n", "<!-- to here -->\n"


def run(paths: list[str]) -> dict[str, Any]:
    """Run the nightly tests and return what they recorded, by test."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-n", "0", "-m", "nightly", "-o", "junit_family=xunit1", f"--junitxml={report}"]
        subprocess.run([sys.executable, "-m", "pytest", *options, *paths], cwd=ROOT, check=False)
        cases = list(ElementTree.parse(report).iter("testcase"))
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
    tests = {}
    for case in cases:
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        bad = [kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None]
        tests[name] = {
            "outcome": bad[0] if bad else "passed",
            "seconds": round(float(case.get("time", 0))),
            "figures": {p.get("name"): int(p.get("value", 0)) for p in case.iter("property")},
            "machine": machine,
        }
    return tests


def table(tests: dict[str, Any]) -> str:
    """The recorded figures as a Markdown table, one row per test function."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, test in tests.items():
        rows.setdefault(re.sub(r"\[.*\]$", "", name), []).append(test)
    lines = ["| what is tried | figures | test |", "| --- | ---: | --- |"]
    for name, parts in sorted(rows.items()):
        file, function = name.split("::")
        total: dict[str, int] = {}
        for part in parts:
            for what, number in part["figures"].items():
                total[what] = total.get(what, 0) + number
        figures = [f"{number:,} {what}" for what, number in total.items()]
        figures += sorted({part["outcome"] for part in parts} - {"passed"})
        if figures:
            words = function.removeprefix("test_").replace("_", " ")
            lines.append(f"| {words} | {', '.join(figures)} | `{file}` |")
    seconds = sum(test["seconds"] for test in tests.values())
    machines = {json.dumps(test["machine"], sort_keys=True) for test in tests.values()}
    lines += ["", f"All of these tests took {seconds / 60:.0f} minutes of one core."]
    for machine in sorted(machines):
        known = json.loads(machine)
        cores = known.pop("cores")
        versions = ", ".join(f"{name} {number}" for name, number in known.items())
        lines.append(f"Machine: {cores} cores, {versions}.")
    return "\n".join(lines) + "\n"


def page(text: str, tests: dict[str, Any]) -> str:
    """The page with the table of these figures."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}{table(tests)}{END}{after}"


def main(paths: list[str]) -> None:
    """Run, write the result file, and the table of the page."""
    found = run(paths)
    old = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() and paths else {}
    ran = tuple(path.rstrip("/") for path in paths)
    kept = {name: test for name, test in old.items() if not name.startswith(ran)}
    tests = dict(sorted({**kept, **found}.items()))
    RESULT.write_text(json.dumps(tests, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(PAGE.read_text("utf-8"), tests), "utf-8")
    failed = [name for name, test in tests.items() if test["outcome"] != "passed"]
    print(f"{len(tests)} tests, {len(failed)} of them not passed: {failed}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main(sys.argv[1:])
