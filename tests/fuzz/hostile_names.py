"""Task names that people give by accident, and that others give on purpose."""

from hypothesis import strategies as st

PATHS = ["a/b", "../up", "..", ".", "a.b", "C:\\x", "/tmp/x", "a\0b", "\0", "x" * 300]
WORDS = ["loss", "val_loss", "a_loss", "output_0", "nan", "None", "source", "mean", "tasks", "0"]
SIGNS = [
    "-",
    "--out",
    "a,b",
    "a=b",
    "a;b",
    "\t",
    " ",
    "a\nb",
    "\r",
    "=1+1",
    "%s",
    "{0}",
    "$x$",
    "$",
]
LETTERS = [
    "é",
    "e\u0301",
    "ﬁ",
    "İ",
    "ß",
    "中文",
    "🜁",
    "\u202eabc",
    "\ufeff",
    "_",
    "__class__",
]
NAMES = ["depth", *PATHS, *WORDS, *SIGNS, *LETTERS]

names = st.one_of(st.sampled_from(NAMES), st.text(min_size=1, max_size=5))
