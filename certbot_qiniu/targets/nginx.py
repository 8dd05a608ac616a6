"""The other half of a restart: this machine's own web server, ours to reload or a partner's.

It works without the state files where those cannot be read: that is no reason to leave a web
server behind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from certbot_qiniu import errors
from certbot_qiniu.deployment.store import Store
from certbot_qiniu.lineages import Lineages
from certbot_qiniu.options import Settings
from certbot_qiniu.targets.other_installer import Partner
from certbot_qiniu.webserver.nginx import Nginx

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WebServer:
    """The web server of one certbot configuration.

    :ivar store: None where the state files cannot be read; then nothing is remembered.
    :ivar say: shows a line to the user.
    """

    settings: Settings
    lineages: Lineages
    partners: Sequence[Partner]
    store: Store | None
    say: Callable[[str], None]

    def test(self) -> None:
        """Test the configurations.

        :raises errors.QiniuError: when one is broken.
        """
        own = [] if self.settings.skip_nginx else [self._nginx.test]
        errors.do_all(*own, *(beside.config_test for beside in self.partners))

    def reload(self, lineage: str) -> None:
        """Have nginx serve a lineage's newest certificate, unless it was seen to already.

        :raises errors.NginxError: when it does not.
        """
        if self.settings.skip_nginx:
            return
        certificate = self.lineages.current(lineage)
        if self._served(lineage) == certificate.fingerprint:
            return
        live = self.lineages.live / lineage
        outcome = self._nginx.deploy(live, live / "fullchain.pem", certificate.names,
                                     certificate.fingerprint)
        if outcome.kind == "unused":
            logger.warning("nginx: %s", outcome.detail)
        else:
            self.say(f"nginx: {outcome.detail}")
        if outcome.kind in ("reloaded", "unconfirmed", "unused"):
            self._remember({lineage: certificate.fingerprint})

    def restart_partners(self, touched: Iterable[str], *, only_outdated: bool = False) -> None:
        """Have the partners serve what is configured, and note that they do.

        :param touched: the lineages concerned.
        :param only_outdated: only if they were not restarted yet for the newest certificates.
        :raises errors.PartnerError: when one does not.
        """
        if not self.partners:
            return
        newest = {name: self.lineages.current(name).fingerprint for name in touched}
        if only_outdated and all(self._served(name) == fingerprint
                                 for name, fingerprint in newest.items()):
            return
        errors.do_all(*(beside.restart for beside in self.partners))
        self._remember(newest)

    @property
    def _nginx(self) -> Nginx:
        return Nginx(self.settings.nginx_test_cmd, self.settings.nginx_reload_cmd)

    def _served(self, lineage: str) -> str:
        """The fingerprint that the web server was last reloaded for; "" where that is unknown."""
        return self.store.memory.lineage(lineage).nginx if self.store else ""

    def _remember(self, newest: dict[str, str]) -> None:
        if self.store:
            for lineage, fingerprint in newest.items():
                self.store.memory.lineage(lineage).nginx = fingerprint
            self.store.write_memory()
