"""The contract of a target: a place that certificates must reach, even if others fail.

The installer is a list of targets. It hands each of certbot's verbs to all of them, collects their
failures, and knows nothing else of them. Another place to reach is another class here, and a line
in :mod:`certbot_qiniu.targets.registry`.
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
    :ivar has_taken: whether anything here serves what :meth:`settle` deploys, so that going back
        would take it away again.
    :cvar must_go_back: whether only going back repairs a :meth:`settle` that failed, since the
        configuration itself may be broken.
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
        """Refuse input that cannot work, before anything is issued or changed."""

    def rehearse(self) -> None:
        """Do in a dry run all checks of the real run, and show what would follow."""

    def test(self) -> None:
        """Test the configuration."""

    # The configuration, in certbot's checkpoint -------------------------------------------------

    def deploy(self, certificate: Certificate, san: str, paths: tuple[str, ...]) -> None:
        """Take a certificate for *san*; nothing is written before :meth:`save`.

        :param paths: certbot's paths of its certificate, key, chain and fullchain.
        """
        self.lineages.add(certificate.lineage)

    def enhancements(self) -> Iterable[str]:
        """Return certbot's names of the enhancements that are offered here."""
        return ()

    def enhance(self, san: str, enhancement: str, options: Options) -> bool:
        """Switch an enhancement on for what *san* covers; false if it is not offered here."""
        return False

    def save(self, title: str | None) -> None:
        """Decide what to write, and write what certbot's checkpoint in progress undoes.

        :param title: None while more is to come.
        """

    def commit(self) -> None:
        """Write what no checkpoint undoes; called once all targets were saved."""

    def checkpointed(self, name: str, *, may_prune: bool) -> None:
        """Follow certbot in ending the checkpoint in progress.

        :param name: what certbot calls it.
        :param may_prune: whether older ones may be deleted.
        """

    def renew(self, lineage: interfaces.RenewableCert) -> None:
        """Take a certificate that was just renewed."""
        self.lineages.add(lineage.lineagename)

    def update(self, lineage: interfaces.RenewableCert) -> None:
        """Put right what needs it, with every ``certbot renew``, due or not."""
        self.lineages.add(lineage.lineagename)

    # Making it so -------------------------------------------------------------------------------

    def settle(self) -> None:
        """Make the place serve what is configured."""

    def _settle_each(self, settle: Callable[[str], object]) -> None:
        """Do *settle* for each lineage of this run, even if it fails for others.

        :raises errors.QiniuError: if it failed for any of them.
        """
        failures = Failures()
        for lineage in sorted(self.lineages):
            failures.attempt(settle, lineage)
        self.lineages.clear()
        failures.raise_any()

    # Going back ---------------------------------------------------------------------------------

    def before_roll_back(self, count: int) -> None:
        """Write what a later run must know if certbot is killed on its way back."""

    def roll_back(self, count: int) -> None:
        """Follow certbot back by *count* checkpoints; :meth:`settle` comes after it.

        The files that the installer's own checkpoints hold are restored already.
        """
        self.lineages.clear()

    def recover(self) -> None:
        """Follow certbot back from a checkpoint that was never ended."""
        self.lineages.clear()

    def lasting(self) -> str:
        """Describe what of this run is not undone here by going back; "" for nothing."""
        return ""
