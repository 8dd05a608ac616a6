"""Make one call to Qiniu: paced, signed afresh, bounded, repeated if safe, understood.

It knows hosts, codes and the network, but no endpoint: those are in
:mod:`certbot_qiniu.qiniu.client`.
"""

from __future__ import annotations

import http.client
import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NoReturn
from urllib.parse import urlencode

import requests
import tenacity
import urllib3
from qiniu.auth import Auth, QiniuMacAuth, QiniuMacRequestsAuth, RequestsAuth
from requests.auth import AuthBase

from certbot_qiniu import errors
from certbot_qiniu.deadline import deadline
from certbot_qiniu.text import printable

logger = logging.getLogger(__name__)

API = "api.qiniu.com"
FUSION = "fusion.qiniuapi.com"
UC = "uc.qiniuapi.com"
PILI = "pili.qiniuapi.com"

QBOX, QINIU = "QBox", "Qiniu"
"""Qiniu's two signatures: of only the path, and of nearly all of the request."""

UNDATED = "Qiniu without a date"
"""The second one without ``X-Qiniu-Date``, or with a date from the caller."""

SCHEMES = {API: QINIU, FUSION: QBOX, UC: QINIU, PILI: QINIU}
"""The signature that each host documents."""

CALLS_PER_SECOND = {API: 9.5, FUSION: 4.75, UC: 8.0, PILI: 8.0}
"""A little below what Qiniu allows an account (10 on api, 5 on fusion).

The network, or the handshake of its connection, may hold a call up for 50 ms longer than the ten
after it (five on fusion). The limit is still kept, whether Qiniu counts in any second, in seconds
of the clock or with a leaky bucket. A call that is refused is repeated.
"""

SHORTEST_GAP = 0.98
"""The part of the gap that remains between two calls if one has left too late."""

GENTLE_CALLS_PER_SECOND = {API: 3.0, FUSION: 1.5, UC: 3.0, PILI: 3.0}
"""The pace if nobody waits: the limits are the account's, and it has other programs."""

ATTEMPTS = 5
CONNECT_SECONDS, READ_SECONDS, ANSWER_SECONDS = 10, 30, 60
ANSWER_BYTES = 8 * 1024 * 1024
"""Several times the largest page. Malicious JSON of this size takes half a gigabyte of memory."""
LONGEST_RETRY_AFTER_SECONDS = 60
BREAKER_FAILURES, BREAKER_SECONDS = 2, 60
TEXT_LIMIT = 300

_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
_BAD_REQUEST, _FORBIDDEN = 400, 403
_QPS_EXCEEDED = 403024
_THROTTLED_STATUSES = {429, 573}
_TRANSIENT_STATUSES = {502, 503, 504, 599}
# Qiniu's console gets these words if somebody clicks too fast; their code is not known. The
# interface for source domains has no codes.
_TOO_OFTEN_WORDS = ("too frequent", "频繁")
# Other 500xxx (a frozen domain is 500923) are final. A 500 without Qiniu's code has that of HTTP.
_TRANSIENT_CODES = {500, 500000, 500215, 500219}

_KEYS_ADVICE = ("Check qiniu_access_key and qiniu_secret_key in the credentials file{}; "
                "the key of a sub-user may lack the permission")
_CLOCK_ADVICE = "Check this machine's clock: Qiniu accepts a difference of 30 seconds"
_REDIRECT_ADVICE = ("Qiniu does not redirect: something in between does; "
                    "check HTTPS_PROXY and the network")
_NETWORK_ADVICE = "Check this machine's network, DNS and HTTPS_PROXY, then try again"
_LATER_ADVICE = "Qiniu has a problem of its own; try again later"
_THROTTLED_ADVICE = "Something else may be using this account's calls; try again later"
_SETTINGS_ADVICE = "Check HTTPS_PROXY and REQUESTS_CA_BUNDLE"

_ADVICE = {code: advice for codes, advice in (
    ((400201, 400233, 400322, 500233), "Qiniu refuses certificates with less than 30 days left, "
     "and so every short-lived one; renew this one first"),
    ((400321,), "The certificate is not valid yet; check this machine's clock"),
    ((400329,), "The certificate has expired; renew it first"),
    ((400319, 400514), "If the key is ECDSA, this domain's line may not support it; renew with "
     "--key-type rsa"),
    ((400324,), "The private key is not the one of the certificate: see that privkey.pem and "
     "fullchain.pem of the lineage belong together, or renew with --force-renewal"),
    ((400327, 400328), "Qiniu cannot use this private key, or finds that it is not the one of the "
     "certificate; if it is ECDSA, renew with --key-type rsa"),
    ((400348,), "Qiniu wants a common name in the certificate, which ACME profiles such as "
     "tlsserver and shortlived leave out: renew with --required-profile classic"),
    ((400323, 400338), "Qiniu needs the full chain up to a public root: a test or private CA "
     "cannot be used"),
    ((400326,), "The certificate's names do not cover this domain"),
    ((400500,), "The account's quota of certificates is used up; delete unused ones in Qiniu's "
     "console"),
    ((401000,), "Qiniu wants the account's real-name verification first; see its console"),
    ((400020,), "The domain has no ICP filing; nothing can be changed before it has one"),
    ((400030, 400999), "Qiniu is still publishing an earlier change of this domain, which "
     "usually takes 8 to 15 minutes, overseas longer; try again later"),
    ((400066,), "The domain's last change failed; see Qiniu's console"),
    ((400320,), "The domain is offline; bring it online in Qiniu's console"),
    ((500923, 500924), "The domain is frozen; see Qiniu's console for the reason"),
    ((400407, 400722, 404905, 404910), "Qiniu lets this account change nothing here; ask Qiniu's "
     "support"),
) for code in codes}

_NO_DOMAIN_CODES = {404, 404001, 612}
_NO_DOMAIN_ADVICE = ("Check the name, and that it is a CDN domain of this account: a storage "
                     "(Kodo) source domain is none")


class Throttle:
    """Evenly spaced slots for calls, shared by all threads.

    No library: those at hand fill windows or buckets, so they start with a burst, while nobody
    knows how Qiniu counts. Even spacing stays below any window, and is a lock and two numbers.
    """

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._gap_seconds = 1 / per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._next = self._left = float("-inf")

    def wait(self, sleep: Callable[[float], None]) -> None:
        """Wait for the next free slot.

        On a busy machine a sleep ends late. The calls after it make up for that, a little each.
        """
        with self._lock:  # while it sleeps, too: whoever is late must not be overtaken
            now = self._clock()
            slot = max(now, self._next)
            leaves = max(slot, self._left + SHORTEST_GAP * self._gap_seconds)
            if leaves > now:
                sleep(leaves - now)
                leaves = max(leaves, self._clock())
            self._next, self._left = slot + self._gap_seconds, leaves


class Breaker:
    """Remembers that a host is down, so that an outage is not waited for again at every domain."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._failed_at = 0.0
        self.cause: errors.Unreachable | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls are pointless for now."""
        with self._lock:
            return (self._failures >= BREAKER_FAILURES
                    and self._clock() - self._failed_at < BREAKER_SECONDS)

    def record(self, failure: errors.Unreachable | None = None) -> None:
        """Note how a call, all its repeats included, ended.

        :param failure: None if it was answered. An error may be only that call's; silence is the
            host's.
        """
        with self._lock:
            weight = 1 if failure and failure.status else BREAKER_FAILURES
            self._failures = self._failures + weight if failure else 0
            self._failed_at = self._clock()
            self.cause = failure


# One per host, account and clock (tests bring their own): Qiniu counts calls per account, however
# many clients this process has.
_throttles: dict[tuple[str, str, Callable[[], float]], Throttle] = {}


@dataclass(frozen=True)
class _Answer:
    """An HTTP answer, taken apart.

    :ivar code: Qiniu's code; the HTTP status if the body has none.
    :ivar value: the JSON value, {} for an empty body, meaningless if *is_json* is false.
    :ivar is_empty: whether there was no body at all.
    """

    status: int
    code: int
    text: str
    reqid: str
    retry_after: float
    value: Any
    is_json: bool
    is_empty: bool


class _TransientError(Exception):
    """An attempt failed in a way that may pass; *error* is raised if it does not."""

    def __init__(self, error: errors.Unreachable, retry_after: float = 0) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


class Transport:
    """Sends signed requests; safe to use from several threads.

    :param rates: the most calls a second, by host.
    :param source: the file that the keys are from.
    :ivar int calls: requests sent, repeats included.
    """

    def __init__(self, access_key: str, secret_key: str, *, session: requests.Session,
                 sleep: Callable[[float], None], clock: Callable[[], float],
                 rates: Mapping[str, float] = CALLS_PER_SECOND, source: str = "") -> None:
        # An empty policy: cookies would be state shared between threads, and serve nothing.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._auths = {
            QBOX: RequestsAuth(Auth(access_key, secret_key)),
            QINIU: QiniuMacRequestsAuth(QiniuMacAuth(
                access_key, secret_key, disable_qiniu_timestamp_signature=False)),
            UNDATED: QiniuMacRequestsAuth(QiniuMacAuth(
                access_key, secret_key, disable_qiniu_timestamp_signature=True))}
        self._session = session
        self._source = source
        self._sleep = sleep
        self._clock = clock
        self._throttles = {
            host: _throttles.setdefault((host, access_key, clock), Throttle(rate, clock))
            for host, rate in rates.items()}
        self._breakers = {(host, aside): Breaker(clock) for host in CALLS_PER_SECOND
                          for aside in (False, True)}
        self._lock = threading.Lock()
        self.calls = 0

    def request(self, host: str, method: str, path: str, *, action: str,
                query: Mapping[str, str] | None = None, body: Any = None,
                scheme: str = "", headers: Mapping[str, str] | None = None,
                needs_json: bool = True, settled: Callable[[], Any] | None = None) -> Any:
        """Call Qiniu and return the JSON value of a success ({} for an empty body).

        :param action: what is tried, in words, for the errors.
        :param scheme: :data:`QBOX`, :data:`QINIU` or :data:`UNDATED`; by default what the host
            documents.
        :param headers: sent in addition.
        :param settled: called if an attempt may have taken effect although its answer was lost
            (before the call is repeated, and if the repeat is refused), and after a success
            without a word. Its result, unless None, is the result of the call. Left out if a
            repeat does no harm.
        :raises errors.Refused: if Qiniu says no.
        :raises errors.Unreachable: if no usable answer came, after all repeats.
        """
        # Undocumented calls share a host with the CDN, and must not hold it up.
        breaker = self._breakers[host, path.startswith("/cert/")]
        if breaker.is_open:
            first = breaker.cause
            raise errors.Unreachable(
                action, f"not tried: {host} did not answer the calls before"
                + (f" ({first.text})" if first else ""),
                advice=first.advice if first else _LATER_ADVICE, first=first)
        target = f"{path}?{urlencode(query)}" if query else path
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        auth = self._auths[scheme or SCHEMES[host]]
        doubtful = False

        def attempt() -> Any:
            nonlocal doubtful
            if doubtful and settled and (seen := settled()) is not None:
                return seen
            try:
                answer = self._send(host, method, target, content, auth, action, headers)
                value = _judge(answer, action, needs_json=needs_json,
                               is_cdn_domain=path.startswith("/domain/"), source=self._source)
                if answer.is_empty and (settled or method == "GET"):
                    # Older documents have such a success; a broken gateway answers so, too.
                    value = settled() if settled else None
                    if value is None:
                        _fail(errors.Unreachable, answer, action, _LATER_ADVICE,
                              text="an empty answer")
                return value
            except _TransientError as failure:
                # One call too many is the one failure that is sure to have had no effect.
                doubtful = doubtful or not isinstance(failure.error, errors.Throttled)
                raise
            except errors.Refused:
                if doubtful and settled and (seen := settled()) is not None:
                    return seen
                raise

        repeated = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS), wait=_pause_seconds, sleep=self._sleep,
            retry=tenacity.retry_if_exception_type(_TransientError), reraise=True)
        try:
            answer = repeated(attempt)
        except _TransientError as failure:
            # A bad request says nothing about the host.
            breaker.record(None if failure.error.status == _BAD_REQUEST else failure.error)
            raise failure.error from failure.__cause__
        except errors.Refused:
            breaker.record()
            raise
        breaker.record()
        return answer

    def _send(self, host: str, method: str, target: str, content: bytes | None,
              auth: AuthBase, action: str, headers: Mapping[str, str] | None) -> _Answer:
        """Send one request, signed now."""
        self._throttles[host].wait(self._sleep)
        with self._lock:
            self.calls += 1
        begun, status = self._clock(), 0
        outcome = "no answer"
        try:
            # The auth object signs what is sent, and keeps requests from looking into ~/.netrc.
            with deadline(ANSWER_SECONDS), self._session.request(
                    method, f"https://{host}{target}", data=content, auth=auth,
                    headers={**_HEADERS, **(headers or {})}, allow_redirects=False, stream=True,
                    timeout=(CONNECT_SECONDS, READ_SECONDS)) as response:
                status = response.status_code
                if status < 200:
                    # http.client skips only a 100. The final answer is still to come on this
                    # connection, and would be taken for that of the next call. An answer that is
                    # left unread closes it.
                    raise requests.ConnectionError(
                        f"HTTP {status}, which announces an answer, and is none")
                answer = _take_apart(response, _read(response))
            outcome = f"HTTP {answer.status}, code {answer.code}, X-Reqid {answer.reqid or '-'}"
            return answer
        except ValueError as error:
            # A malformed proxy address, which may hold a password: its text is left out.
            raise errors.Unreachable(
                action, type(error).__name__, advice=_SETTINGS_ADVICE) from None
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError,
                requests.exceptions.ChunkedEncodingError,
                requests.exceptions.ContentDecodingError) as error:
            raise _TransientError(errors.Unreachable(
                action, f"{_reason(error)}, after {ATTEMPTS} attempts", status=status,
                advice=_NETWORK_ADVICE)) from error
        except OSError as error:  # for example a CA bundle that is not there
            raise errors.Unreachable(action, _shown(error), advice=_SETTINGS_ADVICE) from error
        finally:
            logger.debug("%s %s%s: %s, %d ms", method, host, target.partition("?")[0], outcome,
                         (self._clock() - begun) * 1000)


def _read(response: requests.Response) -> bytes:
    """Read the body, up to our limit of size.

    :raises requests.ConnectionError: if it is larger, or in an encoding: we ask for none, and a
        few bytes of one may stand for gigabytes.
    """
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise requests.ConnectionError(f"the answer is in an encoding: {encoding}")
    content = bytearray()
    while chunk := response.raw.read(65536, decode_content=False):
        content += chunk
        if len(content) > ANSWER_BYTES:
            raise requests.ConnectionError("the answer is too large")
    return bytes(content)


def _pause_seconds(state: tenacity.RetryCallState) -> float:
    """Back off 1, 2, 4, 8 seconds and a random part, or longer if Qiniu asks for it."""
    failure = state.outcome.exception() if state.outcome else None
    asked = failure.retry_after if isinstance(failure, _TransientError) else 0
    return max(tenacity.wait_exponential_jitter()(state), asked)


def _take_apart(response: requests.Response, content: bytes) -> _Answer:
    """Decode an answer of any kind, however broken."""
    try:
        value, is_json = json.loads(content) if content.strip() else {}, True
    except (ValueError, RecursionError):
        value, is_json = None, False
    facts = value if isinstance(value, dict) else {}
    code, text = facts.get("code"), facts.get("error")
    status = response.status_code
    return _Answer(
        status,
        code if type(code) is int and code not in (0, 200) else status,
        _shown(text if isinstance(text, str) else "")
        or http.client.responses.get(status, "no explanation"),
        _shown(response.headers.get("X-Reqid", "")),
        _retry_after(response.headers.get("Retry-After", "")), value, is_json,
        not content.strip())


def _judge(answer: _Answer, action: str, *, needs_json: bool, is_cdn_domain: bool,
           source: str) -> Any:
    """Return the value of a success, or raise the failure.

    ``Response.ok`` is no help: it takes Qiniu's status 612, "no such domain", for a success.

    :param source: the file that the keys are from.
    """
    if 200 <= answer.status < 300 and answer.code == answer.status:
        if answer.is_json or not needs_json:
            return answer.value if answer.is_json else {}
        _fail(errors.Unreachable, answer, action, _LATER_ADVICE, text="an answer that is no JSON")
    words = answer.text.lower()
    if (answer.status in _THROTTLED_STATUSES or answer.code == _QPS_EXCEEDED
            or (answer.status in (_BAD_REQUEST, _FORBIDDEN)
                and any(hint in words for hint in _TOO_OFTEN_WORDS))):
        _fail(errors.Throttled, answer, action, _THROTTLED_ADVICE)
    if answer.status in _TRANSIENT_STATUSES or answer.code in _TRANSIENT_CODES:
        _fail(errors.Unreachable, answer, action, _LATER_ADVICE)
    if 300 <= answer.status < 400:
        advice = _REDIRECT_ADVICE
    elif any(hint in words for hint in ("skewed", "expired token", "out of date")):
        advice = _CLOCK_ADVICE
    elif is_cdn_domain and answer.code in _NO_DOMAIN_CODES:
        advice = _NO_DOMAIN_ADVICE
    else:
        advice = _ADVICE.get(answer.code, _KEYS_ADVICE.format(
            f" {source}" * bool(source)) if answer.status == 401 else "")
    raise errors.Refused(action, answer.text, status=answer.status, code=answer.code,
                         reqid=answer.reqid, advice=advice)


def _fail(kind: type[errors.Unreachable], answer: _Answer, action: str, advice: str,
          text: str = "") -> NoReturn:
    """Raise a failure that may pass."""
    raise _TransientError(
        kind(action, f"{text or answer.text}, after {ATTEMPTS} attempts", status=answer.status,
             code=answer.code, reqid=answer.reqid, advice=advice), answer.retry_after)


def _retry_after(text: str) -> float:
    """Return the seconds of a ``Retry-After`` header in either of its forms, 0 for none."""
    try:
        return min(urllib3.Retry().parse_retry_after(text), LONGEST_RETRY_AFTER_SECONDS)
    except (urllib3.exceptions.HTTPError, ValueError, OverflowError):
        return 0


def _reason(error: Exception) -> str:
    """Return the innermost explanation of a network failure, without the URL it happened at."""
    inner = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    inner = getattr(inner, "reason", None) or inner
    return f"{type(inner).__name__}: {_shown(inner)}"


def _shown(text: object) -> str:
    """Return *text* from elsewhere in a form that may be shown: printable, no PEM, not too long."""
    # Should a server ever quote our request, the private key in it goes no further.
    return printable(str(text).partition("-----BEGIN")[0])[:TEXT_LIMIT].strip()
