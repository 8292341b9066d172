"""A probe communicates what the page says."""

import pytest
from fresh_process import run_alone
from test_replicas import TWO_REPLICAS


@pytest.mark.slow
def test_bytes_per_probe_are_those_of_the_table():
    run_alone(
        TWO_REPLICAS,
        """
    reduced = []
    all_reduce = tf.distribute.ReplicaContext.all_reduce

    def counted(self, op, value, options=None):
        # Both replicas come by here.
        reduced.extend(v.dtype.size * v.shape.num_elements() / 2 for v in tf.nest.flatten(value))
        return all_reduce(self, op, value, options)

    tf.distribute.ReplicaContext.all_reduce = counted
    x, y = one_device.data(16)
    n = 3
    for kind in one_device.KINDS:
        for steps in (1, 2) if kind in ("gradient", "optimizer") else (1,):
            tag = one_device.made(strategy.scope(), "adam", lookahead=kind, steps=steps)
            reduced.clear()
            tag.measure_affinity(x, y)
            shared = sum(v.shape.num_elements() for v in tag.shared_variables)
            looked_ahead = kind in ("gradient", "optimizer")
            times = 2 if kind == "optimizer" else 1
            expected = 4 * shared * n * steps * times
            if kind in ("gradient", "first_order"):
                expected += 8 * shared  # The rate: the joint gradient, and an optimizer's step.
            expected += 4 * n * (n + 1 if looked_ahead else 1) + 16 * n
            assert sum(reduced) == expected, (kind, steps, sum(reduced), expected)
    """,
    )
