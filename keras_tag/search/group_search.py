"""`GroupSearch`: from a compiled model to the best networks, in one call."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import keras

from keras_tag.affinity import Affinity
from keras_tag.grouped_model import GroupedModel
from keras_tag.provenance import versions
from keras_tag.search import arguments, summary
from keras_tag.search.callbacks import Callbacks, copies
from keras_tag.search.data import Source
from keras_tag.search.ledger import Ledger, Outcome, as_read
from keras_tag.search.networks import Networks
from keras_tag.search.objectives import Objective, objectives_by_task
from keras_tag.search.proposals import Limits
from keras_tag.search.results import Results, problem_of
from keras_tag.search.runner import Runner
from keras_tag.search.training import FitSettings
from keras_tag.search.workers import ExecutorLike, Workers
from keras_tag.selection import Grouping
from keras_tag.selection.arguments.choice import Choice, GroupArguments, lists_arguments
from keras_tag.tag_model.checks import check_whole

if TYPE_CHECKING:
    import pandas as pd


class GroupSearch:
    """Finds the networks that serve a model's tasks best, by training few of them.

    It trains the joint model once and measures inter-task affinities meanwhile; then it trains
    those groups of tasks that `groups_to_train` asks for, each as `fit` would; the best of all
    networks, the joint one among them, are put together. Nothing is trained twice.

    The folder `directory/project_name` is the search: killed at any moment, the same script goes
    on where it was, and ends with the same networks.

    Args:
        model: A compiled functional model with one named output per task, or a compiled
            `TAGModel` of one, whose settings the joint run then has. Networks get its optimizer,
            losses, loss weights and metrics. It is left as it is. None: `build` builds all.
        budget: How many networks may be served.
        build: For any other model: `build(tasks)` returns a new compiled `keras.Model` with these
            outputs.
        tasks: The tasks; None: all outputs of `model` that have a loss. Needed with `build` alone.
        objective: What counts: None, the validation losses, or by task a name in the logs
            ("val_age_mae") or `keras_tag.Objective("val_smile_auc", "max")`. Their sum is to be
            least (greatest), each times its weight in `weights`.
        trainings: How many groups may be trained beside the joint run. None: three per network.
        max_cost: What all may cost, in joint runs, the joint run included. None: any.
        timeout: After so many seconds of training no training begins. None: never.
        on_timeout: What happens to a training that runs then: "finish", or "stop" at the end of
            its epoch.
        max_retries: How often a training that raised, or whose objective became NaN, is tried
            again with another seed, before it is marked as failed.
        baselines: "single": every task is trained alone, too; then these are candidates as well.
            None: only what the search asks for.
        start: What networks start from: "initial", the weights that `model` has now; or "fresh",
            "trunk" or "all", as in `build_from`, of the joint run.
        missing: A label value that means "not labelled", such as -1. NaN means so without asking.
        seed: Of all trainings. A training's seed follows from it and from the group.
        keep: "best": the weights of networks that could still be chosen; "all": of all.
        directory: Where the search's folder is.
        project_name: The folder's name.
        overwrite: Whether to remove the search in the folder, and start anew.
        **constraints: As in `select_groups`: `overlap`, `min_size`, `max_size`, `weights`,
            `must_link`, `cannot_link`.

    Raises:
        TypeError: `model` is no `keras.Model`, or `build` no function.
        ValueError: Something else can't be used; or the folder holds another search.

    Example:
        >>> search = keras_tag.GroupSearch(model, budget=3, directory="runs", project_name="faces")
        >>> search.search(train, validation_data=valid, epochs=30)
        >>> search.results_summary()
        >>> served = search.best_model()  # A trained GroupedModel.

    Reference:
        Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS
        2021, arXiv:2109.04617; words and conventions are KerasTuner's.
    """

    @lists_arguments(GroupArguments)
    def __init__(
        self,
        model: keras.Model | None = None,
        budget: int = 2,
        *,
        build: Callable[[tuple[str, ...]], keras.Model] | None = None,
        tasks: Sequence[str] | None = None,
        objective: Mapping[str, str | Objective] | None = None,
        trainings: int | None = None,
        max_cost: float | None = None,
        timeout: float | None = None,
        on_timeout: Literal["finish", "stop"] = "finish",
        max_retries: int = 0,
        baselines: Literal["single"] | None = None,
        start: Literal["initial", "fresh", "trunk", "all"] = "initial",
        missing: float | None = None,
        seed: int = 0,
        keep: Literal["best", "all"] = "best",
        directory: str | os.PathLike[str] = ".",
        project_name: str = "group_search",
        overwrite: bool = False,
        **constraints: Unpack[GroupArguments],
    ) -> None:
        choice = Choice.of("GroupSearch", constraints, GroupArguments)
        arguments.checked_model(model, build)
        names = arguments.output_names(model, tasks)
        chosen = arguments.checked_tasks(model, names, tasks)
        arguments.checked_choice("on_timeout", on_timeout, ("finish", "stop"))
        arguments.checked_choice("baselines", baselines, (None, "single"))
        arguments.checked_choice("start", start, ("initial", "fresh", "trunk", "all"))
        if build is not None and start in ("trunk", "all"):
            raise ValueError(
                "Expected start='initial' with `build`, whose networks start from what it gives "
                f"them. Received: start={start!r}. Set the weights inside of `build`."
            )
        arguments.checked_choice("keep", keep, ("best", "all"))
        budget = check_whole("budget", budget)
        trainings = check_whole("trainings", 3 * budget if trainings is None else trainings)
        arguments.check_limits(max_cost, timeout, len(chosen) if baselines else 0)
        max_retries = check_whole("max_retries", max_retries, 0)
        self._limits = Limits(trainings, max_cost, timeout, on_timeout, max_retries)
        missing = arguments.checked_missing(model, missing)
        self._output_names = names
        self._keep = keep
        settings: dict[str, Any] = {
            "tasks": list(chosen),
            "budget": budget,
            "objective": {
                task: astuple(own) for task, own in objectives_by_task(objective, chosen).items()
            },
            "baselines": baselines,
            "start": start,
            "missing": missing,
            "seed": check_whole("seed", seed, 0),
            "constraints": {
                **{name: getattr(choice, name) for name in GroupArguments.__annotations__},
                "weights": None if choice.weights is None else dict(choice.weights),
            },
        }
        self._networks = Networks(model, build, chosen, start, missing)
        self._settings = as_read({**settings, "model": self._networks.describe()})
        self._ledger = Ledger(Path(directory) / project_name)
        if overwrite:
            self._ledger.remove()
        elif self._ledger.exists:
            self._refuse_others({"search": self._settings})

    # The search.

    def search(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Callbacks | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        sample_weight: Any = None,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        executor: ExecutorLike = None,
        strategy: Literal["mirrored"] | None = None,
    ) -> None:
        """Search; on a folder that holds this search already, go on with it.

        The arguments are those of `keras.Model.fit`. Arrays are shuffled before every epoch in an
        order that follows from a training's seed.

        Args:
            x: Arrays; or a batched `tf.data.Dataset` or `PyDataset`; or a function that returns
                one, or `(x, y)`, or `(x, y, sample_weight)`. It is called for every training, in
                the process that trains, after the seed was set: the way to shuffle a dataset so
                that a search can be repeated.
            y: As in `fit`, with the labels of all tasks.
            batch_size: As in `fit`.
            epochs: As in `fit`, for every training.
            verbose: 0: nothing. 1, or "auto": one bar for the search above Keras's own. 2: one
                line per training.
            callbacks: As in `fit`. Every training gets copies; or give a function of the group
                that returns new ones. Those of Keras that write files write them to a folder
                `<project_name>_training_<number>`, beside or in the one that they were given.
            validation_split: As in `fit`.
            validation_data: As in `fit`, or a function. Networks are compared on it.
            shuffle: As in `fit`.
            sample_weight: As in `fit`.
            steps_per_epoch: As in `fit`.
            validation_steps: As in `fit`, but every validation reads the same first batches.
            validation_batch_size: As in `fit`.
            validation_freq: As in `fit`.
            executor: What trains the groups: anything with `submit(function, *args) -> Future`
                whose workers are processes of their own, such as `keras_tag.RayExecutor` or a
                process pool; or a function that makes one, which is shut down in the end and made
                anew if a worker is killed. None: one group after the other in this process. The
                joint run stays in this process.
            strategy: "mirrored": a training (not the joint run) uses `tf.distribute`'s
                `MirroredStrategy` over all GPUs that its worker has. None: the first one, or the
                strategy that the model was made under.

        Raises:
            TypeError: `executor` is none.
            ValueError: There is no validation data, or other settings than those of the folder;
                or what is to be trained can't be sent to the workers.
            OSError: The folder can't be written.
            RuntimeError: The joint run failed, or three trainings in a row; or the executor broke.
        """
        given = dict(locals())
        callbacks = () if callbacks is None else callbacks
        arguments.checked_choice("strategy", strategy, (None, "mirrored"))
        workers = Workers(executor)
        numbers = ("epochs", "steps_per_epoch", "validation_freq", "validation_steps")
        given |= as_read({name: given[name] for name in numbers})
        train, valid = arguments.sources(given, self._output_names, self._networks.missing)
        fit = {name: given[name] for name in numbers[:3]}
        described = {"train": train.describe(), "valid": valid.describe()}
        settings = {
            "search": self._settings,
            "fit": {**fit, "validation_steps": given["validation_steps"], **described},
        }
        if not workers.here:
            arguments.check_data_travels(x, validation_data)
        copies(callbacks, self.tasks, self._ledger.folder_of(0))
        self._ledger.make_folder()
        with self._ledger.claimed() as session:
            batches = {"x": train.fingerprint(), "validation_data": valid.fingerprint()}
            if self._ledger.exists:
                self._refuse_others(settings)
                there = self._ledger.settings().get("batches", batches)
                arguments.warn_of_other_batches(there, batches)
                batches = there
                self._networks.load_initial(self._ledger.initial_weights)
            else:
                with self._ledger.writing():
                    self._networks.save_initial(self._ledger.initial_weights)
            self._networks.inputs = train.inputs()
            self._networks.check_losses(train)
            self._ledger.begin(
                {
                    **settings,
                    "limits": vars(self._limits),
                    "inputs": self._networks.inputs,
                    "batches": batches,
                    "versions": versions(),
                }
            )
            fit["verbose"] = 0 if verbose == 2 else verbose
            problem = problem_of({"search": self._settings})
            Runner(
                self._ledger,
                self._networks,
                FitSettings(problem, train, valid, fit, callbacks),
                self._limits,
                self._settings["seed"],
                self._keep,
                workers,
                strategy,
                session,
            ).run(verbose)

    def _refuse_others(self, settings: Mapping[str, Any]) -> None:
        there = self._ledger.settings()
        found = arguments.differences({name: there.get(name) for name in settings}, settings)
        if found:
            raise ValueError(
                f"Expected the settings of the search in {str(self._ledger.folder)!r}. "
                f"Different: {'; '.join(found)}. Give another `project_name`, or overwrite=True "
                "to remove that search."
            )

    # What was found.

    @property
    def results(self) -> Results:
        """What the folder says: trainings, the best grouping, the verdict."""
        return Results.read(self._ledger)

    @property
    def results_folder(self) -> Path:
        """Where the search is: `directory/project_name`."""
        return self._ledger.folder

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks."""
        return tuple(self._settings["tasks"])

    def affinity(self) -> Affinity:
        """Return the affinities that the joint run measured.

        Raises:
            ValueError: The joint run is not done.
        """
        found = self.results.affinity
        if found is None:
            raise ValueError("Expected a joint run that is done. Call `search` first.")
        return found

    def best_grouping(self) -> Grouping:
        """Return the best grouping of the networks that exist.

        Raises:
            ValueError: No network has been trained yet.
        """
        return self.results.grouping()

    def best_model(self) -> GroupedModel:
        """Return the best networks as one trained model; nothing is trained for it.

        Raises:
            ValueError: There are no networks yet.
        """
        results = self.results
        grouping = results.grouping()
        networks = {g: self._load(results.by_group[frozenset(g)]) for g in grouping.groups}
        return self._networks.served(grouping, networks)

    def evaluate(self, test: Any) -> "pd.DataFrame":
        """Return what every task achieves on test data, and what it would elsewhere.

        Args:
            test: `(x, y)`, `(x, y, sample_weight)`, or a batched `tf.data.Dataset`.

        Returns:
            As `GroupedModel.report`: a row per task; network, loss and metrics, then the same of
            the joint run ("joint_"), and with `baselines="single"` of lone networks ("single_").
        """
        results = self.results
        served = self.best_model()
        assert results.joint is not None
        single = None
        if results.problem.singles:
            lone = {task: results.by_group[frozenset([task])] for task in self.tasks}
            single = {task: self._load(outcome) for task, outcome in lone.items()}
        data = test
        if isinstance(test, tuple | list):
            named = {"output_names": self._output_names, "missing": self._networks.missing}
            data = Source.of(test, **named).batches(0).data
        return served.report(data, joint=self._load(results.joint), single=single)

    def _load(self, outcome: Outcome) -> keras.Model:
        self._networks.inputs = self._ledger.settings()["inputs"]
        return self._networks.trained(outcome.group, self._ledger.weights_of(outcome))

    # What people read.

    def search_space_summary(self) -> None:
        """Print tasks, candidate groups, and what the search costs."""
        results = self.results if self._ledger.exists else None
        problem = problem_of({"search": self._settings})
        print(summary.search_space(problem, self._limits, results))

    def results_summary(self) -> None:
        """Print what was found: networks, objectives, costs, and whether the gain is luck."""
        print(summary.results_text(self.results))

    def report(self, path: str | os.PathLike[str] = "report.html") -> None:
        """Write a report: one HTML file with pictures, which needs no other.

        Args:
            path: The file.
        """
        from keras_tag.search.report import write_report

        write_report(self.results, path)

    def to_frame(self) -> "pd.DataFrame":
        """Return one row per training."""
        return self.results.to_frame()
