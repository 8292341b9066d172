"""HTML tables as notebooks show them."""

from collections.abc import Iterable
from html import escape

NUMBER = "text-align:right;padding:2px 8px;"
TEXT = "text-align:left;padding:2px 8px;"


def table(caption: str, head: str, rows: Iterable[str]) -> str:
    """Return a table.

    Args:
        caption: The line above it, as plain text.
        head: The cells of the first row, as HTML.
        rows: The cells of the other rows, as HTML.

    Returns:
        HTML.
    """
    lines = "".join(f"<tr>{cells}</tr>" for cells in rows)
    return (
        f'<table><caption style="caption-side:top;text-align:left">{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    )
