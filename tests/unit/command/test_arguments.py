"""What subcommands share: their options, certbot's configuration, and our renewals."""

from __future__ import annotations

import shtab

from certbot_qiniu.command import arguments


def test_completion_of_paths() -> None:
    """What is completed with files and folders is what shtab calls so."""
    for ours, theirs in ((arguments.A_FILE, shtab.FILE), (arguments.A_FOLDER, shtab.DIRECTORY)):
        assert ours.items() <= theirs.items()
