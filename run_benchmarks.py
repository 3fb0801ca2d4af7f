"""Run few-shot benchmarks from a checkout: the same as the installed command `fewshot-km`."""

from fewshot_km.__main__ import main

if __name__ == "__main__":
    main()
