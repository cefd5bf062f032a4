"""The front door: `load` a family, then transcribe, speak, stream and chat."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepaudio.audio import Audio, concat
from stepaudio.cloning.parts import CloningParts
from stepaudio.dialogue.chat import Chat, Source, transcribe
from stepaudio.errors import InputError
from stepaudio.families.base import Codec, Family, Listener, SpeechCodes, StreamingCodec, TagReader
from stepaudio.results import Reply, Transcript
from stepaudio.tools.call import TIMEOUT_S
from stepaudio.tools.registry import Tool, Toolbox

if TYPE_CHECKING:
    from stepaudio.cloning.consent import Consent
    from stepaudio.styles import Style
    from stepaudio.voices import Voice
    from stepaudio.watermark.mark import Watermark


def load(
    name: str = "nano",
    *,
    pull: bool = True,
    device: str | None = None,
    server: str | None = None,
    server_model: str | None = None,
    ears: str | None = None,
    path: str | None = None,
) -> "StepAudio":
    """Load a model family.

    Args:
        name: a model card's name, or a folder of converted weights.
        pull: fetch missing weights first, with progress on stderr; ``False`` never touches the network.
        device: ``cpu``, ``cuda`` or ``cuda:N``; by default a GPU where there is one and the family uses it.
        server: address of an OpenAI-compatible server that has the chat model, for example
            ``http://127.0.0.1:8000/v1``; where it is ``None``, ``STEPAUDIO_SERVER`` is asked.
        server_model: the name that the model is served under.
        ears: a Whisper model, for example ``whisper-base``, that listens instead of the family's own ears.
        path: ``unified``: the chat model hears the question itself; ``cascade``: it reads what the ears have
            written down; by default nano reads, and the others hear.

    Raises:
        ModelError: there is no such model, or its weights are missing or damaged.
        InputError: an option is not usable.
    """
    from stepaudio.families.options import Options
    from stepaudio.families.registry import load_family

    options = Options(device, server, server_model, ears, path)
    return StepAudio(load_family(name, pull=pull, options=options), pull=pull)


def _read(source: Source) -> Audio:
    return source if isinstance(source, Audio) else Audio.read(source)


_OFFICIAL = "converted folders of Step-Audio and Step-Audio 2 (`stepaudio models show step-audio`)"


class StepAudio:
    """A loaded family behind the verbs: transcribe, speak, stream, clone, tokenize, detokenize, chat.

    Weights are read when a verb first needs them. One object may serve many chats, one call at a time.

    Args:
        family: the loaded family.
        pull: whether what cloning needs besides (speaker encoder, watermark) may be fetched at first use.
    """

    def __init__(self, family: Family, *, pull: bool = True):
        self.family = family
        self._parts = CloningParts(pull)

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
        watermark: bool | None = None,
    ) -> Audio:
        """Say `text` and return the whole speech; see `stream` for the arguments and errors."""
        chunks = self.stream(text, voice=voice, style=style, seed=seed, watermark=watermark, early=False)
        return concat(list(chunks))

    def stream(
        self,
        text: str,
        *,
        voice: "str | Voice | None" = None,
        style: "str | Style | None" = None,
        seed: int | None = None,
        watermark: bool | None = None,
        early: bool = True,
    ) -> Iterator[Audio]:
        """Say `text`, yielding the speech in chunks as it is made.

        Args:
            text: anything from one word to a book; read in clauses, so the first chunk comes early.
            voice: a voice's name, a mix such as ``ada*0.6+ben*0.4``, a voice file, or a `Voice`.
            style: tags such as ``"slow"``, or a `Style`.
            seed: makes the result repeatable where the model samples.
            watermark: whether the speech gets an inaudible mark; by default a cloned voice's does.
            early: cut the first clauses short, so that the first chunk comes soon; without it the whole
                takes a little less work.

        Raises:
            InputError: nothing in `text` can be said, or the voice or a tag is unknown.
            ModelError: the speech is to be marked, and the watermark's weights cannot be had.
        """
        from stepaudio.speech.split import EVENLY, RAMP
        from stepaudio.speech.stream import SpeechStream

        manner, mouth = self.style(style), self.family.mouth
        if isinstance(mouth, TagReader):
            text, manner = mouth.read_tags(text, manner)
        speaker = self.voice(voice)
        speech = SpeechStream(mouth, voice=speaker, style=manner, seed=seed, ramp=RAMP if early else EVENLY)
        mark = self.watermark(speaker, watermark)
        yield from speech.run([text]) if mark is None else mark.run(speech.run([text]))

    def tokenize(self, source: Source) -> SpeechCodes:
        """Return the codes of one clip.

        Args:
            source: a path, encoded bytes, or `Audio`.

        Raises:
            AudioError: the clip cannot be read.
            InputError: this model has no codes.
        """
        return self.codec.encode(_read(source))

    def tokenize_stream(
        self, chunks: Iterable[Audio], *, voice: "str | Voice | None" = None
    ) -> Iterator[SpeechCodes]:
        """Yield the codes of sound as it comes in; they follow it by under two seconds, later by one.

        Args:
            chunks: of one rate, of any lengths.
            voice: of the speaker, if known; by default what was heard so far tells.

        Raises:
            AudioError: the chunks have several rates, or are too short in all.
            InputError: this model has no codes, or only those of whole clips.
        """
        if not isinstance(self.codec, StreamingCodec):
            raise InputError(f"{self.name} has codes of whole clips only")
        return self.codec.encode_stream(chunks, None if voice is None else self.voice(voice))

    def detokenize(
        self,
        codes: SpeechCodes,
        *,
        voice: "str | Voice | None" = None,
        seed: int | None = None,
        watermark: bool | None = None,
    ) -> Audio:
        """Return the sound of `codes` in a voice; the same seed gives the same sound.

        Args:
            codes: of this family.
            voice: as for `stream`.
            seed: makes the result repeatable.
            watermark: as for `stream`.

        Raises:
            InputError: this model has no codes, or `codes` are not its own; the voice is unknown.
        """
        speaker = self.voice(voice)
        mark = self.watermark(speaker, watermark)
        sound = self.codec.decode(codes, voice=speaker, seed=seed)
        return sound if mark is None else mark.mark(sound)

    def clone(
        self,
        source: Source,
        *,
        transcript: str | None = None,
        name: str | None = None,
        consent: "Source | Consent | None" = None,
        check: bool = True,
    ) -> "Voice":
        """Make a voice of a clip of 3 to 15 s; save it with ``voice.save("me.safetensors")``.

        Args:
            source: a path, encoded bytes, or `Audio` of one speaker.
            transcript: exactly what is said; a model that needs it listens itself when there is none.
            name: of the voice; by default that of the file.
            consent: a recording in which the speaker reads the sentence that ``stepaudio voices consent`` (in
                Python: ``Challenges.default().ask()``) gave, or ``Consent.declared("how")``; both are in
                `stepaudio.cloning.consent`. The voice keeps which it was.
            check: whether the clip is checked first; what is merely not good is a `CloneWarning`.

        Raises:
            AudioError: the clip cannot be read or used: silent, too short, music, two people.
            InputError: this model cannot clone voices, or the speaker's consent is missing or not given.
            ModelError: the speaker encoder's weights are needed and cannot be had.
        """
        from stepaudio.cloning.consent import Consent
        from stepaudio.cloning.make import clone_voice

        if self.family.cloner is None:
            raise InputError(f"{self.name} cannot clone voices; {_OFFICIAL} can")
        return clone_voice(
            self.family.cloner,
            self.family.ears,
            _read(source),
            name=name or (Path(source).stem if isinstance(source, str | Path) else "clone"),
            transcript=transcript,
            consent=consent if consent is None or isinstance(consent, Consent) else _read(consent),
            check=check,
            encoder=self._parts.encoder,
        )

    def watermark(self, voice: "Voice", wanted: bool | None = None) -> "Watermark | None":
        """Return what marks the speech of `voice`, or ``None`` where it is not to be marked.

        Args:
            voice: who speaks.
            wanted: whether it is to be marked; ``None`` marks voices that were cloned, and no others.

        Raises:
            ModelError: its weights cannot be had.
        """
        return self._parts.watermark(voice, wanted)

    def translate(
        self, source: Source, to: str, *, voice: "str | Voice | None" = None, seed: int | None = None
    ) -> Reply:
        """Translate what is said in a clip; with a `voice` the translation is spoken too.

        Args:
            source: a path, encoded bytes, or `Audio`.
            to: ISO 639-1 code of the language to translate into.
            voice: as for `stream`; ``None`` gives text alone.
            seed: makes the result repeatable.

        Raises:
            InputError: this model does not translate, or not into that language.
        """
        listener = self._listener("translate")
        spoken = None if voice is None else self.voice(voice)
        mark = None if spoken is None else self.watermark(spoken)
        reply = listener.translate(_read(source), to, voice=spoken, seed=seed)
        return reply if mark is None or reply.audio is None else replace(reply, audio=mark.mark(reply.audio))

    def caption(self, source: Source) -> str:
        """Describe the events heard in a clip; raises `InputError` when this model cannot."""
        return self._listener("describe sounds").caption(_read(source))

    def ask(self, source: Source, question: str) -> str:
        """Answer a question about what is heard in a clip; raises `InputError` when this model cannot."""
        return self._listener("answer questions about sounds").ask(_read(source), question)

    def _listener(self, what: str) -> Listener:
        if isinstance(self.family.mind, Listener):
            return self.family.mind
        raise InputError(f"{self.name} cannot {what}; converted folders of Step-Audio 2 can")

    @property
    def codec(self) -> Codec:
        """What turns sound into codes and back; raises `InputError` where there is none."""
        if self.family.codec is None:
            raise InputError(f"{self.name} has no speech codes; {_OFFICIAL} have")
        return self.family.codec

    def chat(
        self,
        *,
        system: str | None = None,
        voice: "str | Voice | None" = None,
        style: "str | Style | None" = None,
        language: str | None = None,
        seed: int | None = None,
        tools: "Sequence[Callable[..., Any] | Tool]" = (),
        tool_timeout_s: float = TIMEOUT_S,
        watermark: bool | None = None,
    ) -> Chat:
        """Start a conversation; each keeps its own history.

        Args:
            system: instructions to the model; ``None`` keeps its own for spoken answers.
            voice: as for `stream`.
            style: as for `stream`.
            language: ISO 639-1 code of the questions; ``None`` leaves it to the model.
            seed: makes the speech of the replies repeatable.
            tools: functions that the model may call, with types and a docstring (``stepaudio.tools``).
            tool_timeout_s: how long a call may take.
            watermark: as for `stream`.

        Raises:
            InputError: a function cannot be a tool, or this model calls none; a voice or tag is unknown.
        """
        speaker = self.voice(voice)
        mark = self.watermark(speaker, watermark)
        family = self.family
        if mark is not None:
            from stepaudio.watermark.boxes import marked

            family = marked(family, mark)
        return Chat(
            family,
            voice=speaker,
            style=self.style(style),
            system=system,
            language=language,
            seed=seed,
            toolbox=Toolbox(tools),
            tool_timeout_s=tool_timeout_s,
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
        from stepaudio.styles import RATE_TAGS, Style, check_tags, parse_style

        if style is None:
            return Style()
        # Every mouth can change its pace; one that can do more says so.
        can = getattr(self.family.mouth, "tags", RATE_TAGS)
        return check_tags(parse_style(style) if isinstance(style, str) else style, can, self.name)
