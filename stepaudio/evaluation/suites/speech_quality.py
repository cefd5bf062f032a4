"""What the suites about made speech share: is it intelligible, whose voice is it, how good does it sound."""

from stepaudio.audio import Audio
from stepaudio.evaluation.items import Metric, Score
from stepaudio.evaluation.metrics.text import counts_characters, text_errors
from stepaudio.evaluation.suites.base import Bench

METRICS = (
    Metric("wer", "Word error rate of what the judge hears", "lower"),
    Metric("cer", "Character error rate of what the judge hears", "lower"),
    Metric("similarity", "Speaker similarity (GE2E cosine)", percent=False),
    Metric("mos", "DNSMOS overall", percent=False),
    Metric("mos_speech", "DNSMOS speech", percent=False),
)
SPEED = (
    Metric("rtf", "Real-time factor, median", "lower", percent=False, quantile=0.5, noisy=True),
    Metric("first_audio", "First sound in s, median", "lower", percent=False, quantile=0.5, noisy=True),
    Metric("first_audio_p95", "First sound in s, p95", "lower", percent=False, quantile=0.95, noisy=True),
)


def intelligibility(
    audio: Audio, text: str, bench: Bench, ears: str, language: str
) -> tuple[dict[str, Score], str]:
    """Return the error rate of what the judge hears, and what it hears."""
    heard = bench.hear(audio, ears, language)
    errors = text_errors(text, heard, language)
    unit = "cer" if counts_characters(language) else "wer"
    return {unit: (float(errors.count), float(errors.length))}, heard


def unheard(text: str, language: str) -> dict[str, Score]:
    """Return the error rate of speech that was never made."""
    errors = text_errors(text, "", language)
    return {"cer" if counts_characters(language) else "wer": (float(errors.count), float(errors.length))}


def quality(audio: Audio, bench: Bench) -> dict[str, Score]:
    """Return the predicted opinion scores."""
    mos = bench.dnsmos.rate(audio)
    return {"mos": (mos.overall, 1.0), "mos_speech": (mos.speech, 1.0)}


def likeness(audio: Audio, reference: Audio, bench: Bench) -> dict[str, Score]:
    """Return how alike the voices of two clips are."""
    from stepaudio.decoder.ge2e import similarity

    return {"similarity": (similarity(bench.speaker.embed(audio), bench.speaker.embed(reference)), 1.0)}


def speed(timings: dict[str, float], audio: Audio) -> dict[str, Score]:
    """Return the real-time factor and the time to the first sound, as far as they were taken."""
    scores: dict[str, Score] = {}
    if "total_s" in timings and audio.seconds:
        scores["rtf"] = (timings["total_s"], audio.seconds)
    if "first_audio_s" in timings:
        scores["first_audio"] = scores["first_audio_p95"] = (timings["first_audio_s"], 1.0)
    return scores
