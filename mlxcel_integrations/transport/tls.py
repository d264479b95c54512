"""TLS options: the authorities to trust, and the certificate to present."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import httpx

from ..errors import MlxcelError
from ..protocol.arguments import as_path, checked

__all__ = ["TLS", "USUAL_TLS"]


def _as_trust(name: str, value: Any) -> bool | str:
    return value if isinstance(value, bool) else as_path(name, value) or True


class TLS(NamedTuple):
    """Options of connections to ``https://`` addresses.

    Attributes:
        verify: Whether to check the server's certificate, or the path of the authorities to
            trust: a file, or a folder in the form of OpenSSL.
        client_cert: Path of the certificate to present to the server, None for none.
        client_key: Path of its key, None if that is in the same file.
    """

    verify: Annotated[bool | str, _as_trust] = True
    client_cert: Annotated[str | None, as_path] = None
    client_key: Annotated[str | None, as_path] = None

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Return options as a user has given them.

        Raises:
            MlxcelError: A path is of another type.
        """
        return cls(**checked(cls, given))

    def check(self) -> None:
        """Check that the files exist.

        Raises:
            MlxcelError: One does not exist, or a key is given without its certificate.
        """
        if self.client_key is not None and self.client_cert is None:
            raise MlxcelError(
                "client_key= is given without client_cert=: pass the certificate of the key, too."
            )
        for name in ("verify", "client_cert", "client_key"):
            path = getattr(self, name)
            if isinstance(path, str) and not _expanded_path(path).exists():
                raise MlxcelError(f"{name}={path!r} does not exist: check the path.")

    def context(self) -> bool | ssl.SSLContext:
        """Return the value of ``verify`` for transports.

        Raises:
            MlxcelError: A file has no certificate, or the key does not belong to it.
        """
        if self.verify is True and self.client_cert is None:
            return True
        context = self._trusting_context()
        if self.client_cert is not None:
            key = _expanded_path(self.client_key) if self.client_key is not None else None
            try:
                context.load_cert_chain(_expanded_path(self.client_cert), key, _no_password)
            except (OSError, ValueError) as error:
                raise MlxcelError(
                    f"client_cert={self.client_cert!r} and its key cannot be used: {error}. Both "
                    "must be PEM files that belong together, the key without a password."
                ) from None
        return context

    def _trusting_context(self) -> ssl.SSLContext:
        if self.verify is True:
            return httpx.create_ssl_context()
        if self.verify is False:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        path = _expanded_path(self.verify)
        try:
            if path.is_dir():
                return ssl.create_default_context(capath=path)
            return ssl.create_default_context(cafile=path)
        except OSError as error:
            raise MlxcelError(
                f"verify={self.verify!r} cannot be used: {error}. It must be a PEM file with the "
                "certificate of the authority that signed the server's certificate."
            ) from None


USUAL_TLS = TLS()


def _expanded_path(path: str) -> Path:
    # Not the method of Path, which raises an error about a user who is unknown.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _no_password() -> str:
    # Without this, OpenSSL would ask for one at the terminal.
    return ""
