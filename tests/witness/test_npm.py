"""Clients of npm before the same court; ``make witnesses-npm`` makes their environment.

They are no part of continuous integration, which has no node.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.package import ROOT
from tests.sandbox.qiniu import ACCESS_KEY, SECRET_KEY
from tests.sandbox.qiniu_rules import Switches
from tests.witness.court import LIVE_LIKE, SOURCE, WWW, Court, court

HOME = ROOT / ".venv-witness-npm"

CERTD = """
import fs from "node:fs";
import { http, logger, setGlobalProxy } from "@certd/basic";
import { QiniuClient } from "@certd/plugin-lib/dist/qiniu/lib/sdk.js";

const [proxy, accessKey, secretKey, domain, crt, key] = process.argv.slice(1);
setGlobalProxy({ httpsProxy: proxy });
const client = new QiniuClient({ http, logger, access: { accessKey, secretKey } });
const certid = await client.uploadCert(
  { crt: fs.readFileSync(crt, "utf8"), key: fs.readFileSync(key, "utf8") }, "witness");
await client.bindCert({ certid, domain });
const bound = await client.getCertBindings();
if (!bound.some((entry) => entry.domain === domain && entry.certid === certid)) {
  throw new Error(`bound: ${JSON.stringify(bound)}`);
}
"""
SDK = """
import fs from "node:fs";
import { HttpsProxyAgent } from "https-proxy-agent";
import { HttpClient } from "qiniu/qiniu/httpc/client.js";
import { QiniuAuthMiddleware } from "qiniu/qiniu/httpc/middleware/qiniuAuth.js";

const [proxy, accessKey, secretKey, domain, crt, key] = process.argv.slice(1);
const httpsAgent = new HttpsProxyAgent(proxy);
const client = new HttpClient({
  middlewares: [new QiniuAuthMiddleware({ mac: { accessKey, secretKey, options: {} } })],
  timeout: 10000 });

async function send(method, path, body) {
  const contentType = "application/json";
  const answer = await client[method](
    { url: `https://api.qiniu.com${path}`, data: body && JSON.stringify(body),
      headers: { "Content-Type": contentType } },
    { contentType, httpsAgent });
  if (!answer.ok()) {
    throw new Error(`${method} ${path}: ${answer.resp.statusCode} ${JSON.stringify(answer.data)}`);
  }
  return answer.data;
}

const { certID } = await send("post", "/sslcert", {
  name: "witness", common_name: domain,
  pri: fs.readFileSync(key, "utf8"), ca: fs.readFileSync(crt, "utf8") });
await send("put", `/domain/${domain}/httpsconf`, { certId: certID, forceHttps: false });
const { name } = await send("get", `/domain/${domain}`);
if (name !== domain) {
  throw new Error(`${name} was read`);
}
"""

WITNESSES = {"@certd/plugin-lib": (CERTD, SOURCE), "qiniu": (SDK, WWW)}
"""The client of certd, which binds source domains; and Qiniu's own package, by its client and its
signatures, as it has no manager of certificates. Each with the domain that it binds."""


def appear(witness: str, here: Court) -> subprocess.CompletedProcess[str]:
    """Let a witness upload and bind."""
    code, name = WITNESSES[witness]
    return here.run("node", "--input-type=module", "--eval", code, here.env["HTTPS_PROXY"],
                    ACCESS_KEY, SECRET_KEY, name, here.folder / "chain.pem",
                    here.folder / "key.pem", folder=HOME)


@pytest.mark.parametrize("witness", WITNESSES)
def test_witness(witness: str, tmp_path: Path) -> None:
    """What works against the live service works against the emulator that is like it."""
    name = WITNESSES[witness][1]
    with court(LIVE_LIKE, tmp_path) as here:
        assert not here.serves(name)
        done = appear(witness, here)
        assert here.serves(name), done.stdout + done.stderr
        assert done.returncode == 0
        assert not here.qiniu.leaks


@pytest.mark.parametrize("witness", WITNESSES)
def test_strict_hosts(witness: str, tmp_path: Path) -> None:
    """Both live on hosts that take more than is documented."""
    with court(Switches(), tmp_path) as here:
        assert appear(witness, here).returncode == 1
        assert not here.serves(WITNESSES[witness][1])
