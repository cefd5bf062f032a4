"""The front door: `load` a family, then transcribe, speak, stream and chat."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stepaudio.audio import Audio, concat
from stepaudio.dialogue.chat import Chat, Source, transcribe
from stepaudio.families.base import Family
from stepaudio.results import Transcript

if TYPE_CHECKING:
    from stepaudio.styles import Style
    from stepaudio.voices import Voice


def load(name: str = "nano", *, pull: bool = True) -> "StepAudio":
    """Load a model family.

    Args:
        name: a model card's name, or a folder of converted weights.
        pull: fetch missing weights first, with progress on stderr; ``False`` never touches the network.

    Raises:
        ModelError: there is no such model, or its weights are missing or damaged.
    """
    from stepaudio.families.registry import load_family

    return StepAudio(load_family(name, pull=pull))


class StepAudio:
    """A loaded family behind the verbs: transcribe, speak, stream, chat.

    Weights are read when a verb first needs them. One object may serve many chats, one call at a time.
    """

    def __init__(self, family: Family):
        self.family = family

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.family.name

    def warm_up(self) -> None:
        """Read all weights into memory now instead of at first use."""
        for box in (self.family.ears, self.family.mind, self.family.mouth):
            box.load()

    def transcribe(self, source: Source, *, language: str | None = None) -> Transcript:
        """Recognise the speech of one clip.

        Args:
            source: a path, encoded bytes, or `Audio`.
            language: ISO 639-1 code; ``None`` leaves it to the model.

        Raises:
            AudioError: the clip cannot be read.
            InputError: the model does not hear `language`.
        """
        return transcribe(self.family, source, language)

    def speak(
        self,
        text: str,
        *,
        voice: "str | Voice | None" = None,
        style: "str | Style | None" = None,
        seed: int | None = None,
    ) -> Audio:
        """Say `text` and return the whole speech; see `stream` for the arguments and errors."""
        return concat(list(self.stream(text, voice=voice, style=style, seed=seed)))

    def stream(
        self,
        text: str,
        *,
        voice: "str | Voice | None" = None,
        style: "str | Style | None" = None,
        seed: int | None = None,
    ) -> Iterator[Audio]:
        """Say `text`, yielding the speech in chunks as it is made.

        Args:
            text: anything from one word to a book; read in clauses, so the first chunk comes early.
            voice: a voice's name, a mix such as ``ada*0.6+ben*0.4``, a voice file, or a `Voice`.
            style: tags such as ``"slow"``, or a `Style`.
            seed: makes the result repeatable where the model samples.

        Raises:
            InputError: nothing in `text` can be said, or the voice or a tag is unknown.
        """
        from stepaudio.speech.stream import SpeechStream

        speech = SpeechStream(self.family.mouth, voice=self.voice(voice), style=self.style(style), seed=seed)
        yield from speech.run([text])

    def chat(
        self,
        *,
        system: str | None = None,
        voice: "str | Voice | None" = None,
        style: "str | Style | None" = None,
        language: str | None = None,
        seed: int | None = None,
    ) -> Chat:
        """Start a conversation; each keeps its own history."""
        return Chat(
            self.family,
            voice=self.voice(voice),
            style=self.style(style),
            system=system,
            language=language,
            seed=seed,
        )

    def voice(self, voice: "str | Voice | None") -> "Voice":
        """Return the `Voice` that `voice` names; ``None`` is the family's default.

        Raises:
            InputError: there is no such voice.
        """
        if voice is None or isinstance(voice, str):
            return self.family.mouth.voice(voice or self.family.mouth.default_voice)
        return voice

    def style(self, style: "str | Style | None") -> "Style":
        """Return the `Style` that `style` describes; ``None`` is neutral.

        Raises:
            InputError: a tag is unknown.
        """
        from stepaudio.styles import Style, parse_style

        if style is None:
            return Style()
        return parse_style(style) if isinstance(style, str) else style
