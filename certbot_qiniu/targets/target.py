"""The contract of a target: a place that certificates must reach, whatever becomes of others.

certbot's installer is a list of targets. It hands each of certbot's verbs to all of them, collects
what goes wrong, and knows nothing else of them. Another place to reach is another class here, and
a line in :mod:`certbot_qiniu.targets.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from certbot import interfaces

from certbot_qiniu.failures import Failures
from certbot_qiniu.model import Certificate
from certbot_qiniu.targets.run import Run

Options = list[str] | str | None
"""certbot's options of an enhancement."""


class Target:
    """One place that certificates must reach; a method that it does not need does nothing.

    Each method may raise: the installer goes on with the other targets, and reports it.

    :ivar run: what the targets of one installer share.
    :ivar lineages: the names of those that :meth:`settle` is to bring here.
    :ivar has_taken: whether anything here serves what :meth:`settle` was to bring, so that going
        back would take it away again.
    :cvar must_go_back: whether a :meth:`settle` that failed is repaired only by going back, as
        what is configured here may be what is broken.
    """

    must_go_back = False
    has_taken = False

    def __init__(self, run: Run) -> None:
        self.run = run
        self.lineages: set[str] = set()

    def describe(self) -> str:
        """Describe the target for ``certbot plugins``; "" for nothing."""
        return ""

    def names(self) -> Collection[str]:
        """Return the names that are served here, to be offered for a certificate."""
        return ()

    # Before anything is changed -----------------------------------------------------------------

    def check(self) -> None:
        """Refuse what cannot work, before anything is issued or changed."""

    def rehearse(self) -> None:
        """Do for a dry run all that the real run would do first, and show what would follow."""

    def test(self) -> None:
        """Test the configuration."""

    # The configuration, in certbot's checkpoint -------------------------------------------------

    def deploy(self, certificate: Certificate, san: str, paths: tuple[str, ...]) -> None:
        """Take a certificate for *san*; nothing is written before :meth:`save`.

        :param paths: of its certificate, key, chain and fullchain, as certbot has them.
        """
        self.lineages.add(certificate.lineage)

    def enhancements(self) -> Iterable[str]:
        """certbot's names of the enhancements that are offered here."""
        return ()

    def enhance(self, san: str, enhancement: str, options: Options) -> bool:
        """Switch an enhancement on for what *san* covers; false where it is not offered here."""
        return False

    def save(self, title: str | None) -> None:
        """Settle what is to be written, and write what certbot's checkpoint in progress undoes.

        :param title: None while more is to come.
        """

    def commit(self) -> None:
        """Write what no checkpoint undoes; it comes once :meth:`save` was done everywhere."""

    def checkpointed(self, name: str, *, may_prune: bool) -> None:
        """Follow certbot in ending the checkpoint in progress.

        :param name: what certbot calls it.
        :param may_prune: whether older ones may be deleted.
        """

    def renew(self, lineage: interfaces.RenewableCert) -> None:
        """Take a certificate that was just renewed."""
        self.lineages.add(lineage.lineagename)

    def update(self, lineage: interfaces.RenewableCert) -> None:
        """Take what there is to be taken with every ``certbot renew``, due or not."""
        self.lineages.add(lineage.lineagename)

    # Making it so -------------------------------------------------------------------------------

    def settle(self) -> None:
        """Make it so: the place serves what is configured."""

    def _settle_each(self, settle: Callable[[str], object]) -> None:
        """Do *settle* for each lineage of this run, whatever becomes of the others.

        :raises errors.QiniuError: when it failed for any of them.
        """
        failures = Failures()
        for lineage in sorted(self.lineages):
            failures.attempt(settle, lineage)
        self.lineages.clear()
        failures.raise_any()

    # Going back ---------------------------------------------------------------------------------

    def before_roll_back(self, count: int) -> None:
        """Write what must be known should certbot be killed on its way back."""

    def roll_back(self, count: int) -> None:
        """Follow certbot back by *count* checkpoints; :meth:`settle` comes after it.

        The files that the installer's own checkpoints hold are restored already.
        """
        self.lineages.clear()

    def recover(self) -> None:
        """Follow certbot back from a checkpoint that was never ended."""
        self.lineages.clear()

    def lasting(self) -> str:
        """Say what of this run going back does not undo here; "" for nothing."""
        return ""
