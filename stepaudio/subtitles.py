"""Transcripts as subtitles: SubRip (SRT) and WebVTT."""

from stepaudio.results import Transcript


def timestamp(seconds: float, comma: str) -> str:
    """Return ``HH:MM:SS,mmm`` with the given decimal mark."""
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{comma}{ms % 1000:03}"


def to_srt(transcript: Transcript) -> str:
    """Return the transcript as a SubRip file."""
    return "".join(
        f"{number}\n{timestamp(s.start, ',')} --> {timestamp(s.end, ',')}\n{s.text}\n\n"
        for number, s in enumerate(transcript.segments, 1)
    )


def to_vtt(transcript: Transcript) -> str:
    """Return the transcript as a WebVTT file; ``-->`` inside a text would end its cue, so it is softened."""
    cues = "".join(
        f"{timestamp(s.start, '.')} --> {timestamp(s.end, '.')}\n{s.text.replace('-->', '->')}\n\n"
        for s in transcript.segments
    )
    return f"WEBVTT\n\n{cues}"
