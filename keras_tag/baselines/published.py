"""Published methods with our exact solver: TAG as published, cosine similarity, exhaustive."""

from keras_tag.affinity import Affinity
from keras_tag.selection import Grouping, GroupScores, select_groups


def tag_groups(affinity: Affinity, budget: int) -> Grouping:
    """Choose as TAG was published: the score is the mean affinity over a task's partners.

    Args:
        affinity: As a `TAGModel` measured it; the paper's kind is `lookahead="gradient"`.
        budget: b, the number of networks.

    Returns:
        The best `Grouping` of at most b groups, no task alone.

    Raises:
        ValueError: See `select_groups`.

    Example:
        >>> affinity = Affinity.from_array(
        ...     [[1.0, 0.8, 0.1], [0.6, 1.0, 0.1], [0.1, 0.1, 1.0]], ["a", "b", "c"], rows="source")
        >>> tag_groups(affinity, 2).groups
        (('a', 'b'), ('a', 'c'))

    Reference:
        Fifty et al., NeurIPS 2021, arXiv:2109.04617, section 3.2.
    """
    return select_groups(affinity, budget, score="partners")


def cosine_groups(cosines: Affinity, budget: int) -> Grouping:
    """Choose groups of tasks whose gradients point in similar directions.

    Args:
        cosines: What a `TAGModel(..., lookahead="cosine")` measured: the mean cosine similarity
            of every pair of task gradients.
        budget: b, the number of networks.

    Returns:
        The `Grouping` of at most b groups with the largest sum over the tasks of the mean cosine
        with their partners; no task alone.

    Raises:
        ValueError: See `select_groups`.

    Reference:
        Fifty et al., NeurIPS 2021, arXiv:2109.04617, section 4 ("CS").
    """
    return select_groups(cosines, budget, score="partners")


def exhaustive_groups(measured: GroupScores, budget: float) -> Grouping:
    """Choose the optimum of measured groups: train all of them, choose afterwards.

    With n tasks there are 2**n - 1 groups to train. Nothing that chooses by the same measured
    losses can do better on them.

    Args:
        measured: What every group achieved on validation data, `sense="min"` for losses.
        budget: b, the number of networks, or what they may cost.

    Returns:
        The best `Grouping` within the budget.

    Raises:
        ValueError: See `select_groups`.
    """
    return select_groups(measured, budget)
