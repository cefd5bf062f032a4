"""Task prompts of Step-Audio 2: what each task was trained with, and the sampling of the examples."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stepaudio.audio import Audio
from stepaudio.errors import InputError
from stepaudio.lm.prompts.messages import Message, Part, TextPart, open_turn, system, user
from stepaudio.lm.prompts.vocabulary import TTS_START


@dataclass(frozen=True)
class TaskSampling:
    """How the official examples decode a task; temperature 0 is greedy."""

    temperature: float
    max_new_tokens: int
    top_p: float = 1.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        instruction: system text (instruct) or first item (base).
        speech: whether the reply is spoken.
        sampling: the examples' decoding.
    """

    instruction: str
    speech: bool
    sampling: TaskSampling


_LANGUAGES = {"zh": ("中文", "Chinese"), "en": ("英文", "English"), "ja": ("日文", "Japanese")}
_SPOKEN_2048 = TaskSampling(0.7, 2048)

ASR = Task("请记录下你所听到的语音内容。", False, TaskSampling(0.0, 256))
CAPTION = Task(
    "Please briefly explain the important events involved in this audio clip.", False, TaskSampling(0.1, 256)
)
AUDIO_QA = Task(
    "You are an expert in audio analysis, please analyze the audio content "
    "and answer the questions accurately.",
    False,
    TaskSampling(0.0, 256),
)
CHAT_TEXT = Task("You are a helpful assistant.", False, TaskSampling(0.5, 256))
CHAT_SPEECH = Task("You are a helpful assistant.", True, _SPOKEN_2048)
PARALINGUISTIC = Task("请用语音与我交流。", True, _SPOKEN_2048)
# Base checkpoint: the text follows the instruction in the same piece.
READ_ALOUD = {"zh": "以自然的语速读出下面的文字。\n", "en": "Read this paragraph at a natural pace.\n"}
TRANSLATE_ALOUD = {"en": "将下面的文本翻译成英文，并用语音播报。\n"}

# Chinese names, and the English names of the evaluated languages; other markup at the front is left alone.
_LANGUAGE_TAG = re.compile(
    r"^\s*<(?:[\u4e00-\u9fff]{1,8}|Chinese|English|Japanese|Korean|Cantonese|Arabic)>\s*"
)
_RESPONSE = re.compile(r"<RESPONSE>(.*?)</RESPONSE>", re.DOTALL)


def translation(target: str, *, speech: bool = False, chinese_prompt: bool = True) -> Task:
    """Return the task of translating what is heard into `target` (``zh``, ``en``, ``ja``).

    The official examples show the Chinese target; the other targets put that language's name in its place.

    Raises:
        InputError: a language the model was not trained to translate into.
    """
    if target not in _LANGUAGES or (speech and target == "ja"):
        known = "en, zh" if speech else ", ".join(sorted(_LANGUAGES))
        raise InputError(f"cannot translate into {target!r}; targets are: {known}")
    chinese, english = _LANGUAGES[target]
    if chinese_prompt:
        text = f"请仔细聆听这段语音，然后将其内容翻译成{chinese}" + ("并用语音播报。" if speech else "。")
    else:
        text = f"Please listen carefully to this audio and then translate its content into {english}"
        text += " speech." if speech else "."
    return Task(text, speech, _SPOKEN_2048 if speech else TaskSampling(0.1, 256))


def task_messages(task: Task, audio: Audio | None, question: str = "") -> list[Message]:
    """Return the conversation that puts `task` to the instruct checkpoint, its last turn open."""
    content: list[str | Audio] = [item for item in (audio, question) if item is not None and item != ""]
    if not content:
        raise InputError("a task needs audio, a question or both")
    return [system(task.instruction), user(*content), open_turn(TTS_START if task.speech else None)]


def base_items(instruction: str, parts: Sequence[Part] = (), *, speech: bool = False) -> list[Part]:
    """Return the flat items of a base prompt: instruction, sounds, ``<tts_start>`` for a spoken result."""
    return [TextPart(instruction), *parts, *([TextPart(TTS_START)] if speech else [])]


def strip_language_tag(text: str) -> str:
    """Drop a leading tag such as ``<中文>`` that recognition may start with."""
    return _LANGUAGE_TAG.sub("", text, count=1)


def response(text: str) -> str:
    """Return what stands between ``<RESPONSE>`` and its end, or the whole text where it is absent."""
    found = _RESPONSE.search(text)
    return (found.group(1) if found else text).strip()
