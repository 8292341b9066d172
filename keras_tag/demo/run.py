"""`run_demo`: a `GroupSearch` on overlaid digits."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_tag.datasets.checks import check_at_least_1
from keras_tag.datasets.digits import compose_digits, task_names

if TYPE_CHECKING:
    from keras_tag.search.group_search import GroupSearch

_UNITS = 24


@dataclass(frozen=True)
class DemoSettings:
    """What is searched.

    Args:
        budget: How many networks may be served.
        trainings: How many groups may be trained beside the joint run.
        tasks: The properties of the digits, see `keras_tag.datasets.overlaid_digits`.
        positions: How many digits an image shows.
        epochs: The most epochs a network is trained; it stops earlier on validation loss.
        train_size: How many training images there are.
        seed: Of images and trainings.
        single: Whether every task is trained alone, too, to compare with.

    Raises:
        ValueError: A setting out of range.
    """

    budget: int = 3
    trainings: int = 9
    tasks: tuple[str, ...] = ("loop", "prime", "composite")
    positions: int = 3
    epochs: int = 100
    train_size: int = 1500
    seed: int = 0
    single: bool = False

    def __post_init__(self) -> None:
        check_settings(self, ("trainings", "epochs", "train_size"))


def check_settings(settings: Any, counts: Sequence[str]) -> None:
    """Check that settings make at least two tasks, and that the budget is one for them.

    Args:
        settings: Has `budget`, `tasks` and `positions`.
        counts: Names of settings that must be at least 1.

    Raises:
        ValueError: A setting out of range.
    """
    check_at_least_1(**{name: getattr(settings, name) for name in counts})
    num_tasks = len(task_names(settings.positions, settings.tasks))
    if num_tasks < 2:
        raise ValueError(
            f"Expected at least two tasks to group. Received: tasks={settings.tasks}, "
            f"positions={settings.positions}, which make one."
        )
    if not 1 <= settings.budget <= num_tasks:
        raise ValueError(
            f"Expected `budget` from 1 to the number of tasks, {num_tasks} "
            f"({len(settings.tasks)} properties at {settings.positions} positions). Received: "
            f"budget={settings.budget}."
        )


def run_demo(
    folder: str | os.PathLike[str], settings: DemoSettings | None = None, verbose: Any = 2
) -> "GroupSearch":
    """Search on overlaid digits, and write a report.

    Args:
        folder: Of the search; with one that was interrupted, it goes on.
        settings: What to search; the defaults take some minutes on two cores.
        verbose: As in `GroupSearch.search`.

    Returns:
        The search. Its report is `folder/report.html`.
    """
    import keras

    from keras_tag.demo.network import build_network
    from keras_tag.search.group_search import GroupSearch

    settings = settings or DemoSettings()
    digits = compose_digits(
        settings.positions, settings.tasks, settings.seed, train_size=settings.train_size
    )
    train, valid = digits["train"], digits["validation"]
    model = build_network(list(train.labels), train.images.shape[1:], _UNITS, settings.seed)
    model.compile(keras.optimizers.Adam(0.005), loss="binary_crossentropy")
    directory, name = os.path.split(os.path.abspath(folder))
    search = GroupSearch(
        model,
        settings.budget,
        trainings=settings.trainings,
        baselines="single" if settings.single else None,
        seed=settings.seed,
        directory=directory,
        project_name=name,
    )
    if verbose:
        search.search_space_summary()
    search.search(
        train.images,
        train.labels,
        batch_size=64,
        epochs=settings.epochs,
        validation_data=(valid.images, valid.labels),
        callbacks=[keras.callbacks.EarlyStopping(patience=8)],
        verbose=verbose,
    )
    search.report(os.path.join(folder, "report.html"))
    return search
