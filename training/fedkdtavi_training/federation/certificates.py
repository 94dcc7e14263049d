"""Until when a certificate is good: FLARE refuses expired ones, so people are warned before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedkdtavi_core.errors import InputError, UsageError

WARN_DAYS = 30
RENEW = "request, approve and join anew"
FOUND_ANEW = "it cannot be renewed: found a new federation, and let the sites request and join again"


@dataclass(frozen=True)
class Certificate:
    """Whose it is (its common name), and the time (UTC) from and until which it is good."""

    name: str
    since: datetime
    until: datetime

    def days_left(self, at: datetime | None = None) -> int:
        """Whole days from ``at`` (default: now); negative once it has ended."""
        return (self.until - (at or datetime.now(UTC))).days

    def warning(self, at: datetime | None = None, what_to_do: str = RENEW) -> str | None:
        """A sentence when it ends within 30 days or has ended, else None."""
        left, date = self.days_left(at), f"{self.until:%Y-%m-%d}"
        if left < 0:
            return f"the certificate of {self.name} ended on {date}; {what_to_do}."
        if left < WARN_DAYS:
            return f"the certificate of {self.name} ends in {left} days, on {date}; {what_to_do}."
        return None


def read(content: bytes, path: Path) -> Certificate:
    """The certificate in a PEM file.

    Raises:
        InputError: it is none.
    """
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(content)
    except ValueError as error:
        raise InputError(f"{path}: is no certificate; ask the coordinator for the approval again.") from error
    names = found.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    name = str(names[0].value) if names else path.stem
    return Certificate(name, found.not_valid_before_utc, found.not_valid_after_utc)


def of_file(path: Path) -> Certificate:
    """As :func:`read`, from a file."""
    try:
        return read(path.read_bytes(), path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); found the federation, or join it, anew."
        ) from error


def check(certificate: Certificate, at: datetime | None = None, what_to_do: str = RENEW) -> str | None:
    """The warning, if any, to show before a start.

    Raises:
        UsageError: it has ended, or is not good yet (a clock that is wrong).
    """
    moment = at or datetime.now(UTC)
    if moment < certificate.since:
        raise UsageError(
            f"the certificate of {certificate.name} is good from {certificate.since:%Y-%m-%d %H:%M} UTC, here it is "
            f"{moment:%Y-%m-%d %H:%M} UTC; set the clock."
        )
    warning = certificate.warning(moment, what_to_do)
    if warning and moment > certificate.until:
        raise UsageError(warning)
    return warning
