"""nano's own mouth: text to phonemes, phonemes to codes, codes to WORLD frames, frames to sound."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from stepaudio.audio import Audio
from stepaudio.errors import InputError
from stepaudio.speech.normalise import can_say, check_language, normalise

if TYPE_CHECKING:
    import torch

    from stepaudio.families.nano_speech import NanoSpeech, NanoVoice
    from stepaudio.styles import Style
    from stepaudio.voices import Voice

SAMPLE_RATE = 24_000
LEAD_TICKS, TAIL_TICKS = 2.0, 6.0
"""Silence before and after what is said, in ticks of 25 ms."""
LONGEST_PHONEMES = 250
"""Phonemes spoken at a time; the corpus had no longer sentences."""
FIRST_GROUPS, MORE_GROUPS = 4, 10
"""Groups of 120 ms decoded at a time, the first time and later."""


class NanoMouth:
    """Speaks one clause at a time; the same seed gives the same sound.

    The weights are read at first use.

    Args:
        folder: of the model card ``nano-speech``.
        threads: for one synthesis.
    """

    sample_rate = SAMPLE_RATE
    default_voice = "ada"
    languages: tuple[str, ...] = ("en",)

    def __init__(self, folder: str | Path, threads: int = 1):
        self._folder, self._threads = Path(folder), threads
        self._lock = Lock()

    @cached_property
    def models(self) -> "NanoSpeech":
        """The models."""
        from stepaudio.families.nano_speech import NanoSpeech

        return NanoSpeech.load(self._folder)

    def load(self) -> "NanoMouth":
        """Read the weights and start the text front end, which otherwise happens at first use."""
        from stepaudio.speech.g2p import phonemize

        with self._lock:
            _ = self.models
        phonemize(normalise("Ready at 10:05.", "en-us"), "en-us")
        return self

    def voice(self, name: str) -> "Voice":
        """Return the voice called `name`, a mix such as ``ada*0.6+ben*0.4``, or a voice file.

        Raises:
            InputError: there is no such voice, or it is not for this mouth.
        """
        from stepaudio.families.nano_speech import FAMILY
        from stepaudio.voices import find_voice

        return find_voice(name, FAMILY)

    def speak(self, text: str, *, voice: "Voice", style: "Style", seed: int | None = None) -> Iterator[Audio]:
        """Yield the speech of one clause of at most 400 characters at 24 kHz.

        Raises:
            InputError: nothing in the text can be said, or it is not in the voice's language.
        """
        from stepaudio.decoder.kokoro_graph import split_phonemes
        from stepaudio.speech.g2p import phonemize

        language = voice.info.language
        if not can_say(text):
            raise InputError("there is nothing to say: the text has no words")
        check_language(text, language)
        self.load()
        told = self.models.voice(voice)
        for piece in split_phonemes(phonemize(normalise(text, language), language), LONGEST_PHONEMES):
            yield from self._say(piece, told, style, seed or 0)

    def _say(self, phonemes: str, voice: "NanoVoice", style: "Style", seed: int) -> Iterator[Audio]:
        import torch

        from stepaudio.decoder.world import WorldFrames, synthesise
        from stepaudio.lm.threads import cores

        models = self.models
        ids = [models.config.phonemes[char] for char in phonemes if char in models.config.phonemes]
        if not ids:
            return
        with torch.inference_mode(), cores(self._threads):
            groups = _groups(models, ids, voice, style.speed)
            state = models.decoder.start(voice.condition, voice.prompt, seed=seed)
            frames = []
            for linguistic, semantic in groups:
                frames.append(models.decoder.push(state, *models.values(linguistic, semantic)))
            frames.append(models.decoder.finish(state))
        world = np.concatenate([models.absolute(part, voice) for part in frames])
        yield synthesise(WorldFrames.from_array(world))


def _groups(
    models: "NanoSpeech", ids: list[int], voice: "NanoVoice", speed: float
) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
    """Yield the codes of a few groups at a time, (1, 2 n) and (1, 3 n)."""
    import torch

    from stepaudio.lm.speech import lay_pointer

    lm = models.lm
    text = lm.encode(torch.tensor([[0, *ids, 0]]))
    durations = lm.log_durations(text, voice.speaker, torch.zeros(1)).exp()[0] / speed
    durations[0], durations[-1] = LEAD_TICKS, TAIL_TICKS
    pointer = lay_pointer(durations)
    conditions = lm.conditions(lm.plan(text, pointer[None], voice.speaker), voice.speaker)
    state = lm.start()
    done, size = 0, FIRST_GROUPS + models.decoder.regressor.lookahead
    while done < len(pointer):
        count = min(size, len(pointer) - done)
        digits = [lm.step(state, conditions[:, done + at]) for at in range(count)]
        yield lm.codes(torch.stack(digits, 1))
        done, size = done + count, MORE_GROUPS
