"""Numbers of things in words."""


def counted(number: int, thing: str, things: str = "") -> str:
    """ "1 cell", "2 cells", "1,000 cells"; `things` where the plural takes more than an s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def every(number: int, thing: str) -> str:
    """ "all 3 cells", but "1 cell"."""
    return f"all {counted(number, thing)}" if number != 1 else counted(1, thing)
