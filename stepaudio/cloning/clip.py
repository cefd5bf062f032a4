"""Is a clip fit to be made a voice? Long enough speech of one person, without noise or overdrive.

An error is raised only where the voice would surely be wrong; what is merely worse is a warning. The
thresholds were set on 311 recordings of 257 people (LibriSpeech, VCTK), of which none is refused or warned
about wrongly for music or a second person; see `CloneLimits`.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from stepaudio.audio import Audio
from stepaudio.cloning.people import halves_alike, window_embeddings
from stepaudio.errors import AudioError

if TYPE_CHECKING:
    from stepaudio.decoder.ge2e import SpeakerEncoder

RATE = 16_000
FRAME = 512  # samples at 16 kHz that the voice activity model scores at once: 32 ms
FRAME_S = FRAME / RATE
PAUSE = 10  # frames: a third of a second between words belongs to the speech


@dataclass(frozen=True)
class CloneLimits:
    """What a clip must be.

    Attributes:
        shortest_s: least seconds of speech; less is an error.
        short_s: fewer seconds of speech than this get a warning.
        longest_s: a longer clip is cut to its best stretch of this length, with a warning.
        silent_db: a clip with a lower level (dB of full scale, RMS of its loudest tenth) is silent.
        loud_db: frames at most this far under the loudest count as sound rather than background.
        speech_share: less of the sound being speech means music or noise (real speech: 0.5 at least).
        mixed_share: less of it being speech gets a warning.
        range_db: least difference between loud and quiet moments (95th and 5th percentile of frame levels);
            less is a noisy background (real recordings: 16 dB at least; white noise 10 dB under the speech
            leaves 11).
        clipped_share: greatest share of samples that lie flat at the top (real recordings: none above 2e-4).
        two_people: cosine of the two most different groups of 1.6 s windows (GE2E) under which the clip is of
            two people for certain (clips of one person: 0.806 at least; of two, 89 of 100 lie under it).
        perhaps_two: under it there is a warning (98 of 100).
    """

    shortest_s: float = 2.0
    short_s: float = 3.0
    longest_s: float = 15.0
    silent_db: float = -60.0
    loud_db: float = 40.0
    speech_share: float = 0.25
    mixed_share: float = 0.4
    range_db: float = 14.0
    clipped_share: float = 1e-3
    two_people: float = 0.68
    perhaps_two: float = 0.75


@dataclass(frozen=True)
class CheckedClip:
    """A clip that may become a voice.

    Attributes:
        audio: the clip, cut to its best stretch when it was too long.
        speech_s: seconds of speech in it.
        warnings: what is not as it should be, a plain sentence each.
    """

    audio: Audio
    speech_s: float
    warnings: tuple[str, ...]


def check_clip(
    audio: Audio, encoder: "SpeakerEncoder", *, limits: CloneLimits | None = None, cut: bool = True
) -> CheckedClip:
    """Check a clip of a voice to be cloned.

    Args:
        audio: any length and rate.
        encoder: tells people apart.
        limits: the thresholds.
        cut: whether a long clip may be cut; not where a transcript of all of it is given.

    Raises:
        AudioError: silent, too little speech, music or noise instead of speech, or two people.
    """
    limits = limits or CloneLimits()
    samples = audio.resample(RATE).samples
    levels = frame_levels(samples)
    if not levels.size or loudest_tenth(levels) < limits.silent_db:
        raise AudioError("the clip is silent: a voice needs 3 to 15 s of clear speech")
    speech = bridged(speech_probabilities(samples)[: levels.size] >= 0.5)
    sound = levels > levels.max() - limits.loud_db
    share = float(speech[sound].mean())
    warnings = []
    if cut and audio.seconds > limits.longest_s:
        start, stop = best_stretch(speech, int(limits.longest_s / FRAME_S))
        speech, levels, samples = (
            speech[start:stop],
            levels[start:stop],
            samples[start * FRAME : stop * FRAME],
        )
        audio = _between(audio, start * FRAME_S, stop * FRAME_S)
        warnings.append(
            f"the clip is longer than {limits.longest_s:g} s: "
            f"{start * FRAME_S:.1f} s to {stop * FRAME_S:.1f} s are used"
        )
    speech_s = float(speech.sum()) * FRAME_S
    if speech_s < limits.shortest_s:
        if share < limits.speech_share:
            raise AudioError(
                "the clip is music or noise, not speech: a voice needs 3 to 15 s of clear speech"
            )
        raise AudioError(f"the clip has only {speech_s:.1f} s of speech: a voice needs 3 to 15 s")
    if speech_s < limits.short_s:
        warnings.append(f"the clip has only {speech_s:.1f} s of speech: 3 to 15 s make a better voice")
    if share < limits.mixed_share:
        warnings.append("much of the clip is music or noise rather than speech")
    if spread_db(levels) < limits.range_db:
        warnings.append("the clip is noisy: a quiet room makes a better voice")
    if clipped_share(audio.samples) > limits.clipped_share:
        warnings.append("the clip is overdriven (its peaks are cut off): record it at a lower level")
    alike = halves_alike(window_embeddings(encoder, samples, np.repeat(speech, FRAME)))
    if alike < limits.two_people:
        raise AudioError("two people speak in the clip: a voice needs a clip of one person")
    if alike < limits.perhaps_two:
        warnings.append("there may be two people in the clip: a voice needs a clip of one person")
    return CheckedClip(audio, speech_s, tuple(warnings))


def speech_probabilities(samples: np.ndarray) -> np.ndarray:
    """Score a clip with Silero's voice activity model.

    Args:
        samples: (n,) float32 at 16 kHz.

    Returns:
        (ceil(n / 512),) float32, 0 to 1: how likely each 32 ms are speech.
    """
    from faster_whisper.vad import get_vad_model  # faster-whisper carries the model

    padded = np.pad(samples, (0, -len(samples) % FRAME)).astype(np.float32)
    scores: np.ndarray = np.asarray(get_vad_model()(padded), np.float32).reshape(-1)
    return scores


def bridged(speech: np.ndarray) -> np.ndarray:
    """Return speech frames (n,) bool with the pauses of up to `PAUSE` frames between them counted in."""
    filled = speech.copy()
    at = np.flatnonzero(speech)
    for before, after in pairwise(at):
        if after - before <= PAUSE + 1:
            filled[before:after] = True
    return filled


def frame_levels(samples: np.ndarray) -> np.ndarray:
    """Return the RMS level of each whole frame of 32 ms in dB of full scale, -120 at least."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    levels: np.ndarray = 10 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-12)
    return levels


def loudest_tenth(levels: np.ndarray) -> float:
    """Return the level that a tenth of the frames reach, in dB."""
    return float(np.percentile(levels, 90))


def spread_db(levels: np.ndarray) -> float:
    """Return how far the loud moments (95th percentile) stand over the quiet ones (5th), in dB."""
    low, high = np.percentile(levels, (5, 95))
    return float(high - low)


def clipped_share(samples: np.ndarray) -> float:
    """Return the share of samples that lie flat at the top: three or more in a row within 1 % of the peak.

    Lossy coding ripples the flat tops a little, hence the margin; a clean wave touches its peak rarely.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    if peak <= 0:
        return 0.0
    top = np.abs(samples) >= 0.99 * peak
    run = top[:-2] & top[1:-1] & top[2:]
    return float(run.mean()) if run.size else 0.0


def best_stretch(speech: np.ndarray, frames: int) -> tuple[int, int]:
    """Return the stretch (start, stop) of `frames` frames with the most speech, the earliest of equals."""
    if len(speech) <= frames:
        return 0, len(speech)
    total = np.concatenate([[0], np.cumsum(speech, dtype=np.int64)])
    start = int(np.argmax(total[frames:] - total[:-frames]))
    return start, start + frames


def _between(audio: Audio, start_s: float, stop_s: float) -> Audio:
    rate = audio.sample_rate
    return Audio(audio.samples[round(start_s * rate) : round(stop_s * rate)].copy(), rate)
