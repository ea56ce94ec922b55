"""A certificate authority made for the run: its keys follow from the seed, so they are no secret.

ECDSA on P-256 with RFC 6979's deterministic signatures, since that is what browsers and servers
speak and the same seed must give the same certificates, byte for byte.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (FIPS 186-4, D.1.2.3)


@dataclass(frozen=True)
class Authority:
    """Issues certificates that are valid from a day before the run's clock starts, for ten years."""

    seed: int
    epoch_ns: int

    @property
    def certificate(self) -> str:
        """The authority's own certificate, PEM."""
        name, key = _name("testbed run CA"), self._key("ca")
        built = self._builder(name, name, key, "ca").add_extension(
            x509.BasicConstraints(ca=True, path_length=0), True
        )
        return _pem(built.sign(key, hashes.SHA256(), ecdsa_deterministic=True))

    def issue(self, host: str, *others: str, expired: bool = False) -> tuple[str, str]:
        """A certificate and its key for a host name and others, both PEM.

        One that is `expired` ran out when the others became valid, and has the same key.
        """
        key = self._key(host)
        built = (
            self._builder(_name(host), _name("testbed run CA"), key, host, expired=expired)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in (host, *others)]), False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        )
        certificate = built.sign(self._key("ca"), hashes.SHA256(), ecdsa_deterministic=True)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _pem(certificate), secret.decode()

    def _digest(self, purpose: str) -> int:
        return int.from_bytes(hashlib.sha256(f"testbed {self.seed} {purpose}".encode()).digest())

    def _key(self, owner: str) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(self._digest(f"key {owner}") % (_ORDER - 1) + 1, ec.SECP256R1())

    def _builder(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        owner: str,
        *,
        expired: bool = False,
    ) -> x509.CertificateBuilder:
        valid = dt.timedelta(days=3650)
        start = dt.datetime.fromtimestamp(self.epoch_ns // 10**9, dt.UTC) - dt.timedelta(days=1)
        start -= valid * expired
        ca_key = self._key("ca").public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(self._digest(f"serial {owner}") >> 97)
            .not_valid_before(start)
            .not_valid_after(start + valid)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key), False)
        )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
