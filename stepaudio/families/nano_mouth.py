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
from stepaudio.styles import FRAME_STYLES

if TYPE_CHECKING:
    import torch

    from stepaudio.decoder.world_stream import WorldStream
    from stepaudio.families.nano_speech import NanoSpeech, NanoVoice
    from stepaudio.styles import Style
    from stepaudio.voices import Voice

SAMPLE_RATE = 24_000
LEAD_S, TAIL_S = 0.3, 0.1
"""Silence before and after what is said, as the teacher leaves it; `speech.join` trims it."""
LONGER = 1.07
"""What durations lack: the model expects their logarithms, and the mean of logarithms lies below that of the
durations. The teacher takes 1.06 times as long for the same sentences."""
LONGEST_PHONEMES = 250
"""Phonemes spoken at a time; the corpus had no longer sentences."""
FIRST_GROUPS, MORE_GROUPS = 4, 10
"""Groups of 120 ms decoded at a time, the first time and later."""
PACES = (0.75, 1.35)
"""Rates that the corpus had; slower and faster speech is made of frames in new time."""


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
    tags = FRAME_STYLES

    def __init__(self, folder: str | Path, threads: int = 1):
        self._folder, self._threads = Path(folder), threads
        self._lock = Lock()

    @cached_property
    def models(self) -> "NanoSpeech":
        """The models."""
        from stepaudio.families.nano_speech import NanoSpeech

        return NanoSpeech.load(self._folder)

    @cached_property
    def _vocoder(self) -> "WorldStream":
        from stepaudio.decoder.world_stream import WorldStream

        return WorldStream()

    def load(self) -> "NanoMouth":
        """Read the weights and start the text front end, which otherwise happens at first use."""
        from stepaudio.speech.g2p import phonemize

        with self._lock:
            _ = self.models, self._vocoder
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
            known = [char for char in piece if char in self.models.config.phonemes]
            if known:
                yield from self._say(known, told, style, seed or 0)

    def _say(self, phonemes: list[str], voice: "NanoVoice", style: "Style", seed: int) -> Iterator[Audio]:
        import torch

        from stepaudio.decoder import expression, stretch
        from stepaudio.lm.threads import cores
        from stepaudio.speech import rhythm

        models, vocoder = self.models, self._vocoder
        with torch.inference_mode(), cores(self._threads):
            text = models.lm.encode(torch.tensor([[0, *(models.config.phonemes[p] for p in phonemes), 0]]))
            ticks = models.lm.log_durations(text, voice.speaker, torch.zeros(1)).exp()[0]
        seconds = ticks.numpy().astype(float) * models.tick * LONGER
        seconds[0], seconds[-1] = LEAD_S, TAIL_S
        centre = voice.centre_log_f0
        score = rhythm.arrange(style, ["", *phonemes, ""], seconds, centre_log_f0=centre)
        made = seconds / min(max(style.speed, PACES[0]), PACES[1])
        timing = stretch.start(made, score.durations)
        edits = expression.start(style.effect, expression.Speaker(centre, voice.level), score)
        sound = vocoder.start(seed)

        def finished(frames: np.ndarray, index: np.ndarray) -> Iterator[Audio]:
            samples = vocoder.push(sound, expression.push(edits, frames, index))
            if len(samples):
                yield Audio(samples, SAMPLE_RATE)

        for frames in self._frames(text, torch.from_numpy(made / models.tick).float(), voice, seed):
            yield from finished(*stretch.push(timing, frames))
        yield from finished(*stretch.finish(timing))
        rest = vocoder.finish(sound)
        if len(rest):
            yield Audio(rest, SAMPLE_RATE)

    def _frames(
        self, text: "torch.Tensor", ticks: "torch.Tensor", voice: "NanoVoice", seed: int
    ) -> Iterator[np.ndarray]:
        """Yield the WORLD frames (T, 45) of encoded phonemes of given durations, a few groups at a time."""
        import torch

        from stepaudio.lm.speech import lay_pointer
        from stepaudio.lm.threads import cores

        models, lm = self.models, self.models.lm
        pointer = lay_pointer(ticks)
        with torch.inference_mode(), cores(self._threads):
            conditions = lm.conditions(lm.plan(text, pointer[None], voice.speaker), voice.speaker)
        state = lm.start()
        stream = models.decoder.start(voice.condition, voice.prompt, seed=seed)
        done, size = 0, FIRST_GROUPS + models.decoder.regressor.lookahead
        while done < len(pointer):
            upto = min(done + size, len(pointer))
            with torch.inference_mode(), cores(self._threads):
                digits = [lm.step(state, conditions[:, at]) for at in range(done, upto)]
                values = models.values(*lm.codes(torch.stack(digits, 1)))
                frames = models.decoder.push(stream, *values)
            yield models.absolute(frames, voice)
            done, size = upto, MORE_GROUPS
        with cores(self._threads):
            frames = models.decoder.finish(stream)
        yield models.absolute(frames, voice)
