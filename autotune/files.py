"""Files that survive a kill: canonical JSON, atomic writes, versions, and locks that die with their holder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotune.errors import InvalidInput, OtherVersion, UnreadableFile

SCHEMA_VERSION = 1

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_encode_indented = json.JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False).encode


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return _encode(value)


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that stand for a JSON value (SHA-256, shortened)."""
    # surrogatepass: a parameter value may hold undecodable bytes of a command line.
    return hashlib.sha256(_encode(value).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def json_bytes(record: dict[str, Any], *, indent: bool = False) -> bytes:
    """Return a record as the bytes of a file: its ``schema_version`` added, canonical, one final newline."""
    encode = _encode_indented if indent else _encode
    text = encode({"schema_version": SCHEMA_VERSION, **record})
    try:
        return (text + "\n").encode()
    except UnicodeEncodeError:  # lone surrogates: JSON's own escapes can hold them
        return (json.dumps(json.loads(text), sort_keys=True, indent=2 if indent else None) + "\n").encode()


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file or nothing: a temporary file in the same folder, then ``os.replace``.

    The temporary name is a function of the file name, so that what a kill leaves behind is overwritten by the next
    attempt; every caller therefore holds the lock that makes it the file's only writer.
    """
    target = os.fspath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        try:
            left = memoryview(data)
            while left:  # a nearly full disk takes a part, and only the next call fails
                left = left[os.write(handle, left) :]
        finally:
            os.close(handle)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:  # the disk is full, say: a message names the file
            error.filename = target
        raise


def write_if_changed(path: str | os.PathLike[str], data: bytes) -> bool:
    """Write the file unless it holds these bytes already; return whether it was written."""
    with contextlib.suppress(FileNotFoundError):
        if Path(path).read_bytes() == data:
            return False
    write_atomic(path, data)
    return True


def read_bytes(path: str) -> bytes:
    """Read a small file with three system calls; half the time of ``open``, which counts with 100,000 files."""
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.read(handle, 65536)
        if len(data) < 65536:
            return data
        parts = [data]
        while part := os.read(handle, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)


def parse_record(data: bytes, path: str) -> dict[str, Any]:
    """Parse the bytes of a file of ours; refuse what is not whole or of a later version, in a sentence."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        raise UnreadableFile(f"{path} must hold one JSON object, but is not whole ({len(data)} bytes)") from None
    if not isinstance(record, dict):
        raise UnreadableFile(f"{path} must hold one JSON object, got {type(record).__name__}")
    version = record.get("schema_version")
    if type(version) is not int:
        raise UnreadableFile(f"{path} must have schema_version {SCHEMA_VERSION}, got {version!r}")
    if version != SCHEMA_VERSION:
        raise OtherVersion(
            f"{path} must have schema_version {SCHEMA_VERSION}, got {version!r}: "
            "it was written by another version of autotune; install that version, or use another --log-dir"
        )
    return record


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read one JSON file of ours.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableFile: it is not whole.
        OtherVersion: it is of another schema version.
    """
    name = os.fspath(path)
    return parse_record(read_bytes(name), name)


def load_user_file(path: str | os.PathLike[str]) -> Any:
    """Read a JSON or YAML file that a user wrote; every fault is one sentence with file and line."""
    name = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInput(f"{name} must be a file, but there is none; `autotune init` writes an example") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{name} must be a readable text file: {error}") from None
    if name.endswith(".json"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{name} must be valid JSON: {error}") from None
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML 1.1 takes `1e-5` for a string; everybody who writes a learning rate means the number."""

    number = re.compile(r"[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidInput(f"{name} must be valid YAML: {getattr(error, 'problem', error)}{where}") from None
    except (ValueError, RecursionError) as error:  # a date that does not exist, a number of 5,000 digits, [[[[...
        raise InvalidInput(f"{name} must be valid YAML: {error}; quote what is meant as a text") from None


class LockFile:
    """One file whose byte ranges are locks, held by the kernel: nothing stays behind when the holder dies.

    Open-file-description locks (``man 2 fcntl``, F_OFD_SETLK): a forked child shares its parent's lock, so work stays
    locked until the last process that does it is gone. They work on NFS. A byte is a thing to lock; the file is empty.

    Where the file system has no locks (Lustre mounted without ``flock``), all are granted, and that is said once: then
    nothing keeps two runs of one study that overlap from executing a trial twice, but each still writes it whole.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
        self._handle = os.open(path, flags, 0o666)

    def share_with_programs(self) -> None:
        """Let programs that this process starts hold the locks too, until the last of them has ended."""
        os.set_inheritable(self._handle, True)

    def acquire(self, byte: int, *, wait: bool = False) -> bool:
        """Lock one byte; without ``wait`` return False where somebody else holds it."""
        command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
        try:
            self._call(command, fcntl.F_WRLCK, byte)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, by platform
            return False
        return True

    def release(self, byte: int) -> None:
        """Unlock one byte."""
        self._call(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, byte)

    def is_held(self, byte: int) -> bool:
        """Return whether somebody else holds the byte; works on a read-only file."""
        answer = self._call(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, byte)
        return answer is not None and bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def held(self, numbers: range) -> Iterator[int]:
        """Yield those bytes of a range that others hold, in no order: two questions for each that is held, no more."""
        parts = [numbers]
        while parts:
            part = parts.pop()
            answer = self._call(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, part.start, len(part)) if part else None
            if answer is not None:
                kind, _, start, length, _ = _FLOCK.unpack(answer)  # any one lock of those in the part
                if kind != fcntl.F_UNLCK:
                    first, end = max(start, part.start), min(start + length, part.stop)
                    yield from range(first, end)
                    parts += [range(part.start, first), range(end, part.stop)]

    def _call(self, command: int, kind: int, byte: int, length: int = 1) -> bytes | None:
        """Make the system call; None where the file system has no locks."""
        try:
            return fcntl.fcntl(self._handle, command, _FLOCK.pack(kind, os.SEEK_SET, byte, length, 0))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            warn_once(
                f"the file system of the study directory has no locks ({error.strerror}); "
                "run only one `autotune study` or `snakemake` of a study at a time"
            )
            return None

    @contextlib.contextmanager
    def holding(self, byte: int) -> Iterator[None]:
        """Hold one byte for a while, waiting for it first."""
        self.acquire(byte, wait=True)
        try:
            yield
        finally:
            self.release(byte)

    def close(self) -> None:
        """Close the file, which gives back every lock that no child shares."""
        os.close(self._handle)


_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid

_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


@functools.cache
def warn_once(sentence: str) -> None:
    """Warn of something the first time only."""
    warnings.warn(sentence, stacklevel=3)
