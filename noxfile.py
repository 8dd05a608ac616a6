"""The matrix of versions: ``make matrix``, or ``nox -s "tests-3.12(certbot='5')"`` for one cell.

``make matrix-waiting`` is the part of it that takes minutes.

docs/compatibility.md says what ran, and why some cells cannot exist.
"""

from __future__ import annotations

import nox

nox.options.sessions = ["waiting", "tests"]
nox.options.error_on_missing_interpreters = True

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]

CERTBOTS = {
    # acme up to 3 wants X509Req of pyOpenSSL, which 25 no longer has, and ComparableX509 of
    # josepy, which 2 no longer has. certbot 2.0 asks pkg_resources, which setuptools 81 no longer
    # has, and which before 69 does not know zope.interface by that name.
    "2.0": ["certbot==2.0.*", "acme==2.0.*", "pyOpenSSL<24.2", "josepy<2", "setuptools>=69,<81"],
    "2.11": ["certbot==2.11.*", "acme==2.11.*", "pyOpenSSL<25", "josepy<2"],
    "3": ["certbot==3.*", "acme==3.*", "pyOpenSSL<25", "josepy<2"],
    "4": ["certbot==4.*", "acme==4.*"],
    "5": ["certbot==5.*", "acme==5.*"],
}

TOOLS = ["apprise>=1.4", "hypothesis", "pexpect", "pytest>=8", "pytest-timeout", "pytest-xdist"]
"""The extra ``test`` without what wants a new certbot."""

WARNINGS_OF_OTHERS = [
    "ignore:CSR support in pyOpenSSL is deprecated:DeprecationWarning",
    "ignore:X509Extension support in pyOpenSSL is deprecated:DeprecationWarning",
    "ignore:pkg_resources is deprecated:UserWarning",
    "ignore:Deprecated call to:DeprecationWarning",
]
"""What old certbots do; all other warnings are errors there, too."""

NOT_WITH_2_0 = ["tests/scenarios/test_other_installer.py",
                "tests/scenarios/test_cli.py::test_apply_with_another_installer",
                "tests/scenarios/test_cli.py::test_light_without_rich",
                "tests/scenarios/test_adopt.py::test_moving_in_sends_nothing_anew",
                "tests/scenarios/test_said.py::test_reconfigure_ends_as_the_renewal_after_it"]
"""These show certbot a plugin in a way that pkg_resources does not see, want no warning on stderr,
or call ``certbot reconfigure``."""


WAITING = [*(f"tests/scenarios/test_{name}.py"
             for name in ("contract", "rollback", "said", "targets", "waiting")),
           "tests/e2e/test_waiting.py",
           "tests/e2e/test_issuance_to_rollback.py"
           "::test_rollback_and_the_end_of_the_older_certificate"]
"""What depends on the order in which certbot calls an installer, and on how it ends."""


@nox.session
@nox.parametrize("certbot", list(CERTBOTS))
def waiting(session: nox.Session, certbot: str) -> None:
    """Run the tests of waiting, signals, failures and going back; pebble is the real one."""
    _run_tests(session, certbot, *(session.posargs or WAITING))


@nox.session(python=PYTHONS)
@nox.parametrize("certbot", list(CERTBOTS))
def tests(session: nox.Session, certbot: str) -> None:
    """Run everything that needs no other programs, certbot's own ``main`` included."""
    _run_tests(session, certbot, "-m", "not programs and not slow and not docs", *session.posargs)


def _run_tests(session: nox.Session, certbot: str, *arguments: str) -> None:
    session.install("-e", ".", *TOOLS, *CERTBOTS[certbot])
    session.run("certbot", "--version")
    warnings = [f"-W{warning}" for warning in WARNINGS_OF_OTHERS if certbot < "4"]
    left_out = [f"--deselect={test}" for test in NOT_WITH_2_0 if certbot == "2.0"]
    session.run("python", "-m", "pytest", "-q", *arguments, *warnings, *left_out)
