"""The cost of finding the groups, in counted forward and backward passes."""

from dataclasses import dataclass

from keras_tag.probe_passes import look_ahead_passes


@dataclass(frozen=True)
class GroupingCost:
    """The cost of finding groups, before the chosen ones are trained.

    One joint run is the unit: the training of one network for all tasks, one forward and one
    backward pass per step. A backward pass counts as `backward` forward passes.

    Args:
        num_tasks: n.
        tag: TAG: the joint run with its probes.
        pairs: HOA: every pair and every lone task trained, as long as the joint run.
        exhaustive: All 2**n - 1 groups trained.
    """

    num_tasks: int
    tag: float
    pairs: float
    exhaustive: float

    def __str__(self) -> str:
        rows = {
            "TAG": self.tag,
            "HOA, pairs and lone tasks": self.pairs,
            "exhaustive search": self.exhaustive,
        }
        lines = [f"Finding groups of {self.num_tasks} tasks, in joint runs:"]
        for name, runs in rows.items():
            lines.append(f"  {name}: {runs:,.2f}")
        return "\n".join(lines)


def grouping_cost(
    num_tasks: int,
    *,
    every: int = 10,
    lookahead: str = "gradient",
    steps: int = 1,
    reuse_gradients: bool = False,
    probe_data: bool = False,
    backward: float = 1.0,
) -> GroupingCost:
    """Count what TAG, HOA and exhaustive search would cost.

    A probe takes a backward pass per task (its gradient) and, if it looks ahead, a forward pass
    per task at the moved weights; the forward pass before them is the training step's own. Passes
    are counted alike for every network: heads are small, and a network of few tasks has the same
    trunk. What HOA and exhaustive search cost is counted in full-length runs, though lone tasks
    and pairs may stop earlier.

    Args:
        num_tasks: n.
        every: Every so many steps are probed: unless told otherwise, a `TAGModel` begins with 10 in
            short runs and takes 50 in long ones.
        lookahead: As in `TAGModel`: "gradient" and "optimizer" look ahead, "first_order" and
            "cosine" need the gradients only.
        steps: As in `TAGModel`: how many successive steps a look-ahead takes. Every further one
            takes another gradient and another forward pass.
        reuse_gradients: As in `TAGModel`: the joint backward pass is saved at probed steps.
        probe_data: Whether losses are measured on other data than the training batch, as with
            `probe_data=` in `TAGModel`: one forward pass more at every probe.
        backward: What a backward pass costs in forward passes. 1 counts passes as the paper
            speaks of them; 2 is nearer to arithmetic.

    Returns:
        The costs.

    Raises:
        ValueError: A number out of range, or an unknown look-ahead kind.

    Example:
        >>> cost = grouping_cost(9, every=25)
        >>> round(cost.tag, 2), cost.pairs
        (1.36, 45.0)

    Reference:
        Fifty et al., NeurIPS 2021, arXiv:2109.04617, section 4; Standley et al., ICML 2020.
    """
    numbers = {"num_tasks": (num_tasks, 2), "every": (every, 1), "steps": (steps, 1)}
    for name, (value, least) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(
                f"Expected `{name}` to be a whole number of at least {least}. Received: "
                f"{name}={value!r}."
            )
    if not backward > 0:
        raise ValueError(f"Expected `backward` to be positive. Received: backward={backward!r}.")
    ahead, back = look_ahead_passes(num_tasks, lookahead, steps, probe_data)
    probe = ahead + (back - reuse_gradients) * backward
    pairs = num_tasks * (num_tasks - 1) / 2
    return GroupingCost(
        num_tasks=num_tasks,
        tag=1.0 + probe / every / (1.0 + backward),
        pairs=pairs + num_tasks,
        exhaustive=float(2**num_tasks - 1),
    )
