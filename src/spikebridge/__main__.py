"""`python -m spikebridge` is the `spikebridge` command."""

import sys

from spikebridge.cli.main import main

sys.exit(main())
