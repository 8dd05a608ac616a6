"""The client of Qiniu's API: one method per endpoint, answers in terms of the model.

All of Qiniu's spellings stay here and in :mod:`~certbot_qiniu.qiniu.responses`, which reads what
comes back. How a call is signed, paced and repeated is in :mod:`~certbot_qiniu.qiniu.transport`.
Certificates go through the fusion host, domains through the api host, as documented; there is no
fallback to another host, which would repeat a private key.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import requests

from certbot_qiniu import deadline, errors
from certbot_qiniu.model import (
    TLS_VERSIONS,
    Certificate,
    Domain,
    Plain,
    RemoteCertificate,
    canonical_domain,
)
from certbot_qiniu.qiniu.responses import (
    HSTS,
    ID,
    as_list,
    as_object,
    as_objects,
    as_text,
    is_hsts,
    lowered,
    read_certificate,
    read_domain,
    read_name,
    text,
    unreadable,
)
from certbot_qiniu.qiniu.transport import (
    API,
    CALLS_PER_SECOND,
    FUSION,
    PILI,
    QBOX,
    QINIU,
    UC,
    Transport,
)
from certbot_qiniu.text import is_token

logger = logging.getLogger(__name__)

CERTIFICATES_PER_PAGE = 100  # no maximum is documented; clients use 100 to 500
DOMAINS_PER_PAGE = 1000
MOST_PAGES, MOST_ENTRIES = 2_500, 250_000
"""Of one list: room for 200,000 certificates or domains."""

ALREADY_UPLOADED = 400400
NO_SUCH_CERTIFICATE = 400401
CERTIFICATE_IN_USE = {400611, 400911}
NOT_OPERABLE = {404905, 404910}  # HTTP 404, but the domain is there

# The two ways in which clients in the field bind source domains; nobody documents either.
BIND_WAYS = (("POST", QBOX), ("PUT", QINIU))
WRONG_WAY = {401, 404, 405}
"""The codes of a path that does not take a method or a signature."""

T = TypeVar("T")


class QiniuClient:
    """Calls Qiniu for one account; may be used from several threads.

    Each call raises :class:`~certbot_qiniu.errors.ApiError`: ``Refused`` when Qiniu says no, and
    ``Unreachable`` when no usable answer came; and ``UsageError``, before anything is sent, for an
    id or a name that cannot stand in a path.

    :param session: what carries the requests; its proxy and CA settings are honoured.
    :param sleep: waits for a free slot and between attempts.
    :param clock: monotonic seconds.
    :param rates: the most calls a second, by host.
    :param source: the file that the keys are from.
    :raises errors.UsageError: if a key has a form that no key has.
    """

    def __init__(self, access_key: str, secret_key: str, *,
                 session: requests.Session | None = None,
                 sleep: Callable[[float], None] = time.sleep,
                 clock: Callable[[], float] = time.monotonic,
                 rates: Mapping[str, float] = CALLS_PER_SECOND, source: str = "") -> None:
        # Anything else would fail deep in the HTTP library, which quotes the header it refuses.
        if not (is_token(access_key) and is_token(secret_key)):
            raise errors.UsageError("The Qiniu access key or secret key is empty or has "
                                    "characters that no key has")
        self._access_key = access_key
        self._transport = Transport(access_key, secret_key, session=session or deadline.session(),
                                    sleep=sleep, clock=clock, rates=rates, source=source)
        self._bindings_ways = (("GET", QBOX), ("GET", QINIU))
        self._lists_buckets_by_v3 = False

    @property
    def account(self) -> str:
        """A name for the account in our own files, which hold no key."""
        return hashlib.sha256(self._access_key.encode()).hexdigest()[:16]

    @property
    def is_sub_user(self) -> bool:
        """Whether the key is a sub-user's, who may do less than the account's owner."""
        return self._access_key.startswith("IAM-")

    @property
    def calls(self) -> int:
        """The number of requests sent so far, repeats included."""
        return self._transport.calls

    def look(self, host: str, path: str, action: str, **how: Any) -> Any:
        """Ask what no other method asks, and return the answer as it came; this changes nothing.

        :param how: as for :meth:`~certbot_qiniu.qiniu.transport.Transport.request`.
        """
        return self._transport.request(host, "GET", path, action=action, **how)

    # Certificates

    def list_certificates(self, among: Collection[str] = ()) -> list[RemoteCertificate]:
        """List the account's certificates.

        :param among: ids for which the list is read; it is left once it has shown them all.

        https://developer.qiniu.com/fusion/13368
        """
        pages = self._pages(FUSION, "/sslcert", "certs", "list the certificates",
                            {"limit": str(CERTIFICATES_PER_PAGE)})
        return _each_once(pages, read_certificate, lambda item: item.cert_id, among)

    def upload_certificate(self, certificate: Certificate) -> str:
        """Upload *certificate* and return its id.

        If the outcome is in doubt, or Qiniu refuses a second copy, one found in the list is taken.

        https://developer.qiniu.com/fusion/13368
        """
        action = f"upload certificate {certificate.remote_name}"

        def copy() -> dict[str, str] | None:
            for remote in self.list_certificates():
                if remote.is_copy_of(certificate):
                    return {"certID": remote.cert_id}
            return None

        body = {"name": certificate.remote_name, "common_name": next(iter(certificate.names), ""),
                "pri": certificate.key_pem(), "ca": certificate.fullchain}
        try:
            answer = self._transport.request(FUSION, "POST", "/sslcert", action=action, body=body,
                                             settled=copy)
        except errors.Refused as refusal:
            answer = copy() if refusal.code == ALREADY_UPLOADED else None
            if answer is None:
                raise
        cert_id = text(lowered(answer), "certid") or text(lowered(copy()), "certid")
        if not ID.fullmatch(cert_id):
            raise unreadable(action)
        return cert_id

    def delete_certificate(self, cert_id: str) -> bool:
        """Delete a certificate: true if it is gone, false if something still uses it.

        https://developer.qiniu.com/fusion/13368
        """
        def gone() -> bool | None:
            return all(item.cert_id != cert_id for item in self.list_certificates()) or None

        try:
            self._transport.request(FUSION, "DELETE", f"/sslcert/{_checked_id(cert_id)}",
                                    action=f"delete certificate {cert_id}", settled=gone)
        except errors.Refused as refusal:
            if refusal.code in CERTIFICATE_IN_USE:
                return False
            if refusal.code != NO_SUCH_CERTIFICATE:
                raise
        return True

    # CDN domains

    def list_domains(self, cert_id: str = "", among: Collection[str] = ()) -> list[Domain]:
        """List the account's CDN domains, or those that use a certificate.

        The list lags behind changes by some seconds and shows no certificates.

        :param among: names for which the list is read; it is left once it has shown them all.
            While hundreds of domains are being published, a list of those that use their
            certificate grows as fast as it is read, and would have no end.

        https://developer.qiniu.com/fusion/13363
        """
        query = {"limit": str(DOMAINS_PER_PAGE)}
        if cert_id:
            query["certId"] = _checked_id(cert_id)
        pages = self._pages(API, "/domain", "domains", "list the CDN domains", query)
        return _each_once(pages, read_domain, lambda item: item.name, among)

    def get_domain(self, name: str) -> Domain | None:
        """Read a CDN domain in detail; None if the account has none of this name.

        https://developer.qiniu.com/fusion/13363
        """
        try:
            return self._detail(name)[0]
        except errors.Refused as refusal:
            if refusal.status in (404, 612) and refusal.code not in NOT_OPERABLE:
                return None
            raise

    def bind_certificate(self, name: str, cert_id: str, *, force_https: bool, http2: bool,
                         enable: bool, tls_versions: tuple[str, ...] | None = None,
                         others: Mapping[str, Plain] | None = None,
                         is_visible: bool = True) -> None:
        """Bind a certificate to a CDN domain; Qiniu then publishes.

        That usually takes 8 to 15 minutes, overseas longer.

        :param enable: whether this switches the domain from HTTP to HTTPS.
        :param tls_versions: undocumented, so sent only if there are any.
        :param others: fields that a read has shown.
        :param is_visible: whether a read can show that the change is done.

        https://developer.qiniu.com/fusion/13364
        """
        # All three fields always: it is unknown whether a missing one keeps its value.
        body: dict[str, Any] = {
            "certId": _checked_id(cert_id), "forceHttps": force_https, "http2Enable": http2,
            **(others or {})}
        if tls_versions is not None:
            body[TLS_VERSIONS] = tls_versions
        wanted = ("https", cert_id, force_https, http2)
        self._change(
            name, "sslize" if enable else "httpsconf", f"bind certificate {cert_id} to {name}",
            {"sslize"} if enable else {"modify_https_crt", "modify_https_conf"},
            lambda now: (now.protocol, now.cert_id, now.force_https, now.http2) == wanted
            and is_visible and (tls_versions is None or now.tls_versions is None
                                or set(now.tls_versions) == set(tls_versions)), body)

    def unbind_certificate(self, name: str) -> None:
        """Switch a CDN domain back to HTTP.

        https://developer.qiniu.com/fusion/4246
        """
        self._change(name, "unsslize", f"switch {name} back to HTTP", {"unsslize"},
                     lambda now: now.protocol == "http")

    def get_response_headers(self, name: str) -> list[dict[str, str]]:
        """Read a CDN domain's changes of response headers.

        https://developer.qiniu.com/fusion/13363
        """
        entries = self._detail(name)[1].get("responseheadercontrols") or []
        # Nothing may be skipped here: setting the rest again would delete it.
        if not isinstance(entries, list) or not all(
                isinstance(entry, dict) and all(isinstance(v, str) for v in entry.values())
                for entry in entries):
            raise unreadable(f"read the response headers of {name}")
        return entries

    def set_hsts(self, name: str, *, on: bool) -> None:
        """Switch HSTS of a CDN domain on or off, leaving its other response headers alone.

        https://developer.qiniu.com/fusion/13364
        """
        before = self.get_response_headers(name)
        controls = [entry for entry in before if not is_hsts(entry)] + [HSTS] * on
        if controls != before:
            self.set_response_headers(name, controls)

    def set_response_headers(self, name: str, controls: list[dict[str, str]]) -> None:
        """Replace a CDN domain's changes of response headers.

        https://developer.qiniu.com/fusion/13364
        """
        self._change(name, "respheader", f"set the response headers of {name}",
                     {"update_resp_header"},
                     lambda now: self.get_response_headers(now.name) == controls,
                     {"responseHeaderControls": controls})

    # Source domains of storage buckets (Kodo); how they get certificates is undocumented

    def list_buckets(self) -> list[str]:
        """List the names of the account's buckets.

        https://developer.qiniu.com/kodo/3926
        """
        action = "list the buckets"
        answer = self._transport.request(UC, "GET", "/buckets", action=action)
        names = [as_text(name) for name in as_list(answer, action)]
        return [name for name in names if is_token(name)]

    def list_source_domains(self, bucket: str) -> list[Domain]:
        """List the source domains of a bucket, frozen ones with the reasons.

        The page's own list is asked for first. If that does not exist, the list that Qiniu's
        tools use is: it marks which are source domains and which CDN domains.

        https://developer.qiniu.com/kodo/8338
        """
        action = f"list the source domains of bucket {bucket}"

        def entries(path: str, parameter: str) -> list[dict[str, Any]]:
            return as_objects(self._transport.request(
                UC, "GET", path, action=action, query={parameter: bucket}), action)

        found = None
        if not self._lists_buckets_by_v3:
            try:
                found = entries("/domain", "bucket")
            except errors.Refused as refusal:
                if refusal.status not in (404, 405):
                    raise
        if found is None:
            found = [entry for entry in entries("/v3/domains", "tbl")
                     if entry.get("domaintype") == 1]  # 0 is a CDN domain
            self._lists_buckets_by_v3 = True  # not two calls for each bucket
        domains = []
        for entry in found:
            if name := read_name(entry.get("domain")):
                freezes = entry.get("freeze_types")
                reasons = as_text(
                    ", ".join(map(as_text, freezes)) if isinstance(freezes, list) else "")
                domains.append(Domain(name, service="kodo", state_reason=reasons,
                                      state="frozen" if reasons else "success"))
        return domains

    def list_bindings(self) -> dict[str, str]:
        """List the ids of the certificates bound to source domains.

        Undocumented; what Qiniu's console calls. https://developer.qiniu.com/kodo
        """
        action = "list the certificates of source domains"
        answer, worked = self._ask_either_way("/cert/bindings", self._bindings_ways, action)
        if worked != self._bindings_ways[0]:
            self._bindings_ways = self._bindings_ways[::-1]
        bound = ((read_name(entry.get("domain")), text(entry, "certid"))
                 for entry in as_objects(answer, action))
        return {name: cert_id for name, cert_id in bound if name and ID.fullmatch(cert_id)}

    def bind_source_domain(self, name: str, cert_id: str, first: str = "") -> str:
        """Bind a certificate to a source domain; :meth:`list_bindings` shows whether it took.

        Undocumented; what Qiniu's console calls. https://developer.qiniu.com/kodo

        :param first: the method that worked before; it is tried first.
        :returns: the method that worked.
        """
        return self._change_source_domain(
            "/cert/bind", name, cert_id, first,
            f"bind certificate {cert_id} to source domain {name}")

    def unbind_source_domain(self, name: str, cert_id: str, first: str = "") -> str:
        """Take a certificate off a source domain.

        Undocumented; what Qiniu's console calls. https://developer.qiniu.com/kodo

        :param first: the method that worked before; it is tried first.
        :returns: the method that worked.
        """
        return self._change_source_domain(
            "/cert/unbind", name, cert_id, first,
            f"take certificate {cert_id} off source domain {name}")

    # Live streaming (Pili)

    def list_hubs(self) -> list[str]:
        """List the names of the account's live hubs.

        https://developer.qiniu.com/pili/9888
        """
        action = "list the live hubs"
        answer = self._transport.request(PILI, "GET", "/v2/hubs", action=action)
        names = [text(entry, "name")
                 for entry in as_objects(as_object(answer, action).get("items"), action)]
        return [name for name in names if ID.fullmatch(name)]

    def list_live_domains(self, hub: str) -> list[tuple[Domain, str]]:
        """List a hub's domains, their type as product, and the names of their certificates.

        https://developer.qiniu.com/pili/9895
        """
        action = f"list the live domains of hub {hub}"
        answer = self._transport.request(PILI, "GET", f"/v2/hubs/{_checked_id(hub)}/domains",
                                         action=action)
        domains = []
        for entry in as_objects(as_object(answer, action).get("domains"), action):
            if name := read_name(entry.get("domain")):
                protocol = "https" if entry.get("certenable") is True else "http"
                domains.append((Domain(name, service="pili", protocol=protocol,
                                       cname=text(entry, "cname"), product=text(entry, "type")),
                                text(entry, "certname")))
        return domains

    def bind_live_domain(self, hub: str, name: str, cert_name: str) -> None:
        """Bind a certificate, by its name, to a live domain.

        https://developer.qiniu.com/pili/9900
        """
        self._transport.request(
            PILI, "POST", f"/v2/hubs/{_checked_id(hub)}/domains/{canonical_domain(name)}/cert",
            action=f"bind certificate {cert_name} to live domain {name}",
            body={"certName": cert_name}, needs_json=False)

    # What the methods share

    def _change_source_domain(self, path: str, name: str, cert_id: str, first: str,
                              action: str) -> str:
        """Bind or unbind, and return the method that worked."""
        body = {"certid": _checked_id(cert_id), "domain": canonical_domain(name)}
        ways = sorted(BIND_WAYS, key=lambda way: way[0] != first)
        return self._ask_either_way(path, ways, action, body)[1][0]

    def _ask_either_way(self, path: str, ways: Sequence[tuple[str, str]], action: str,
                        body: Any = None) -> tuple[Any, tuple[str, str]]:
        """Ask the undocumented interface, and return its answer and the way that worked.

        A repeat does no harm, unlike one of an upload: no private key is in these calls, and
        binding twice is binding once.

        :param ways: methods, each with its signature, in the order in which they are tried.
        """
        refusals = []
        for method, scheme in ways:
            try:
                answer = self._transport.request(API, method, path, action=action, body=body,
                                                 scheme=scheme, needs_json=body is None)
            except errors.Refused as refusal:
                if refusal.status not in WRONG_WAY:
                    raise
                refusals.append(refusal)
            else:
                return answer, (method, scheme)
        raise errors.Refused(
            action, ", ".join(f"{refusal.text} as {method} with {scheme}"
                              for refusal, (method, scheme) in zip(refusals, ways, strict=True)),
            status=refusals[0].status, code=refusals[0].code, reqid=refusals[0].reqid)

    def _pages(self, host: str, path: str, key: str, action: str,
               query: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the entries of a paged list.

        Documents and clients disagree on its end: an empty marker, or an empty page. A marker
        that does not move ends it as well.
        """
        seen: set[str] = set()
        count = 0
        for _ in range(MOST_PAGES):
            page = as_object(self._transport.request(host, "GET", path, action=action, query=query),
                           action)
            entries = as_objects(page.get(key), action)
            yield from entries
            marker = text(page, "marker")
            if not entries or not marker or marker in seen:
                return
            seen.add(marker)
            count += len(entries)
            if count > MOST_ENTRIES:
                break
            query = {**query, "marker": marker}
        # An incomplete list would look as if certificates were unused and domains gone.
        raise errors.Unreachable(action, f"no end after {len(seen)} pages")

    def _detail(self, name: str) -> tuple[Domain, dict[str, Any]]:
        """Read a CDN domain, as a value of the model and as the answer itself."""
        name = canonical_domain(name)
        action = f"read the CDN domain {name}"
        entry = as_object(self._transport.request(API, "GET", f"/domain/{name}", action=action),
                        action)
        domain = read_domain(entry, detailed=True)
        if domain is None or domain.name != name:
            raise unreadable(action)
        return domain, entry

    def _change(self, name: str, verb: str, action: str, operations: set[str],
                is_done: Callable[[Domain], bool], body: Any = None) -> None:
        """Change a CDN domain, reading it before a repeat, which Qiniu would refuse.

        :param operations: Qiniu's names for the change while it is published.
        :param is_done: whether a domain shows the change.
        """
        def settled() -> bool | None:
            domain = self.get_domain(name)
            if domain is None or domain.state == "failed":
                return None
            publishing = domain.state == "processing" and domain.operation in operations
            return publishing or is_done(domain) or None

        self._transport.request(API, "PUT", f"/domain/{canonical_domain(name)}/{verb}",
                                action=action, body=body, settled=settled)


def _checked_id(text: str) -> str:
    """Return *text* if it can stand in a path as the id of a certificate or a hub's name."""
    if not ID.fullmatch(text):
        raise errors.UsageError(f"{text!r} is no id or name that Qiniu gives")
    return text


def _each_once(entries: Iterable[dict[str, Any]], read: Callable[[dict[str, Any]], T | None],
               key: Callable[[T], str], among: Collection[str]) -> list[T]:
    """Read the entries of a list, a repeated one once, until it has shown all of *among*."""
    found: dict[str, T] = {}
    missing = set(among)
    for entry in entries:
        if item := read(entry):
            found[key(item)] = item
            missing.discard(key(item))
            if among and not missing:
                break
    return list(found.values())
