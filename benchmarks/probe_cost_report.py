"""The tables of what probes cost, and their picture, from the result files beside this script.

python benchmarks/probe_cost_report.py                           # prints the tables
python benchmarks/probe_cost_report.py --plot docs/probe_cost.png
"""

import argparse
import json
import statistics
from pathlib import Path

HERE = Path(__file__).parent
SCHEDULES = (1, 10, 20, 50)
# What is one table's column and one curve of the picture.
OTHERS = ("optimizer", "first_order", "cosine", "gradient, reused", "gradient, 1 source")
CURVES = ("gradient", "first_order", "gradient, 1 source")
# How often is probed when one epoch in so many is, at every 10th step.
SCHEDULE_STEPS = {
    "every 10": 10,
    "every 50": 50,
    "every 10, one epoch in 5": 50,
    "every 10, one epoch in 10": 100,
    "every 10, one epoch in 20": 200,
}
# In the picture a schedule is there once.
DRAWN = [schedule for schedule in SCHEDULE_STEPS if schedule != "every 10, one epoch in 5"]


def load(name):
    """A result file of this folder."""
    return json.loads((HERE / f"{name}.json").read_text("utf-8"))


def markdown(head, rows, text_columns):
    """A table; the columns after the first `text_columns` are numbers."""
    ruler = ["---"] * text_columns + ["---:"] * (len(head) - text_columns)
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, ruler, *rows))


def spread(ratio):
    """Median and quartiles."""
    return "{:.2f} ({:.2f} to {:.2f})".format(*ratio)


def every(ratio, k):
    """The whole training at every k-th step, in plain training."""
    return 1 + (ratio - 1) / k


def named(configuration):
    """The first cells of a row."""
    return [configuration["network"], configuration["tasks"], configuration["batch"]]


def steps_table(configurations):
    """The full "gradient" probe: what a probed step costs, and what that makes of training."""
    rows = []
    for c in configurations:
        full, between = c["variants"]["gradient"], c["variants"]["between probes"]
        rows.append(
            [
                *named(c),
                c["plain_step_cpu_ms"],
                c["tasks"] + 1,
                spread(full["cpu"]),
                spread(full["wall"]),
                spread(between["cpu"]),
                *(f"{every(full['cpu'][0], k):.2f}" for k in SCHEDULES[1:]),
            ]
        )
    head = ["network", "n", "batch", "plain step, ms", "counted", "probed step, CPU", "wall"]
    head += ["between probes", *(f"every={k}" for k in SCHEDULES[1:])]
    return markdown(head, rows, 1)


def signal(configuration, variant):
    """Squared signal over noise of one probe, the full probe = 1.

    By the pairs that it measures where there were too few probes for standard errors: one source
    at a time measures the same as all at a time.
    """
    full, row = (configuration["variants"][v] for v in ("gradient", variant))
    if row["signal"] is None:
        return row["entries"] / full["entries"]
    return row["signal"] / full["signal"]


def worth(configuration, variant):
    """Signal per extra plain step, the full probe = 1."""
    full, row = (configuration["variants"][v]["cpu"][0] - 1 for v in ("gradient", variant))
    return signal(configuration, variant) * full / row


def kinds_table(configurations):
    """The other kinds: a probed step, and signal per extra plain step, the full probe = 1."""
    rows = []
    for c in configurations:
        row = named(c)
        for variant in OTHERS:
            measured = c["variants"].get(variant)
            row.append(f"{measured['cpu'][0]:.2f}; **{worth(c, variant):.2f}**" if measured else "")
        rows.append(row)
    return markdown(["network", "n", "batch", *OTHERS], rows, 1)


def auto_table(configurations):
    """What `every="auto"` chose, and what it really cost."""
    rows = [
        [*named(c), c["auto"]["every"], spread(c["auto"]["cpu"]), spread(c["auto"]["wall"])]
        for c in configurations
        if c["auto"]
    ]
    return markdown(["network", "n", "batch", "chosen `every`", "CPU", "wall"], rows, 1)


def mean_recovery(results, schedule, method):
    """Over sets and budgets."""
    values = [v for e in results["sets"].values() for v in e["recovery"][schedule][method]]
    return sum(values) / len(values)


def difference(results, schedule, other, method):
    """Mean over the sets of a schedule's recovery less another's, and its standard error."""
    by_set = [
        statistics.mean(entry["recovery"][schedule][method])
        - statistics.mean(entry["recovery"][other][method])
        for entry in results["sets"].values()
    ]
    return statistics.mean(by_set), statistics.stdev(by_set) / len(by_set) ** 0.5


def recovery_table(configurations, results):
    """Cost and recovery side by side."""
    methods = list(next(iter(results["sets"].values()))["recovery"]["every 10"])
    chosen = [c for c in configurations if (c["tasks"], c["batch"]) == (9, 64)]
    rows = []
    for schedule, k in SCHEDULE_STEPS.items():
        row = [f"every={k}" if " one " not in schedule else f"about every={k}"]
        row += [f"{every(c['variants']['gradient']['cpu'][0], k):.2f}" for c in chosen]
        row += [f"{mean_recovery(results, schedule, method):.2f}" for method in methods]
        rows.append(row)
    lost = [
        "{:+.2f} ({:.2f})".format(*difference(results, "every 50", "every 10", method))
        for method in methods
    ]
    rows.append(["every=50 less every=10", *[""] * len(chosen), *lost])
    return markdown(["probed", *(c["network"] for c in chosen), *methods], rows, 1)


def readme_table(configurations):
    """Nine tasks, batches of 64: the whole training in plain training."""
    rows = []
    for c in configurations:
        if (c["tasks"], c["batch"]) == (9, 64):
            full = c["variants"]["gradient"]
            cells = [f"{every(full['cpu'][0], k):.2f}" for k in (10, 50)]
            rows.append([c["network"], *cells])
    return markdown(["network", "every 10th", "every 50th"], rows, 1)


def trunk_table(rows):
    """Memory on a trunk of one matrix, in copies of it."""
    trunk = [r for r in rows if r["network"] == "trunk"]
    trunk.sort(key=lambda r: (r["lookahead"], r["slots"], r["tasks"]))
    cells = [
        [f'"{r["lookahead"]}"', r["optimizer"], r["tasks"], f"{r['copies']:.1f}"] for r in trunk
    ]
    return markdown(["`lookahead=`", "optimizer", "tasks", "copies"], cells, 2)


def memory_table(rows):
    """Memory on networks that are all activations and graph."""
    probed = {
        (r["network"], r["tasks"], r["batch"], r["lookahead"]): r
        for r in rows
        if r["network"] != "trunk"
    }
    cells = []
    for *where, _ in sorted(key for key in probed if key[-1] == "gradient"):
        full, first_order = (probed[(*where, kind)] for kind in ("gradient", "first_order"))
        extra = [r["probed_mb"] - r["plain_mb"] for r in (full, first_order)]
        cells.append([*where, full["plain_mb"], *(f"{mb:+d}" for mb in extra)])
    head = ["network", "n", "batch", "plain, MB", '"gradient"', '"first_order"']
    return markdown(head, cells, 1)


def tables():
    """Page -> the Markdown that it has, by name."""
    configurations = load("probe_cost")["configurations"]
    memory = load("probe_memory")["rows"]
    return {
        "README.md": {"readme": readme_table(configurations)},
        "docs/tag_model.md": {"trunk": trunk_table(memory)},
        "docs/cost.md": cost_tables(configurations, memory),
    }


def cost_tables(configurations, memory):
    """Those of docs/cost.md."""
    return {
        "memory": memory_table(memory),
        "steps": steps_table(configurations),
        "kinds": kinds_table(configurations),
        "auto": auto_table(configurations),
        "recovery": recovery_table(configurations, load("probe_recovery")),
    }


def plot(path):
    """Extra training time against the standard error, and against the groups' recovery."""
    import matplotlib.pyplot as plt

    configurations = [
        c for c in load("probe_cost")["configurations"] if (c["tasks"], c["batch"]) == (9, 64)
    ]
    results = load("probe_recovery")
    figure, axes = plt.subplots(
        1, len(configurations) + 1, figsize=(3.4 * len(configurations) + 4, 3.8), squeeze=False
    )
    *left, right = axes[0]
    for ax, c in zip(left, configurations, strict=True):
        for marker, variant in zip("os^", CURVES, strict=True):
            extra, worth_of_one = c["variants"][variant]["cpu"][0] - 1, signal(c, variant)
            # As if probes were independent; the full probe at every step has the error 1.
            ax.plot(
                [100 * extra / k for k in SCHEDULES],
                [(k / worth_of_one) ** 0.5 for k in SCHEDULES],
                marker=marker,
                label=variant,
            )
        ax.axvline(15, color="grey", linestyle=":", linewidth=1)
        ax.set(xscale="log", yscale="log", title=f"{c['network']}, {c['tasks']} tasks")
        ax.set_xlabel("extra training time, %")
        ax.sharey(left[0])
        cost = [
            100 * (every(c["variants"]["gradient"]["cpu"][0], k) - 1)
            for k in map(SCHEDULE_STEPS.get, DRAWN)
        ]
        recovered = [mean_recovery(results, s, "shortlist") for s in DRAWN]
        right.plot(cost, recovered, marker="o", label=c["network"])
    # From the full probe at every step to one source of nine at every 50th.
    left[0].set_ylim(0.8, 30)
    left[0].set_ylabel("noise over signal (full probe, every step = 1)")
    left[0].legend(fontsize=8, title=f"every = {', '.join(map(str, SCHEDULES))}", title_fontsize=8)
    right.axvline(15, color="grey", linestyle=":", linewidth=1)
    right.set(xscale="log", ylim=(0, 1), title="groups, by what was paid")
    right.set_xlabel("extra training time, %")
    right.set_ylabel("recovery, shortlist")
    steps = ", ".join(str(SCHEDULE_STEPS[schedule]) for schedule in DRAWN)
    right.legend(fontsize=8, title=f"every = {steps}", title_fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    """Print the tables, or draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plot", help="where to draw the frontier")
    options = parser.parse_args()
    if options.plot:
        plot(options.plot)
        return
    for page, its in tables().items():
        for name, table in its.items():
            print(f"<!-- {page}: {name} -->\n{table}\n")


if __name__ == "__main__":
    main()
