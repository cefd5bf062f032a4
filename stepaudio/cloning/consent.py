"""Consent to a voice: a fresh sentence, read aloud by the person whose voice it is.

`Challenges.ask` gives a sentence that ends in random words and remembers it for half an hour; `check_reading`
takes the recording: the words must be those (by speech recognition) and the person that of the clip (by GE2E
embeddings). A sentence is good once. Where a person has agreed otherwise, `Consent.declared` says so, and the
voice file keeps which of the two it was.

This stops a recording from being used for a voice by mistake or without its speaker; it does not stop the
owner of the computer, who may write any file.
"""

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from stepaudio.audio import Audio
from stepaudio.cloning.people import SAME_PERSON
from stepaudio.cloning.sentences import CODE_WORDS, fresh_code, match, template
from stepaudio.errors import InputError

VALID_S = 30 * 60.0
MOST_OPEN = 20  # older questions are forgotten
ENOUGH_WORDS = CODE_WORDS - 1  # one word may be misheard
ENOUGH_STATEMENT = 0.6  # share of the rest of the sentence
MOST_SECONDS = 60.0

HOW = (
    "a new voice needs its speaker's consent: `stepaudio voices consent` gives a sentence to be read aloud; "
    "record it and pass --consent RECORDING.wav, or state that you have it with --i-have-consent "
    '(Python: consent="recording.wav" or consent=stepaudio.Consent.declared("..."))'
)


@dataclass(frozen=True)
class Consent:
    """That a speaker agreed, and how we know.

    Attributes:
        kind: ``read`` (the sentence was read aloud, and checked) or ``declared`` (somebody says so).
        record: one line for the voice file.
    """

    kind: str
    record: str

    @classmethod
    def declared(cls, note: str = "the speaker agreed") -> "Consent":
        """Return a consent that rests on the caller's word.

        Args:
            note: who agreed to what, on one line; kept in the voice file.
        """
        return cls("declared", f"declared {_today()}: {_line(note) or 'the speaker agreed'}")


@dataclass(frozen=True)
class Challenge:
    """A sentence that waits to be read.

    Attributes:
        id: of this question.
        language: ISO 639-1 code of the sentence.
        code: its random words.
        asked: when, in seconds since 1970.
    """

    id: str
    language: str
    code: tuple[str, ...]
    asked: float

    @property
    def sentence(self) -> str:
        """What is to be read aloud."""
        form = template(self.language)
        return form.text.format(code=form.joint.join(self.code))


@dataclass(frozen=True)
class Challenges:
    """The open questions, kept in one JSON file.

    Attributes:
        path: of the file; it need not exist.
        clock: the time in seconds since 1970.
    """

    path: Path
    clock: Callable[[], float] = time.time

    @classmethod
    def default(cls) -> "Challenges":
        """Those in the user's folder."""
        from stepaudio.voices import user_folder

        return cls(user_folder() / "consent.json")

    def ask(self, language: str = "en") -> Challenge:
        """Make up a sentence and remember it.

        Raises:
            InputError: there is no sentence in this language.
        """
        asked = Challenge(secrets.token_hex(4), language, fresh_code(language), self.clock())
        self._write([*self.open(), asked][-MOST_OPEN:])
        return asked

    def open(self) -> list[Challenge]:
        """Return the questions that are not too old; none where the file is missing or damaged."""
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))
            found = [Challenge(**(row | {"code": tuple(row["code"])})) for row in rows]
            return [each for each in found if 0 <= self.clock() - each.asked <= VALID_S]
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def close(self, challenge: Challenge) -> None:
        """Forget a question: its sentence was read."""
        self._write([each for each in self.open() if each.id != challenge.id])

    def _write(self, challenges: list[Challenge]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(f".{secrets.token_hex(4)}")
        new.write_text(json.dumps([asdict(each) for each in challenges]), encoding="utf-8")
        new.replace(self.path)


def check_reading(
    recording: Audio,
    clip: Audio,
    *,
    hear: Callable[[Audio, str], str],
    alike: Callable[[Audio, Audio], float],
    challenges: Challenges,
) -> Consent:
    """Check that the person in `clip` reads an open sentence in `recording`; the sentence is then used up.

    Args:
        recording: the reading, at most a minute.
        clip: what the voice is to be made of.
        hear: recognises speech in a language (ISO 639-1 code).
        alike: cosine of the GE2E embeddings of two clips.
        challenges: the open sentences.

    Raises:
        InputError: no sentence is open, none of them is heard, or another person reads it.
    """
    waiting = challenges.open()
    if not waiting:
        raise InputError(
            "no sentence is waiting to be read (each is good once, for half an hour): "
            "ask for one with `stepaudio voices consent`, read it aloud and record that"
        )
    if recording.seconds > MOST_SECONDS:
        raise InputError(f"the consent recording is longer than {MOST_SECONDS:g} s: read only the sentence")
    heard = _hear(recording, sorted({each.language for each in waiting}), hear)
    waiting = [each for each in waiting if each.language in heard]
    matches = {each.id: match(heard[each.language], each.code, each.language) for each in waiting}
    best = max(waiting, key=lambda each: (matches[each.id].code_words, matches[each.id].statement))
    found = matches[best.id]
    if found.code_words < ENOUGH_WORDS or found.statement < ENOUGH_STATEMENT:
        said = _line(heard[best.language])[:80] or "nothing"
        raise InputError(
            f"the consent recording says {said!r}, which is not the sentence that was asked for: "
            f"{best.sentence!r}"
        )
    cosine = alike(recording, clip)
    if cosine < SAME_PERSON:
        raise InputError(
            f"the consent was read by another person than the one in the clip "
            f"(likeness {cosine:.2f}, {SAME_PERSON:g} is needed)"
        )
    challenges.close(best)
    words = f"{found.code_words} of {CODE_WORDS} code words, likeness {cosine:.2f}"
    return Consent("read", f"read {_today()}: {best.sentence} ({words})")


def consent_kind(record: str) -> str:
    """Return what a voice file's consent line says: ``read``, ``declared``, ``synthetic`` or ``unknown``.

    A mix has the lines of its parts, and is as good as the weakest.
    """
    order = ("unknown", "declared", "read", "synthetic")
    kinds = [part.strip().split(" ", 1)[0] for part in record.split(";")]
    return min((kind if kind in order else "unknown" for kind in kinds), key=order.index)


def _hear(recording: Audio, languages: list[str], hear: Callable[[Audio, str], str]) -> dict[str, str]:
    """Return the transcripts in those languages that can be heard; raises `InputError` when none can."""
    heard, failed = {}, None
    for language in languages:
        try:
            heard[language] = hear(recording, language)
        except InputError as error:
            failed = error
    if failed is not None and not heard:
        raise failed
    return heard


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _line(text: str) -> str:
    """One line without the mark that separates the lines of a mix."""
    return " ".join(text.replace(";", ",").split())
