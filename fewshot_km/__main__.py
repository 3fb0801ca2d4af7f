"""`python -m fewshot_km`, and the installed command: the command line, which takes seconds to import torch."""

import sys

from fewshot_km.orphans import end_with_starter


def main() -> None:
    """Run the command line; an interrupt while it is being imported is no traceback either."""
    end_with_starter()
    try:
        from fewshot_km.cli import app
    except KeyboardInterrupt:
        sys.exit(130)
    app()


if __name__ == "__main__":
    main()
