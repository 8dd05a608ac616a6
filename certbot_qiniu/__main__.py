"""``python -m certbot_qiniu`` is ``certbot-qiniu``."""

import sys

from certbot_qiniu.cli import main

sys.exit(main())
