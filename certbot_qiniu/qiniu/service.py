"""The contract of a service: anything at Qiniu that has domains with certificates.

The reconciler asks for no more than this, so that it does not know one service from another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from certbot_qiniu.model import Binding, Domain, RemoteCertificate


@dataclass(frozen=True)
class Listing:
    """The domains of a service whose list takes many calls, as they were at *at*.

    :ivar domains: name -> why it is frozen, "" if it is not.
    :ivar bound: name -> id of the certificate that it served.
    """

    at: float
    domains: dict[str, str]
    bound: dict[str, str]


@dataclass
class Notes:
    """Facts from earlier runs for the services of an account, which change them in place.

    :ivar listings: account -> the last list of a service whose list takes many calls.
    :ivar told: warnings that were given before and are not repeated, by subject.
    :ivar bind_methods: account -> the method by which a source domain last took a certificate.
    :ivar clock: seconds since the epoch.
    """

    listings: dict[str, Listing] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    bind_methods: dict[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.time


class Service(Protocol):
    """The contract of a service that the reconciler works with.

    :ivar publishes: a change takes minutes, during which the domain is in ``processing``.
    """

    name: str
    publishes: bool

    def list(self) -> Iterable[Domain]:
        """Return all domains of the account, without their details.

        :raises errors.ApiError: if Qiniu refuses or does not answer.
        """

    def observe(self, domain: str) -> Domain | None:
        """Return one domain in detail; None if it does not exist.

        :raises errors.ApiError: if it cannot be read.
        """

    def bind(self, domain: Domain, certificate: RemoteCertificate, binding: Binding) -> None:
        """Make *domain* serve *certificate* with the settings of *binding*, all of them decided.

        :raises errors.ApiError: if Qiniu refuses or does not answer.
        """

    def unbind(self, domain: Domain) -> None:
        """Switch *domain* back to http.

        :raises errors.ApiError: if Qiniu refuses, does not answer, or has no call for that.
        """

    def set_hsts(self, domain: Domain, *, on: bool) -> None:
        """Switch HSTS on or off; called only if an observed domain shows which it is.

        :raises errors.UsageError: if the service has no such setting.
        :raises errors.ApiError: if Qiniu refuses or does not answer.
        """

    def users(self, certificate: RemoteCertificate,
              among: Collection[str] = ()) -> set[str] | None:
        """Return the domains that serve *certificate*, by one list; None if no list shows them.

        :param among: if not empty, the only names that matter: others may be missing, and the list
            is left once it has shown these.
        :raises errors.ApiError: if that list cannot be read.
        """
