"""Variables of a caller's environment that could lead programs past the sandbox."""

from __future__ import annotations

_DISTURBING = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle",
               "curl_ca_bundle", "ssl_cert_file", "ssl_cert_dir", "pythonwarnings")


def disturbs(variable: str) -> bool:
    """Whether this environment variable of the caller's could change where requests go."""
    return variable.lower() in _DISTURBING or variable.upper().startswith("QINIU_")
