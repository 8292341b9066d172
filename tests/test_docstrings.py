"""Docstrings: every example runs and shows the right result; a module's is a statement."""

import ast
import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_tag

# They need files that nobody has without asking (tests in tests/datasets read generated ones), or a
# cluster (tests/search/test_on_workers.py has one).
NEEDS_MORE = {
    "keras_tag.datasets.celeb_a_attributes.celeb_a",
    "keras_tag.datasets.celeb_a_files.prepare_celeb_a",
    "keras_tag.datasets.taskonomy_views.taskonomy",
    "keras_tag.search.ray_executor.RayExecutor",
}
TASKS = {"keras_tag.grouped_model.model": ("left", "right", "up")}
FINDER = doctest.DocTestFinder(exclude_empty=True)


# The names that `trained_names` makes, in seconds: only for the examples that use one.
TRAINED = re.compile(r"\b(tag|joint|served|model|build_model|train|valid|test)\b")


def with_examples():
    """Modules with examples; those that need a trained model are slow."""
    for found in pkgutil.walk_packages(keras_tag.__path__, "keras_tag."):
        if found.name == "keras_tag.__main__":  # It is the command.
            continue
        source = "".join(
            example.source for test in examples(found.name) for example in test.examples
        )
        if source:
            trained = TRAINED.search(source) is not None
            marks = [pytest.mark.slow] if trained else []
            yield pytest.param(found.name, trained, id=found.name, marks=marks)


def examples(name, given=None):
    module = importlib.import_module(name)
    return [t for t in FINDER.find(module, extraglobs=given) if t.name not in NEEDS_MORE]


MODULES = list(with_examples())


class Checker(doctest.OutputChecker):
    """An example without a result may print any."""

    def check_output(self, want, got, optionflags):
        return not want or super().check_output(want, got, optionflags)


def plain_names(tasks):
    """The names that an example may use without making them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 6)).astype("float32")
    # That of the example of `select_groups`.
    matrix = [[1.0, 0.8, 0.0], [0.6, 1.0, 0.1], [0.0, 0.0, 1.0]]
    affinity = keras_tag.Affinity.from_array(matrix, ["a", "b", "c"], rows="source")
    return {
        "keras_tag": keras_tag, "keras": keras, "np": np, "x": x,
        "y": {task: (x @ rng.normal(size=(6, 1))).astype("float32") for task in tasks},
        "grouping": keras_tag.Grouping.from_groups([tasks[:2], tasks[2:]]), "affinity": affinity,
        "Affinity": keras_tag.Affinity, "Grouping": keras_tag.Grouping,
        "GroupScores": keras_tag.GroupScores, "select_groups": keras_tag.select_groups,
    }  # fmt: skip


def trained_names(tasks, plain):
    """The names of data and models that an example may use without making them."""
    import tensorflow as tf

    def build_model(some=tasks):
        inputs = keras.Input((6,))
        trunk = keras.layers.Dense(4, activation="relu", name="trunk")(inputs)
        return keras.Model(inputs, {t: keras.layers.Dense(1, name=t)(trunk) for t in some})

    train = tf.data.Dataset.from_tensor_slices((plain["x"], plain["y"])).batch(16)
    joint = build_model()
    tag = keras_tag.TAGModel(joint, every=1)
    tag.compile("adam", loss="mse")
    tag.fit(train, epochs=3, verbose=0)
    joint.compile("adam", loss="mse")
    served = keras_tag.GroupedModel(plain["grouping"], build_model)
    served.compile("adam", loss="mse")
    return {
        "train": train, "valid": train, "test": train, "joint": joint, "model": joint, "tag": tag,
        "served": served, "build_model": build_model,
    }  # fmt: skip


def digits_model():
    """A model for the images of `overlaid_digits`' example."""
    data = keras_tag.datasets.overlaid_digits(positions=2, tasks=("loop", "odd"))
    inputs = keras.Input(data.image_shape)
    flat = keras.layers.Flatten()(inputs)
    outputs = {t: keras.layers.Dense(1, "sigmoid", name=t)(flat) for t in data.tasks}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss="binary_crossentropy")
    return model


@pytest.mark.parametrize(("name", "trained"), MODULES)
def test_the_examples_of_a_module_hold(name, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    tasks = TASKS.get(name, ("depth", "normals", "edges"))
    given = plain_names(tasks)
    if trained:
        given |= trained_names(tasks, given)
    if name == "keras_tag.datasets.overlaid":
        given["model"] = digits_model()
    runner = doctest.DocTestRunner(Checker(), optionflags=doctest.NORMALIZE_WHITESPACE)
    ran = sum(runner.run(test).attempted for test in examples(name, given))
    assert ran
    assert not runner.failures


def test_most_modules_with_public_names_have_examples():
    assert len(MODULES) > 20


def test_a_module_docstring_is_a_statement_and_no_question():
    package = Path(keras_tag.__file__).parent
    for path in [*package.rglob("*.py"), *Path(__file__).parent.rglob("*.py")]:
        docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        assert docstring or path.name == "conftest.py" or package not in path.parents, path
        question = re.match(r"(What|How|Which|Who|Where|When|Why|Whether)\b", docstring)
        assert not question, (path, docstring.splitlines()[0])
