"""Certificates that a server must not take: of another authority, or past their end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Papers:
    """A certificate and its key, as files in the PEM format."""

    certificate: Path
    key: Path


def of_another_authority(folder: Path, name: str) -> Papers:
    """Good papers of ``name``, but of an authority that the federation does not know."""
    key = _key()
    return _write(folder, name, key, "another authority", datetime.now(UTC) + 30 * DAY)


def expired(folder: Path, name: str, authority: Path) -> Papers:
    """Papers of ``name`` by the federation's own authority (its folder), which ended yesterday."""
    key = serialization.load_pem_private_key((authority / "rootCA.key").read_bytes(), password=None)
    issuer = x509.load_pem_x509_certificate((authority / "rootCA.pem").read_bytes()).subject
    return _write(folder, name, key, issuer, datetime.now(UTC) - DAY)


def good(folder: Path, name: str, authority: Path) -> Papers:
    """As :func:`expired`, with a month to go: what shows that it is the end alone that is refused."""
    key = serialization.load_pem_private_key((authority / "rootCA.key").read_bytes(), password=None)
    issuer = x509.load_pem_x509_certificate((authority / "rootCA.pem").read_bytes()).subject
    return _write(folder, name, key, issuer, datetime.now(UTC) + 30 * DAY)


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _write(folder: Path, name: str, authority: rsa.RSAPrivateKey, issuer: x509.Name | str, until: datetime) -> Papers:
    """Sign a certificate of ``name`` with the key of ``authority``."""
    key = _key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer) if isinstance(issuer, str) else issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - 60 * DAY)
        .not_valid_after(until)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(authority, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    papers = Papers(folder / "client.crt", folder / "client.key")
    papers.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    papers.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return papers


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
