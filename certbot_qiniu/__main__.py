"""``python -m certbot_qiniu`` is ``certbot-qiniu``."""

import sys

from certbot_qiniu.command.cli import main

sys.exit(main())
