"""The command `keras-tag`: it reads arguments, calls the library and prints."""

import argparse
import os
import sys
from collections.abc import Sequence

import keras_tag
from keras_tag.command.plot import add_plot
from keras_tag.command.search import add_report, add_status
from keras_tag.command.select import add_select
from keras_tag.demo.report import describe, verdict, write_report
from keras_tag.demo.result import DemoSettings
from keras_tag.demo.run import run_demo


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; by default that of the process.

    Returns:
        The exit code: 0 when it worked, 1 when it failed, 130 when interrupted. Arguments that
        can't be used end the process with 2, as argparse does.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    # TensorFlow's greetings are not ours; a user who asks for them gets them.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return int(options.run(options, parser))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-tag",
        description="Which tasks should train together, for Keras 3.",
        epilog="`keras-tag COMMAND --help` says what a command takes.",
    )
    parser.add_argument("--version", action="version", version=keras_tag.__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_demo(commands)
    add_select(commands)
    add_plot(commands)
    add_report(commands)
    add_status(commands)
    return parser


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    defaults = DemoSettings()
    demo = commands.add_parser(
        "demo",
        help="the whole path on real digits: measure, select, train, compare",
        description=(
            "Trains one network for all tasks of a small data set while measuring inter-task "
            "affinity, selects the groups, trains them, and compares them with single-task "
            "networks, one network for everything and random groups. Some minutes on two cores."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = demo.add_argument
    add("--budget", type=int, default=defaults.budget, help="how many networks may be served")
    add("--seeds", type=int, default=defaults.seeds, help="how many repetitions")
    add(
        "--tasks",
        default=",".join(defaults.tasks),
        help="properties of a digit: loop, prime, composite, odd, ge5; odd,loop,prime is harder",
    )
    add("--positions", type=int, default=defaults.positions, help="how many digits in an image")
    add("--draws", type=int, default=defaults.draws, help="how many random groupings per seed")
    add("--epochs", type=int, default=defaults.epochs, help="the most epochs of a network")
    add("--train-size", type=int, default=defaults.train_size, help="how many training images")
    add("--out", default="keras-tag-demo", metavar="DIR", help="the folder for the report")
    demo.set_defaults(run=_run_demo)


def _run_demo(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    try:
        settings = DemoSettings(
            budget=options.budget,
            seeds=options.seeds,
            tasks=tuple(name.strip() for name in options.tasks.split(",")),
            positions=options.positions,
            draws=options.draws,
            epochs=options.epochs,
            train_size=options.train_size,
        )
    except ValueError as error:
        parser.error(str(error))
    # A folder that can't be made shall not be found out after minutes of training.
    os.makedirs(options.out, exist_ok=True)
    result = run_demo(settings, progress=lambda line: print(line, flush=True))
    paths = write_report(result, options.out)
    print(f"\nTotal test loss\n{describe(result)}\n\nThe selected groups\n{verdict(result)}\n")
    print("\n".join(f"wrote {path}" for path in paths))
    return 0
