"""The voice chat page (Gradio): speak or drop a file, read along, hear the reply while it is made."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from stepaudio.dialogue.chat import Chat
from stepaudio.dialogue.events import AudioDelta, Done, Heard, TextDelta
from stepaudio.errors import InputError, StepAudioError
from stepaudio.results import Timings

if TYPE_CHECKING:
    from gradio import Blocks

    from stepaudio.api import StepAudio

INTRO = """## stepaudio
Press record, ask something and stop, or drop a recording, or type. The answer is spoken while it is written."""
MAX_UPLOAD = "50mb"


def latency(timings: Timings) -> str:
    """Return the timings of a turn as one line of Markdown."""
    parts = (
        ("heard", timings.transcribe_s),
        ("first text", timings.first_text_s),
        ("first sound", timings.first_audio_s),
        ("complete", timings.total_s),
    )
    return " · ".join(f"{name} **{seconds:.2f} s**" for name, seconds in parts if seconds is not None)


def answer(
    sa: "StepAudio", chat: Chat | None, log: list[dict[str, str]], voice: str, spoken: str | None, typed: str
) -> Iterator[tuple[Chat, list[dict[str, str]], bytes | None, str]]:
    """Answer one turn of the page; yields the session, the conversation so far, new sound (WAV) and latency.

    Args:
        sa: the loaded model.
        chat: this visitor's session; ``None`` begins one.
        log: the conversation in the page's form, one role and content a message.
        voice: name of the voice to answer in.
        spoken: path of a recorded question, or ``None``.
        typed: a typed question, used when nothing is spoken.
    """
    chat = chat or sa.chat()
    chat.voice = sa.voice(voice)
    question = {"source": spoken} if spoken else {"text": typed}
    log = [*log] if spoken else [*log, {"role": "user", "content": typed}]
    yield chat, log, None, "…"
    reply = ""
    for event in chat.turn(**question):
        sound, times = None, "…"
        if isinstance(event, Heard):
            log = [*log, {"role": "user", "content": event.transcript.text or "(nothing was heard)"}]
        elif isinstance(event, TextDelta):
            earlier = log if not reply else log[:-1]
            reply += event.text
            log = [*earlier, {"role": "assistant", "content": reply}]
        elif isinstance(event, AudioDelta):
            sound = event.audio.to_wav_bytes()
        elif isinstance(event, Done):
            times = latency(event.reply.timings)
        yield chat, log, sound, times


def build(sa: "StepAudio", voices: list[str]) -> "Blocks":
    """Return the page for a loaded model; nothing is listening yet."""
    import gradio as gr

    def respond(
        chat: Chat | None, log: list[dict[str, str]], voice: str, spoken: str | None, typed: str
    ) -> Iterator[Any]:
        if not spoken and not typed.strip():
            return
        try:
            yield from answer(sa, chat, log, voice, spoken, typed.strip())
        except StepAudioError as error:
            raise gr.Error(str(error), print_exception=False) from None

    def stop(chat: Chat | None) -> None:
        if chat is not None:
            chat.interrupt()

    with gr.Blocks(title="stepaudio", analytics_enabled=False) as page:
        gr.Markdown(INTRO)
        session = gr.State(None)
        with gr.Row():
            with gr.Column(scale=1):
                microphone = gr.Audio(
                    sources=["microphone", "upload"], type="filepath", label="Your question", elem_id="question"
                )
                typed = gr.Textbox(label="or type it", submit_btn=True, elem_id="typed")
                voice = gr.Dropdown(voices, value=sa.family.mouth.default_voice, label="Voice", elem_id="voice")
                with gr.Row():
                    stopper = gr.Button("Stop", elem_id="stop")
                    fresh = gr.Button("New conversation", elem_id="fresh")
            with gr.Column(scale=2):
                log = gr.Chatbot(label="Conversation", elem_id="log", height=420)
                sound = gr.Audio(
                    label="Reply", streaming=True, autoplay=True, interactive=False, elem_id="reply"
                )
                times = gr.Markdown(elem_id="latency")
        inputs = [session, log, voice, microphone, typed]
        outputs = [session, log, sound, times]
        nothing = gr.State(None)
        empty = gr.State("")
        asked = [
            microphone.stop_recording(respond, [session, log, voice, microphone, empty], outputs),
            microphone.upload(respond, [session, log, voice, microphone, empty], outputs),
            typed.submit(respond, [session, log, voice, nothing, typed], outputs),
        ]
        del inputs
        for event in asked:
            event.then(lambda: (None, ""), None, [microphone, typed])
        stopper.click(stop, session, None, cancels=asked, queue=False)
        fresh.click(lambda: (None, [], None, ""), None, outputs)
    return page


def launch(model: str, *, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Load `model`, open the page and serve it until Ctrl-C.

    Raises:
        InputError: Gradio is not installed, or the port is taken.
    """
    import os

    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio as gr
    except ImportError:
        raise InputError("the page needs Gradio: pip install 'stepaudio[demo]'") from None
    from stepaudio.api import load
    from stepaudio.voices import list_voices

    sa = load(model)
    tell("Loading the model …")
    sa.warm_up()
    page = build(sa, [voice.name for voice in list_voices()])
    # System fonts: the page must look the same without a network.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    try:
        page.queue().launch(
            server_name=host,
            server_port=port or None,
            max_file_size=MAX_UPLOAD,
            quiet=True,
            prevent_thread_lock=True,
            theme=theme,
        )
    except OSError as error:
        raise InputError(f"the page cannot listen on {host}:{port} ({error})") from None
    tell(f"Open {page.local_url} in a browser; Ctrl-C ends it.")
    page.block_thread()
