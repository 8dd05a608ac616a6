"""This machine's own nginx, if no other certbot installer looks after it."""

from __future__ import annotations

import logging

from certbot_qiniu.targets.target import Target
from certbot_qiniu.webserver.nginx import Nginx

logger = logging.getLogger(__name__)


class NginxTarget(Target):
    """Reloads nginx, and checks that it serves a lineage's newest certificate.

    It works even if our files cannot be read: a web server must not be left with an old certificate
    for that.
    """

    def describe(self) -> str:
        """Describe this target."""
        return "nginx: reloads it, and asks it over TLS whether it serves the certificate."

    def rehearse(self) -> None:
        """Test the configuration.

        :raises errors.NginxError: if it is broken.
        """
        self.test()

    def test(self) -> None:
        """Test the configuration.

        :raises errors.NginxError: if it is broken.
        """
        self._nginx.test()

    def settle(self) -> None:
        """Make nginx serve each lineage's newest certificate, unless it was seen to already.

        :raises errors.NginxError: if it does not.
        """
        self._settle_each(self._reload)

    def _reload(self, lineage: str) -> None:
        lineages = self.run.lineages
        certificate = lineages.current(lineage)
        if self.run.reloaded_for(lineage) == certificate.fingerprint:
            return
        place = lineages.place(lineage)
        outcome = self._nginx.deploy(place.live, place.fullchain, certificate.names,
                                     certificate.fingerprint)
        if outcome.kind in ("unused", "out of reach"):
            logger.warning("nginx: %s", outcome.detail)
        else:
            tell = self.run.say if outcome.kind in ("reloaded", "unconfirmed") else self.run.note
            tell(f"nginx: {outcome.detail}")
        if outcome.kind in ("reloaded", "unconfirmed", "unused"):
            self.run.remember_reload([lineage])

    @property
    def _nginx(self) -> Nginx:
        settings = self.run.settings
        return Nginx(settings.nginx_test_cmd, settings.nginx_reload_cmd)
