"""The switches of the emulator of Qiniu's API, and its refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


class Refusal(Exception):
    """The emulated service refuses a request.

    :param code: six digits, whose first three are the HTTP status, or the HTTP status itself.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
        self.status = code if code < 1000 else code // 1000


def guard(text: str) -> Refusal:
    """The refusal of a check that is ours: no source knows that Qiniu makes it, too."""
    return Refusal(400000, f"the sandbox's own guard: {text}")


Pair = tuple[str, str]
"""A method and a signature scheme."""

_POST_QBOX, _GET_QBOX = ("POST", "QBox"), ("GET", "QBox")
_PUT_QINIU, _GET_QINIU = ("PUT", "Qiniu"), ("GET", "Qiniu")
_ALL = frozenset({_POST_QBOX, _PUT_QINIU, ("POST", "Qiniu"), ("PUT", "QBox")})

CertPairs = Literal["proven", "QBox", "PUT and Qiniu", "any", "none"]

CERT_PAIRS: Mapping[CertPairs, Mapping[str, frozenset[Pair]]] = {
    "proven": {"bind": frozenset({_POST_QBOX, _PUT_QINIU}), "unbind": frozenset({_POST_QBOX}),
               "bindings": frozenset({_GET_QBOX})},
    "QBox": {"bind": frozenset({_POST_QBOX}), "unbind": frozenset({_POST_QBOX}),
             "bindings": frozenset({_GET_QBOX})},
    "PUT and Qiniu": {"bind": frozenset({_PUT_QINIU}), "unbind": frozenset({_PUT_QINIU}),
                      "bindings": frozenset({_GET_QINIU})},
    "any": {"bind": _ALL, "unbind": _ALL, "bindings": frozenset({_GET_QBOX, _GET_QINIU})},
    "none": {"bind": frozenset(), "unbind": frozenset(), "bindings": frozenset()},
}
"""What each call below ``/cert/`` takes, by the value of the switch ``cert_pairs``."""


@dataclass(slots=True)
class Switches:
    """Where the sources about Qiniu disagree or say nothing.

    Each default is the likelier reading: what clients prove that work against the live service,
    before what a page says. Where it is stricter than what is likely, so that our own client
    keeps to the documents, the switch says so. A *row* is one of docs/unknowns.md; a switch may be
    flipped at any time. The slots catch misspelled names.

    Some checks are ours and not known to be Qiniu's; their answers begin with "the sandbox's own
    guard":

    - a private key anywhere but in the ``pri`` of an upload, and a secret key anywhere at all;
    - a body that is not declared as ``application/json`` (asked for by a page of March 2026 that
      lost the line in June);
    - ``/buckets`` with a query, whose other forms are not emulated.

    The rates are documented, and off unless ``enforce_rate`` is on.
    """

    lenient_auth: bool = False
    """Row 1: ``api`` takes QBox too and serves ``/sslcert``; ``fusion`` takes Qiniu too.

    Stricter than what is likely: half of the clients in the field live on the lenient reading.
    """
    date_required: bool = False
    """Row 2: the Qiniu scheme without ``X-Qiniu-Date`` is refused."""
    clock_window: int = 30
    """Row 2: seconds that ``X-Qiniu-Date`` may be off (older pages: 900)."""
    enforce_rate: bool = False
    """Row 3: requests above the rate are refused; off so that only its own tests go slowly."""
    api_rate: int = 10
    """Row 3: requests per second and account at ``api``."""
    fusion_rate: int = 5
    """Row 3: requests per second and account at ``fusion`` (documented as 5 to 10)."""
    rate_reading: Literal["sliding second", "calendar second", "bucket", "drip"] = "sliding second"
    """Row 3: what "per second" means.

    ``sliding second``: within any second, however it begins. ``calendar second``: from one full
    second to the next. ``bucket``: tokens drip into a bucket that holds a second's; a call takes
    one. ``drip``: the same with a bucket for one, so that no call may be early.
    """
    rate_limit_answer: Literal["403024", "429", "573", "400"] = "403024"
    """Row 3: how a request above the rate is refused.

    Of the 400 that the console gets no source has the code, so it has none but the status.
    """
    retry_after: int | None = None
    """Row 3: seconds in ``Retry-After`` of such an answer; None leaves the header out."""
    list_page_default: int = 100
    """Row 4: entries of a page of certificates when no ``limit`` is given."""
    list_page_cap: int = 500
    """Row 4: entries of a page of certificates at most, however large the ``limit``."""
    list_end: Literal["empty marker", "empty page", "marker never moves"] = "empty page"
    """Row 4: how the end of a list shows.

    ``empty page``: every page with entries has a marker, and the end is a page without either;
    two clients would list nothing, or for ever, if it were otherwise. ``empty marker``: the last
    page with entries has none, as documented. ``marker never moves``: the last page comes again
    for ever.
    """
    empty_lists: Literal["[]", "null"] = "[]"
    """Row 4: a list without entries; ``null`` is how Go writes one that was never made."""
    quota: int | None = None
    """Row 5: certificates that an account may hold; None for no limit."""
    name_required: bool = False
    """Row 5: an upload without a ``name`` is refused; a client in the field sends none."""
    common_name: Literal["tolerate", "400326"] = "tolerate"
    """Row 6: what becomes of a common name that the certificate does not have."""
    minimum_days: int = 30
    """Row 7: days that a certificate must still be valid when it is uploaded."""
    ec_refused: Literal["", "400319", "400514"] = ""
    """Row 8: EC certificates are refused at the upload (400319), at the bind (400514) or never."""
    same_pem: Literal["new id", "400400"] = "new id"
    """Row 9: what a second upload of the same certificate gives."""
    sslize_on_https: Literal["400013", "accept"] = "400013"
    """Row 10: ``sslize`` of a domain that is on https already."""
    httpsconf_on_http: Literal["400", "accept"] = "400"
    """Row 10: ``httpsconf`` of a domain that is http only."""
    omitted_bool: Literal["false", "preserve"] = "false"
    """Row 12: what an omitted ``forceHttps`` or ``http2Enable`` means."""
    noop: Literal["400910", "400013", "publish"] = "400910"
    """Row 13: a change to what the domain has already."""
    visibility: Literal["completion", "at once"] = "completion"
    """Row 14: when a detailed read shows the new protocol and certificate."""
    list_staleness: float = 0.0
    """Row 14: seconds that the list of domains lags behind (the console reckons with 2.5)."""
    ignore_cert_filter: bool = False
    """Row 14: the filter ``certId`` of the list of domains does nothing."""
    publish_seconds: float = 0.2
    """Row 23: how long a publication takes by the emulator's clock (in reality 8-15 minutes)."""
    stuck: frozenset[str] = frozenset()
    """Row 23: domains none of whose publications ends as long as they stand here."""
    delete_in_use: Literal["until published", "wanted only"] = "until published"
    """Row 15: whether the certificate that is being replaced counts as in use."""
    unsslize_valid: Literal["allow", "refuse"] = "allow"
    """Row 16: ``unsslize`` of a domain whose certificate has not expired."""
    respheader_hsts: Literal["accept", "400"] = "accept"
    """Row 17: response headers beyond those that the console offers."""
    iam_bind: Literal["refuse", "accept"] = "refuse"
    """Row 18: ``/cert/*`` with the key of a sub-user (``IAM-…``)."""
    unbind: Literal["accept", "401"] = "accept"
    """Row 18: ``/cert/unbind``, which nobody outside of the console is known to call."""
    source_listings: Literal["all", "no /domain", "no /v3/domains"] = "all"
    """Row 18: the listings of a bucket's source domains; one that is not there answers 404."""
    pili_by: Literal["name", "id"] = "name"
    """Row 19: what ``certName`` of a live domain holds."""
    pili_duplicate_names: Literal["newest", "refuse"] = "newest"
    """Row 19: what a name means that several certificates bear."""
    pili_delete_allowed: bool = True
    """Row 19: whether a certificate that a live domain uses can be deleted."""
    upload_code: Literal[0, 200, None] = 200
    """Row 21: ``code`` in the answer to an upload; None leaves it out, as the documents do."""
    list_code: Literal[0, 200, None] = 200
    """Row 21: ``code`` in the list of certificates; None leaves it out."""
    empty_error: bool = False
    """Row 21: successes of ``fusion`` and ``api`` that are objects have an ``error`` of ""."""
    success_put: Literal['{"code":200}', "{}", ""] = '{"code":200}'
    """Row 21: the body of a successful change or deletion."""
    modify_at: Literal["moves", "frozen"] = "moves"
    """Row 27: whether ``modifyAt`` moves with every change."""
    no_common_name: Literal["accept", "400348"] = "accept"
    """Row 28: the upload of a certificate that has no common name."""
    tls_versions: Literal["hidden", "shown"] = "hidden"
    """Row 29: whether the detailed read shows ``tlsVersions``."""
    https_omitted: Literal["kept", "default"] = "kept"
    """Row 29: what a change means that leaves ``tlsVersions``, or a newer field, out."""
    tls_field: Literal["accept", "400"] = "accept"
    """Row 29: a change that carries ``tlsVersions``."""
    newer_field: Literal["none", "shown", "read only"] = "none"
    """Row 29: the detailed read shows ``ocspStapling``; changes take it, or do not know it.

    No source knows it: it stands for whatever Qiniu may add to ``https`` some day.
    """
    unknown_fields: Literal["ignore", "400"] = "ignore"
    """Row 29: a change of HTTPS with a field that Qiniu does not know.

    Go ignores them unless told otherwise, and two clients send fields of their own.
    """
    cert_pairs: CertPairs = "proven"
    """Row 30: which methods and schemes ``/cert/*`` takes; :data:`CERT_PAIRS` spells them out.

    ``proven``: those that a client is known to use. Any other is 401.
    """
    cert_method: Literal["401", "404", "405"] = "401"
    """Row 30: what ``/cert/*`` answers to a method that it takes with no scheme."""
    ec_label: Literal["accept", "400327"] = "accept"
    """Row 31: a key in a PEM block called ``EC PRIVATE KEY``.

    Qiniu's support said in 2024 that it is refused, and that this will change; an upload of such
    a key was reported as a success in the same year.
    """
    key_mismatch: Literal["400324", "400327"] = "400324"
    """Section 3.1: the code for a key that is not the certificate's."""
    https_absent: Literal["absent", "null", "empty certId"] = "empty certId"
    """Section 4.3: the ``https`` object of a domain that is http only."""
    certificate_operation: Literal["modify_https_conf", "modify_https_crt"] = "modify_https_conf"
    """Section 4.5: ``operationType`` after a change of nothing but the certificate."""
