import json

import numpy as np
import pytest

from benchmarks.demo_comparison.report import (
    describe,
    report,
    verdict,
    write_report,
)
from benchmarks.demo_comparison.result import (
    METHODS,
    DemoResult,
    DemoSettings,
    Run,
    from_dict,
    to_dict,
    to_json,
)
from keras_tag.affinity import Affinity
from keras_tag.baselines import all_in_one, random_groups, single_task

SETTINGS = DemoSettings(budget=2, seeds=2, tasks=("loop", "odd"), positions=2, draws=2)
TASKS = SETTINGS.task_names
# Total test loss by method and seed. Selected wins on average over two rivals, not everywhere.
TOTALS = {
    "selected": [[1.0], [2.5]],
    "single task": [[1.5], [1.5]],
    "all in one": [[3.0], [2.0]],
    "random": [[2.0, 4.0], [3.0, 3.5]],
}


def made_up_result():
    rivals = {
        "selected": random_groups(TASKS, 2, 7),
        "single task": single_task(TASKS),
        "all in one": all_in_one(TASKS),
    }
    runs = []
    for method, by_seed in TOTALS.items():
        for seed, totals in enumerate(by_seed):
            for draw, total in enumerate(totals):
                grouping = rivals.get(method) or random_groups(TASKS, 2, draw)
                losses = dict(zip(TASKS, total * np.array([0.1, 0.2, 0.3, 0.4]), strict=True))
                runs.append(Run(method, seed, grouping, losses, epochs=5))
    affinity = Affinity.from_array(np.eye(4) * 1e-3, TASKS, rows="source")
    return DemoResult(
        SETTINGS, affinity, rivals["selected"], tuple(runs), seconds=1.0, cpu_seconds=2.0
    )


def cells(table, name):
    line = next(line for line in table.splitlines() if line.startswith(f"| {name}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_shows_every_seed_the_mean_and_the_spread():
    table = describe(made_up_result())
    assert cells(table, "selected")[2:] == ["1.000", "2.500", "1.750", "1.061"]
    assert cells(table, "single task")[1:] == ["4", "1.500", "1.500", "1.500", "0.000"]
    # 3.0 and 3.25 are the means of the draws.
    assert cells(table, "random")[2:4] == ["3.000", "3.250"]


def test_the_verdict_says_where_the_selected_groups_lose():
    lines = verdict(made_up_result()).splitlines()
    assert [line.split(":")[0] for line in lines] == [f"- against {m}" for m in METHODS[1:]]
    assert "0.250 HIGHER" in lines[0]
    assert "1 of 2 seeds (not on seed 1)" in lines[0]
    assert "0.750 lower" in lines[1]
    assert "not on seed 1" in lines[1]
    assert lines[2].endswith("2 of 2 seeds")


def test_a_tie_is_not_counted_as_a_win():
    result = made_up_result()
    tied = DemoResult(
        result.settings,
        result.affinity,
        result.grouping,
        tuple(Run(r.method, r.seed, r.grouping, dict.fromkeys(TASKS, 0.5), 1) for r in result.runs),
        1.0,
        2.0,
    )
    assert verdict(tied).count("equal on average, lower on 0 of 2 seeds (not on seed 0, 1)") == 3
    assert "have a lower mean total test loss than 0 of 3 rivals" in report(tied)


def test_with_one_seed_there_is_no_spread():
    result = made_up_result()
    settings = DemoSettings(**{**vars(SETTINGS), "seeds": 1})
    runs = tuple(run for run in result.runs if run.seed == 0)
    one = DemoResult(settings, result.affinity, result.grouping, runs, 1.0, 2.0)
    assert cells(describe(one), "selected")[2:] == ["1.000", "1.000", "-"]


def test_the_report_shows_every_random_draw_and_both_pictures():
    text = report(made_up_result())
    for total in ("2.000", "4.000", "3.500"):
        assert f"| {total} |" in text
    assert "![affinity](affinity.png)" in text
    assert "![groups](groups.png)" in text
    assert "planted structure" in text


def test_a_result_survives_json():
    result = made_up_result()
    stored = json.loads(to_json(result))
    for method in METHODS:
        assert stored["total_test_loss"][method] == result.by_seed(method)
    assert set(stored["versions"]) >= {"python", "keras", "tensorflow", "ortools"}
    read = from_dict(stored)
    assert describe(read) == describe(result)
    assert verdict(read) == verdict(result)
    assert report(read) == report(result)
    assert to_dict(read) == to_dict(result)


def test_unmeasured_pairs_survive_json():
    result = made_up_result()
    matrix = np.full((4, 4), np.nan)
    matrix[0, 1] = 0.12345678
    affinity = Affinity.from_array(matrix, TASKS, rows="source")
    partly = DemoResult(SETTINGS, affinity, result.grouping, result.runs, 1.0, 2.0)
    read = from_dict(json.loads(to_json(partly)))
    np.testing.assert_allclose(read.affinity.mean, matrix, rtol=1e-5)


def test_a_report_is_written_over_an_older_one_into_a_new_folder(tmp_path):
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        paths = write_report(made_up_result(), folder)
    assert sorted(paths) == sorted(folder.iterdir())
    assert all(path.stat().st_size for path in paths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 0}, "`budget` from 1 to the number of tasks, 9.*budget=0"),
        ({"budget": 10}, "budget=10"),
        ({"seeds": 0}, "`seeds` >= 1"),
        ({"draws": 0}, "`draws` >= 1"),
        ({"epochs": 0}, "`epochs` >= 1"),
        ({"train_size": -1}, "`train_size` >= 1.*-1"),
        ({"positions": 0}, "`positions` >= 1"),
        ({"tasks": ("even",)}, "'even'"),
        ({"tasks": ("odd",), "positions": 1, "budget": 1}, "at least two tasks"),
    ],
)
def test_settings_out_of_range_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        DemoSettings(**arguments)
