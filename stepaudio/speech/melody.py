"""Notes: a melody as people write it, and a simple one that is made up where none is given."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from stepaudio.errors import InputError

A4 = 440.0
MOST_NOTES = 500
LONGEST_BEATS = 16.0
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NOTE = re.compile(r"([A-Ga-g])([#♯b♭]?)([1-7])(?::(\d+(?:\.\d+)?))?")
_PENTATONIC = (0, 2, 4, 7, 9)
# Degrees of the pentatonic scale, phrase by phrase: an arch that asks, and one that answers.
_PHRASES = ((0, 1, 2, 4, 3, 2, 1, 2), (3, 4, 3, 2, 1, 2, 1, 0))


@dataclass(frozen=True)
class Note:
    """One note.

    Attributes:
        semitones: above A4, which is 440 Hz.
        beats: how long.
        written: as it was given, such as ``C#4``; empty for a made-up note.
    """

    semitones: float
    beats: float = 1.0
    written: str = ""

    @property
    def hz(self) -> float:
        """Its frequency in equal temperament."""
        return A4 * 2.0 ** (self.semitones / 12)

    def __str__(self) -> str:
        """Return the note as `parse_melody` reads it."""
        name = self.written or _name(self.semitones)
        return name if self.beats == 1.0 else f"{name}:{self.beats:g}"


def parse_melody(text: str) -> tuple[Note, ...]:
    """Read notes such as ``"C4 D4 F#4:2"``: letter, ``#`` or ``b``, octave 1 to 7, and beats (1 if absent).

    Raises:
        InputError: an item is no note, or there are none or too many.
    """
    notes = []
    for item in text.split():
        found = _NOTE.fullmatch(item)
        if not found:
            raise InputError(f"melody: {item!r} is not a note; write notes such as C4, F#3 or Bb4:2 (beats)")
        letter, sign, octave, beats = found.groups()
        length = float(beats or 1)
        if not 0 < length <= LONGEST_BEATS:
            raise InputError(
                f"melody: {item!r} lasts {length:g} beats; above 0 to {LONGEST_BEATS:g} are possible"
            )
        shift = {"#": 1, "♯": 1, "b": -1, "♭": -1}.get(sign, 0)
        semitones = _STEPS[letter.upper()] + shift + 12 * (int(octave) - 4) - 9
        plain = {"♯": "#", "♭": "b"}.get(sign, sign)
        notes.append(Note(float(semitones), length, f"{letter.upper()}{plain}{octave}"))
    if not notes:
        raise InputError("melody: there are no notes; write notes such as C4 D4 E4:2 (beats)")
    if len(notes) > MOST_NOTES:
        raise InputError(f"melody: {len(notes)} notes are too many; {MOST_NOTES} are the most")
    return tuple(notes)


def transpose(notes: Sequence[Note], centre_log_f0: float) -> tuple[Note, ...]:
    """Return the melody in the octave that lies nearest to a voice.

    Args:
        notes: any melody.
        centre_log_f0: natural logarithm of the voice's median F0 in Hz.
    """
    centre = 12 * (centre_log_f0 - math.log(A4)) / math.log(2)
    beats = sum(note.beats for note in notes)
    middle = sum(note.semitones * note.beats for note in notes) / beats
    octaves = round((centre - middle) / 12)
    return tuple(Note(note.semitones + 12 * octaves, note.beats) for note in notes)


def invent(syllables: int, last: Sequence[int], stressed: Sequence[bool], centre_log_f0: float) -> list[Note]:
    """Make up a melody, a note for each syllable, about a voice's own pitch; the same for the same input.

    Args:
        syllables: how many.
        last: indices of syllables that end a phrase.
        stressed: (syllables,), whether each is stressed; an unstressed one takes half a beat.
        centre_log_f0: of the voice.
    """
    # The scale spans nine semitones: its middle is put a little above where the voice speaks.
    tonic = round(12 * (centre_log_f0 - math.log(A4)) / math.log(2)) - 2
    ends, notes, phrase, place = set(last), [], 0, 0
    for index in range(syllables):
        pattern = _PHRASES[phrase % len(_PHRASES)]
        degree = pattern[place % len(pattern)]
        beats = 1.0 if stressed[index] else 0.5
        place += 1
        if index in ends or index == syllables - 1:
            degree, beats, place, phrase = (
                (0 if phrase % 2 or index == syllables - 1 else 2),
                2.0,
                0,
                phrase + 1,
            )
        notes.append(Note(float(tonic + _PENTATONIC[degree]), beats))
    return notes


def _name(semitones: float) -> str:
    names = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
    above = round(semitones) + 9
    return f"{names[above % 12]}{above // 12 + 4}"
