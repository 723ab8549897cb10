"""`python -m vitc_inspect`."""

import sys

from vitc_inspect.cli import main

sys.exit(main())
