"""The demo (``make demo``): what becomes of a certificate, from the first issuance to the way back.

certbot, its Aliyun plugin, this plugin, the ACME server and nginx are the real programs; only the
two clouds are emulated, and nothing leaves this machine. What each step claims is checked: a claim
that does not hold is marked ✗, and the exit status is 1.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tests.sandbox.pki import Authority
from tests.sandbox.process import until
from tests.sandbox.qiniu_rules import Switches
from tests.sandbox.stack import ACCOUNT, QINIU_KEYS, Sandbox
from tests.sandbox.webserver import find_nginx
from tests.sandbox.wire import Exchange, Fault, Response

DOMAINS = {
    "www.example.com": "on HTTPS, with redirects",
    "example.com": "http only",
    ".example.com": "a wildcard domain (泛域名)",
    "img.example.com": "somebody else's change is being published",
    "dl.example.com": "http only, no SAN of its own",
    "frozen.example.com": "frozen by Qiniu",
}
MANAGED = ("www.example.com", "example.com", ".example.com", "img.example.com")
NGINX = "nginx, over TLS"

PUBLISH_SECONDS = 1.5
LONGEST_COMMAND_SECONDS = 180
NOT_WORTH_SHOWING = re.compile(
    r"[- ]*|Saving debug log .*|If you like Certbot.*|\* Donating .*|NEXT STEPS:|"
    r"- The certificate will need to be renewed .*|These files will be updated .*|Ask for help .*")

Facts = tuple[str, ...]
"""What something serves: certificate, redirect, HTTP/2, state."""


class Story:
    """Shared by the steps: the sandbox, the screen, and the claims that did not hold.

    :ivar failed: the claims that did not hold.
    """

    def __init__(self, box: Sandbox, console: Console) -> None:
        self.box = box
        self.failed: list[str] = []
        self._console = console
        self._labels = {"": "http only"}
        self._shown: dict[str, Facts] = {}

    # Telling

    def title(self, text: str) -> None:
        """Begin a step."""
        self._console.print()
        self._console.print(Rule(Text(text, "bold"), align="left", style="cyan"))

    def tell(self, text: str) -> None:
        """Say something in plain words."""
        self._console.print(Text(text))

    def check(self, claim: str, held: bool) -> None:
        """Show whether a claim holds, and remember one that does not."""
        self._console.print(Text("✓ " if held else "✗ ", "green" if held else "bold red") + claim)
        if not held:
            self.failed.append(claim)

    def table(self) -> None:
        """Show what everything serves now, with arrows if that has changed."""
        table = Table("", "Certificate", "Redirect", "HTTP/2", "State", header_style="bold",
                      box=SIMPLE_HEAD)
        now = self.view()
        for name, facts in now.items():
            before = self._shown.get(name, facts)
            table.add_row(name, *map(_change, before, facts))
        self._console.print(table)
        self._shown = now

    def calls(self) -> list[Exchange]:
        """Show how Qiniu was called since the last time, and answer those calls."""
        calls = self.box.board.calls("qiniu")
        self.box.board.clear()
        counts = {"reads": 0, "uploads": 0, "changes": 0, "deletions": 0}
        for call in calls:
            counts[{"GET": "reads", "POST": "uploads", "PUT": "changes",
                    "DELETE": "deletions"}[call.request.method]] += 1
        parts = ", ".join(f"{kind} {count}" for kind, count in counts.items())
        self._console.print(Text(f"Calls to Qiniu: {len(calls)} ({parts})", "cyan"))
        return calls

    # Doing

    def certbot(self, *arguments: str) -> int:
        """Run certbot before the reader's eyes, and answer its exit status."""
        typed = shlex.join(("certbot", *arguments)).replace(
            self.box.nginx.test_command, "nginx … -t")
        self._console.print(Text(f"$ {self._short(typed)}", "bold yellow"), soft_wrap=True)
        with self.box.popen(*arguments, environment={"PYTHONUNBUFFERED": "1"},
                            stderr=subprocess.STDOUT) as process:
            watchdog = threading.Timer(LONGEST_COMMAND_SECONDS, process.kill)
            watchdog.daemon = True
            watchdog.start()
            for line in process.stdout or ():
                if not NOT_WORTH_SHOWING.fullmatch(line.strip()):
                    self._console.print(Text(f"  {self._short(line.rstrip())}", "dim"),
                                        soft_wrap=True)
            watchdog.cancel()
        return process.returncode

    def wait_for_publications(self) -> None:
        """Let Qiniu end what it is publishing."""
        self.check("Qiniu has published every change", eventually(lambda: all(
            self.box.qiniu.serving(name).state != "processing" for name in MANAGED)))

    def label(self, fingerprint: str, name: str) -> None:
        """Give a certificate the name under which the tables show it."""
        self._labels[fingerprint] = name

    def label_newest(self, name: str) -> None:
        """The same for the certificate that certbot got last."""
        self.label(self.box.lineage_fingerprint("example.com"), name)

    def _short(self, text: str) -> str:
        return text.replace(str(self.box.directory), "SANDBOX")

    # Looking

    def view(self) -> dict[str, Facts]:
        """Return what Qiniu's edge and nginx serve at this moment."""
        labels, facts = self._labels, dict[str, Facts]()
        for name in DOMAINS:
            serving = self.box.qiniu.serving(name)
            settings = (("–", "–") if serving.protocol == "http" else
                        ("on" if serving.force_https else "off", "on" if serving.http2 else "off"))
            facts[name] = (labels.get(serving.fingerprint, "unknown"), *settings,
                           "ok" if serving.state == "success" else serving.state)
        served = self.box.nginx.served_fingerprint("example.com")
        facts[NGINX] = (labels.get(served, "unknown"), "–", "–", "–")
        return facts

    def all_serve(self, certificate: str) -> bool:
        """Whether all managed domains serve *certificate*, and nothing is going on."""
        view = self.view()
        return all((view[name][0], view[name][-1]) == (certificate, "ok") for name in MANAGED)

    def nginx_serves(self, certificate: str) -> bool:
        """Whether nginx serves *certificate*, once its old workers are gone."""
        return eventually(lambda: self.view()[NGINX][0] == certificate)

    def untouched(self) -> bool:
        """Whether the frozen domain and the one that is http only are as they were."""
        view = self.view()
        return (view["dl.example.com"] == ("http only", "–", "–", "ok")
                and view["frozen.example.com"] == ("old", "off", "off", "frozen"))


def _change(before: str, now: str) -> Text:
    return Text(now) if before == now else Text(f"{before} → {now}", "bold green")


def eventually(probe: Callable[[], bool]) -> bool:
    """Whether *probe* comes true within some seconds."""
    try:
        return until(probe, "a claim of the demo")
    except TimeoutError:
        return False


def changes(calls: Iterable[Exchange]) -> list[str]:
    """The methods of those calls that were to change something."""
    return [call.request.method for call in calls if call.request.method != "GET"]


# The account before anything happens --------------------------------------------------------------


def set_the_scene(story: Story) -> None:
    """An account as one finds it: half of it on HTTPS, by hand, with a certificate that ends."""
    box = story.box
    old = Authority("Some Authority").issue("example.com", "*.example.com", days=20)
    old_id = box.qiniu.add_certificate(old.fullchain_pem, name="uploaded by hand")
    story.label(old.fingerprint, "old")
    story.label(box.nginx.served_fingerprint("example.com"), "bootstrap")
    box.qiniu.add_domain("www.example.com", protocol="https", cert_id=old_id, force_https=True)
    box.qiniu.add_domain("example.com")
    box.qiniu.add_domain(".example.com", kind="wildcard", protocol="https", cert_id=old_id,
                         http2=True)
    box.qiniu.add_domain("img.example.com", protocol="https", cert_id=old_id)
    box.qiniu.add_domain("dl.example.com")
    box.qiniu.add_domain("frozen.example.com", protocol="https", cert_id=old_id, state="frozen")
    story.title("The account at Qiniu, before certbot")
    for name, what in DOMAINS.items():
        story.tell(f"  {name:<20}{what}")
    box.qiniu.stick("img.example.com")
    box.qiniu.change_domain("img.example.com", processing=0, operation="modify_cache")
    # It ends when the plugin has met it: once the last of the others is being changed.
    box.board.arm(Fault("hook", hook=lambda _: box.qiniu.unstick("img.example.com")),
                  match="PUT api.qiniu.com/domain/www.example.com")
    story.table()


# The steps ----------------------------------------------------------------------------------------


def first_issuance(story: Story) -> None:
    """A certificate for the domain and its wildcard, on everything that should have it."""
    story.title("1. The first issuance")
    box = story.box
    status = story.certbot(
        "run", *box.aliyun, "-i", "qiniu", "--qiniu-credentials", str(box.credentials_path),
        "--qiniu-nginx-test-cmd", box.nginx.test_command,
        *ACCOUNT, "-d", "example.com", "-d", "*.example.com")
    story.check("certbot ended with exit status 0", status == 0)
    if status:
        return
    story.label_newest("first")
    story.tell("The administrator now lets nginx use the files in SANDBOX/etc/live/example.com, "
               "and reloads it.")
    live = box.live("example.com")
    box.nginx.configure([("example.com", live / "fullchain.pem", live / "privkey.pem")])
    subprocess.run(shlex.split(box.nginx.reload_command), check=True, capture_output=True)
    story.check("nginx serves the same certificate", story.nginx_serves("first"))
    story.table()
    calls = story.calls()
    view = story.view()
    story.check("one upload, and one change for each of the four domains",
                changes(calls) == ["POST", *4 * ["PUT"]])
    story.check("none of the calls was refused", all(call.status == 200 for call in calls))
    story.check("the certificate is on all four domains", story.all_serve("first"))
    story.check("redirects and HTTP/2 are as they were; example.com, new to HTTPS, has both",
                [view[name][1:3] for name in MANAGED]
                == [("on", "off"), ("on", "on"), ("off", "on"), ("off", "off")])
    changed = [call.request.path for call in calls if call.request.method == "PUT"]
    story.check("img.example.com was waited for, and did not hold up the others",
                changed[-1:] == ["/domain/img.example.com/httpsconf"])
    story.check("the frozen domain, and the one that nobody named, were left alone",
                story.untouched())


def nothing_due(story: Story) -> None:
    """Renew, as a timer does twice a day."""
    story.title("2. certbot renew, nothing is due")
    status = story.certbot("renew")
    calls = story.calls()
    story.check("certbot ended with exit status 0", status == 0)
    story.check("no more than three reads, and no change", 1 <= len(calls) <= 3
                and not changes(calls))


def renewal(story: Story) -> None:
    """A renewal does not wait for Qiniu; the run after it confirms."""
    story.title("3. A renewal")
    status = story.certbot("renew", "--force-renewal")
    story.label_newest("second")
    story.table()
    calls = story.calls()
    story.check("certbot ended with exit status 0", status == 0)
    story.check("one upload, and one change for each of the four domains",
                changes(calls) == ["POST", *4 * ["PUT"]])
    story.check("nginx has the new certificate", story.nginx_serves("second"))
    story.wait_for_publications()
    story.tell("A little later Qiniu has published everything. The timer runs certbot again, "
               "which confirms it.")
    status = story.certbot("renew")
    story.table()
    story.check("certbot ended with exit status 0", status == 0)
    story.check("all four domains serve the new certificate", story.all_serve("second"))
    story.check("this took no further change", not changes(story.calls()))


def outage(story: Story) -> None:
    """A deployment that fails is reported, costs nothing else, and heals by itself."""
    story.title("4. A renewal while Qiniu is down")
    box = story.box
    box.board.arm(Fault("reply", Response(503, b"Service Unavailable")),
                  match=lambda request: "qiniu" in request.host, times=1000)
    story.tell("Qiniu answers every call with 503. The plugin repeats each with growing pauses "
               "before it gives up, so this takes about a minute.")
    status = story.certbot("renew", "--force-renewal")
    box.board.disarm()
    box.board.clear()
    story.label_newest("third")
    story.table()
    story.check("certbot ended with exit status 1, so a timer's monitoring notices", status == 1)
    story.check("the domains still serve the last certificate", story.all_serve("second"))
    story.check("nginx has the new certificate all the same", story.nginx_serves("third"))
    conf = (box.config_dir / "renewal" / "example.com.conf").read_text(encoding="utf-8")
    story.check("certbot will deploy the next renewals to Qiniu, too",
                "installer = qiniu" in conf and "qiniu_credentials = " in conf)
    story.tell("Qiniu is back, and the timer runs certbot again. The certificate is not due, but "
               "its deployment is.")
    status = story.certbot("renew")
    story.wait_for_publications()
    story.check("certbot ended with exit status 0", status == 0)
    status = story.certbot("renew")
    story.table()
    story.calls()
    story.check("all four domains serve the newest certificate", story.all_serve("third"))
    names = [certificate.name for certificate in box.qiniu.certificates()]
    story.check("at Qiniu there are this one, the one before it, and the stranger's",
                status == 0 and len(names) == 3 and "uploaded by hand" in names)


def drift(story: Story) -> None:
    """Repair our settings, and leave the user's."""
    story.title("5. Somebody changes a domain by hand")
    box = story.box
    other = Authority("Another Authority").issue("www.example.com", days=20)
    story.label(other.fingerprint, "by hand")
    box.qiniu.change_domain(
        "www.example.com", http2=True,
        cert_id=box.qiniu.add_certificate(other.fullchain_pem, name="www by hand"))
    story.tell("In Qiniu's console somebody binds another certificate, which ends sooner than "
               "ours, to www.example.com, and switches HTTP/2 on.")
    story.table()
    box.board.clear()
    status = story.certbot("renew")
    story.wait_for_publications()
    story.table()
    calls = story.calls()
    story.check("certbot ended with exit status 0", status == 0)
    story.check("www.example.com has our certificate again, and HTTP/2 is still on",
                story.view()["www.example.com"] == ("third", "on", "on", "ok"))
    story.check("only that domain was changed", changes(calls) == ["PUT"])


def going_back(story: Story) -> None:
    """A rollback is real, and stays until the user says otherwise."""
    story.title("6. The way back")
    box = story.box
    story.certbot("renew")  # confirms step 5
    box.board.clear()
    status = story.certbot("rollback", "-i", "qiniu")
    story.table()
    story.calls()
    story.check("certbot ended with exit status 0", status == 0)
    story.check("all four domains serve the certificate before", story.all_serve("second"))
    status = story.certbot("renew")
    story.check("the next certbot renew leaves it so", status == 0
                and not changes(story.calls()) and story.all_serve("second"))
    status = story.certbot("install", "--cert-name", "example.com", "-i", "qiniu",
                           "--qiniu-credentials", str(box.credentials_path),
                           "--qiniu-nginx-test-cmd", box.nginx.test_command)
    story.table()
    story.calls()
    story.check("certbot install deploys the newest again", status == 0
                and story.all_serve("third"))
    checkpoints = len(list((box.config_dir / "work" / "backups").glob("[0-9]*")))
    story.tell("And all the way back, to what was there before certbot came:")
    status = story.certbot("rollback", "-i", "qiniu", "--checkpoints", str(checkpoints))
    story.table()
    story.calls()
    view = story.view()
    story.check("certbot ended with exit status 0", status == 0)
    story.check("every domain serves what it served at the beginning", [
        view[name] for name in MANAGED] == [
            ("old", "on", "off", "ok"), ("http only", "–", "–", "ok"),
            ("old", "off", "on", "ok"), ("old", "off", "off", "ok")] and story.untouched())


def keys_stayed_home(story: Story) -> None:
    """No key went where it does not belong, in any of the steps."""
    story.title("And the keys?")
    box = story.box
    try:
        box.assert_sound()
        sound = True
    except AssertionError as error:
        story.tell(str(error))
        sound = False
    story.check("private keys were sent in uploads only, and nothing left the sandbox", sound)
    logs = "".join(path.read_text(encoding="utf-8", errors="replace")
                   for path in (box.config_dir / "logs").iterdir())
    # The first line of every such key is the same: its last lines are what is secret.
    keys = [path.read_text(encoding="ascii").split("\n")[2]
            for path in (box.config_dir / "archive").glob("*/privkey*.pem")]
    story.check("no key is in any of certbot's logs", len(keys) == 3
                and not any(secret in logs for secret in (QINIU_KEYS[1], *keys)))


STEPS = (set_the_scene, first_issuance, nothing_due, renewal, outage, drift, going_back,
         keys_stayed_home)


def main() -> int:
    """Tell the whole story; the exit status is 1 when any claim did not hold."""
    console = Console(highlight=False)
    missing = [name for name, path in
               (("pebble", shutil.which("pebble")), ("nginx", find_nginx())) if not path]
    if missing:
        console.print(f"Not installed: {', '.join(missing)}. Run `make system` first.")
        return 2
    switches = Switches(publish_seconds=PUBLISH_SECONDS)
    with Sandbox(domains=["example.com"], switches=switches) as box:
        story = Story(box, console)
        story.tell("certbot-qiniu, with a real certbot, ACME server and nginx. Aliyun and Qiniu "
                   "are emulated; nothing leaves this machine.\n"
                   f"SANDBOX stands for {box.directory}. Options that only lead certbot there "
                   "(--server, --config-dir and so on) are not shown.")
        for step in STEPS:
            step(story)
            if story.failed:
                break  # what follows would only fail for the same reason
        console.print()
        for claim in story.failed:
            console.print(Text(f"Did not hold: {claim}", "bold red"))
        if not story.failed:
            console.print(Text("Everything held.", "bold green"))
        return 1 if story.failed else 0


if __name__ == "__main__":
    sys.exit(main())
