"""The answer does not depend on the process, its hash seed, or how many threads it may use."""

import json
import os
import subprocess
import sys

import pytest

# Many ties and many equally good groups, where a race would show; 18 tasks are searched, 9 listed.
SELECT = """
import json, os
if {one_core}:
    os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
import numpy as np
from keras_tag import Affinity, select_groups
answers = []
for num_tasks, score in ((9, "members"), (9, "partners"), (18, "members"), (18, "partners")):
    table = np.random.default_rng(num_tasks).integers(-1, 3, size=(num_tasks, num_tasks)) / 2
    table[np.diag_indices(num_tasks)] = 1.5
    affinity = Affinity.from_array(table, [f"t{{i:02d}}" for i in range(num_tasks)], rows="source")
    grouping = select_groups(affinity, 4, score=score)
    facts = {{**grouping.statistics, "seconds": 0.0}}
    answers.append([grouping.groups, sorted(grouping.serves.items()), grouping.objective, facts])
print(json.dumps(answers))
"""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def answers(threads, hash_seed, one_core):
    done = subprocess.run(
        [sys.executable, "-c", SELECT.format(one_core=one_core)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, **dict.fromkeys(THREADS, threads)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_same_answer_in_any_process_on_any_number_of_threads():
    one_core = hasattr(os, "sched_setaffinity")
    assert answers("1", "1", one_core) == answers("4", "2", False)
