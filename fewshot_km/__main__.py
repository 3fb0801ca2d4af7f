"""`python -m fewshot_km`, and the installed command: the command line."""

import os
import sys

from fewshot_km.orphans import end_with_starter


def main() -> None:
    """Run the command line; an interrupt while it is being imported is no traceback either."""
    end_with_starter()
    # Threads that wait for one another by spinning take the cores from whoever they wait for: beside other work, a cell
    # took six times as long. Those that never spin need twice the time on an idle machine. Some ten microseconds cost
    # neither. OpenMP (GNU's, as in torch's packages) reads this when torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        from fewshot_km.cli.app import app
    except KeyboardInterrupt:
        sys.exit(130)
    app()


if __name__ == "__main__":
    main()
