"""Read what is at a path: a setup of acme.sh, of lego, or of a script with a config.json."""

from __future__ import annotations

from pathlib import Path

from certbot_qiniu import errors
from certbot_qiniu.command.setups.acme_sh import read_acme_home
from certbot_qiniu.command.setups.config_json import read_config
from certbot_qiniu.command.setups.lego import read_lego_folder
from certbot_qiniu.command.setups.setups import Setup, checked


def read_setups(path: Path) -> tuple[list[Setup], list[str]]:
    """Read the setups below a folder or in a file, and say what could not be understood.

    :raises errors.UsageError: if there is none, or it cannot be read at all.
    """
    if path.is_file():
        return [checked(read_config(path))], []
    confs = [conf for conf in sorted(path.glob("*/*.conf"))
             if conf.stem in (conf.parent.name, conf.parent.name.removesuffix("_ecc"))]
    if confs or (path / "account.conf").exists():
        return read_acme_home(path, confs)
    if (path / "certificates").is_dir():
        return read_lego_folder(path)
    raise errors.UsageError(f"{path} is no folder of acme.sh or lego, and no config.json")
