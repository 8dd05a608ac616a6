"""The questions of docs/unknowns.md that GET can ask, and what their answers mean.

No answer here holds a text of Qiniu's, a name, an id or a key. The detail of a certificate, which
shows its private key, is never asked for.
"""

from __future__ import annotations

import datetime as dt
import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from certbot_qiniu import errors
from certbot_qiniu.command.exploration.explorer import (
    LONGEST_PAGE,
    MOST_PAGES,
    EnoughError,
    Explorer,
    StrangeError,
    as_object,
    items,
    objects,
    refusal_of,
)
from certbot_qiniu.qiniu.client import NOT_OPERABLE, WRONG_WAY
from certbot_qiniu.qiniu.responses import ID, lowered, read_domain, text
from certbot_qiniu.qiniu.transport import API, FUSION, PILI, QBOX, QINIU, UC, UNDATED
from certbot_qiniu.text import is_token

MOST_HUBS = 3
DATE_SECONDS = 300
"""The age of a date that is sent: between the 30 seconds and 15 minutes of the documents."""

NO_SUCH_DOMAIN = "no-such-domain.example.com"

ASKED = {
    0: "the `https` of a domain that is http only",
    1: "whether a host takes the other's signature",
    2: "whether a date may be five minutes old, and whether it must be there",
    4: "how lists end, how long pages of certificates are, what an empty list is",
    14: "whether the filter `certId` works",
    18: "which lists of a bucket's domains are there; what the key of a sub-user may",
    19: "whether a live domain shows the name or the id of its certificate",
    20: "the status for an unknown domain",
    21: "`code` and `error` in successful lists",
    22: "the language of one refusal",
    29: "whether a read shows `tlsVersions`, or settings of HTTPS that nobody has described",
    30: "with which signature the list of bindings can be read",
}
"""Row of docs/unknowns.md (0 for none) -> the question."""


class Verdict(Enum):
    """The meaning of an answer for the defaults of docs/unknowns.md."""

    ASSUMED = "as assumed"
    OTHER = "otherwise"
    STRANGE = "not foreseen"
    OPEN = "not known"
    SILENT = "no answer"


@dataclass(frozen=True)
class Finding:
    """One answer, in words that name nothing."""

    row: int
    verdict: Verdict
    text: str


def _either(found: bool) -> Verdict:
    return Verdict.ASSUMED if found else Verdict.OTHER


def ask_hosts(here: Explorer) -> Iterator[Finding]:
    """Row 1."""
    for what, host, path, scheme in (
            ("domains with QBox at api", API, "/domain", QBOX),
            ("certificates with Qiniu at fusion", FUSION, "/sslcert", QINIU),
            ("certificates with QBox at api", API, "/sslcert", QBOX)):
        answer = here.get(host, path, query={"limit": "1"}, scheme=scheme)
        refused = isinstance(answer, errors.Refused)
        yield Finding(1, _either(refused), f"{what}: {refusal_of(answer) if refused else 'taken'}")


def ask_dates(here: Explorer) -> Iterator[Finding]:
    """Row 2."""
    old = dt.datetime.fromtimestamp(time.time() - DATE_SECONDS, dt.timezone.utc)
    for what, headers in ((f"a date that is {DATE_SECONDS} seconds old",
                           {"X-Qiniu-Date": old.strftime("%Y%m%dT%H%M%SZ")}),
                          ("no date", {})):
        answer = here.get(API, "/domain", query={"limit": "1"}, scheme=UNDATED, headers=headers)
        if not isinstance(answer, errors.Refused):
            yield Finding(2, _either(not headers), f"{what}: taken")
        elif headers and "clock" not in answer.advice:
            yield Finding(2, Verdict.STRANGE,
                          f"{what}: {refusal_of(answer)}, in words that do not name the clock")
        else:
            yield Finding(2, _either(bool(headers)), f"{what}: {refusal_of(answer)}")


def ask_lists(here: Explorer) -> Iterator[Finding]:
    """Row 4."""
    for what, host, path, key, whole in (
            ("certificates", FUSION, "/sslcert", "certs", here.certificates),
            ("CDN domains", API, "/domain", "domains", here.domains)):
        if key in here.too_long:
            # We ask for so many domains, and for fewer certificates.
            yield Finding(4, Verdict.STRANGE if key == "domains" else Verdict.OTHER,
                          f"a page of {LONGEST_PAGE} {what}: refused")
        first = len(whole.pages[0]) if whole.pages else 0
        if not first:
            here.empty.append(whole.last.get(key))
            yield Finding(4, Verdict.OPEN, f"how a list of {what} ends: it has no entry")
            continue
        found = here.pages(host, path, key, max(1, first - 1))  # two pages at least, if it can be
        if found.end:
            yield Finding(4, _either(found.end == "with an empty page"),
                          f"the list of {what} ends {found.end}")
        else:
            yield Finding(4, Verdict.OPEN, f"how a list of {what} ends: it has more than "
                          f"{MOST_PAGES} pages")
        if what == "certificates":
            yield from _page_lengths(here, first, sum(map(len, found.pages)))


def _page_lengths(here: Explorer, first: int, count: int) -> Iterator[Finding]:
    usual = len(objects(as_object(here.get(FUSION, "/sslcert")).get("certs")))
    for what, length, assumed in (("at most", first, 500), ("unless more are asked for", usual,
                                                            100)):
        if what == "at most" and "certs" in here.too_long:
            continue
        if count > length:
            yield Finding(4, _either(length == assumed),
                          f"a page of certificates has {length} {what}")
        else:
            yield Finding(4, Verdict.OPEN, f"how many certificates a page has {what}: there are "
                          f"only {count}")


def ask_filter(here: Explorer) -> Iterator[Finding]:
    """Row 14, and the rest of row 4."""
    if not here.domains.pages:
        yield Finding(14, Verdict.OPEN, "whether the filter certId works: there is no CDN domain")
    else:
        nothing = here.get(API, "/domain", query={"limit": "1", "certId": secrets.token_hex(12)})
        if isinstance(nothing, errors.Refused):
            yield Finding(14, Verdict.OTHER, f"domains of a certificate that does not exist: "
                          f"{refusal_of(nothing)}")
        else:
            value = as_object(nothing).get("domains")
            if not objects(value):
                here.empty.append(value)
            yield Finding(14, _either(not objects(value)), "domains of a certificate that does "
                          f"not exist: {'some' if objects(value) else 'none'}")
        yield from _filter_finds(here)
    for value in dict.fromkeys(map(repr, here.empty)):
        yield Finding(4, _either(value == "[]"),
                      f"an empty list is {'null' if value == 'None' else '[]'}")


def _filter_finds(here: Explorer) -> Iterator[Finding]:
    entry = here.detail("https") or {}
    cert_id = text(lowered(entry.get("https")), "certid")
    if not ID.fullmatch(cert_id):
        return
    answer = as_object(here.get(API, "/domain", query={"limit": str(LONGEST_PAGE),
                                                     "certId": cert_id}))
    names = [text(other, "name") for other in objects(answer.get("domains"))]
    shown = text(entry, "name") in names
    yield Finding(14, Verdict.ASSUMED if shown else Verdict.STRANGE,
                  f"domains of c1, the certificate of d1: d1 is {'' if shown else 'not '}one")


def ask_buckets(here: Explorer) -> Iterator[Finding]:
    """Row 18, without the answers of ``bindings``."""
    buckets = here.get(UC, "/buckets")
    if isinstance(buckets, errors.Refused):
        yield Finding(18, Verdict.OPEN if here.client.is_sub_user else Verdict.STRANGE,
                      f"the list of buckets: {refusal_of(buckets)}")
        return
    names = [name for name in items(buckets) if isinstance(name, str) and is_token(name)]
    if not names:
        yield Finding(18, Verdict.OPEN, "which lists of a bucket's domains are there: there is no "
                      "bucket")
        return
    old = here.get(UC, "/domain", query={"bucket": names[0]})
    new = here.get(UC, "/v3/domains", query={"tbl": names[0]})
    for what, answer in (("/domain?bucket=b1", old), ("/v3/domains?tbl=b1", new)):
        refused = isinstance(answer, errors.Refused)
        yield Finding(18, _either(not refused),
                      f"{what}: {refusal_of(answer) if refused else 'a list'}")
    if isinstance(old, errors.Refused) and isinstance(new, errors.Refused):
        yield Finding(18, Verdict.STRANGE, "no list of the source domains of b1")
    elif not isinstance(old, errors.Refused) and not isinstance(new, errors.Refused):
        same = ({text(entry, "domain") for entry in objects(old)}
                == {text(entry, "domain") for entry in objects(new)
                    if entry.get("domaintype") == 1})
        yield Finding(18, Verdict.ASSUMED if same else Verdict.STRANGE,
                      f"both lists have {'the same' if same else 'other'} source domains")


def ask_live(here: Explorer) -> Iterator[Finding]:
    """Row 19."""
    hubs = here.get(PILI, "/v2/hubs")
    if isinstance(hubs, errors.Refused):
        yield Finding(19, Verdict.OPEN, f"what a live domain shows: {refusal_of(hubs)}")
        return
    names = [text(entry, "name") for entry in objects(as_object(hubs).get("items"))]
    for name in [name for name in names if ID.fullmatch(name)][:MOST_HUBS]:
        answer = as_object(here.get(PILI, f"/v2/hubs/{name}/domains"))
        for entry in objects(answer.get("domains")):
            shown = text(entry, "certname")
            known = list(itertools.chain.from_iterable(here.certificates.pages))
            if shown and shown in {text(item, "name") for item in known}:
                yield Finding(19, Verdict.ASSUMED, "a live domain shows the name of its "
                              "certificate")
                return
            if shown and shown in {text(item, "certid") for item in known}:
                yield Finding(19, Verdict.OTHER, "a live domain shows the id of its certificate")
                return
    yield Finding(19, Verdict.OPEN, "what a live domain shows: none has a certificate of the list")


def ask_unknown_domain(here: Explorer) -> Iterator[Finding]:
    """Rows 20 and 22."""
    answer = here.get(API, f"/domain/{NO_SUCH_DOMAIN}")
    if not isinstance(answer, errors.Refused):
        yield Finding(20, Verdict.STRANGE, "a domain that does not exist: an answer like that of "
                      "one that does")
        return
    known = answer.status in (404, 612) and answer.code not in NOT_OPERABLE
    yield Finding(20, _either(answer.status == 404) if known else Verdict.STRANGE,
                  f"a domain that does not exist: {refusal_of(answer)}")
    english = answer.text.isascii()
    yield Finding(22, _either(not english), "the refusal of a domain that does not exist: in "
                  f"{'English, or without words' if english else 'Chinese'}")


def ask_codes(here: Explorer) -> Iterator[Finding]:
    """Row 21."""
    code = here.certificates.last.get("code")
    yield Finding(21, _either(code == 200),
                  f"the list of certificates: {f'code {code}' if type(code) is int else 'no code'}")
    for what, found in (("certificates", here.certificates), ("CDN domains", here.domains)):
        has_error = "error" in found.last
        yield Finding(21, _either(not has_error),
                      f"the list of {what}: {'an empty' if has_error else 'no'} error")


def ask_https(here: Explorer) -> Iterator[Finding]:
    """Row 29, and a question without a row."""
    entry = here.detail("https")
    if entry is None:
        yield Finding(29, Verdict.OPEN, "whether TLS versions are shown: no CDN domain is on HTTPS")
    else:
        https = as_object(entry.get("https"))
        versions = https.get("tlsversions") or []
        if "tlsversions" not in https:
            yield Finding(29, Verdict.ASSUMED, "d1, on HTTPS: shows no tlsVersions")
        elif isinstance(versions, list) and all(isinstance(item, str) for item in versions):
            yield Finding(29, Verdict.OTHER, f"d1, on HTTPS: shows tlsVersions, {len(versions)} of "
                          "them")
        else:
            yield Finding(29, Verdict.STRANGE, "d1, on HTTPS: shows tlsVersions that are no list")
        domain = read_domain(entry, detailed=True)
        if count := len(domain.https_fields) if domain else 0:
            yield Finding(29, Verdict.OTHER, f"d1, on HTTPS: shows {count} more "
                          f"setting{'s' * (count != 1)}, which go back as they are")
    entry = here.detail("http")
    if entry is None:
        yield Finding(0, Verdict.OPEN, "the https of a domain on http: there is none")
    elif entry.get("https") is None:
        yield Finding(0, Verdict.OTHER, "d2, on http: its https is "
                      f"{'null' if 'https' in entry else 'absent'}")
    else:
        is_empty = not text(as_object(entry["https"]), "certid")
        yield Finding(0, Verdict.ASSUMED if is_empty else Verdict.STRANGE,
                      f"d2, on http: its https names {'no' if is_empty else 'a'} certificate")


def ask_bindings(here: Explorer) -> Iterator[Finding]:
    """Row 30, and the rest of row 18."""
    answers = {scheme: here.get(API, "/cert/bindings", scheme=scheme) for scheme in (QBOX, QINIU)}
    refusals = [answer for answer in answers.values() if isinstance(answer, errors.Refused)]
    for answer in answers.values():
        if not isinstance(answer, errors.Refused):
            objects(answer)
    none_taken, is_sub_user = len(refusals) == len(answers), here.client.is_sub_user
    if is_sub_user:
        yield Finding(18, _either(none_taken), "the list of bindings, with the key of a sub-user: "
                      f"{refusal_of(refusals[0]) if none_taken else 'taken'}")
    else:
        yield Finding(18, Verdict.OPEN, "what the key of a sub-user may: this is none")
    for scheme, answer in answers.items():
        refused = isinstance(answer, errors.Refused)
        verdict = _either(refused is (scheme == QINIU))
        if refused and answer.status not in WRONG_WAY:
            verdict = Verdict.STRANGE
        elif none_taken and is_sub_user:
            verdict = Verdict.OPEN
        yield Finding(30, verdict, f"the list of bindings with {scheme}: "
                      f"{refusal_of(answer) if refused else 'taken'}")


QUESTIONS: Sequence[tuple[Sequence[int], Callable[[Explorer], Iterator[Finding]]]] = (
    ((4,), ask_lists), ((14, 4), ask_filter), ((21,), ask_codes), ((29, 0), ask_https),
    ((20, 22), ask_unknown_domain), ((30, 18), ask_bindings), ((18,), ask_buckets),
    ((19,), ask_live), ((1,), ask_hosts), ((2,), ask_dates))
"""In their order, each with its rows: questions that Qiniu must refuse come last."""


def explore(here: Explorer) -> Iterator[Finding]:
    """Ask everything."""
    for rows, question in QUESTIONS:
        try:
            yield from question(here)
        except StrangeError as strange:
            yield Finding(rows[0], Verdict.STRANGE, f"{ASKED[rows[0]]}: {strange}")
        except errors.Unreachable as failure:
            yield Finding(rows[0], Verdict.SILENT, ASKED[rows[0]] + (
                f": HTTP {failure.status}" if failure.status else ""))
        except EnoughError:
            yield Finding(rows[0], Verdict.SILENT, f"{ASKED[rows[0]]}: not asked, as there were "
                          f"{here.calls} calls")
