"""Text from the input on its way to a terminal."""


def printable(text: object) -> str:
    """``text`` with control characters replaced: titles are untrusted, and terminals obey them."""
    return "".join(char if char.isprintable() else "\ufffd" for char in str(text))
