"""Print the lowest versions that setup.py allows, as constraints for pip.

Below them stands what certbot 2.0 itself needs to be older than its newest: acme up to 3 wants
X509Req of pyOpenSSL, which 25 no longer has, and ComparableX509 of josepy, which 2 no longer has;
certbot 2.0 asks pkg_resources, which setuptools 81 no longer has.
"""

from __future__ import annotations

import importlib.metadata
import re

CERTBOTS_OWN = ("josepy<2", "pyOpenSSL>=22.1,<24.2", "setuptools>=69,<81")


def main() -> None:
    """Print them, a line each."""
    for requirement in importlib.metadata.requires("certbot-qiniu") or ():
        if bound := re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement):
            print(f"{bound[1]}=={bound[2]}")
    print(*CERTBOTS_OWN, sep="\n")


if __name__ == "__main__":
    main()
