"""Fetching the pieces of one model: sources tried in order, bounded, verified, kept until all is done."""

import gzip
import hashlib
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from stepaudio.errors import ModelError
from stepaudio.hub.card import Card, CardFile, Part
from stepaudio.hub.clients import download
from stepaudio.hub.progress import Meter
from stepaudio.hub.source import Source, parse_source

_BLOCK = 1 << 20


class _WrongBytesError(Exception):
    """A source gave a file that is not the one described."""


# What the archive readers of the standard library raise on damaged, encrypted or exotic archives.
_BROKEN = (
    _WrongBytesError,
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
)


class Fetcher:
    """Fetches files of one card into its work folder; a context manager that closes what it opened.

    Verified pieces are kept under their SHA-256 and whole archives under their name, so that an interrupted
    pull goes on where it was. Archives that fail are not asked again by the other files of the card.
    """

    def __init__(self, card: Card, work: Path, meter: Meter) -> None:
        self._card = card
        self._archives = work / "archives"
        self._pieces = work / "pieces"
        self._meter = meter
        self._open = ExitStack()
        self._opened: dict[str, zipfile.ZipFile | tarfile.TarFile] = {}
        self._failed: dict[str, str] = {}
        self._expected: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def missing_bytes(self, files: list[CardFile]) -> int:
        """Bytes that are still to be fetched for these files; also notes what each archive will give."""
        incomplete = [file for file in files if not (self._pieces / file.sha256).exists()]
        pieces = [piece for file in incomplete for piece in file.pieces if not self._piece(piece).exists()]
        for piece in pieces:
            for name in {parse_source(text).archive for text in piece.sources} - {None}:
                self._expected[str(name)] += piece.size
        return sum(piece.size for piece in pieces)

    def fetch(self, file: CardFile) -> Path:
        """Fetch a file into the work folder.

        Returns:
            The verified file, for the caller to move away.

        Raises:
            ModelError: no source gave the right bytes; the message has every source's reason.
        """
        whole = self._pieces / file.sha256
        if whole.exists():  # files here got their names only after they were verified
            return whole
        paths = [self._fetch_piece(file, number, piece) for number, piece in enumerate(file.pieces, 1)]
        if file.parts is None:
            return whole
        digest, temporary = hashlib.sha256(), whole.with_suffix(".tmp")
        with temporary.open("wb") as out:
            for path in paths:
                with path.open("rb") as stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
                        out.write(block)
        if digest.hexdigest() != file.sha256:
            temporary.unlink()
            reason = "each part is right, but put together they are not the file that the card describes"
            raise ModelError(f"{self._card.name}: {file.path}: {reason}")
        temporary.replace(whole)
        for path in paths:
            path.unlink(missing_ok=True)  # two parts may be the same
        return whole

    def _piece(self, piece: Part) -> Path:
        return self._pieces / piece.sha256

    def _fetch_piece(self, file: CardFile, number: int, piece: Part) -> Path:
        target = self._piece(piece)
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        reasons = []
        for source in map(parse_source, piece.sources):
            self._meter.note = f"{file.path} from {source.kind}"
            self._meter.on_the_way(0)
            try:
                self._copy(source, piece, target)
            except ModelError as error:
                reasons.append(f"{source}: {error}")
                continue
            self._meter.add(piece.size)
            return target
        label = file.path if file.parts is None else f"{file.path} (part {number} of {len(file.pieces)})"
        raise ModelError(f"{self._card.name}: cannot get {label}: {'; '.join(reasons)}")

    def _copy(self, source: Source, piece: Part, target: Path) -> None:
        """Copy a source's bytes to ``target``, never more than announced, and only if they are right."""
        temporary = target.with_name(f"{target.name}.tmp")
        digest, count = hashlib.sha256(), 0
        try:
            with self._reading(source) as stream, temporary.open("wb") as out:
                while count <= piece.size and (block := stream.read(_BLOCK)):
                    count += len(block)
                    digest.update(block)
                    out.write(block)
                    self._meter.on_the_way(count)
                out.flush()
                os.fsync(out.fileno())
            if count != piece.size:
                found = "more" if count > piece.size else f"{count}"
                raise _WrongBytesError(f"has the wrong size: {piece.size} bytes expected, {found} found")
            if digest.hexdigest() != piece.sha256:
                raise _WrongBytesError("its contents are not what the card describes (SHA-256)")
            temporary.replace(target)
        except _BROKEN as error:
            reason = str(error) if isinstance(error, _WrongBytesError) else f"damaged archive: {error}"
            self._drop(source, reason)
            raise ModelError(reason) from error
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _reading(self, source: Source) -> Iterator[IO[bytes]]:
        if source.kind == "file":
            path = (self._card.location or Path()) / source.path
            if not path.is_file():
                raise ModelError("no such file")
            with path.open("rb") as stream:
                yield stream
        elif source.kind == "hf":
            path = download(source, self._archives, self._meter.on_the_way)
            with path.open("rb") as stream:
                yield stream
            path.unlink()
        else:
            with self._member(source) as stream:
                yield stream

    def _member(self, source: Source) -> IO[bytes]:
        """Open one file inside a wheel or tarball, by its exact name; nothing is unpacked to disk."""
        archive = self._archive(source)
        if isinstance(archive, zipfile.ZipFile):
            try:
                return archive.open(source.path)
            except KeyError:
                raise ModelError("no such file in the wheel") from None
        for member in archive.getmembers():
            # The name of the first folder is up to who packed it; npm calls it "package".
            if member.isfile() and member.name.removeprefix("./").partition("/")[2] == source.path:
                stream = archive.extractfile(member)
                if stream is not None:
                    return stream
        raise ModelError("no such file in the package")

    def _archive(self, source: Source) -> zipfile.ZipFile | tarfile.TarFile:
        name = str(source.archive)
        if reason := self._failed.get(name):
            raise ModelError(reason)
        if name not in self._opened:
            expected = self._expected[name]
            try:
                path = download(
                    source, self._archives, lambda count: self._meter.on_the_way(min(count, expected))
                )
                opened = _open_archive(path, source)
            except ModelError as error:
                self._failed[name] = str(error)
                raise
            self._open.callback(opened.close)
            self._opened[name] = opened
        return self._opened[name]

    def _drop(self, source: Source, reason: str) -> None:
        """Forget an archive that gave wrong bytes: the next pull downloads it again."""
        name = source.archive
        if name is None:
            return
        if opened := self._opened.pop(name, None):
            opened.close()
        self._failed[name] = reason
        shutil.rmtree(self._archives / name, ignore_errors=True)


def _open_archive(path: Path, source: Source) -> zipfile.ZipFile | tarfile.TarFile:
    if source.kind == "pypi":
        return zipfile.ZipFile(path)
    return tarfile.open(path)
