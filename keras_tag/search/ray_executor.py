"""`RayExecutor`: the workers of a Ray cluster as a `concurrent.futures.Executor`."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any


class RayExecutor(Executor):
    """Runs functions as Ray tasks, for `GroupSearch.search(executor=...)`.

    Connect first, with `ray.init(address="auto")` to a cluster, or `ray.init()` to this machine
    alone. A task sees the GPUs that Ray gave it, and no others. Functions and classes of a
    notebook can be sent.

    Args:
        num_cpus: CPUs of a task.
        num_gpus: GPUs of a task; 0.5 lets two share one.
        resources: Resource name -> amount of a task, as nodes were started with.
        max_retries: How often Ray starts a task again whose worker or node was lost.

    Raises:
        ImportError: Ray is not installed.
        ValueError: A task needs nothing.
        RuntimeError: `ray.init` was not called.

    Example:
        >>> ray.init(address="auto")
        >>> executor = keras_tag.RayExecutor(num_gpus=1)
        >>> search.search(train, validation_data=valid, epochs=30, executor=executor)

    Reference:
        Moritz et al., "Ray: A Distributed Framework for Emerging AI Applications", OSDI 2018,
        arXiv:1712.05889.
    """

    def __init__(
        self,
        *,
        num_cpus: float = 1,
        num_gpus: float = 0,
        resources: Mapping[str, float] | None = None,
        max_retries: int = 3,
    ) -> None:
        every = {"CPU": num_cpus, "GPU": num_gpus, **(resources or {})}
        self._needs = {name: need for name, need in every.items() if need}
        if not self._needs:
            raise ValueError(
                "Expected a task to need a CPU, a GPU or another resource, by which Ray limits how "
                f"many run at a time. Received: num_cpus={num_cpus!r}, num_gpus={num_gpus!r}, "
                f"resources={resources!r}."
            )
        try:
            import ray
        except ImportError as error:
            raise ImportError('RayExecutor needs Ray: pip install "keras_tag[ray]"') from error
        if not ray.is_initialized():
            raise RuntimeError(
                'Expected a connection to Ray. Call `ray.init(address="auto")` for a cluster that '
                "runs, or `ray.init()` for this machine alone."
            )
        self._task = ray.remote(
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            resources=dict(resources or {}),
            max_retries=max_retries,
        )(_call)

    @property
    def max_workers(self) -> int:
        """How many tasks the nodes that are there now can run at a time; 1 if none can."""
        import ray

        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        there = [node["Resources"] for node in nodes if node["Alive"]]
        needs = self._needs.items()
        fitting = [min(has.get(name, 0) / need for name, need in needs) for has in there]
        return max(sum(map(int, fitting)), 1)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run a function in the cluster.

        Args:
            fn: The function.
            *args: What it is called with.
            **kwargs: The same, by name.

        Returns:
            What it returned. A worker that was lost for good is an exception of Ray's. To cancel
            it ends the task.
        """
        import ray

        task = self._task.remote(fn, *args, **kwargs)
        future: Future[Any] = task.future()

        def end(future: "Future[Any]") -> None:
            if future.cancelled():
                ray.cancel(task, force=True)

        future.add_done_callback(end)
        return future


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)
