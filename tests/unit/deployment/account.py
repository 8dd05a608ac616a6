"""An account with our domains, and what is remembered of it."""

from __future__ import annotations

from certbot_qiniu.deployment.state import Managed, Upload
from certbot_qiniu.model import Binding, Certificate
from tests.unit.rig import Rig

LINEAGE = "example.com"
SANS = ("example.com", "*.example.com")
A, B, C = "a.example.com", "b.example.com", "c.example.com"


def read(*names: str) -> list[str]:
    """The calls that read domains in detail."""
    return sorted(f"GET /domain/{name}" for name in names)


def uploaded(rig: Rig, certificate: Certificate) -> str:
    """Let us have uploaded a certificate, and remember it; its id."""
    cert_id = rig.upload(certificate)
    rig.memory.uploads[cert_id] = Upload(certificate.fingerprint, certificate.lineage)
    return cert_id


def manage(rig: Rig, *names: str, lineage: str = LINEAGE) -> None:
    """Let a lineage manage domains already."""
    rig.store.state.update({name: Managed(name, "cdn", lineage, Binding("https", "ab" * 32))
                            for name in names})
