"""`python -m jobs` is `maepress`."""

import sys

from jobs.cli import main

sys.exit(main())
