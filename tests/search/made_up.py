"""The folder of a search that nobody trained."""

from keras_tag import Affinity
from keras_tag.search.ledger import Ledger, Outcome

TASKS = ("depth", "normals", "edges <b>&$x$</b>", "objects")
A, B, C, D = TASKS
AFFINITY = Affinity.from_array(
    [[1.0, 0.6, 0.0, 0.1], [0.5, 2.0, 0.1, 0.0], [0.0, 0.1, 0.5, 0.3], [0.1, 0.0, 0.2, 1.0]],
    TASKS,
    rows="source",
)
REACHED = {
    TASKS: {A: 0.50, B: 0.60, C: 0.40, D: 0.70},
    (A, B): {A: 0.40, B: 0.50},
    (C, D): {C: 0.30, D: 0.55},
    (A,): {A: 0.45},
}


def settings(**changes):
    search = {
        "tasks": list(TASKS),
        "budget": 2,
        "objective": {task: [f"val_{task}_loss", "min"] for task in TASKS},
        "baselines": None,
        "constraints": {},
    }
    limits = {"trainings": 6, "max_cost": None, "timeout": None}
    return {"search": {**search, **changes}, "limits": limits, "versions": {"keras": "3.15"}}


def outcomes(reached=None):
    return [
        Outcome(
            number,
            "searched" if number else "joint",
            group,
            "done",
            seed=number,
            epochs=5 + number,
            best_epoch=number,
            objective=values,
            seconds=10.0 + number,
            cost=1.0,
            parameters=100 * len(group),
        )
        for number, (group, values) in enumerate((reached or REACHED).items())
    ]


def write(folder, **changes):
    """A search with a failed and a running training."""
    ledger = Ledger(folder)
    ledger.make_folder()
    ledger.begin(settings(**changes))
    ledger.write_affinity(AFFINITY)
    for outcome in outcomes():
        ledger.write(outcome)
    ledger.write(Outcome(4, "searched", (A, C), "failed", seconds=1.0, error="ValueError: <oh>"))
    ledger.write(Outcome(5, "searched", (B, D)))
    (ledger.folder_of(5) / "history.csv").write_text("epoch,loss\n0,1.0\n1,0.5\n", "utf-8")
    return ledger


def total(groups):
    """The least sum, by hand."""
    return sum(min(REACHED[g][t] for g in groups if t in g) for t in TASKS)
