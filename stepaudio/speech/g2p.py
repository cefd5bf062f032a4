"""Words to phonemes: espeak-ng's reading in IPA, and how it is written in the alphabet of Kokoro.

espeak-ng comes as a library in the wheel of espeakng-loader (no system package). It has one state per
process, so calls are made one at a time.
"""

import ctypes
import re
from functools import cache
from threading import Lock

from stepaudio.errors import InputError, ModelError

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: no sound device is opened
_DONT_EXIT = 0x8000  # report errors instead of ending the process
_UTF8 = 1
_TIE = "^"
_IPA_WITH_TIE = 0x02 | 0x80 | ord(_TIE) << 8
# espeak-ng's own name of each accent
_VOICES = {"en-us": "en-us", "en-gb": "en"}

# Marks that Kokoro reads as prosody; espeak-ng drops them, so the text is split at them.
_MARKS = re.compile(r"(\s*[,.;:!?…—–\"“”()]+\s*)")

# Kokoro's alphabet is IPA with one letter for each English diphthong and affricate; order matters.
_COMMON: tuple[tuple[str, str], ...] = (
    ("a^ɪ", "I"),
    ("a^ʊ", "W"),
    ("d^ʒ", "ʤ"),
    ("e^ɪ", "A"),
    ("t^ʃ", "ʧ"),
    ("ɔ^ɪ", "Y"),
    ("ə^l", "ᵊl"),
    ("ɚ", "əɹ"),
    ("ɐ", "ə"),
    ("r", "ɹ"),
    ("x", "k"),
    ("ç", "k"),
    ("ɬ", "l"),
    ("ʔ", "t"),
    ("ʲ", ""),
    ("\u0303", ""),
    ("\u0329", ""),
)
_ACCENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "en-us": (("o^ʊ", "O"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪ^ə", "iə"), ("ː", ""), ("ɾ", "T")),
    "en-gb": (("ə^ʊ", "Q"), ("o^ʊ", "Q"), ("e^ə", "ɛː"), ("i^ə", "ɪə"), ("ɾ", "t")),
}

# espeak-ng leaves "I" (and "I'm", "I've", "I'd", "I'll") unstressed, and Kokoro all but swallows it then.
_PRONOUN_I = re.compile(r"(?<!\S)I(?=(?:[mvdl]|ᵊl)?(?!\S))")

_lock = Lock()


def phonemize(text: str, language: str = "en-us") -> str:
    """Return the phonemes of normalised text in Kokoro's alphabet, punctuation and word breaks kept.

    Raises:
        InputError: the language is not among those that can be read.
        ModelError: the espeak-ng library does not load.
    """
    accent = "en-us" if language.lower() == "en" else language.lower()
    if accent not in _VOICES:
        raise InputError(f"no phonemes for language {language!r}; there are: {', '.join(_VOICES)}")
    pieces = _MARKS.split(text)
    return "".join(
        _mark(piece) if index % 2 else _write(espeak(piece, _VOICES[accent]), accent)
        for index, piece in enumerate(pieces)
    ).strip()


def espeak(text: str, voice: str) -> str:
    """Return espeak-ng's IPA of `text` with ``^`` inside the sounds of two letters; `voice` is its name."""
    if not text.strip():
        return ""
    with _lock:
        library = _library()
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ModelError(f"espeak-ng has no voice {voice}")
        pointer = ctypes.c_char_p(text.replace("\0", " ").encode())
        clauses: list[str] = []
        while pointer.value is not None:
            spoken = library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, _IPA_WITH_TIE)
            clauses.append((spoken or b"").decode())
    return " ".join(clause for clause in clauses if clause)


@cache
def _library() -> ctypes.CDLL:
    try:
        import espeakng_loader

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path()
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(f"the espeak-ng library does not load ({error})") from error
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    if library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _DONT_EXIT) < 0:
        raise ModelError("espeak-ng does not start: its data files are missing")
    return library


def _mark(piece: str) -> str:
    before = " " if piece[0].isspace() and piece.strip()[:1] in ("(", "“", '"', "—") else ""
    after = " " if piece[-1].isspace() else ""
    return before + piece.strip().replace("–", "—").replace("...", "…") + after


def _write(ipa: str, accent: str) -> str:
    # espeak marks a switch of language, such as (fr), in brackets
    ipa = re.sub(r"\([a-z-]+\)", "", ipa)
    for sound, letter in (*_ACCENTS[accent], *_COMMON):
        ipa = ipa.replace(sound, letter)
    return _PRONOUN_I.sub("ˈI", ipa.replace(_TIE, ""))
