"""Packaging of certbot-qiniu; the settings of the tools are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name="certbot-qiniu",
    version="1.0.0",
    description="certbot installer for Qiniu Cloud: every renewal reaches the CDN and nginx",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=["certbot", "acme", "tls", "https", "certificate", "cdn", "nginx", "qiniu",
              "七牛云", "阿里云"],
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["certbot_qiniu", "certbot_qiniu.*"]),
    package_data={"certbot_qiniu": ["py.typed"]},
    data_files=[("share/man/man1", ["docs/certbot-qiniu.1"])],
    install_requires=[
        "acme>=2.0",
        "certbot>=2.0",
        "certbot-dns-aliyun>=2.0",
        "ConfigArgParse>=1.5.3",
        "configobj>=5.0.6",
        "cryptography>=38",
        "qiniu>=7.13",
        "requests>=2.31",
        "rich>=13.0",
        "shtab>=1.9.2",
        "tenacity>=8.2",
        "urllib3>=2.2",
        "zope.interface",
    ],
    extras_require={
        "nginx": ["certbot-nginx"],
        "notify": ["apprise>=1.4"],
        "package": ["nox", "pip-audit"],
        "test": [
            "apprise>=1.4",
            "build",
            "certbot-dns-tencent>=2.0.2",
            "certbot-nginx",
            "hypothesis",
            "import-linter>=2",
            "mypy",
            "packaging",
            "pexpect",
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "twine",
            "types-requests",
        ],
    },
    entry_points={
        "certbot.plugins": ["qiniu = certbot_qiniu.installer:Installer"],
        "console_scripts": ["certbot-qiniu = certbot_qiniu.command.cli:main"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Plugins",
        "Intended Audience :: System Administrators",
        "Natural Language :: Chinese (Simplified)",
        "Natural Language :: English",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Internet :: WWW/HTTP",
        "Topic :: Security",
        "Topic :: System :: Installation/Setup",
        "Typing :: Typed",
    ],
)
