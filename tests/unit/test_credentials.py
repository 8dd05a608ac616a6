"""The credentials file."""

from __future__ import annotations

import errno
import logging
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from certbot_qiniu import errors
from certbot_qiniu.credentials import Credentials

AK, SK = "access-key-0123456789", "SECRET-key_0123456789"
VALID = f"qiniu_access_key = {AK}\nqiniu_secret_key = {SK}\n"


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    """A credentials file as it should be."""
    path = tmp_path / "qiniu.ini"
    path.touch(mode=0o600)
    path.write_text(VALID)
    return path


def refusal(path: Path | str) -> str:
    """Why a credentials file is refused; never in words that hold a key."""
    with pytest.raises(errors.UsageError) as caught:
        Credentials.load(str(path))
    text = str(caught.value)
    assert str(path) in text
    assert AK not in text
    assert SK not in text
    return text


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is an error with its name."""
    assert "No such file" in refusal(tmp_path / "gone.ini")
    assert "Not a directory" in refusal(Path(__file__, "qiniu.ini"))


def test_directory(tmp_path: Path) -> None:
    """A folder is no credentials file."""
    assert refusal(tmp_path).endswith("is not a file")


@pytest.mark.parametrize("call", ["stat", "read_text"])
def test_unreadable(call: str, ini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be looked at or read is an error with its name."""
    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, refuse)
        assert "Permission denied" in refusal(ini)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644, 0o777])
def test_open_to_others(mode: int, ini: Path) -> None:
    """A file that others may read or change is refused with the command that fixes it."""
    ini.chmod(mode)
    assert f"(mode {mode:04o}). Run: chmod 600 {ini}" in refusal(ini)


@pytest.mark.parametrize(("text", "missing"), [
    ("", ["qiniu_access_key", "qiniu_secret_key"]),
    (f"qiniu_access_key = {AK}", ["qiniu_secret_key"]),
    (f"qiniu_secret_key = {SK}", ["qiniu_access_key"]),
    (f"qiniu_access_key =\nqiniu_secret_key = {SK}", ["qiniu_access_key"]),
    (f"qiniu_access_key = ''\nqiniu_secret_key = {SK}", ["qiniu_access_key"]),
    (f"access_key = {AK}\nsecret_key = {SK}", ["qiniu_access_key", "qiniu_secret_key"]),
    (f"[qiniu]\n{VALID}", ["qiniu_access_key", "qiniu_secret_key"]),
], ids=["empty", "no secret", "no access", "empty value", "empty quotes", "other names", "section"])
def test_missing_keys(text: str, missing: list[str], ini: Path) -> None:
    """All keys that are missing are named at once, in the file's own words."""
    ini.write_text(text)
    found = refusal(ini)
    assert [name for name in ("qiniu_access_key", "qiniu_secret_key") if name in found] == missing


@pytest.mark.parametrize("text", [
    f"qiniu_access_key = {AK}\nqiniu_secret_key: {SK}\n",
    f"qiniu_access_key = {AK}\nqiniu_secret_key {SK}\n",
    f"{AK}\n{SK}\n",
    f"{VALID}qiniu_secret_key = {SK}\n",
    f"{VALID}[section\n",
    f"{VALID}x = '''{SK}\n",
    f"qiniu_access_key = {AK}\nqiniu_secret_key = \"{SK}\n",
], ids=["colon", "nothing between", "bare keys", "twice", "half a section", "triple quotes",
        "half a quote"])
def test_malformed(text: str, ini: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line that cannot be read is quoted nowhere, for it may hold the secret key."""
    ini.write_text(text)
    with caplog.at_level(logging.DEBUG):
        assert refusal(ini).endswith(
            " is malformed: each line must read name = value, and each name must occur once")
    assert SK not in caplog.text


def test_no_utf8(ini: Path) -> None:
    """A file in another encoding is called so."""
    ini.write_bytes("# 七牛\n".encode("gb18030") + VALID.encode())
    assert refusal(ini).endswith("is not UTF-8 text")


@pytest.mark.parametrize("key", [
    "has space", "'  '", "one, two", f"{SK},", "密钥", "a\x7fb", "a\tb",
], ids=["space", "only spaces", "list", "list of one", "Chinese", "control", "tab"])
@pytest.mark.parametrize("name", ["qiniu_access_key", "qiniu_secret_key"])
def test_impossible_key(name: str, key: str, ini: Path) -> None:
    """A key with anything in it that no key has is refused before Qiniu is asked."""
    other = ({"qiniu_access_key", "qiniu_secret_key"} - {name}).pop()
    ini.write_text(f"{name} = {key}\n{other} = another\n", encoding="utf-8")
    assert f"{name} in the Qiniu credentials file" in refusal(ini)


def test_sample_of_the_readme(ini: Path) -> None:
    """A rest of the sample is named, with what belongs there."""
    ini.write_text(f"qiniu_access_key = {AK}\nqiniu_secret_key = …\n", encoding="utf-8")
    assert refusal(ini).startswith("qiniu_secret_key in")
    assert "put the SecretKey (SK)" in refusal(ini)


def test_which_line_is_malformed(ini: Path) -> None:
    """The error has its number, but not its content."""
    ini.write_text(f"# mine\nqiniu_access_key = {AK}\nqiniu_secret_key: {SK}\n{SK}\n")
    assert refusal(ini).startswith("Line 3 of the Qiniu credentials file")


def test_another_user(ini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of somebody who is neither root nor us is refused with the command that fixes it."""
    found = ini.stat()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: os.stat_result(
        (*found[:4], 4321, *found[5:])))
    assert f"Run: chown {pwd.getpwuid(os.geteuid()).pw_name} {ini}" in refusal(ini)


@pytest.mark.parametrize("text", [
    VALID,
    VALID.replace("\n", "\r\n"),
    f"\ufeff{VALID}", f"\ufeff# 七牛云的密钥\n{VALID}",
    f"qiniu_access_key={AK}\n   qiniu_secret_key   =   '{SK}'   # mine\n",
    f"# 七牛云的密钥\ndns_aliyun_access_key = x\ndns_aliyun_access_key_secret = y\n{VALID}",
], ids=["plain", "Windows", "byte order mark", "byte order mark before a comment",
        "spaces and quotes", "shared with Aliyun"])
def test_credentials(text: str, ini: Path) -> None:
    """A credentials file is read as certbot's DNS plugins read theirs."""
    ini.write_bytes(text.encode())
    assert Credentials.load(str(ini)) == Credentials(AK, SK)


def test_tilde(ini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde stands for the home directory."""
    monkeypatch.setenv("HOME", str(ini.parent))
    assert Credentials.load(f"~{os.sep}{ini.name}") == Credentials(AK, SK)


def test_link(ini: Path) -> None:
    """The mode that counts is that of the file, not of a link to it."""
    link = ini.with_name("link.ini")
    link.symlink_to(ini)
    assert Credentials.load(str(link)) == Credentials(AK, SK)
    ini.chmod(0o644)
    assert "chmod 600" in refusal(link)


def test_repr() -> None:
    """The keys are in no repr."""
    assert repr(Credentials(AK, SK)) == str(Credentials(AK, SK)) == "Credentials(…)"


def test_other_keys(ini: Path) -> None:
    """A file is read once, and again as soon as it has other keys, or may not be read."""
    assert Credentials.load(str(ini)) is Credentials.load(str(ini))
    ini.write_text(VALID.replace(AK, AK[::-1]))
    assert AK[::-1] == Credentials.load(str(ini)).access_key
    ini.chmod(0o644)
    assert "chmod 600" in refusal(ini)
