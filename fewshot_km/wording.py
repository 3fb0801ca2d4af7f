"""Numbers of things in words."""


def counted(number: int, thing: str, things: str = "") -> str:
    """ "1 cell", "2 cells", "1,000 cells"; `things` where the plural takes more than an s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"
