"""Our own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_qiniu import errors
from certbot_qiniu.files import read_json, write_json


def test_text_that_cannot_be_written(tmp_path: Path) -> None:
    """A path that is not UTF-8 is an error in words, and the file is as it was."""
    path = tmp_path / "memory.json"
    write_json(path, {"credentials": "/etc/七牛.ini"})
    with pytest.raises(errors.StateError, match="not UTF-8"):
        write_json(path, {"credentials": "/etc/\udcff.ini"})
    assert read_json(path)["credentials"] == "/etc/七牛.ini"
    assert list(tmp_path.iterdir()) == [path]
