"""Run few-shot benchmarks from a checkout: the installed command `fewshot-km`; without arguments, the quickstart."""

import sys

from fewshot_km.__main__ import main

if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.argv += ["run", "quickstart"]
    main()
