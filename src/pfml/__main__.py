"""`python -m pfml`: the command `pfml`."""

import sys

from pfml.cli import main

sys.exit(main())
