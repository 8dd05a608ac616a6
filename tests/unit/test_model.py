"""The facts: certificates from files, names and their spellings, and what covers what."""

from __future__ import annotations

import dataclasses
import datetime as dt
import types
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from certbot_qiniu import errors
from certbot_qiniu.model import (
    FINGERPRINT_DIGITS,
    Certificate,
    Domain,
    RemoteCertificate,
    canonical_domain,
    certificate_name,
    covered,
    covering_name,
    parse_certificate_name,
    san_of,
    validity,
)
from tests.sandbox.pki import Authority, Leaf

AUTHORITY = Authority()
CERTIFICATE = Certificate(
    "example.com", "0123456789abcdef" * 4, ("example.com", "*.example.com"),
    dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    dt.datetime(2026, 4, 1, tzinfo=dt.timezone.utc), "PEM", Path("/nowhere/privkey.pem"))

# Few and short labels, so that names often cover each other.
LABELS = st.sampled_from(["a", "b", "www", "x-1"])
DOMAINS = st.builds(
    lambda dot, labels, tld: dot + ".".join([*labels, tld]),
    st.sampled_from(["", "."]), st.lists(LABELS, min_size=1, max_size=3),
    st.sampled_from(["com", "cn"]))
SANS = DOMAINS.map(lambda name: f"*{name}" if name.startswith(".") else name)
FINGERPRINTS = st.text("0123456789abcdef", min_size=64, max_size=64)
LINEAGES = st.text(min_size=1, max_size=120) | st.just("a_b") | st.just("x" * 64)


def written(folder: Path, leaf: Leaf) -> tuple[Path, Path]:
    """The full chain and the key of *leaf*, as files."""
    fullchain, key = folder / "fullchain.pem", folder / "privkey.pem"
    fullchain.write_text(leaf.fullchain_pem)
    key.write_text(leaf.key_pem)
    return fullchain, key


# Certificates of this machine


@pytest.mark.parametrize("content", [
    None, b"", b"no certificate", b"\xff\xfe\x00",
    b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
], ids=["missing", "empty", "text", "binary", "damaged"])
def test_load_nonsense(content: bytes | None, tmp_path: Path) -> None:
    """A file that holds no certificate is the user's error, and is named."""
    path = tmp_path / "fullchain.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.UsageError, match=f"Could not read the certificate {path}: ."):
        Certificate.load("a", path, tmp_path / "privkey.pem")


def test_load_foreign_remarks(tmp_path: Path) -> None:
    """Remarks that are not ASCII, which no upload could carry, are refused in the same way."""
    fullchain, key = written(tmp_path, AUTHORITY.issue("a.example.com"))
    fullchain.write_text(f"# 证书\n{fullchain.read_text()}", encoding="utf-8")
    with pytest.raises(errors.UsageError, match=f"Could not read the certificate {fullchain}: ."):
        Certificate.load("a", fullchain, key)


def test_load(tmp_path: Path) -> None:
    """A certificate is what its leaf says, with the whole chain as it was written."""
    leaf = AUTHORITY.intermediate("Issuing").issue("A.Example.com", "*.example.com", "127.0.0.1")
    fullchain, key = written(tmp_path, leaf)
    certificate = Certificate.load("example.com", fullchain, key)
    assert certificate == Certificate(
        "example.com", leaf.fingerprint, ("a.example.com", "*.example.com"),
        leaf.not_before, leaf.not_after, leaf.fullchain_pem, key)
    assert certificate.fullchain.count("BEGIN CERTIFICATE") == 2
    assert certificate.remote_name == f"certbot_example.com_{leaf.fingerprint[:12]}"


def test_load_without_sans(tmp_path: Path) -> None:
    """A certificate without SANs covers nothing, whatever its common name."""
    leaf = AUTHORITY.issue("127.0.0.1")
    assert Certificate.load("a", *written(tmp_path, leaf)).names == ()
    path = tmp_path / "plain.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "example.com")])
    path.write_bytes(
        x509.CertificateBuilder(name, name, key.public_key(), 1, leaf.not_before, leaf.not_after)
        .sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    certificate = Certificate.load("a", path, path)
    assert certificate.names == ()


@pytest.mark.parametrize("content", [None, "", "rubbish WITH-A-SECRET in it"])
def test_unreadable_key(content: str | None, tmp_path: Path) -> None:
    """A key that cannot be read is named, and none of it quoted."""
    path = tmp_path / "privkey.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(errors.UsageError, match=str(path)) as caught:
        dataclasses.replace(CERTIFICATE, key_path=path).key_pem()
    assert "WITH-A-SECRET" not in str(caught.value)


def test_encrypted_key(tmp_path: Path) -> None:
    """A key with a passphrase is refused: there is nobody to ask for it."""
    path = tmp_path / "privkey.pem"
    path.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret")))
    with pytest.raises(errors.UsageError, match="TypeError"):
        dataclasses.replace(CERTIFICATE, key_path=path).key_pem()


@pytest.mark.parametrize("key", [
    ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048),
], ids=["ec", "rsa"])
def test_key_form(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, tmp_path: Path) -> None:
    """Keys of the old forms leave as PKCS#8, and are the same keys."""
    path = tmp_path / "privkey.pem"
    path.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption()))
    pem = dataclasses.replace(CERTIFICATE, key_path=path).key_pem()
    assert pem.startswith("-----BEGIN PRIVATE KEY-----\n")
    loaded = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    assert loaded.private_numbers() == key.private_numbers()


def test_repr_is_short() -> None:
    """A certificate's repr has neither its chain nor the path of its key."""
    assert "PEM" not in repr(CERTIFICATE)
    assert "privkey" not in repr(CERTIFICATE)


# Copies at Qiniu


COPY = RemoteCertificate("id", CERTIFICATE.remote_name, ("*.EXAMPLE.com", "example.com"),
                         not_after=int(CERTIFICATE.not_after.timestamp()))


@pytest.mark.parametrize("remote", [
    COPY, dataclasses.replace(COPY, names=()), dataclasses.replace(COPY, not_after=0),
], ids=["all said", "no names said", "no end said"])
def test_is_copy(remote: RemoteCertificate) -> None:
    """A certificate under our name is a copy if nothing speaks against it."""
    assert remote.is_copy_of(CERTIFICATE)


@pytest.mark.parametrize("remote", [
    dataclasses.replace(COPY, name=f"{COPY.name}x"),
    dataclasses.replace(COPY, names=("example.com",)),
    dataclasses.replace(COPY, names=("example.com", "*.example.com", "example.net")),
    dataclasses.replace(COPY, not_after=COPY.not_after + 1),
], ids=["another name", "a SAN less", "a SAN more", "another end"])
def test_is_no_copy(remote: RemoteCertificate) -> None:
    """A namesake with other SANs or another end is not ours."""
    assert not remote.is_copy_of(CERTIFICATE)


# Names of domains


@pytest.mark.parametrize("text", [
    "", " ", ".", "*", "*.", "..", "com", "*.*.example.com", "a.*.example.com", "*example.com",
    "a..example.com", "..example.com", "a b.example.com", "a.example.com/x", "a.example.com:443",
    "-a.example.com", "a-.example.com", "例子.com", "a.example.com\nb.example.com", "a@example.com",
    f"{'a' * 64}.example.com", f"{'a.' * 122}example.com", "https://a.example.com", "a.example.c",
])
def test_no_domain(text: str) -> None:
    """A text that is no domain name is refused, and quoted."""
    with pytest.raises(errors.UsageError, match="is not a domain name") as caught:
        canonical_domain(text)
    assert repr(text.strip()) in str(caught.value)


@pytest.mark.parametrize(("text", "hint"), [
    ("例子.com", "write xn--fsqu00a.com"), ("*.例子.com", "write *.xn--fsqu00a.com"),
    ("例 子.com", ""), ("例子", ""), ("a b.com", "")])
def test_other_letters(text: str, hint: str) -> None:
    """The error has the spelling to use, if there is one."""
    with pytest.raises(errors.UsageError) as caught:
        canonical_domain(text)
    assert hint in str(caught.value)
    assert bool(hint) == ("write" in str(caught.value))


@pytest.mark.parametrize(("text", "name"), [
    ("a.example.com", "a.example.com"),
    (" A.Example.COM. ", "a.example.com"),
    ("*.example.com", ".example.com"),
    (".example.com", ".example.com"),
    ("*.Example.com.", ".example.com"),
    ("_x.example.com", "_x.example.com"),
    ("xn--fsqu00a.xn--fiqs8s", "xn--fsqu00a.xn--fiqs8s"),
])
def test_canonical_domain(text: str, name: str) -> None:
    """Any usual way to write a domain becomes Qiniu's."""
    assert canonical_domain(text) == name


@given(st.text("aB-_.* é", max_size=12) | DOMAINS | SANS)
@settings(deadline=None)
def test_canonical_domain_is_idempotent(text: str) -> None:
    """A canonical name is its own canonical name."""
    try:
        name = canonical_domain(text)
    except errors.UsageError:
        return
    assert canonical_domain(name) == name
    assert canonical_domain(san_of(name)) == name
    assert name == name.lower()


# What covers what


def covers(san: str, domain: str) -> bool:
    """Whether *san* covers Qiniu's *domain*, label by label, as qiniu-api.md and RFC 6125 say."""
    san_labels, labels = san.split("."), domain.split(".")
    if labels[0] == "":  # a wildcard at Qiniu: only the same wildcard will do
        labels[0] = "*"
        return san_labels == labels
    return len(san_labels) == len(labels) and all(
        theirs == ours or (place == 0 and theirs == "*")
        for place, (theirs, ours) in enumerate(zip(san_labels, labels, strict=True)))


@given(st.lists(SANS, max_size=5), DOMAINS)
@settings(deadline=None, max_examples=200)
@example(["*.example.com"], "example.com")
@example(["*.example.com"], "a.b.example.com")
@example(["example.com"], ".example.com")
@example(["*.example.com"], "a.example.com")
@example(["*.a.example.com"], ".example.com")
def test_covering_name(sans: list[str], domain: str) -> None:
    """The SAN that is found covers the domain, and if none is found, none does."""
    found = covering_name(sans, domain)
    assert (found is not None) == any(covers(san, domain) for san in sans)
    if found is not None:
        assert found in sans
        assert covers(found, domain)
        assert found == san_of(domain) or san_of(domain) not in sans


NAME = st.lists(st.sampled_from(["*", "", "a", "b", "com"]), min_size=1, max_size=4).map(".".join)


@given(st.sets(NAME, max_size=6), st.sets(NAME, max_size=12))
def test_covered(domains: set[str], names: set[str]) -> None:
    """Of many domains at once the same ones are covered as one by one."""
    there = {name: Domain(name) for name in domains - {""}}
    names -= {"*."}
    assert covered(there, names) == {
        name: domain for name, domain in there.items() if covering_name(names, name)}


# Names of certificates


@given(LINEAGES, FINGERPRINTS)
@settings(deadline=None, max_examples=200)
@example("\N{SNOWMAN}" * 200, "0" * 64)
@example("certbot_a_000000000000", "f" * 64)
def test_certificate_name(lineage: str, fingerprint: str) -> None:
    """A name is short plain ASCII with all its fingerprint digits, and can be read back."""
    name = certificate_name(lineage, fingerprint)
    assert len(name) <= 64
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set(" /\\\"'")
    assert name.endswith(f"_{fingerprint[:FINGERPRINT_DIGITS]}")
    parsed = parse_certificate_name(name)
    assert parsed is not None
    assert parsed[1] == fingerprint[:FINGERPRINT_DIGITS]
    assert certificate_name(parsed[0], fingerprint) == name


@given(LINEAGES, LINEAGES, FINGERPRINTS, FINGERPRINTS)
@settings(deadline=None)
@example("x" * 100, "x" * 100, "0" * 64, f"{'0' * 11}1{'0' * 52}")
@example("x" * 39, f"{'x' * 39}_0", "0" * 64, "1" * 64)
def test_certificate_names_differ(one: str, other: str, first: str, second: str) -> None:
    """Certificates whose fingerprints differ at their beginning never share a name."""
    if first[:FINGERPRINT_DIGITS] != second[:FINGERPRINT_DIGITS]:
        assert certificate_name(one, first) != certificate_name(other, second)


@pytest.mark.parametrize("name", [
    "", "example.com", "certbot_example.com", "certbot_example.com_0123456789a",
    "certbot_example.com_0123456789ABC", "certbot_example.com_0123456789abc",
    "certbot_example.com_0123456789ab ", "x certbot_example.com_0123456789ab",
    "certbot_example.com_0123456789ab\n", "certbot-example.com_0123456789ab",
    "certbot_0123456789ab",
])
def test_strange_name(name: str) -> None:
    """A name that merely looks like one of ours is not ours."""
    assert parse_certificate_name(name) is None


def test_plain_name() -> None:
    """A usual lineage stays legible, and a long one as far as there is room."""
    assert certificate_name("www.example.com-0001", "ab" * 32) == (
        "certbot_www.example.com-0001_abababababab")
    assert parse_certificate_name("certbot_www.example.com-0001_abababababab") == (
        "www.example.com-0001", "abababababab")
    assert certificate_name("x" * 100, "ab" * 32) == f"certbot_{'x' * 43}_abababababab"


def test_validity_by_old_cryptography() -> None:
    """If cryptography knows no time zones yet, its times are taken for what they are, UTC."""
    leaf = AUTHORITY.issue("example.com")
    parsed = x509.load_pem_x509_certificate(leaf.cert_pem.encode())
    old = types.SimpleNamespace(not_valid_before=leaf.not_before.replace(tzinfo=None),
                                not_valid_after=leaf.not_after.replace(tzinfo=None))
    assert (leaf.not_before, leaf.not_after) == validity(parsed)
    assert (leaf.not_before, leaf.not_after) == validity(old)  # type: ignore[arg-type]
