"""Where the lake is: a local folder, or a prefix in an object store that delta-rs knows.

Files are written and read through delta-rs's own storage layer, for local folders too, so that every store
takes the path that the tests take, and the storage options mean the same for data files and for commits.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem

from pi_dagster.lake.errors import LakeAccessError, LakeNotWritableError
from pi_dagster.redaction import is_secret_name, redacted, remember_secret

STORAGE_ERRORS = (OSError, DeltaError, pa.ArrowException)
"""What delta-rs and pyarrow raise when the storage, a file in it or the table log cannot be used."""

_TERMINAL_COLOUR = re.compile(r"\x1b\[\d*m|↳")


@dataclass(frozen=True)
class Lake:
    """The folder or prefix that holds the Delta tables, one sub-folder a table.

    delta-rs cannot be used in a process that was forked after its first use: start processes with `spawn`.

    Args:
        uri: a local path (`~` and relative paths are made absolute) or a URI such as `s3://bucket/pi`.
        storage_options: delta-rs's options for the object store; never shown, as they hold secrets.
    """

    uri: str
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        uri = unquote(urlsplit(self.uri).path) if self.uri.startswith("file://") else self.uri
        absolute = uri.rstrip("/") if "://" in uri else str(Path(uri).expanduser().resolve())
        object.__setattr__(self, "uri", absolute)
        object.__setattr__(self, "storage_options", dict(self.storage_options))
        for option, value in self.storage_options.items():
            if is_secret_name(option):
                remember_secret(value)

    @property
    def is_local(self) -> bool:
        """True for a folder of this machine."""
        return "://" not in self.uri

    def table_uri(self, name: str) -> str:
        """Where the table `name` is, in the form that any Delta reader takes."""
        return f"{self.uri}/{name}"

    def filesystem(self, name: str = "") -> PyFileSystem:
        """The files of the lake, or of its table `name`, by paths relative to it.

        A local folder must exist.
        """
        uri = self.table_uri(name) if name else self.uri
        return PyFileSystem(DeltaStorageHandler(uri, dict(self.storage_options)))

    def check_writable(self) -> None:
        """Write a small object and delete it again; a local folder that is missing is created.

        Raises:
            LakeNotWritableError: it did not work; the message says why.
        """
        probe = f"_pi_dagster_write_check_{uuid.uuid4().hex}"
        try:
            if self.is_local:
                Path(self.uri).mkdir(parents=True, exist_ok=True)
            files = self.filesystem()
            with files.open_output_stream(probe, buffer_size=1024) as stream:
                stream.write(b"pi_dagster checks that it may write here\n")
            files.delete_file(probe)
        except STORAGE_ERRORS as error:
            remedy = (
                "Give the user who runs this the right to write there, or change `lake.uri`."
                if self.is_local
                else "Check `lake.uri`, the credentials in `lake.storage_options_env`, and their right to "
                "write and delete objects there."
            )
            # `from None`: the original message may hold a secret.
            raise LakeNotWritableError(
                f"The lake {self.uri} cannot be written: {self.plain_text(error)}.", remedy
            ) from None

    def plain_text(self, error: BaseException) -> str:
        """The message of `error` in one line, without secrets and terminal colours."""
        text = " ".join(_TERMINAL_COLOUR.sub(" ", str(error)).split()).rstrip(".")
        return redacted(text) or type(error).__name__

    @contextmanager
    def explaining(self, doing: str) -> Iterator[None]:
        """Turn errors of the storage into a LakeAccessError that says what was being done.

        Args:
            doing: such as `writing a file of /data/pi/pi_timeseries`.

        Raises:
            LakeAccessError: the storage failed inside the `with` block.
        """
        try:
            yield
        except STORAGE_ERRORS as error:
            # `from None`: the original message may hold a secret.
            raise LakeAccessError(
                f"The lake's storage failed while {doing}: {self.plain_text(error)}. "
                "Run again when the storage answers."
            ) from None


class TableFolder:
    """The files of one table, by paths relative to its folder.

    Args:
        lake: the lake.
        table_name: the table's name; its folder must exist.

    Raises:
        LakeAccessError: the folder cannot be opened.
    """

    def __init__(self, lake: Lake, table_name: str) -> None:
        self.lake = lake
        self.table_uri = lake.table_uri(table_name)
        with lake.explaining(f"opening {self.table_uri}"):
            self.filesystem = lake.filesystem(table_name)
