"""What a dry run shows: the plan of the next real run, changing nothing."""

from __future__ import annotations

from collections.abc import Collection

from certbot_qiniu import errors
from certbot_qiniu.deployment.choose import choose_domains
from certbot_qiniu.deployment.context import Context
from certbot_qiniu.model import DEAD_STATES, Domain
from certbot_qiniu.options import Settings


def rehearse(context: Context, names: Collection[str], settings: Settings) -> list[str]:
    """One line for each domain that the next real renewal would change, or leave out.

    :param names: the SANs; a dry run knows no more of its lineage.
    :raises errors.QiniuError: when the real run would fail.
    """
    lineage = context.lineages.with_names(set(names)) or ""
    selection = choose_domains(context, names, settings.domains, lineage)
    if selection.problems:
        raise errors.UsageError("; ".join(selection.problems))
    if not selection.chosen:
        raise errors.UsageError(
            f"No domain in this Qiniu account is to be served by a certificate for "
            f"{', '.join(sorted(names))}. Check the credentials, or list domains in "
            "--qiniu-domains")
    domains = context.account.domains()
    lines = [f"  {name}: {_change(domains.get(name))}" for name in selection.chosen]
    lines += [f"  {name}: left out, it {why}" for name, why in selection.left_out]
    lines += [f"  {name}: left as it is (http only, covered by a wildcard alone; list it in "
              "--qiniu-domains to switch it to HTTPS)" for name in selection.http_only]
    return lines


def _change(domain: Domain | None) -> str:
    if domain is None or domain.state in DEAD_STATES:
        return "no change possible"
    wait = ", once its present change is published" if domain.state == "processing" else ""
    if domain.protocol == "https":
        return f"bind the new certificate{wait}"
    return f"switch to HTTPS with the new certificate{wait}"
