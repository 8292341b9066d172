"""The page on CelebA runs, on drawn faces; the tutorial on dense tasks runs and draws."""

import json
import re
import runpy
import sys
from pathlib import Path

import celeb_a_likeness as likeness
import pytest
from page_blocks import run_page
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_blocks_of_the_page_on_celeba_run_from_top_to_bottom(tmp_path, monkeypatch):
    likeness.write_files(tmp_path / "files", {"train": 6, "validation": 2, "test": 2})
    likeness.prepare(tmp_path / "files", tmp_path / "data")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    printed = run_page(ROOT / "docs" / "celeba.md", tmp_path)
    assert "CelebA of 64 x 64 pixels (train 6," in printed
    assert "Wearing_Hat" in printed


def test_the_table_of_the_page_on_taskonomy_is_that_of_the_result_files():
    page = (ROOT / "docs" / "taskonomy.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d) \| (.*?) \| (\d\.\d+) \| (\d\.\d+) \|$", page, re.M)
    assert len(rows) == 2
    for seed, groups, joint, grouped in rows:
        file = ROOT / "tutorials" / "dense_tasks" / f"seed_{seed}.json"
        result = json.loads(file.read_text("utf-8"))
        assert result["options"]["seed"] == int(seed)
        losses = result["test_loss"]
        assert float(joint) == pytest.approx(sum(losses["joint_loss"].values()), abs=5e-4)
        assert float(grouped) == pytest.approx(sum(losses["loss"].values()), abs=5e-4)
        short = {name: name.partition("_")[0] for name in result["tasks"]}
        short["keypoints2d"] = "keypoints"
        named = [", ".join(sorted(short[task] for task in group)) for group in result["groups"]]
        assert " / ".join(named) == groups


@pytest.mark.slow
def test_the_tutorial_on_dense_tasks_runs_and_draws(tmp_path, monkeypatch, capsys):
    script = ROOT / "tutorials" / "dense_tasks.py"
    arguments = ["--epochs", "1", "--buildings", "3", "--image-size", "16", "--out", str(tmp_path)]
    arguments += ["--tasks", "segment_semantic", "edge_texture"]
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    monkeypatch.setenv("MPLBACKEND", "Agg")
    runpy.run_path(str(script), run_name="__main__")
    assert "total test loss" in capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert result["tasks"] == ["segment_semantic", "edge_texture"]
    assert set(result["test_loss"]["loss"]) == set(result["tasks"])
    for name in ("rooms", "affinity", "groups", "predictions"):
        with Image.open(tmp_path / f"{name}.png") as image:
            low, high = image.convert("L").getextrema()
            assert high - low > 100
