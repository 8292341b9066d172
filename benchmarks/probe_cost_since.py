"""The cost of a probed step in another checkout, to hold it against today's.

    python benchmarks/probe_cost_since.py CHECKOUT mlp      # prints a line of probe_cost_since.json

CHECKOUT is a folder with a version of this repository, `.` for this one. What is measured is what
its `probe_cost.py` measures: a probed step with nine tasks and batches of 64, over a plain step of
Keras, interleaved in one process.
"""

import importlib
import json
import sys
from pathlib import Path

TASKS, BATCH, ROUNDS = 9, 64, 11


def main(checkout: Path, network: str) -> None:
    """Measure one network.

    Args:
        checkout: The folder of the repository.
        network: One of `probe_cost.NETWORKS`.
    """
    sys.path[:0] = [str(checkout), str(checkout / "benchmarks")]
    probe_cost = importlib.import_module("probe_cost")
    row = probe_cost.measure_steps(network, TASKS, BATCH, ROUNDS, ["gradient"])
    print(json.dumps({"network": network, "cpu": row["variants"]["gradient"]["cpu"]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])
