"""Who speaks: windows of a clip compared with each other, and one clip with another (GE2E cosines)."""

from typing import TYPE_CHECKING

import numpy as np

from stepaudio.audio import Audio

if TYPE_CHECKING:
    from stepaudio.decoder.ge2e import SpeakerEncoder

HOP = 40  # frames of 10 ms between windows of 1.6 s
SPEECH = 0.6  # least share of a window that must be speech
FEWEST = 8  # windows (4.4 s) that must be there: in fewer, one person's may differ as two people's
SMALLEST = 0.25  # share of the windows that a second person must have: less is one odd word
ROUNDS = 10

SAME_PERSON = 0.72
"""Cosine of two clips from which they are taken for one person.

Measured on LibriSpeech and VCTK: of 270 pairs of clips of one person 0.4 % lie under it; of pairs of two
people 5 % reach it (10 % where both are of one sex). It tells "somebody else" in most cases, never "proof".
"""


def window_embeddings(encoder: "SpeakerEncoder", samples: np.ndarray, speech: np.ndarray) -> np.ndarray:
    """Embed the windows of 1.6 s that are mostly speech.

    Args:
        encoder: GE2E.
        samples: (n,) float32 at 16 kHz, not silent.
        speech: (n,) bool, where there is speech; may be a frame longer.

    Returns:
        (windows, 256) float32, rows of length 1; no rows when there is too little speech.
    """
    import torch

    from stepaudio.decoder.ge2e import MEL, WIDTH, WINDOW, levelled, power_mel

    mel = power_mel(torch.from_numpy(levelled(samples)))
    active = speech[:: MEL.hop_length]
    starts = [
        start
        for start in range(0, mel.shape[0] - WINDOW + 1, HOP)
        if active[start : start + WINDOW].mean() >= SPEECH
    ]
    if not starts:
        return np.zeros((0, WIDTH), np.float32)
    with torch.inference_mode():
        found: np.ndarray = encoder(torch.stack([mel[start : start + WINDOW] for start in starts])).numpy()
    return found


def halves_alike(windows: np.ndarray) -> float:
    """Divide windows into the two groups that differ most (two-means on the sphere) and compare these.

    Args:
        windows: (n, 256) float32, rows of length 1, in any order: people may take turns.

    Returns:
        Cosine of the two groups' means, 0 to 1; 1.0 where there are too few windows, or one group is small.
    """
    if len(windows) < FEWEST:
        return 1.0
    cosines = windows @ windows.T
    first, second = np.unravel_index(int(np.argmin(cosines)), cosines.shape)
    one, other = windows[first], windows[second]
    ours = np.zeros(len(windows), bool)
    for _ in range(ROUNDS):
        ours = windows @ one >= windows @ other
        if ours.all() or not ours.any():
            return 1.0
        one, other = _mean(windows[ours]), _mean(windows[~ours])
    if min(ours.mean(), 1 - ours.mean()) < SMALLEST:
        return 1.0
    return float(one @ other)


def likeness(encoder: "SpeakerEncoder", one: Audio, other: Audio) -> float:
    """Return the cosine of two clips' embeddings; see `SAME_PERSON`.

    Raises:
        AudioError: one of them is silent.
    """
    from stepaudio.decoder.ge2e import similarity

    return similarity(encoder.embed(one), encoder.embed(other))


def _mean(rows: np.ndarray) -> np.ndarray:
    mean = rows.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)
