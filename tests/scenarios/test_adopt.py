"""Moving in with a certbot that is there already: nothing is issued anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu.command import adopt
from certbot_qiniu.command.setups.old_setups import read_setups
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY
from tests.scenarios.command import seat
from tests.scenarios.invariants import changes
from tests.unit.command.homes import clear, config_json

FINE = 0


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No crontabs, timers or homes but the test's own."""
    clear(monkeypatch, tmp_path)


def test_moving_in_issues_nothing_anew(tmp_path: Path) -> None:
    """Ours is uploaded once, next to what a script has uploaded: names and dates prove nothing."""
    machine = seat(tmp_path)
    cloud = machine.cloud
    names = ("-d", "example.com", "-d", "*.example.com")
    assert FINE == machine.certbot("certonly", "-a", "standalone", *names).status
    fullchain = machine.config_dir / "live" / "example.com" / "fullchain.pem"
    cert_id = cloud.qiniu.add_certificate(fullchain.read_text(), name="example-com-20260101")
    served = ("file.example.com", "cdn.example.com")
    for name in served:
        cloud.qiniu.add_domain(name, protocol="https", cert_id=cert_id, http2=True)
    path = config_json(tmp_path, nginx={}, qiniu={
        "access_key": ACCESS_KEY, "secret_key": SECRET_KEY,
        "domains": [{"name": name} for name in served]})
    assert FINE == machine.run("adopt", str(path), "--write").status

    [setup], _ = read_setups(path)
    [adoption] = adopt.plan([setup], machine.config_dir)
    assert ["reconfigure", "renew"] == [words[1] for words in adoption.commands]
    for words, sent in zip(adoption.commands, (0, 1 + len(served)), strict=True):
        run = machine.certbot(*words[1:])
        assert (FINE, sent) == (run.status, len(changes(run))), run.output
    cloud.clock.sleep(3600)
    assert FINE == machine.run("status", "--managed").status
    again = machine.run("adopt", str(path))
    assert "certbot deploys this certificate to Qiniu already" in again.output

    run = machine.force_renewal()
    assert 3 == len(changes(run)), run.output
    for _ in range(2):
        cloud.clock.sleep(3600)
        assert FINE == machine.force_renewal().status
    cloud.clock.sleep(3600)
    assert machine.fingerprint() == cloud.qiniu.serving("file.example.com").fingerprint
    assert "example-com-20260101" in {item.name for item in cloud.qiniu.certificates()}
