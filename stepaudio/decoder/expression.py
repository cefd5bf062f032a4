"""Style as edits of WORLD frames: pitch, range, level, tilt, formants, breath, whisper, song and humming.

Works on any voice of which the median pitch is known, on frames of any origin, frame by frame without
looking ahead: a stream equals the whole.
"""

from dataclasses import dataclass, replace
from math import exp, log, log10, pi, sin, tanh

import numpy as np

from stepaudio.decoder.envelope import DB, encode_log, formant_shift, frame_level, frequencies, tilt
from stepaudio.decoder.world import F0_CEIL, F0_FLOOR, FRAME_RATE, SPECTRAL, SPECTRUM, WIDTH
from stepaudio.effects import Effect
from stepaudio.errors import ModelError
from stepaudio.speech.rhythm import Score

PLAIN_LEVEL = -24.0
"""Level in dB of full scale that a voice of known level is brought to, so that loud styles have room."""
_SEMITONE = log(2) / 12
# Frames above the knee are compressed towards the ceiling: the pulses of a frame peak about 12 dB above it.
_KNEE, _CEILING = -17.0, -9.0
# Pitch bends towards the ends of what WORLD can make, instead of being cut.
_BEND = 0.12

_MEMORY_S = 0.5  # of the level that a filter must not change
_GLIDE_S = 0.035  # time constant between two notes
_VIBRATO_HZ, _VIBRATO_SEMITONES = 5.5, 0.3
_VIBRATO_AFTER_S, _VIBRATO_GROWS_S = 0.25, 0.3
_TREMOR_HZ = 6.5
_WHISPER_VOWELS = 3.0  # dB that what was voiced is below the rest in a whisper
_HUM_LEVEL = PLAIN_LEVEL - 1.0
_HUM_ATTACK_DB, _HUM_ATTACK_S, _HUM_FADE = -9.0, 0.05, -4.0  # a dip at each note, then dB a second
_HUM_GATE_S = 0.04
_HUM_APERIODICITY = np.array([-25.0, -12.0, -6.0])
# (Hz, bandwidth, dB) of the nasal tract's resonances.
_MURMUR = ((270, 130, 0), (1000, 220, -24), (2050, 300, -32), (3000, 400, -40), (4000, 600, -46))


@dataclass(frozen=True)
class Speaker:
    """What must be known of a voice.

    Attributes:
        centre_log_f0: its median log-F0 (Hz).
        level: level of its voiced frames as they come in dB of full scale (`envelope.speech_level`): they
            are brought to `PLAIN_LEVEL`. ``None`` leaves the level.
    """

    centre_log_f0: float
    level: float | None = None


@dataclass
class ExpressionState:
    """One utterance being edited; make one with `start`.

    Attributes:
        effect: what is done.
        speaker: whose frames they are.
        score: the phonemes' notes, for song and humming.
        spectrum_matrix: (40, 40) of the formants, or ``None``.
        spectrum_add: (40,) filter of tilt or whisper.
        hum: (40,) spectrum of humming, or ``None``.
        frames: frames edited.
        log_f0: of the last note, on its way to the next.
        syllable: of the last frame.
        held: frames since its note began.
        gate: 0 to 1, how far humming is open.
        voiced: 0 to 1, voicing of the input, smoothed.
        energy: of late frames, before and after the filter.
    """

    effect: Effect
    speaker: Speaker
    score: Score | None
    spectrum_matrix: np.ndarray | None
    spectrum_add: np.ndarray | None
    hum: np.ndarray | None
    frames: int = 0
    log_f0: float | None = None
    syllable: int = -1
    held: int = 0
    gate: float = 0.0
    voiced: float = 0.0
    energy: tuple[float, float] = (0.0, 0.0)


def start(effect: Effect, speaker: Speaker, score: Score | None = None) -> ExpressionState:
    """Begin an utterance.

    Args:
        effect: of the style.
        speaker: of the frames.
        score: by `stepaudio.speech.rhythm`; needed for singing and humming.

    Raises:
        ModelError: singing or humming without notes.
    """
    sung = effect.delivery in ("singing", "humming")
    if sung and (score is None or len(score.pitch) == 0):
        raise ModelError(f"{effect.delivery} needs the notes of the phonemes")
    added = np.zeros(SPECTRUM)
    if effect.tilt:
        added += tilt(effect.tilt)
    if effect.whisper:
        added += encode_log(_whisper_filter())
    return ExpressionState(
        effect,
        speaker,
        score if sung else None,
        formant_shift(effect.formants) if effect.formants != 1.0 else None,
        added if added.any() else None,
        _murmur() if effect.delivery == "humming" else None,
    )


def push(state: ExpressionState, frames: np.ndarray, phonemes: np.ndarray | None = None) -> np.ndarray:
    """Edit frames (T, 45) float32 as of `WorldFrames.to_array`; all come back at once.

    Args:
        state: of the utterance.
        frames: as the decoder made them.
        phonemes: (T,) int, index into the score's phonemes of each frame; needed with a score.

    Raises:
        ModelError: the shapes do not fit.
    """
    if frames.ndim != 2 or frames.shape[1] != WIDTH:
        raise ModelError(f"WORLD frames need {WIDTH} values each, got an array of shape {frames.shape}")
    if state.score is not None:
        if phonemes is None or len(phonemes) != len(frames):
            raise ModelError("singing and humming need the phoneme of every frame")
        if len(phonemes) and not 0 <= phonemes.min() <= phonemes.max() < len(state.score.pitch):
            raise ModelError(f"frames belong to a phoneme that is not among the {len(state.score.pitch)}")
    if is_neutral(state.effect) and state.speaker.level is None:
        return frames
    out = np.empty_like(frames, dtype=np.float32)
    # Frame by frame, so that results do not depend on how the stream is cut, to the last bit.
    for place, frame in enumerate(frames.astype(np.float64)):
        out[place] = _edit(state, frame, -1 if phonemes is None else int(phonemes[place]))
        state.frames += 1
    return out


def is_neutral(effect: Effect) -> bool:
    """Whether frames stay as they are: nothing is asked, or no more than durations tell."""
    return replace(effect, rate=1.0, delivery="speech") == Effect() and effect.delivery in ("speech", "rap")


def _edit(state: ExpressionState, frame: np.ndarray, phoneme: int) -> np.ndarray:
    effect = state.effect
    spectrum, aperiodicity = frame[SPECTRAL], frame[2 + SPECTRUM :]
    before = frame_level(spectrum)
    level = before + effect.level
    if state.speaker.level is not None:
        level += PLAIN_LEVEL - state.speaker.level
    if state.spectrum_matrix is not None:
        spectrum = spectrum @ state.spectrum_matrix
    if state.spectrum_add is not None:
        spectrum = spectrum + state.spectrum_add
        level += _filtered(state, before, frame_level(spectrum))
    state.voiced += (float(frame[1] > 0.5) - state.voiced) * _smoothing(0.02)
    if state.score is None:
        frame[0] = _spoken_pitch(state, frame[0])
    else:
        frame[0] = _sung_pitch(state, state.score, phoneme)
        if state.score.syllable[phoneme] >= 0 and state.score.nucleus[phoneme]:
            frame[1] = 1.0
    if effect.breath:
        aperiodicity = aperiodicity * (1.0 - effect.breath)
    if effect.whisper:
        frame[1] = 0.0
        level -= _WHISPER_VOWELS * state.voiced
    if state.hum is not None:
        spectrum, level = state.hum, _hum_level(state, phoneme) + effect.level
        frame[1] = float(state.gate > 0.05)
        aperiodicity = np.minimum(aperiodicity, _HUM_APERIODICITY)
    # The level is what was asked for, whatever the other edits did to it.
    gain = _limited(level, before) - frame_level(spectrum)
    frame[SPECTRAL] = spectrum
    frame[2] += gain * DB
    frame[2 + SPECTRUM :] = aperiodicity
    return frame


def _filtered(state: ExpressionState, before: float, after: float) -> float:
    """What a filter may change of a frame's level, in dB, so that it leaves that of the speech as it is.

    A frame that differs from what was said lately, as a fricative from vowels, moves against it.
    """
    if state.effect.whisper:
        return 0.0
    kept = exp(-1.0 / (_MEMORY_S * FRAME_RATE))
    energy, filtered = state.energy
    state.energy = (energy * kept + 10 ** (before / 10), filtered * kept + 10 ** (after / 10))
    return (after - before) - 10 * log10(state.energy[1] / state.energy[0])


def _spoken_pitch(state: ExpressionState, log_f0: float) -> float:
    effect, centre = state.effect, state.speaker.centre_log_f0
    made = centre + (log_f0 - centre) * effect.range + effect.pitch * _SEMITONE
    if effect.tremor:
        made += effect.tremor * _SEMITONE * sin(2 * pi * _TREMOR_HZ * state.frames / FRAME_RATE)
    return _within(made)


def _sung_pitch(state: ExpressionState, score: Score, phoneme: int) -> float:
    syllable, hz = int(score.syllable[phoneme]), float(score.pitch[phoneme])
    if syllable >= 0 and syllable != state.syllable:
        state.held = 0
    state.syllable = syllable
    if hz > 0:
        target = log(hz)
        state.log_f0 = target if state.log_f0 is None else state.log_f0
        state.log_f0 += (target - state.log_f0) * _smoothing(_GLIDE_S)
    elif state.log_f0 is None:
        state.log_f0 = state.speaker.centre_log_f0
    seconds = state.held / FRAME_RATE
    depth = min(1.0, max(0.0, (seconds - _VIBRATO_AFTER_S) / _VIBRATO_GROWS_S)) * _VIBRATO_SEMITONES
    state.held += 1
    return _within(state.log_f0 + depth * _SEMITONE * sin(2 * pi * _VIBRATO_HZ * seconds))


def _hum_level(state: ExpressionState, phoneme: int) -> float:
    """Level of a murmur that opens at every note and closes in pauses; `_sung_pitch` counted the frame."""
    assert state.score is not None
    sounding = float(state.score.syllable[phoneme] >= 0)
    state.gate += (sounding - state.gate) * _smoothing(_HUM_GATE_S)
    seconds = (state.held - 1) / FRAME_RATE
    note = _HUM_ATTACK_DB * exp(-seconds / _HUM_ATTACK_S) + max(_HUM_FADE * seconds, -8.0)
    return _HUM_LEVEL + note + 20 * log10(max(state.gate, 1e-3))


def _limited(level: float, before: float) -> float:
    if level <= _KNEE:
        return level
    room = _CEILING - _KNEE
    limited = _KNEE + room * tanh((level - _KNEE) / room)
    # What was loud already is not made quieter than it was.
    return max(limited, min(level, before))


def _within(log_f0: float) -> float:
    low, high = log(F0_FLOOR), log(F0_CEIL)
    if log_f0 < low + _BEND:
        return low + _BEND * exp((log_f0 - low) / _BEND - 1)
    if log_f0 > high - _BEND:
        return high - _BEND * exp((high - log_f0) / _BEND - 1)
    return log_f0


def _smoothing(seconds: float) -> float:
    """Share of the way that a one-pole filter of this time constant goes in a frame."""
    return 1.0 - exp(-1.0 / (seconds * FRAME_RATE))


def _whisper_filter() -> np.ndarray:
    """(513,) dB: without a voice there is less below 500 Hz and more above 1.5 kHz.

    Source: T. Ito et al., "Analysis and recognition of whispered speech" (2005).
    """
    hertz = frequencies()
    shaped: np.ndarray = 4.0 * np.log2(np.clip(hertz, 150.0, 3000.0) / 1000.0)
    return shaped - 3.0 * np.log2(np.clip(hertz, 5000.0, 10_000.0) / 5000.0)


def _murmur() -> np.ndarray:
    """(40,) spectrum of a closed mouth: the nasal tract's resonances over a falling voice.

    Source: G. Fant, "Acoustic Theory of Speech Production" (1960), nasal murmurs: a strong resonance near
    250 Hz, weak ones about every kilohertz above, an antiresonance between.
    """
    hertz = frequencies()
    sound = np.zeros(len(hertz), complex)
    for centre, width, level in _MURMUR:
        # Second-order resonances in parallel: antiresonances come by themselves.
        peak = 1j * centre * width / (centre**2 - hertz**2 + 1j * hertz * width)
        sound += 10 ** (level / 20) * peak
    return encode_log(20 * np.log10(np.maximum(np.abs(sound), 10**-3.5)))
