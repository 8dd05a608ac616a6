"""The authority for tests makes certificates that a real client judges as it should."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from tests.sandbox.pki import Authority, Leaf


def verify(root: Authority, leaf: Leaf, name: str) -> None:
    """Check *leaf* as a client would that trusts *root* and wanted *name*."""
    certificate, *chain = x509.load_pem_x509_certificates(leaf.fullchain_pem.encode())
    store = Store(x509.load_pem_x509_certificates(root.cert_pem.encode()))
    verifier = PolicyBuilder().store(store).build_server_verifier(x509.DNSName(name))
    verifier.verify(certificate, chain)


@pytest.mark.parametrize(("days", "start_days", "name"), [
    (90, -91, "www.example.com"), (90, 1, "www.example.com"), (90, 0, "www.example.net")],
    ids=["expired", "not yet valid", "another name"])
def test_a_leaf_is_refused(days: float, start_days: float, name: str) -> None:
    """A leaf out of its time or for other names is really invalid."""
    root = Authority()
    leaf = root.issue("*.example.com", days=days, start_days=start_days)
    with pytest.raises(VerificationError):
        verify(root, leaf, name)


def test_a_leaf_of_another_authority_is_refused() -> None:
    """Two authorities of the same name are not the same."""
    with pytest.raises(VerificationError):
        verify(Authority(), Authority().issue("example.com"), "example.com")


def test_a_leaf_of_an_intermediate_is_accepted() -> None:
    """A full chain, leaf first, leads to the root, which is not in it."""
    root = Authority()
    leaf = root.intermediate("Upper").intermediate("Lower").issue("example.com", "*.example.com")
    verify(root, leaf, "www.example.com")
    assert leaf.chain_pem.count("BEGIN CERTIFICATE") == 2
    assert root.cert_pem not in leaf.fullchain_pem
    assert root.issue("example.com").chain_pem == ""


def test_a_leaf_says_what_it_is() -> None:
    """Dates, key type and a name too long for a common name are as asked for."""
    now = dt.datetime(2026, 1, 31, 12, tzinfo=dt.timezone.utc)
    long_name = f"{'a' * 50}.{'b' * 50}.example.com"
    leaf = Authority().issue(long_name, days=10, start_days=-4, now=now, key_type="rsa")
    certificate = x509.load_pem_x509_certificate(leaf.cert_pem.encode())
    assert (leaf.not_before, leaf.not_after) == (now - dt.timedelta(4), now + dt.timedelta(6))
    assert isinstance(certificate.public_key(), rsa.RSAPublicKey)
    assert not list(certificate.subject)
