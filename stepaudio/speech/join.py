"""Clauses of sound put together: edge silences trimmed, natural pauses between, no clicks."""

from dataclasses import dataclass, field

import numpy as np

THRESHOLD = 0.004  # magnitude below which a sample counts as silence (-48 dB)
LEAD_S = 0.03  # kept before the first sound: breath and the onset of plosives
TAIL_S = 0.08  # kept after the last sound: the decay of fricatives
FADE_S = 0.006
# Silence around a whole text: who hears it from the first sample to the last (a recogniser, a player that
# starts late) loses words at bare edges.
START_S, END_S = 0.07, 0.25

# Silence between clauses in seconds, by how the clause before ends; the kept edges come on top.
PAUSE_PARAGRAPH_S = 0.55
PAUSE_SENTENCE_S = 0.25
PAUSE_COMMA_S = 0.08


@dataclass
class EdgeTrimmer:
    """Removes the silence before and after one clause that comes in chunks of any length.

    What might be the silence at the end is held back until sound follows it; silence inside stays.
    """

    sample_rate: int
    _held: list[np.ndarray] = field(default_factory=list, repr=False)
    _started: bool = False

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take float32 samples of shape (n,) and return those that are sure to stay."""
        loud = np.flatnonzero(np.abs(samples) > THRESHOLD)
        if loud.size == 0:
            self._held.append(samples)
            return samples[:0]
        held = np.concatenate([*self._held, samples])
        offset = held.size - samples.size
        begin = 0
        if not self._started:
            begin = max(0, offset + int(loud[0]) - int(LEAD_S * self.sample_rate))
        end = offset + int(loud[-1]) + 1
        self._held = [held[end:]]
        out = held[begin:end].copy()
        if not self._started:
            fade = min(int(FADE_S * self.sample_rate), out.size)
            out[:fade] *= np.linspace(0.0, 1.0, fade, dtype=np.float32)
            self._started = True
        return out

    def finish(self) -> np.ndarray:
        """Return the faded tail; empty when there was no sound at all."""
        if not self._started:
            return np.zeros(0, np.float32)
        tail = np.concatenate(self._held)[: int(TAIL_S * self.sample_rate)].copy()
        fade = min(int(FADE_S * self.sample_rate), tail.size)
        if fade:
            tail[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
        return tail


def pause_after(clause: str, speed: float = 1.0) -> float:
    """Return the seconds of silence that follow `clause`, which comes with the white space after it."""
    words = clause.rstrip()
    if clause[len(words) :].count("\n") > 1:
        pause = PAUSE_PARAGRAPH_S
    elif "\n" in clause[len(words) :]:
        pause = PAUSE_SENTENCE_S
    else:
        last = words.rstrip("\"'”’)]}»」』）】*_")[-1:]
        if last and last in ".!?…。！？；":
            pause = PAUSE_SENTENCE_S
        elif last and last in ",;:—–，、：":
            pause = PAUSE_COMMA_S
        else:
            pause = 0.0
    return pause / speed
