"""What ties a login to the TLS connection that it goes over, so that who takes it cannot use it over another one.

Windows calls it extended protection for authentication; a server may insist on it. It is a hash of the server's
certificate, of the kind tls-server-end-point (RFC 5929, 4.1).
"""

from __future__ import annotations

import hashlib
import ssl

import requests
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

_TOO_WEAK = frozenset({"md5", "sha1"})


def channel_binding(response: requests.Response) -> bytes | None:
    """The binding of the connection that an answer came by, None where that is not encrypted.

    Args:
        response: of which nothing has been read, as the connection is not its own any more after that.
    """
    connection = getattr(response.raw, "connection", None)
    sock = getattr(connection, "sock", None)
    certificate = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
    if certificate is None:
        return None
    return b"tls-server-end-point:" + hashlib.new(_hash_of(certificate), certificate).digest()


def _hash_of(certificate: bytes) -> str:
    """The one that it is signed with; SHA-256 where that is too weak, or there is none."""
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return "sha256"
    return "sha256" if algorithm is None or algorithm.name in _TOO_WEAK else algorithm.name
