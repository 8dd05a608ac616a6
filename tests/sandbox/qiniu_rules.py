"""What the emulator of Qiniu's API may be told to do differently, and how it says no."""

from __future__ import annotations

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


@dataclass(slots=True)
class Switches:
    """Where the sources about Qiniu disagree or say nothing.

    Each default is the strict or best documented reading. A *row* is one of the list of unknowns
    in the research on the API; a switch may be flipped at any time. The slots catch misspelled
    names.
    """

    lenient_auth: bool = False
    """Row 1: ``api`` takes QBox too and serves ``/sslcert``; ``fusion`` takes Qiniu too."""
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
    rate_limit_answer: Literal["403024", "429", "573"] = "403024"
    """Row 3: how a request above the rate is refused."""
    retry_after: int | None = None
    """Row 3: seconds in ``Retry-After`` of such an answer; None leaves the header out."""
    list_page_default: int = 100
    """Row 4: entries of a page of certificates when no ``limit`` is given."""
    list_page_cap: int = 500
    """Row 4: entries of a page of certificates at most, however large the ``limit``."""
    list_end: Literal["empty marker", "empty page", "marker never moves"] = "empty marker"
    """Row 4: how the end of a list shows; the last one repeats the last page for ever."""
    quota: int | None = None
    """Row 5: certificates that an account may hold; None for no limit."""
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
    """Row 23: how long a publication takes by the emulator's clock (in reality 5-10 minutes)."""
    delete_in_use: Literal["until published", "wanted only"] = "until published"
    """Row 15: whether the certificate that is being replaced counts as in use."""
    unsslize_valid: Literal["allow", "refuse"] = "allow"
    """Row 16: ``unsslize`` of a domain whose certificate has not expired."""
    respheader_hsts: Literal["accept", "400"] = "accept"
    """Row 17: response headers beyond those that the console offers."""
    bind_methods: frozenset[str] = frozenset({"POST", "PUT"})
    """Row 18: the methods of ``/cert/bind``."""
    iam_bind: Literal["refuse", "accept"] = "refuse"
    """Row 18: ``/cert/*`` with the key of a sub-user (``IAM-…``)."""
    pili_by: Literal["name", "id"] = "name"
    """Row 19: what ``certName`` of a live domain holds."""
    pili_duplicate_names: Literal["newest", "refuse"] = "newest"
    """Row 19: what a name means that several certificates bear."""
    pili_delete_allowed: bool = True
    """Row 19: whether a certificate that a live domain uses can be deleted."""
    upload_code: Literal[0, 200] | None = None
    """Row 21: ``code`` in the answer to an upload; None leaves it out."""
    success_put: Literal['{"code":200}', "{}", ""] = '{"code":200}'
    """Row 21: the body of a successful change or deletion."""
    modify_at: Literal["moves", "frozen"] = "moves"
    """Row 27: whether ``modifyAt`` moves with every change."""
    https_absent: Literal["absent", "null", "empty certId"] = "absent"
    """Section 4.3: the ``https`` object of a domain that is http only."""
    certificate_operation: Literal["modify_https_conf", "modify_https_crt"] = "modify_https_conf"
    """Section 4.5: ``operationType`` after a change of nothing but the certificate."""
