"""The report: one file that needs no other, readable on narrow and wide screens."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import made_up
import pytest

import keras_tag
from keras_tag import Affinity
from keras_tag.search.ledger import Ledger, Outcome
from keras_tag.search.proposals import Limits
from keras_tag.search.report import report_html, write_report
from keras_tag.search.results import Results
from keras_tag.search.summary import results_text, search_space

FETCHES = {"src", "href", "xlink:href", "data", "action", "poster", "srcset", "background"}


class Page(HTMLParser):
    """What a page would fetch, its text, and which tags were left open."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.text, self.open, self.scripts = [], [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script"
        for name, value in attributes:
            if name in FETCHES and not value.startswith(("#", "data:")):
                self.fetched.append((tag, name, value))
            if name == "style" and re.search(r"url\((?!['\"]?#)", value or ""):
                self.fetched.append((tag, name, value))
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results.read(made_up.write(tmp_path_factory.mktemp("search") / "search"))


@pytest.fixture(scope="module")
def page(results):
    return Page(report_html(results))


def test_nothing_is_fetched_and_no_tag_is_left_open(results, page):
    text = report_html(results)
    assert not page.fetched
    assert not page.open
    assert page.scripts == 0
    assert "@import" not in text
    assert "<metadata" not in text
    assert not re.search(r"url\((?!#)", text)
    assert len(text) < 2_000_000


def test_names_and_errors_are_text_and_no_markup(page):
    text = "".join(page.text)
    assert "edges <b>&$x$</b>" in text
    assert "ValueError: <oh>" in text


def test_it_shows_every_task_and_training_with_its_numbers(results, page):
    text = "".join(page.text)
    for row in results.tasks():
        assert f"{row.reached:.4f}" in text
        assert f"{row.joint:.4f}" in text
    for outcome in results.outcomes:
        assert ", ".join(outcome.group) in text
    assert str(results.verdict()) in text


def test_one_of_a_kind_is_said_in_the_singular():
    results = Results(made_up.settings(), tuple(made_up.outcomes()[:1]), made_up.AFFINITY)
    said = results_text(results) + search_space(results.problem, Limits(1))
    for words in ("1 network for 4 tasks", "in 1 training,", "at most 1 group\n"):
        assert words in said
    assert "in 1 training," in report_html(results)
    alone = keras_tag.Grouping.from_groups([("depth",)])
    assert str(alone).startswith("1 network for 1 task, ")


def test_a_task_with_the_name_of_a_column_hides_no_column():
    tasks = ("cost", "objective")
    given = made_up.settings(tasks=tasks, objective={t: [f"val_{t}_loss", "min"] for t in tasks})
    done = Outcome(0, "joint", tasks, "done", cost=1.0, objective={"cost": 0.2, "objective": 0.3})
    row = Results(given, (done,), None).to_frame().loc[0]
    assert (row["cost"], row["cost_objective"], row["objective"]) == (1.0, 0.2, 0.3)


def test_the_same_search_gives_the_same_report(results):
    assert report_html(results) == report_html(results)


@pytest.mark.slow
def test_forty_tasks_make_less_than_two_megabytes(tmp_path):
    tasks = tuple(f"task_{k:02}" for k in range(40))
    ledger = Ledger(tmp_path)
    settings = made_up.settings(
        tasks=list(tasks), objective={t: [f"val_{t}_loss", "min"] for t in tasks}
    )
    ledger.begin(settings)
    import numpy as np

    matrix = np.random.default_rng(0).normal(size=(40, 40)) + 5 * np.eye(40)
    ledger.write_affinity(Affinity.from_array(matrix, tasks, rows="source"))
    for k, group in enumerate([tasks, tasks[:25], tasks[20:], tasks[::2]]):
        losses = {t: 1.0 / (1 + k) for t in group}
        kind = "searched" if k else "joint"
        ledger.write(
            Outcome(k, kind, group, "done", objective=losses, cost=1.0, parameters=10, best_epoch=0)
        )
    text = report_html(Results.read(ledger))
    assert len(text) < 2_000_000
    assert not Page(text).fetched


def test_a_browser_shows_it_without_errors(results, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed")
    file, frames = tmp_path / "report.html", tmp_path / "frames.html"
    write_report(results, file)
    # The page tells what it looks like. In frames, because a window is never narrower than 500.
    look = """<script>
      window.onerror = e => parent.postMessage('error ' + e, '*');
      window.onload = () => {
        const seen = [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect());
        const broken = [...document.images].filter(i => !i.naturalWidth).length;
        const wide = document.documentElement.scrollWidth > window.innerWidth;
        const fetched = performance.getEntriesByType('resource').length;
        const small = [...document.querySelectorAll('td')].filter(
          t => parseFloat(getComputedStyle(t).fontSize) < 12).length;
        const lost = seen.filter(r => r.width < 200 || r.height < 80).length;
        const width = window.innerWidth;
        parent.postMessage([width, seen.length, lost, broken, wide, fetched, small].join(' '), '*');
      };
    </script></body>"""
    file.write_text(file.read_text("utf-8").replace("</body>", look), "utf-8")
    frames.write_text(
        "<body data-seen=''><script>"
        "onmessage = e => { document.body.dataset.seen += e.data + ';'; }"
        "</script>"
        + "".join(f"<iframe src=report.html width={w} height=2000></iframe>" for w in (400, 1300)),
        "utf-8",
    )
    shown = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            frames.as_uri(),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    seen = re.search(r'data-seen="([^"]*)"', shown).group(1)
    assert sorted(seen.split(";")) == ["", "1300 3 0 0 false 0 0", "400 3 0 0 false 0 0"]
