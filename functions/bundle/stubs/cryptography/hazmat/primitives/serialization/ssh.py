"""Replaces support for SSH keys, which imports every cipher."""

from typing import Any, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm


def load_ssh_public_key(*_args: Any, **_kwargs: Any) -> NoReturn:
    """Refuse, because the bundle does not support SSH keys."""
    raise UnsupportedAlgorithm("SSH keys are left out of this bundle")


load_ssh_private_key = load_ssh_public_identity = load_ssh_public_key
ssh_key_fingerprint = load_ssh_public_key

SSHCertificate = SSHCertificateBuilder = SSHCertificateType = None
SSHCertPrivateKeyTypes = SSHCertPublicKeyTypes = None
SSHPrivateKeyTypes = SSHPublicKeyTypes = None
