"""`python -m spikebridge` is the same as `spikebridge`."""

import sys

from spikebridge.cli import main

if __name__ == "__main__":
    sys.exit(main())
