"""The command `keras-tag`: it reads arguments, calls the library and prints."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import keras_tag
from keras_tag.command.plot import add_plot
from keras_tag.command.search import add_report_and_status
from keras_tag.command.select import add_select
from keras_tag.command.startup import import_keras
from keras_tag.demo.run import DemoSettings, run_demo


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; by default that of the process.

    Returns:
        The exit code: 0 when it worked, 1 when it failed, 130 when interrupted, 141 when nobody
        reads what it prints, as of a process that SIGPIPE ends. Arguments that can't be used end
        the process with 2, as argparse does.
    """
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit:
        _flush()  # After --help or --version.
        raise

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"{parser.prog}: warning: {message}", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            # As errors are shown: without a place in the code.
            warnings.showwarning = show
            code = int(options.run(options, parser))
        _flush()
        return code
    except BrokenPipeError:
        # Who reads (`| head`) has read enough before the command was done.
        _flush()
        return 141
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 1


def _flush() -> None:
    """Print what is buffered; where nobody reads it, leave nothing that Python complains of."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    add_report_and_status(commands)
    return parser


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    defaults = DemoSettings()
    demo = commands.add_parser(
        "demo",
        help="a search on real digits, with a report",
        description=(
            "Searches the networks for nine questions about overlaid handwritten digits: trains "
            "one network for all of them while measuring inter-task affinity, trains the groups "
            "that are asked for, and writes an HTML report. Some minutes on two cores. The same "
            "command again goes on with a search that was interrupted."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = demo.add_argument
    add("--budget", type=int, default=defaults.budget, help="how many networks may be served")
    add("--trainings", type=int, default=defaults.trainings, help="how many groups are trained")
    add(
        "--tasks",
        type=lambda text: tuple(name.strip() for name in text.split(",")),
        default=",".join(defaults.tasks),
        help="properties of a digit: loop, prime, composite, odd, ge5; odd,loop,prime is harder",
    )
    add("--positions", type=int, default=defaults.positions, help="how many digits in an image")
    add("--epochs", type=int, default=defaults.epochs, help="the most epochs of a network")
    add("--train-size", type=int, default=defaults.train_size, help="how many training images")
    add("--seed", type=int, default=defaults.seed, help="of images and trainings")
    add("--single", action="store_true", help="also train every task alone, to compare with")
    add("--out", default="keras-tag-demo", metavar="DIR", help="the folder of the search")
    demo.set_defaults(run=_run_demo)


def _run_demo(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    try:
        settings = DemoSettings(**{f.name: getattr(options, f.name) for f in fields(DemoSettings)})
    except ValueError as error:
        parser.error(str(error))
    # A folder that can't be made shall not be found out after minutes.
    os.makedirs(options.out, exist_ok=True)
    import_keras()
    print(
        f"Questions about {options.positions} overlapping handwritten digits. Everything is kept "
        f"in {options.out}: the same command goes on with it.",
        flush=True,
    )
    search = run_demo(options.out, settings)
    search.results_summary()
    print(f"wrote {os.path.join(options.out, 'report.html')}")
    return 0
