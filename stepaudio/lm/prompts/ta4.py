"""The spoken reply of Step-Audio 2: one text id, four audio ids, again and again; built and parsed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stepaudio.errors import InputError
from stepaudio.lm.prompts.vocabulary import Vocabulary

AUDIO_PER_TEXT = 4


def interleave(text: Sequence[int], codes: Sequence[int], vocabulary: Vocabulary) -> list[int]:
    """Return ``<tts_start>``, groups of one text id and four audio ids, ``<tts_end>``.

    The shorter side is padded: text with ``<tts_pad>``, audio with the id after the last code. Nothing in
    gives the two marks alone.

    Args:
        text: text ids.
        codes: codes 0..codes-1 (not ids).
        vocabulary: the ids to use.

    Raises:
        InputError: a code outside the codebook.
    """
    bad = next((code for code in codes if not 0 <= code < vocabulary.codes), None)
    if bad is not None:
        raise InputError(f"code {bad} is outside 0..{vocabulary.codes - 1}")
    groups = max(-(-len(codes) // AUDIO_PER_TEXT), len(text))
    words = [*text, *[vocabulary.tts_pad] * (groups - len(text))]
    audio = [vocabulary.first_code + code for code in codes]
    audio += [vocabulary.code_padding] * (AUDIO_PER_TEXT * groups - len(audio))
    out = [vocabulary.tts_start]
    for group, word in enumerate(words):
        out += [word, *audio[AUDIO_PER_TEXT * group : AUDIO_PER_TEXT * (group + 1)]]
    return [*out, vocabulary.tts_end]


@dataclass(frozen=True)
class Streams:
    """Generated ids sorted out.

    Attributes:
        spoken_text: text ids inside the spoken part: what the voice says.
        codes: codes for the speech decoder, padding removed.
        text: text ids outside the spoken part: a written answer, tool calls, a thought.
        stopped: a stop id was met; what comes after it is ignored.
    """

    spoken_text: tuple[int, ...] = ()
    codes: tuple[int, ...] = ()
    text: tuple[int, ...] = ()
    stopped: bool = False


@dataclass
class ParseState:
    """Where the parser stands between two pushes; make one with `start_parse`."""

    vocabulary: Vocabulary
    speaking: bool
    stopped: bool = field(default=False)


def start_parse(vocabulary: Vocabulary, *, speaking: bool) -> ParseState:
    """Begin a reply; `speaking` is whether the prompt ended with ``<tts_start>``."""
    return ParseState(vocabulary, speaking)


def push_ids(state: ParseState, ids: Iterable[int]) -> Streams:
    """Sort the next generated ids; each by what it is, so a slip in the 1:4 rhythm loses nothing."""
    vocabulary = state.vocabulary
    spoken: list[int] = []
    codes: list[int] = []
    text: list[int] = []
    for token in ids:
        if state.stopped:
            break
        code = vocabulary.code(token)
        if token in vocabulary.stop:
            state.stopped = True
        elif code is not None:
            codes.append(code)
        elif token == vocabulary.tts_start:
            state.speaking = True
        elif token == vocabulary.tts_end:
            state.speaking = False
        elif vocabulary.is_text(token):
            (spoken if state.speaking else text).append(token)
        # What is left is padding or another special: it says nothing.
    return Streams(tuple(spoken), tuple(codes), tuple(text), state.stopped)


def parse_ids(ids: Iterable[int], vocabulary: Vocabulary, *, speaking: bool = False) -> Streams:
    """Sort a whole reply at once; the same as one push."""
    return push_ids(start_parse(vocabulary, speaking=speaking), ids)


def split_ids(ids: Iterable[int], vocabulary: Vocabulary) -> tuple[list[int], list[int]]:
    """Return (text ids, codes) by id range alone, the released client's rule; padding is already dropped."""
    text: list[int] = []
    codes: list[int] = []
    for token in ids:
        code = vocabulary.code(token)
        if code is not None:
            codes.append(code)
        elif vocabulary.is_text(token):
            text.append(token)
    return text, codes
