"""The commands `keras-tag report` and `keras-tag status`: what the folder of a search says."""

import argparse


def add_report_and_status(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> None:
    """Add `report` and `status` to the commands of a parser."""
    report = commands.add_parser(
        "report",
        help="an HTML report of a search's folder",
        description="Writes one HTML file with pictures about a GroupSearch, finished or not.",
    )
    report.add_argument(
        "--out", metavar="FILE", help="the report (default: report.html in the folder)"
    )
    report.set_defaults(run=_report)
    status = commands.add_parser(
        "status",
        help="how far a search is",
        description="Says how far a GroupSearch is, also while it runs in another process.",
    )
    status.set_defaults(run=_status)
    for command in (report, status):
        command.add_argument(
            "folder", metavar="FOLDER", help="directory/project_name of the search"
        )


def _report(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from keras_tag.search.ledger import Ledger
    from keras_tag.search.report import write_report
    from keras_tag.search.results import Results

    ledger = Ledger(options.folder)
    out = options.out or ledger.folder / "report.html"
    write_report(Results.read(ledger), out)
    print(f"wrote {out}")
    return 0


def _status(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from keras_tag.search.ledger import Ledger
    from keras_tag.search.summary import status_text

    print(status_text(Ledger(options.folder)))
    return 0
