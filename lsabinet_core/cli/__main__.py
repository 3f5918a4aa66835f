import sys

from lsabinet_core.cli import main

sys.exit(main())
