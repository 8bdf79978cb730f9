"""Starts `experiments`, the program behind run_all.sh. Standard library only: it must work before any set-up."""

import sys

from experiments.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
