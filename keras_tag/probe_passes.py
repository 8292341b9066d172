"""The passes of a batch that a probe takes, counted."""


def look_ahead_passes(
    sources: int, lookahead: str, steps: int = 1, probe_data: bool = False
) -> tuple[int, int]:
    """Count the passes of the look-aheads of one probe.

    Not counted are the forward pass on which they all stand and what finds the rate of a step.

    Args:
        sources: How many tasks take a step.
        lookahead: As in `TAGModel`: "gradient" and "optimizer" look ahead, "first_order" and
            "cosine" need the gradients only.
        steps: As in `TAGModel`.
        probe_data: Whether losses are measured on other data than the training batch.

    Returns:
        Forward passes and backward passes.

    Raises:
        ValueError: An unknown look-ahead kind.
    """
    if lookahead in ("gradient", "optimizer"):
        forward, backward = sources * steps, sources * steps
    elif lookahead in ("first_order", "cosine"):
        forward, backward = 0, sources
    else:
        raise ValueError(
            "Expected `lookahead` to be 'gradient', 'optimizer', 'first_order' or 'cosine'. "
            f"Received: lookahead={lookahead!r}."
        )
    return forward + probe_data, backward
