"""Progress of a search: one bar above Keras's own, or one line per training."""

from typing import Any

from keras_tag.search.ledger import Outcome
from keras_tag.wording import counted


class Progress:
    """Shows how many trainings are done of those allowed, the best total so far and time left.

    Args:
        verbose: As in Keras: 0 nothing, 1 or "auto" a bar, 2 a line per training.
        done: Trainings done already.
        total: Those allowed.
    """

    def __init__(self, verbose: Any, done: int, total: int) -> None:
        self._lines = verbose == 2
        self._bar: Any = None
        if verbose in (1, "auto"):
            from tqdm.auto import tqdm

            self._bar = tqdm(initial=done, total=total, unit="training", desc="search")

    def begin(self, outcome: Outcome) -> None:
        """Say that a training begins."""
        if self._bar is not None:
            self._bar.set_description(f"training {outcome.number}: {_words(outcome)}")

    def end(self, outcome: Outcome, best: float | None) -> None:
        """Say that a training has ended.

        Args:
            outcome: What came of it.
            best: The best total so far.
        """
        said = "none yet" if best is None else f"{best:.4g}"
        if self._bar is not None:
            self._bar.set_postfix_str(f"best total {said}")
            self._bar.update()
        elif self._lines:
            print(
                f"training {outcome.number} ({_words(outcome)}): {outcome.status} after "
                f"{counted(outcome.epochs, 'epoch')}, {outcome.seconds:.1f} s; best total {said}",
                flush=True,
            )

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.set_description("search")
            self._bar.close()


def _words(outcome: Outcome) -> str:
    if outcome.kind == "joint":
        return f"joint run, all {len(outcome.group)} tasks"
    return ", ".join(outcome.group)
