"""Long recordings cut where they are quiet, so that a model trained on short clips can write them down."""

from collections.abc import Callable, Iterator

import numpy as np

from stepaudio.audio import Audio
from stepaudio.results import Segment

LONGEST_S = 25.0  # Step-Audio 2's encoder takes pieces of 25 s; the others were trained on about as much
SEARCH_S = 5.0  # how far before the limit a quiet place is looked for
FRAME_S = 0.02


def quiet_pieces(audio: Audio, longest_s: float = LONGEST_S) -> Iterator[tuple[float, Audio]]:
    """Yield (start in seconds, piece) for consecutive pieces of at most `longest_s` seconds.

    A piece ends in the quietest 20 ms of its last five seconds; nothing is lost or repeated.
    """
    rate, samples = audio.sample_rate, audio.samples
    longest, frame = int(longest_s * rate), max(1, int(FRAME_S * rate))
    start = 0
    while len(samples) - start > longest:
        begin = start + max(frame, longest - int(SEARCH_S * rate))
        frames = (start + longest - begin) // frame
        window = samples[begin : begin + frames * frame].reshape(frames, frame)
        quietest = int(np.argmin((window**2).mean(1)))
        end = begin + quietest * frame + frame // 2
        yield start / rate, Audio(samples[start:end], rate)
        start = end
    if start < len(samples):
        yield start / rate, Audio(samples[start:], rate)


def transcribe_pieces(audio: Audio, write_down: Callable[[Audio], str]) -> Iterator[Segment]:
    """Yield a segment for each piece in which `write_down` finds words."""
    for start, piece in quiet_pieces(audio):
        text = write_down(piece).strip()
        if text:
            yield Segment(start, start + piece.seconds, text)
