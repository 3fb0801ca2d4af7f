"""`python -m fewshot_km`: the command line."""

from fewshot_km.cli import main

if __name__ == "__main__":
    main()
