"""A client whose calls are answered by a script, or by the emulator, in a time of their own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import requests

from certbot_qiniu.model import Certificate
from certbot_qiniu.qiniu import transport
from certbot_qiniu.qiniu.client import QiniuClient
from tests.sandbox.wire import (
    Carrier,
    Drop,
    Exchange,
    Request,
    Response,
    Switchboard,
    json_response,
)

AK, SK = "test-ak-0123456789", "test-sk-abcdefghij"
CERT_ID = "5a950896f2c5932aaf00142c"
NAME = "www.example.com"
START = dt.datetime(2026, 2, 13, 12, 0, 0)  # noqa: DTZ001 - what the official package uses

Reply = Response | Drop | Callable[[Request], Response]


class Time:
    """A clock that moves only when somebody sleeps, and dates the signatures."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    def clock(self) -> float:
        return self.seconds

    def wall(self) -> float:
        return START.replace(tzinfo=dt.timezone.utc).timestamp() + self.seconds

    def utcnow(self) -> dt.datetime:
        return START + dt.timedelta(seconds=self.seconds)


class Script:
    """A service that gives one prepared reply after the other, the last one for ever."""

    hosts = (transport.API, transport.FUSION, transport.UC, transport.PILI)

    def __init__(self) -> None:
        self.replies: list[Reply] = []

    def handle(self, request: Request) -> Response:
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Drop):
            raise reply
        return reply if isinstance(reply, Response) else reply(request)


class Scripted:
    """A client whose requests end in a switchboard, with a clock of its own."""

    def __init__(self, time: Time, emulator: Any = None, keys: tuple[str, str] = (AK, SK)) -> None:
        self.time = time
        self.script = Script()
        self.board = Switchboard(emulator or self.script)
        self.session = requests.Session()
        self.session.mount("https://", Carrier(self.board))
        self.client = QiniuClient(*keys, session=self.session, sleep=time.sleep, clock=time.clock)

    def answers(self, *replies: Reply) -> None:
        self.script.replies = list(replies)

    @property
    def sent(self) -> list[str]:
        """Every request so far, as ``METHOD /target``."""
        return [f"{e.request.method} {e.request.target}" for e in self.board.history]

    @property
    def last(self) -> Exchange:
        return self.board.history[-1]

    @property
    def pauses(self) -> list[float]:
        """The waits between attempts, without those for a free slot."""
        return [seconds for seconds in self.time.slept if seconds >= 1]


def ok(value: Any = None) -> Response:
    """A success as the domain API gives it, or one with a body of its own."""
    return json_response(200, {"code": 200} if value is None else value)


def refusal(code: int, status: int = 400, **headers: str) -> Response:
    """An error as Qiniu words it."""
    return json_response(status, {"code": code, "error": "some words"}, **headers)


def domain_json(**fields: Any) -> dict[str, Any]:
    """A CDN domain on https that has been published."""
    return {"name": NAME, "type": "normal", "protocol": "https", "operatingState": "success",
            "operationType": "modify_https_conf", "modifyAt": "2026-01-01T00:00:00.000+08:00",
            "cname": "www-example-com.qiniudns.com", "couldOperateBySelf": True,
            "https": {"certId": "old", "forceHttps": False, "http2Enable": True}, **fields}


def listed(certificate: Certificate, cert_id: str = CERT_ID) -> dict[str, Any]:
    """The entry of *certificate* in Qiniu's list."""
    return {"certid": cert_id, "name": certificate.remote_name, "orderid": "",
            "dnsnames": list(certificate.names), "create_time": 1,
            "not_before": int(certificate.not_before.timestamp()),
            "not_after": int(certificate.not_after.timestamp())}


def bind(rig: Scripted, *, enable: bool = False, **others: Any) -> None:
    """Bind the certificate that most tests use."""
    rig.client.bind_certificate(NAME, CERT_ID, force_https=False, http2=True, enable=enable,
                                **others)
