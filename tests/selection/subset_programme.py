"""The exact optimum by dynamic programming over subsets, in whole numbers; for tests only.

best[mask] = the best way to serve the tasks in mask; its last network serves some T that contains
the lowest task of mask. O(3**n) for every point of the cost/value frontier. The value carries the
promised tie-break in its lowest digits: value * STEP - (100 * networks + total size).
"""

import math
from fractions import Fraction

STEP = 10**5


def member_scores(z, score, lone, weights):
    """{group mask: {task: Fraction}} for every group that the score allows."""
    n = len(z)
    exact = [[Fraction(float(z[i][j])) for j in range(n)] for i in range(n)]
    table = {}
    for mask in range(1, 1 << n):
        members = [i for i in range(n) if mask >> i & 1]
        row = {}
        for j in members:
            if len(members) == 1:
                value = None if lone[j] is None else Fraction(float(lone[j]))
            elif score == "partners":
                value = sum(exact[i][j] for i in members if i != j) / (len(members) - 1)
            else:
                value = sum(exact[i][j] for i in members) / exact[j][j] / len(members)
            if value is not None:
                row[j] = value * Fraction(float(weights[j]))
        if len(row) == len(members):
            table[mask] = row
    return table


def submasks(mask):
    sub = mask
    while sub:
        yield sub
        sub = (sub - 1) & mask


def solve(n, table, cost, budget, overlap=True):
    """(best value, networks, total size), the value exact; None if nothing serves every task.

    table: {group: {task: Fraction}}, or a list of (group, {task: Fraction}, cost) with cost=None.
    cost: {group: Fraction}; budget: Fraction.
    """
    rows = table
    if cost is not None:
        rows = [(group, row, cost[group]) for group, row in table.items() if group in cost]
    # Whole numbers throughout: an order of magnitude faster than fractions.
    money = math.lcm(budget.denominator, *(price.denominator for _, _, price in rows))
    rows = [(group, row, int(price * money)) for group, row, price in rows]
    budget = int(budget * money)
    common = math.lcm(*(v.denominator for _, row, _ in rows for v in row.values()), 1)
    frontier = {}
    for group, row, price in rows:
        whole = {task: int(value * common) * STEP for task, value in row.items()}
        servable = sum(1 << task for task in row)
        tie = 100 + group.bit_count()
        for served in submasks(servable) if overlap else [servable] * (servable == group):
            value = sum(whole[task] for task in range(n) if served >> task & 1) - tie
            options = frontier.setdefault(served, {})
            if price not in options or options[price] < value:
                options[price] = value
    options = {served: pareto(list(points.items())) for served, points in frontier.items()}
    best = {0: [(0, 0)]}
    for mask in range(1, 1 << n):
        low = mask & -mask
        points = []
        for served in submasks(mask):
            if served & low and served in options and best[mask ^ served]:
                for price, value in options[served]:
                    for spent, rest in best[mask ^ served]:
                        if spent + price <= budget:
                            points.append((spent + price, value + rest))
        best[mask] = pareto(points)
    if not best[(1 << n) - 1]:
        return None
    total = max(value for _, value in best[(1 << n) - 1])
    value, digits = divmod(total, STEP)
    if digits:
        value, digits = value + 1, STEP - digits
    return Fraction(value, common), digits // 100, digits % 100


def pareto(points):
    kept = []
    for price, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or value > kept[-1][1]:
            kept.append((price, value))
    return kept
