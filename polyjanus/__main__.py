"""`python -m polyjanus`, which torchrun and the like start."""

import sys

from polyjanus.core.cli import main

sys.exit(main())
