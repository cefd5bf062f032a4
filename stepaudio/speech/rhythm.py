"""Phonemes in time: syllables on the beat of a rap, or a note for every syllable of a song.

Consonants keep their length and vowels stretch, as people do it. The beat of a syllable is where its vowel
begins (the P-centre: J. Morton et al., "Perceptual centers", 1976). Nothing depends on a language: what is
not a vowel of the IPA is a consonant, a mark of stress or length, or a pause.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from stepaudio.errors import InputError
from stepaudio.speech.melody import Note, invent, transpose
from stepaudio.styles import Style

# IPA, with Kokoro's letters for diphthongs.
VOWELS = frozenset("aeiouyæøœɐɑɒɔəɘɚɛɜɝɞɤɨɪɯɵɶʉʊʌʏᵊᵻAIOQWY")
STRESS, LENGTH = "ˈˌ", "ː"
PAUSES = frozenset(',.;:!?…—–-"“”()') | {""}

RAP_TEMPO, SONG_TEMPO = 70.0, 110.0
"""Beats a minute where none are given; at 70, a quarter of a beat is 214 ms."""
# A rap's grid is the half, quarter, ... of a beat that lies in here: about the length of a short syllable.
_SHORTEST_SLOT, _SLOTS_A_BEAT = 0.11, (1, 2, 4, 8)
_SHORTEST_VOWEL = 0.06
_LEAST_CONSONANTS = 0.7  # of their length, where a slot is tight
_PHRASE_END = 1.3  # what comes before a pause is at most so many times as long as it was


@dataclass(frozen=True, eq=False)
class Syllables:
    """Where the syllables of a phoneme string are.

    Attributes:
        start: (S,) index of the first symbol of each nucleus: the mark of stress, or the vowel.
        vowel: (S,) index of its vowel.
        stop: (S,) index after it: behind marks of length.
        stressed: (S,) bool.
        of: (N,) syllable that each symbol belongs to; -1 in pauses and where there are none.
        pause_after: (S,) index of the first pausing symbol before the next nucleus, or -1.
    """

    start: np.ndarray
    vowel: np.ndarray
    stop: np.ndarray
    stressed: np.ndarray
    of: np.ndarray
    pause_after: np.ndarray

    def __len__(self) -> int:
        return len(self.vowel)


@dataclass(frozen=True, eq=False)
class Score:
    """Phonemes as they are to be said or sung.

    Attributes:
        durations: (N,) seconds of each symbol.
        pitch: (N,) Hz of the note of each symbol; 0 where it is not sung.
        syllable: (N,) int, which syllable it belongs to; -1 in pauses.
        nucleus: (N,) bool, whether it is the part of the syllable that is held.
    """

    durations: np.ndarray
    pitch: np.ndarray
    syllable: np.ndarray
    nucleus: np.ndarray


def arrange(
    style: Style, symbols: Sequence[str], durations: Sequence[float] | np.ndarray, *, centre_log_f0: float
) -> Score:
    """Return phonemes as a style wants them in time: faster or slower, on a beat, or on notes.

    Args:
        style: what is asked.
        symbols: (N,) phonemes, as of `find_syllables`.
        durations: (N,) seconds of each, as the voice says it plainly.
        centre_log_f0: the voice's median log-F0.

    Raises:
        InputError: symbols and durations do not fit together.
    """
    effect = style.effect
    if effect.delivery == "rap":
        return rap(symbols, durations, tempo=_rap_tempo(style))
    if effect.delivery == "speech":
        return spoken(symbols, np.asarray(durations, float) / effect.rate)
    return sing(
        symbols,
        durations,
        centre_log_f0=centre_log_f0,
        melody=style.melody,
        tempo=(style.tempo or SONG_TEMPO) * effect.rate,
        semitones=effect.pitch,
    )


def find_syllables(symbols: Sequence[str]) -> Syllables:
    """Find a nucleus at every vowel; consonants before it belong to it, those before a break to the last.

    Args:
        symbols: a phoneme string, a character each, or a list of symbols; ``""`` is a silent end.
    """
    vowels = [index for index, symbol in enumerate(symbols) if symbol in VOWELS]
    start, stop = [], []
    for index in vowels:
        marked = index > 0 and symbols[index - 1] != "" and symbols[index - 1] in STRESS
        start.append(index - marked)
        end = index + 1
        while end < len(symbols) and symbols[end] == LENGTH:
            end += 1
        stop.append(end)
    of = np.full(len(symbols), -1)
    pause_after = np.full(len(vowels), -1)
    for number in range(len(vowels)):
        of[start[number] : stop[number]] = number
    for number in range(-1, len(vowels)):
        low = stop[number] if number >= 0 else 0
        high = start[number + 1] if number + 1 < len(vowels) else len(symbols)
        between = range(low, high)
        pauses = [index for index in between if symbols[index] in PAUSES]
        breaks = pauses or [index for index in between if symbols[index] == " "]
        cut = breaks[0] if breaks else low  # inside a word all consonants start the next syllable
        for index in between:
            if index not in pauses:
                of[index] = number if index < cut or number + 1 == len(vowels) else number + 1
        if pauses:
            if number >= 0:
                pause_after[number] = pauses[0]
            # A blank beside a mark is part of the pause.
            of[pauses[0] : pauses[-1] + 1] = -1
            of[[index for index in between if symbols[index] == " "]] = -1
    stressed = [symbols[index] != "" and symbols[index] in STRESS for index in start]
    if not vowels:
        of[:] = -1
    return Syllables(
        np.array(start, int),
        np.array(vowels, int),
        np.array(stop, int),
        np.array(stressed, bool),
        of,
        pause_after,
    )


def rap(
    symbols: Sequence[str], durations: Sequence[float] | np.ndarray, *, tempo: float = RAP_TEMPO
) -> Score:
    """Put every vowel's beginning on a grid, stressed ones on every second place of it.

    Args:
        symbols: (N,) phonemes.
        durations: (N,) seconds of each as it would be said.
        tempo: beats a minute, the rate of speech included.

    Returns:
        New durations; no pitch.

    Raises:
        InputError: the two are of different length.
    """
    lengths, found = _checked(symbols, durations)
    slot = rap_slot(tempo)
    gaps = _Gaps.of(lengths, found)
    place = 0
    for index in range(len(found) - 1):
        said = gaps.nucleus[index] + gaps.consonants[index]
        pauses = found.pause_after[index] >= 0
        slots = max(1, round((said + gaps.pause[index]) / slot), ceil(gaps.least(index) / slot - 1e-9))
        step = 4 if pauses else 2 if found.stressed[index + 1] else 1
        slots += -(place + slots) % step
        place += slots
        rest = max(0.0, slots * slot - max(_PHRASE_END * said, gaps.least(index))) if pauses else 0.0
        gaps.fill(index, slots * slot - rest, rest)
    return _score(gaps.lengths, np.zeros(len(lengths)), found)


def rap_slot(tempo: float) -> float:
    """Seconds between two places of the grid that syllables are put on."""
    beat = 60.0 / tempo
    return min(beat / parts for parts in _SLOTS_A_BEAT if beat / parts >= _SHORTEST_SLOT)


def slot_of(style: Style) -> float | None:
    """Return `rap_slot` of a style that raps, ``None`` for the others."""
    return rap_slot(_rap_tempo(style)) if style.effect.delivery == "rap" else None


def _rap_tempo(style: Style) -> float:
    return (style.tempo or RAP_TEMPO) * style.effect.rate


def sing(
    symbols: Sequence[str],
    durations: Sequence[float] | np.ndarray,
    *,
    centre_log_f0: float,
    melody: Sequence[Note] = (),
    tempo: float = SONG_TEMPO,
    semitones: float = 0.0,
) -> Score:
    """Give every syllable a note, and its vowel the note's length; for singing and humming.

    Args:
        symbols: (N,) phonemes.
        durations: (N,) seconds of each as it would be said.
        centre_log_f0: the voice's median log-F0: the melody is put into the octave nearest to it.
        melody: a note a syllable, from the start again where they do not suffice; empty for one that is
            made up.
        tempo: beats a minute, the rate of speech included.
        semitones: moves all notes.

    Returns:
        New durations, and the note of every symbol.

    Raises:
        InputError: symbols and durations are of different length.
    """
    lengths, found = _checked(symbols, durations)
    ends = np.flatnonzero(found.pause_after >= 0)
    if melody:
        moved = transpose(melody, centre_log_f0)
        notes = [moved[index % len(moved)] for index in range(len(found))]
    else:
        notes = invent(len(found), ends.tolist(), found.stressed.tolist(), centre_log_f0)
    beat, gaps = 60.0 / tempo, _Gaps.of(lengths, found)
    for index in range(len(found)):
        # A note that the consonants do not fit into lasts half beats longer.
        extra = max(0, ceil(2 * (gaps.least(index) / beat - notes[index].beats) - 1e-9)) / 2
        gaps.fill(index, (notes[index].beats + extra) * beat, gaps.pause[index])
    pitch = np.zeros(len(lengths))
    for number, note in enumerate(notes):
        pitch[found.of == number] = note.hz * 2.0 ** (semitones / 12)
    return _score(gaps.lengths, pitch, found)


def spoken(symbols: Sequence[str], durations: Sequence[float] | np.ndarray) -> Score:
    """Return plain speech as a `Score`: the durations as they are, no notes."""
    lengths, found = _checked(symbols, durations)
    return _score(lengths, np.zeros(len(lengths)), found)


def to_ticks(durations: Sequence[float] | np.ndarray, tick: float = 0.025) -> np.ndarray:
    """Round durations to whole ticks, (N,) int64; boundaries are what is rounded, so no error adds up."""
    ends = np.rint(np.cumsum(durations) / tick + 1e-9).astype(np.int64)
    return np.diff(ends, prepend=0)


@dataclass(eq=False)
class _Gaps:
    """The time from each nucleus to the next: of the nucleus, of consonants and of pauses, in seconds."""

    lengths: np.ndarray
    found: Syllables
    nucleus: np.ndarray
    consonants: np.ndarray
    pause: np.ndarray

    @classmethod
    def of(cls, lengths: np.ndarray, found: Syllables) -> "_Gaps":
        gaps = cls(lengths.copy(), found, *np.zeros((3, len(found))))
        for index in range(len(found)):
            parts = gaps.parts(index)
            gaps.nucleus[index], gaps.consonants[index], gaps.pause[index] = [lengths[p].sum() for p in parts]
        return gaps

    def parts(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices of the symbols of the nucleus, of consonants and of pauses."""
        stop = len(self.lengths) if index + 1 == len(self.found) else self.found.start[index + 1]
        between = np.arange(self.found.stop[index], stop)
        silent = self.found.of[between] < 0
        return np.arange(self.found.start[index], self.found.stop[index]), between[~silent], between[silent]

    def least(self, index: int) -> float:
        """Seconds that nucleus and consonants need."""
        return self.vowel_least(index) + _LEAST_CONSONANTS * float(self.consonants[index])

    def vowel_least(self, index: int) -> float:
        """Seconds that the nucleus needs."""
        nucleus = float(self.nucleus[index])
        return min(_SHORTEST_VOWEL, nucleus) if nucleus else _SHORTEST_VOWEL

    def fill(self, index: int, seconds: float, pause: float) -> None:
        """Give `seconds` to nucleus and consonants, which keep their length if they can, and `pause`."""
        vowel = max(seconds - self.consonants[index], self.vowel_least(index))
        for part, total in zip(self.parts(index), (vowel, seconds - vowel, pause), strict=True):
            held = self.lengths[part].sum()
            self.lengths[part] = self.lengths[part] * (total / held) if held else total / max(1, len(part))


def _checked(symbols: Sequence[str], durations: Sequence[float] | np.ndarray) -> tuple[np.ndarray, Syllables]:
    lengths = np.asarray(durations, float)
    if lengths.shape != (len(symbols),):
        raise InputError(f"{len(symbols)} phonemes and {lengths.size} durations do not fit together")
    if lengths.size and not (np.isfinite(lengths).all() and lengths.min() >= 0):
        raise InputError("durations of phonemes must be finite and not negative")
    return lengths, find_syllables(symbols)


def _score(lengths: np.ndarray, pitch: np.ndarray, found: Syllables) -> Score:
    nucleus = np.zeros(len(lengths), bool)
    for start, stop in zip(found.start, found.stop, strict=True):
        nucleus[start:stop] = True
    return Score(lengths, pitch, found.of, nucleus)
