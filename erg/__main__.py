"""``python -m erg``: the command ``erg``."""

import sys

from erg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
