"""``python -m astra.cli`` is the command `astra`."""

import sys

from astra.cli import main

if __name__ == "__main__":
    sys.exit(main())
