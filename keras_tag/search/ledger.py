"""`Ledger`: the folder of a search, which is its state.

directory/project_name/
  search.json              settings, limits, versions
  initial.weights.h5       the weights that the model had when it was given
  affinity.npz             after the joint run
  training_0000/           the joint run
  training_0001/
    training.json          group, status, attempt, seed, epochs, objective, seconds, error
    history.csv  best.weights.h5  backup/ (while it runs)
"""

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from keras_tag.affinity import Affinity
from keras_tag.atomic_files import write_atomically

try:
    import fcntl
except ImportError:  # Windows, where two searches in one folder are not noticed.
    fcntl = None  # type: ignore[assignment]

Kind = Literal["joint", "single", "searched"]
Status = Literal["waiting", "running", "done", "failed"]
# What the folder of a training has once it is done, beside `training.json`.
KEPT = ("best.weights.h5", "history.csv")
# What the disk says, and no training can help.
_DISK = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO}


class FolderError(OSError):
    """The folder of a search can't be written."""


@dataclass(frozen=True)
class Outcome:
    """One training: what was asked, and what came of it.

    Args:
        number: In the order of asking; 0 is the joint run.
        kind: Why it was asked for.
        group: The tasks.
        status: Whether it waits for its turn in a round, runs, is done or failed.
        attempt: 0, or how many attempts failed before.
        seed: Of the attempt.
        epochs: How many were trained.
        best_epoch: The epoch, counted from 0, whose weights are kept.
        objective: Task -> value in that epoch, as in the logs; empty if it failed.
        seconds: How long it took, interruptions left out.
        cost: In joint runs: epochs times multiply-adds, relative to those of the joint run.
        parameters: How many numbers the network has.
        multiply_adds: Of one batch; None if they are not known.
        error: Why it failed.
    """

    number: int
    kind: Kind
    group: tuple[str, ...]
    status: Status = "running"
    attempt: int = 0
    seed: int = 0
    epochs: int = 0
    best_epoch: int | None = None
    objective: Mapping[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    cost: float = 0.0
    parameters: int | None = None
    multiply_adds: int | None = None
    error: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it is done or failed."""
        return self.status in ("done", "failed")


class Ledger:
    """Reads and writes the folder of a search.

    Args:
        folder: `directory/project_name`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    @property
    def exists(self) -> bool:
        """Whether a search began here."""
        return (self.folder / "search.json").is_file()

    @property
    def initial_weights(self) -> Path:
        """Where the weights are that every network starts from."""
        return self.folder / "initial.weights.h5"

    def settings(self) -> dict[str, Any]:
        """Return what the search was told.

        Raises:
            ValueError: There is no search here.
        """
        if not self.exists:
            raise ValueError(
                "Expected the folder of a GroupSearch (directory/project_name), with a file "
                f"search.json. Received: {str(self.folder)!r}. Call `search` first, or name the "
                "folder of a search that began."
            )
        return dict(json.loads((self.folder / "search.json").read_text("utf-8")))

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write the settings, once everything else that a search needs is there."""
        self._write_json(self.folder / "search.json", settings)

    def make_folder(self) -> None:
        """Make the folder.

        Raises:
            FolderError: It can't be made or written.
        """
        with self.writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / ".writable"
            probe.touch()
            probe.unlink()

    def remove(self) -> None:
        """Remove a search, its settings first: what is half removed is no search.

        Raises:
            ValueError: Another process searches there.
        """
        if self.exists:
            with self.claimed():
                (self.folder / "search.json").unlink()
                shutil.rmtree(self.folder)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[str]:
        """Keep other processes of this host from searching here meanwhile.

        Yields:
            The session: a text that is in the folder as long as this goes on; see `session_of`.

        Raises:
            ValueError: One is.
        """
        with self.writing():
            # Without a buffer: closing it would write once more what the disk has no room for.
            lock = open(self.folder / ".lock", "ab", buffering=0)  # noqa: SIM115
        with lock:
            if fcntl is not None:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise ValueError(
                        "Expected no other process to search in this folder. Received: "
                        f"{str(self.folder)!r}, where one does. Wait for it, or give another "
                        "`project_name`."
                    ) from None
            session = uuid.uuid4().hex
            with self.writing():
                lock.truncate(0)
                lock.write(session.encode())
            try:
                yield session
            finally:
                lock.truncate(0)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Raise what goes wrong on the disk as an error that says where."""
        try:
            yield
        except OSError as error:
            raise FolderError(
                f"The folder of the search can't be written: {str(self.folder)!r} ({error}). What "
                "was trained so far is kept. Make room, or bring the folder back, and call "
                "`search` again: it goes on."
            ) from error

    # Trainings.

    def folder_of(self, number: int) -> Path:
        """Return the folder of a training."""
        return self.folder / f"training_{number:04d}"

    def weights_of(self, outcome: Outcome) -> Path:
        """Return where the best weights of a training are."""
        return self.folder_of(outcome.number) / "best.weights.h5"

    def outcomes(self) -> list[Outcome]:
        """Return all trainings in the order of their numbers."""
        found = []
        for file in sorted(self.folder.glob("training_*/training.json")):
            stored = json.loads(file.read_text("utf-8"))
            found.append(Outcome(**{**stored, "group": tuple(stored["group"])}))
        return found

    def write_round(self, asked: Sequence[Outcome]) -> None:
        """Write the trainings of a round, whole or not at all.

        The first is written last: a round without it is none, see `whole_rounds`.

        Args:
            asked: In the order of their numbers.
        """
        for outcome in reversed(asked):
            self.write(outcome)

    def whole_rounds(self) -> list[Outcome]:
        """Return all trainings, and remove what is left of a round that was not written whole."""
        outcomes = self.outcomes()
        whole = [outcome for k, outcome in enumerate(outcomes) if outcome.number == k]
        for outcome in outcomes[len(whole) :]:
            shutil.rmtree(self.folder_of(outcome.number))
        return whole

    def write(self, outcome: Outcome) -> None:
        """Write a training's state.

        Raises:
            FolderError: It can't be written.
        """
        with self.writing():
            own = self.folder_of(outcome.number)
            own.mkdir(exist_ok=True)
            self._write_json(own / "training.json", dataclasses.asdict(outcome))

    def forget_attempt(self, number: int) -> None:
        """Remove what an attempt at a training has left, before another."""
        own = self.folder_of(number)
        self.forget_backup(number)
        for name in KEPT:
            (own / name).unlink(missing_ok=True)

    def forget_backup(self, number: int) -> None:
        """Remove the backups of a training that is done."""
        shutil.rmtree(self.folder_of(number) / "backup", ignore_errors=True)

    def write_files(self, number: int, files: Mapping[str, bytes]) -> None:
        """Write what a training has kept that ran where this folder is not.

        Args:
            number: Of the training.
            files: Name -> content.
        """
        for name, content in files.items():
            self._write(self.folder_of(number) / name, content)

    # The affinity.

    def affinity(self) -> Affinity | None:
        """Return what the joint run measured; None before its end."""
        file = self.folder / "affinity.npz"
        return Affinity.load(file) if file.is_file() else None

    def write_affinity(self, affinity: Affinity) -> None:
        """Write what the joint run measured."""
        with self.writing():
            affinity.save(self.folder / "affinity.npz")

    def _write_json(self, file: Path, content: Mapping[str, Any]) -> None:
        self._write(file, json.dumps(content, indent=1, default=plain).encode() + b"\n")

    def _write(self, file: Path, content: bytes) -> None:
        with self.writing():
            write_atomically(file, lambda opened: opened.write(content))


def as_read(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are read back: with lists for tuples, and numbers of Python.

    Args:
        settings: With numbers of Python or NumPy.
    """
    return dict(json.loads(json.dumps(settings, default=plain)))


def plain(value: Any) -> Any:
    """Return a number or array of NumPy as Python has it."""
    if not hasattr(value, "tolist"):
        raise TypeError(
            "Expected settings of a search that are numbers, texts, arrays of NumPy, or lists and "
            f"dicts of these. Received: {value!r} of type {type(value).__name__}."
        )
    return value.tolist()


def cost_of(done: Outcome, joint: Outcome) -> float:
    """Return what a training costs, in joint runs.

    Seconds would say it more exactly, but they differ from run to run, and a search that was
    killed would go on in another way than one that was not.

    Args:
        done: A training that is done.
        joint: The joint run.

    Returns:
        Its epochs times the multiply-adds of its network, relative to those of the joint run; only
        epochs where multiply-adds are not known, which is the most that it can be.
    """
    work = 1.0
    if done.multiply_adds and joint.multiply_adds:
        work = done.multiply_adds / joint.multiply_adds
    return round(work * done.epochs / joint.epochs, 6)


def session_of(folder: Path) -> str | None:
    """Return the session of the search that goes on in a folder: "" if none does.

    Two processes that read the same session see the same folder.

    Args:
        folder: Of a search.

    Returns:
        None if it can't be told: there is no such folder.
    """
    try:
        return (folder / ".lock").read_text("utf-8")
    except OSError:
        return None


def is_of_the_disk(error: BaseException) -> bool:
    """Whether an error says that a disk can't be written."""
    return isinstance(error, FolderError) or (isinstance(error, OSError) and error.errno in _DISK)
