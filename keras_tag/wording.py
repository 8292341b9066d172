"""The wording that several texts for people share."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 network", "2 networks".

    Args:
        number: How many there are.
        noun: A regular noun, in the singular.
    """
    return f"{number} {noun}" + "s" * (number != 1)
