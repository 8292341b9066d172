"""A page of the site for every name in docs/reference.md, made when the site is built."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

# Methods of base classes that are not public.
_INHERITS = {"keras_tag.Affinity": "true", "keras_tag.TAGModel": "[check]"}
# Only its fields are for users.
_FIELDS = {"keras_tag.selection.Choice"}
# A name -> the classes that it returns or has as fields, and which of their methods are for users.
# They are not public, because only the package makes them; users read them.
_PARTS: dict[str, dict[str, list[str]]] = {
    "keras_tag.Affinity": {
        "keras_tag.affinity.history.AffinityHistory": ["num_runs"],
        "keras_tag.affinity.standard_errors.SamplingErrors": [],
    },
    "keras_tag.GroupScores": {"keras_tag.selection.scores.measured_groups.MeasuredGroup": []},
    "keras_tag.GroupSearch": {
        "keras_tag.search.results.Results": ["grouping", "tasks", "verdict", "to_frame"],
    },
    "keras_tag.ModelCheck": {
        "keras_tag.tag_model.model_check.TaskCheck": [],
        "keras_tag.tag_model.model_check.SharedWeights": [],
        "keras_tag.tag_model.model_check.Promise": [],
        "keras_tag.tag_model.model_check.ProbeCost": [],
    },
}


def pages(config: MkDocsConfig) -> dict[str, list[str]]:
    """Return the names of every page, in the order of docs/reference.md.

    Names that differ in case only share a page: some file systems can't tell them apart.
    """
    text = Path(config.docs_dir, "reference.md").read_text("utf-8")
    found: dict[str, list[str]] = {}
    for name in re.findall(r"\]\[(keras_tag[\w.]*)\]", text):
        path = f"reference/{name.removeprefix('keras_tag.').lower()}.md"
        found.setdefault(path, []).append(name)
    return found


def on_config(config: MkDocsConfig, **kwargs: Any) -> None:
    """Called by MkDocs: add the pages to the navigation."""
    assert config.nav is not None
    named = [{names[0].removeprefix("keras_tag."): path} for path, names in pages(config).items()]
    config.nav[-1] = {"Reference": [{"All names": "reference.md"}, *named]}


def on_files(files: Files, config: MkDocsConfig, **kwargs: Any) -> None:
    """Called by MkDocs: make the pages."""
    for path, names in pages(config).items():
        text = f"# {names[0].removeprefix('keras_tag.')}\n"
        for name in names:
            text += f"\n::: {name}\n"
            if name in _INHERITS:
                text += f"    options:\n      inherited_members: {_INHERITS[name]}\n"
            elif name in _FIELDS:
                text += "    options:\n      members: false\n"
            for part, methods in _PARTS.get(name, {}).items():
                text += f"\n::: {part}\n    options:\n      show_root_full_path: false\n"
                text += f"      heading_level: 3\n      members: {methods or 'false'}\n"
        files.append(File.generated(config, path, content=text))
