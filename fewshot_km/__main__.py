"""`python -m fewshot_km`, and the installed command: the command line."""

import os
import sys

from fewshot_km.orphans import end_with_starter


def main() -> None:
    """Run the command line; an interrupt during its import gives no traceback either."""
    end_with_starter()
    # Threads that spin while they wait take the cores from the threads they wait for: beside other work, a cell took
    # six times as long. Threads that never spin need twice the time on an idle machine. To spin for some ten
    # microseconds avoids both. GNU's OpenMP, which torch's packages contain, reads this when torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        from fewshot_km.cli.app import app
    except KeyboardInterrupt:
        sys.exit(130)
    app()


if __name__ == "__main__":
    main()
