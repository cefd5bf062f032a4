"""The family step-audio: dual tokenizer, Step-Audio-Chat on a server or here, and TTS-3B as its mouth."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from stepaudio.audio import Audio
from stepaudio.cancel import CancelToken
from stepaudio.codes import STEP_AUDIO
from stepaudio.errors import InputError, ModelError
from stepaudio.families.absent import AbsentEars, AbsentMind, AbsentMouth
from stepaudio.families.base import Ears, Family
from stepaudio.families.cascade import CascadePartner, PromptedEars
from stepaudio.families.clip_voice import SPEAKERS, Speakers
from stepaudio.families.options import Options, onnx_device
from stepaudio.families.step1 import CHAT_SAMPLING, CHAT_TOKENS, Step1
from stepaudio.families.step_audio_mouth import StepAudioMouth
from stepaudio.lm.prompts.messages import Message, system
from stepaudio.lm.prompts.step_chat import DEMO_SYSTEM
from stepaudio.lm.prompts.tasks import ASR
from stepaudio.lm.sampling import Sampling

if TYPE_CHECKING:
    from stepaudio.serving.openai_client import OpenAIClient
    from stepaudio.tokenizer.pair import DualTokenizer
    from stepaudio.voices import Voice

TOKENIZER, TTS, CHAT = "step-audio-tokenizer", "step-audio-tts-3b", "step-audio-chat"
_NO_CHAT = (
    "{root}: has no Step-Audio-Chat; give the server that has it (--server or STEPAUDIO_SERVER), "
    "see `stepaudio models show step-audio`"
)


class Step1Mind:
    """Step-Audio-Chat with weights here."""

    def __init__(self, lm: Step1, audio_text: Callable[[Audio], str]):
        self.lm = lm
        self._audio_text = audio_text

    def load(self) -> object:
        """Read the weights, which otherwise happens at first use."""
        return self.lm.tokenizer, self.lm.lm

    def stream(
        self, messages: Sequence[Message], *, cancel: CancelToken | None = None, seed: int | None = None
    ) -> Iterator[str]:
        """Yield the written reply to `messages`, which may hold sound."""
        said = _with_system(messages)
        return self.lm.text(said, audio_text=self._audio_text, seed=seed, cancel=cancel)

    def listen(self, messages: Sequence[Message]) -> Iterator[str]:
        """Yield the reply to exactly these messages, without chance."""
        most = ASR.sampling.max_new_tokens
        greedy = Sampling(temperature=0)
        return self.lm.text(messages, audio_text=self._audio_text, sampling=greedy, most=most)


class ServedMind:
    """Step-Audio-Chat behind an OpenAI-compatible server."""

    def __init__(self, client: "OpenAIClient"):
        from stepaudio.families.remote import RemoteMind
        from stepaudio.serving.wire import ChatOptions

        sampling = CHAT_SAMPLING
        self._client = client
        self._options = ChatOptions(
            temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=CHAT_TOKENS
        )
        self._ears = RemoteMind(client, ChatOptions(temperature=0, max_tokens=ASR.sampling.max_new_tokens))

    def load(self) -> object:
        """Ask the server for its models, so that a wrong address, key or name shows at once."""
        return self._ears.load()

    def stream(
        self, messages: Sequence[Message], *, cancel: CancelToken | None = None, seed: int | None = None
    ) -> Iterator[str]:
        """Yield the written reply to `messages`, which may hold sound."""
        from stepaudio.families.remote import RemoteMind

        options = replace(self._options, seed=seed)
        return RemoteMind(self._client, options).stream(_with_system(messages), cancel=cancel)

    def listen(self, messages: Sequence[Message]) -> Iterator[str]:
        """Yield the reply to exactly these messages, without chance."""
        return self._ears.stream(messages)


class StepAudioCloner:
    """Makes voices of clips; writes their transcript down itself when none is given."""

    def __init__(self, mouth: StepAudioMouth, ears: Ears):
        self._mouth = mouth
        self._ears = ears

    def clone(self, audio: Audio, *, name: str, transcript: str | None, consent: str) -> "Voice":
        """Return the voice of `audio`; see `Cloner`.

        Raises:
            AudioError: too short, too long, or without sound.
            InputError: no transcript is given and nothing was recognised, or there are no ears.
        """
        if transcript is None:
            if isinstance(self._ears, AbsentEars):
                raise InputError("give the transcript of the clip: this model needs it, and has no ears here")
            transcript = " ".join(segment.text for segment in self._ears.transcribe(audio))
        if not transcript.strip():
            raise InputError("the clip has no transcript: nothing was recognised in it")
        return self._mouth.voice_of(audio, name=name, transcript=transcript.strip(), consent=consent)


def load_step_audio(name: str, root: Path, options: Options, *, whisper: Ears | None = None) -> Family:
    """Return the family with what is in the converted folder `root`; weights are read at first use.

    Args:
        name: of the model.
        root: Tokenizer, TTS-3B and Chat beside each other, or one of them.
        options: device and server.
        whisper: ears to use instead of Step-Audio-Chat's.

    Raises:
        InputError: the device or the server's address is not usable.
    """
    device = options.torch_device()
    folders = {part: _part(root, name, part) for part in (TOKENIZER, TTS, CHAT)}

    @cache
    def tokenizer() -> "DualTokenizer":
        from stepaudio.tokenizer.pair import from_folder

        folder = folders[TOKENIZER]
        if folder is None:
            raise ModelError(
                f"{root}: has no Step-Audio-Tokenizer, which reads sound; convert a folder that has it too"
            )
        return from_folder(folder, device=onnx_device(device))

    def audio_text(audio: Audio) -> str:
        return STEP_AUDIO.to_text(tokenizer().encode(audio).interleaved(tail="drop"))

    ears, mind = _ears_and_mind(root, folders[CHAT], options, device, audio_text)
    ears = whisper or ears
    tts = folders[TTS]
    if tts is None:
        return Family(name, ears, mind, AbsentMouth(f"{root}: has no Step-Audio-TTS-3B, which speaks"))
    own = tts / SPEAKERS
    speakers = Speakers(own if own.is_dir() else root / SPEAKERS)
    mouth = StepAudioMouth(tts, tokenizer, speakers, device=device)
    partner = None if isinstance(mind, AbsentMind) else CascadePartner(mind.stream, mouth)
    return Family(name, ears, mind, mouth, mouth, StepAudioCloner(mouth, ears), partner)


def _ears_and_mind(
    root: Path, chat: Path | None, options: Options, device: str, audio_text: Callable[[Audio], str]
) -> tuple[Ears, Step1Mind | ServedMind | AbsentMind]:
    server = options.at_server("step-audio", CHAT)
    if server is not None:
        from stepaudio.serving.openai_client import OpenAIClient

        served = ServedMind(OpenAIClient(server, audio_text=audio_text))
        return PromptedEars(served.listen, served.load), served
    if chat is not None:
        local = Step1Mind(Step1(chat, device=device), audio_text)
        return PromptedEars(local.listen, local.load), local
    reason = _NO_CHAT.format(root=root)
    return AbsentEars(reason), AbsentMind(reason)


def _part(root: Path, name: str, part: str) -> Path | None:
    if (root / part).is_dir():
        return root / part
    return root if name == part else None


def _with_system(messages: Sequence[Message]) -> list[Message]:
    """Put the released demo's instruction first where the conversation has none."""
    if messages and messages[0].role == "system":
        return list(messages)
    return [system(DEMO_SYSTEM), *messages]
