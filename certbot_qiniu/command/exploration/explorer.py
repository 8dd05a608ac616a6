"""Ask one account's Qiniu with GET, and keep what several questions need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from certbot_qiniu import errors
from certbot_qiniu.qiniu.responses import as_list, lowered, read_name, text
from certbot_qiniu.qiniu.transport import API, ATTEMPTS, FUSION

if TYPE_CHECKING:
    from certbot_qiniu.qiniu.client import QiniuClient

MOST_CALLS = 40
"""Repeats included."""

MOST_PAGES = 5
LONGEST_PAGE = 1000
BAD_REQUEST = 400


class EnoughError(Exception):
    """No further calls are allowed."""


class StrangeError(Exception):
    """The answer has an undocumented form."""


@dataclass
class Pages:
    """A list as it was read, page by page.

    :ivar pages: the entries of each.
    :ivar last: the last answer.
    :ivar end: how it ended, "" if its end was not reached.
    """

    pages: list[list[dict[str, Any]]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    end: str = ""


class Explorer:
    """Asks, and keeps the answers that several questions need.

    :ivar empty: each empty list, as Qiniu sent it.
    :ivar too_long: the lists that refuse pages of :data:`LONGEST_PAGE`.
    """

    def __init__(self, client: QiniuClient) -> None:
        self.client = client
        self._begun = client.calls
        self.empty: list[Any] = []
        self.too_long: set[str] = set()
        self.certificates = self._whole(FUSION, "/sslcert", "certs")
        self.domains = self._whole(API, "/domain", "domains")
        self.read: dict[str, dict[str, Any]] = {}

    @property
    def calls(self) -> int:
        """The number of calls so far."""
        return self.client.calls - self._begun

    def get(self, host: str, path: str, **how: Any) -> Any:
        """Return Qiniu's answer, which may be a refusal.

        :raises errors.Unreachable: if no answer came.
        """
        if self.calls > MOST_CALLS - ATTEMPTS:
            raise EnoughError
        try:
            return self.client.look(host, path, "explore", **how)
        except errors.Refused as refusal:
            return refusal

    def pages(self, host: str, path: str, key: str, size: int) -> Pages:
        """Read a list in pages of *size*, a few of them at most."""
        found, markers = Pages(), [""]
        for _ in range(MOST_PAGES):
            query = {"limit": str(size), **({"marker": markers[-1]} if markers[-1] else {})}
            found.last = as_object(self.get(host, path, query=query))
            entries = objects(found.last.get(key))
            marker = text(found.last, "marker")
            if not entries:
                self.empty.append(found.last.get(key))
                found.end = "with an empty page"
                break
            found.pages.append(entries)
            if not marker:
                found.end = "with a page that has entries and no marker"
                break
            if marker in markers:
                found.end = "with a marker that does not move"
                break
            markers.append(marker)
        return found

    def detail(self, protocol: str) -> dict[str, Any] | None:
        """Return a domain on *protocol* in detail, None if there is none; read it once."""
        if protocol not in self.read:
            names = [name for entry in sorted(
                self.domains.pages[0] if self.domains.pages else (),
                key=lambda entry: entry.get("operatingstate") != "success")
                if entry.get("protocol") == protocol and (name := read_name(entry.get("name")))]
            if not names:
                return None
            self.read[protocol] = as_object(self.get(API, f"/domain/{names[0]}"))
        return self.read[protocol]

    def _whole(self, host: str, path: str, key: str) -> Pages:
        """Return the first page of a list, as long as it may be.

        :raises errors.Refused: if even that is refused: keys that open nothing explore nothing.
        """
        action = f"list the {key} to explore"
        try:
            answer = self.client.look(host, path, action, query={"limit": str(LONGEST_PAGE)})
        except errors.Refused as refusal:
            if refusal.status != BAD_REQUEST:
                raise
            self.too_long.add(key)
            answer = self.client.look(host, path, action)
        entries = objects(as_object(answer).get(key))
        return Pages([entries] if entries else [], as_object(answer))


def as_object(answer: Any) -> dict[str, Any]:
    """Return an answer as an object.

    :raises StrangeError: if it is none.
    """
    if isinstance(answer, errors.Refused):
        raise StrangeError(refusal_of(answer))
    if not isinstance(answer, dict):
        raise StrangeError("an answer of an unknown form")
    return lowered(answer)


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list.

    :raises StrangeError: if it is none.
    """
    return [lowered(entry) for entry in items(value) if isinstance(entry, dict)]


def items(value: Any) -> list[Any]:
    """Return a list, which may be written as null.

    :raises StrangeError: if it is none.
    """
    try:
        return as_list(value, "explore")
    except errors.Unreachable:
        raise StrangeError("a list of an unknown form") from None


def refusal_of(refusal: errors.Refused) -> str:
    """Return a refusal without its text, which may quote the question."""
    code = f", code {refusal.code}" if refusal.code != refusal.status else ""
    return f"refused (HTTP {refusal.status}{code})"
