"""`python -m fewshot_km`, and the installed command: the command line."""

import os
import sys

from fewshot_km.orphans import end_with_starter


def main() -> None:
    """Run the command line; an interrupt while it is being imported is no traceback either."""
    end_with_starter()
    # Threads that wait for one another by spinning take the cores from whoever they wait for: beside other work, a cell
    # took six times as long. OpenMP reads this when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from fewshot_km.cli import app
    except KeyboardInterrupt:
        sys.exit(130)
    app()


if __name__ == "__main__":
    main()
