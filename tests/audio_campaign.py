"""Read many damaged files in this process, which the test started for that; print what came of it as JSON.

    python tests/audio_campaign.py COUNT SEED

Ends with a traceback when any file gives anything but a clip within the caps or one AudioError line.
"""

import json
import random
import resource
import sys
import time
from collections import Counter

import numpy as np
from audio_files import DIRECT, GUARDED, damage, encoded, random_edits
from sizes import size

from stepaudio.audio import Audio, Limits
from stepaudio.bench.result import peak_memory_mb
from stepaudio.errors import AudioError

# Every so many files one that is read in a child process, which takes a hundred times as long.
GUARDED_EVERY = size(20, 3)
LIMITS = Limits(max_encoded_bytes=8 * 2**20, max_seconds=60, max_decoded_bytes=64 * 2**20)


def check(data: bytes) -> str:
    """Read one file; returns "clip" or the error's line."""
    try:
        clip = Audio.read(data, limits=LIMITS)
    except AudioError as error:
        line = str(error)
        assert line.startswith("audio: "), line
        assert line.isprintable(), line
        assert len(line) < 300, line
        return line
    assert clip.samples.dtype == np.float32
    assert clip.samples.size > 0
    assert np.isfinite(clip.samples).all()
    assert clip.seconds <= LIMITS.max_seconds
    assert clip.samples.nbytes <= LIMITS.max_decoded_bytes
    return "clip"


def main(count: int, seed: int) -> None:
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    slowest = 0.0
    for index in range(count):
        turn, direct = divmod(index, GUARDED_EVERY)
        kind = DIRECT[(index - turn - 1) % len(DIRECT)] if direct else GUARDED[turn % len(GUARDED)]
        edits = random_edits(chance)
        # So that a native crash or a hang leaves a trace of its file.
        print(f"{index} {kind} {edits}", file=sys.stderr)
        begun = time.perf_counter()
        outcome = check(damage(encoded(kind), edits))
        slowest = max(slowest, time.perf_counter() - begun)
        outcomes["clip" if outcome == "clip" else "error"] += 1
        reasons[" ".join(word for word in outcome.split() if not word[0].isdigit())] += 1
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak = {
        "reader": round(peak_memory_mb()),
        "guarded": children // (1024 if sys.platform != "darwin" else 2**20),
    }
    report = {**outcomes, "files": count, "peak_rss_mib": peak, "slowest_s": round(slowest, 2)}
    print(json.dumps({**report, "reasons": dict(reasons.most_common(60))}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
