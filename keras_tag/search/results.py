"""`Results`: what a ledger says about a search, for people. It never imports TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_tag.affinity import Affinity
from keras_tag.search.ledger import Ledger, Outcome
from keras_tag.search.objectives import Objective
from keras_tag.search.outlook import Outlook, outlook
from keras_tag.search.proposals import Problem
from keras_tag.search.verdict import Verdict, verdict
from keras_tag.selection import Grouping

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TaskResult:
    """What one task reaches.

    Args:
        task: Its name.
        network: The index of the network that serves it.
        group: The tasks of that network.
        reached: Its objective there, as in the logs.
        joint: Its objective in the joint run.
        single: Its objective in a network of its own; None if there is none.
    """

    task: str
    network: int
    group: tuple[str, ...]
    reached: float
    joint: float
    single: float | None


@dataclass(frozen=True)
class Results:
    """What is known of a search, finished or not.

    Args:
        settings: As in search.json.
        outcomes: All trainings, in the order of their numbers.
        affinity: What the joint run measured; None before its end.
    """

    settings: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    affinity: Affinity | None

    @classmethod
    def read(cls, ledger: Ledger) -> "Results":
        """Read a folder.

        Args:
            ledger: Of the folder.
        """
        return cls(ledger.settings(), tuple(ledger.outcomes()), ledger.affinity())

    @property
    def problem(self) -> Problem:
        """What is searched for."""
        return problem_of(self.settings)

    @property
    def done(self) -> list[Outcome]:
        """Trainings that gave a network."""
        return [outcome for outcome in self.outcomes if outcome.status == "done"]

    @property
    def by_group(self) -> dict[frozenset[str], Outcome]:
        """The trainings that gave a network, by their tasks."""
        return {frozenset(outcome.group): outcome for outcome in self.done}

    @property
    def joint(self) -> Outcome | None:
        """The joint run, if it is done."""
        return next((outcome for outcome in self.done if outcome.kind == "joint"), None)

    def grouping(self) -> Grouping:
        """Return the best grouping of the networks that exist.

        Raises:
            ValueError: There are none yet, or none that meet the constraints.
        """
        if self.joint is None:
            raise ValueError(
                "Expected a search whose joint run is done. Received: none. Call `search` first."
            )
        return self.problem.choose(self.outcomes)

    def verdict(self) -> Verdict:
        """Return the gain over the joint run, and whether it is more than luck."""
        assert self.affinity is not None
        return verdict(self.problem, self.affinity, self.ended, self.grouping())

    def outlooks(self) -> list[Outlook]:
        """Return the gain that there is to find, before any group is trained and now."""
        if self.affinity is None or self.joint is None:
            return []
        states = [[self.joint], self.done] if len(self.done) > 1 else [[self.joint]]
        found = [outlook(self.problem, self.affinity, state) for state in states]
        return [one for one in found if one is not None]

    @property
    def ended(self) -> list[Outcome]:
        """Trainings that are done or failed."""
        return [outcome for outcome in self.outcomes if outcome.ended]

    def tasks(self) -> list[TaskResult]:
        """Return what every task reaches in the best grouping."""
        grouping, joint, by_group = self.grouping(), self.joint, self.by_group
        assert joint is not None
        found = []
        for task in self.problem.tasks:
            index = grouping.serves[task]
            group = grouping.groups[index]
            alone = by_group.get(frozenset([task]))
            found.append(
                TaskResult(
                    task,
                    index,
                    group,
                    by_group[frozenset(group)].objective[task],
                    joint.objective[task],
                    None if alone is None else alone.objective[task],
                )
            )
        return found

    def totals(self) -> list[tuple[int, float | None]]:
        """Return, after each training, the best sum of objectives so far: less is better.

        Returns:
            `(number, sum)`; None where the networks so far make no grouping.
        """
        ended = self.ended
        return [(o.number, self.problem.best(ended[:k])) for k, o in enumerate(ended, 1)]

    @property
    def cost(self) -> float:
        """What was spent, in joint runs."""
        return sum(outcome.cost for outcome in self.outcomes)

    @property
    def seconds(self) -> float:
        """How long trainings took."""
        return sum(outcome.seconds for outcome in self.outcomes)

    def parameters(self) -> int:
        """Return how many numbers the chosen networks have."""
        chosen = [self.by_group[frozenset(group)] for group in self.grouping().groups]
        return sum(outcome.parameters or 0 for outcome in chosen)

    def to_frame(self) -> "pd.DataFrame":
        """Return one row per training, and the objectives of its tasks."""
        import pandas as pd

        rows = [{**vars(o), "group": ", ".join(o.group)} for o in self.outcomes]
        trainings = pd.DataFrame(rows).drop(columns="objective").set_index("number")
        for task in self.problem.tasks:
            # A task may have the name of a column.
            column = f"{task}_objective" if task in trainings else task
            trainings[column] = [o.objective.get(task) for o in self.outcomes]
        return trainings


def problem_of(settings: Mapping[str, Any]) -> Problem:
    """Return the problem that settings describe.

    Args:
        settings: As in search.json.
    """
    search = settings["search"]
    return Problem(
        tuple(search["tasks"]),
        search["budget"],
        {task: Objective(*given) for task, given in search["objective"].items()},
        search["constraints"],
        search["baselines"] == "single",
    )
