"""The contract of a service, which every service at Qiniu keeps."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from certbot_qiniu.model import SERVICES
from certbot_qiniu.qiniu.cdn import Cdn
from certbot_qiniu.qiniu.kodo import Kodo
from certbot_qiniu.qiniu.pili import Pili
from certbot_qiniu.qiniu.service import Listing, Notes, Service

METHODS = [name for name, member in vars(Service).items()
           if inspect.isfunction(member) and not name.startswith("_")]
KINDS = [Cdn, Kodo, Pili]

each = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def test_every_service_is_known() -> None:
    """The names that a user may choose are those of the services, in the same order."""
    assert list(SERVICES) == [kind.name for kind in KINDS]


def test_methods_are_known() -> None:
    """What the reconciler asks of a service has not grown without these tests."""
    assert {"list", "observe", "bind", "unbind", "set_hsts", "users"} == set(METHODS)


@each
@pytest.mark.parametrize("method", METHODS)
def test_signatures(kind: type, method: str) -> None:
    """Each service takes what the contract gives, by the same names, and documents it."""
    promised, kept = getattr(Service, method), getattr(kind, method)
    assert inspect.signature(promised) == inspect.signature(kept)
    assert kept.__doc__


@each
def test_publishes(kind: type) -> None:
    """Only a CDN domain takes minutes to publish: who waits for others waits in vain."""
    assert (kind is Cdn) == getattr(kind, "publishes")  # noqa: B009 - mypy knows no such type


def test_notes_are_not_shared() -> None:
    """What is noted of one account is not another's."""
    one, other = Notes(), Notes()
    one.listings["key"] = Listing(1.0, {}, {})
    one.told["name"] = "kodo"
    assert ({}, {}) == (other.listings, other.told)


def test_a_listing_stays_as_it_was() -> None:
    """A list is as old as its time says: its time is not moved."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Listing(1.0, {}, {}).at = 2.0  # type: ignore[misc]
