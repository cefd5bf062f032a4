"""What the page looks like and which event does what."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stepaudio.errors import StepAudioError
from stepaudio.page.loudspeaker import Loudspeaker
from stepaudio.page.turn import answer

if TYPE_CHECKING:
    from gradio import Blocks

    from stepaudio.api import StepAudio
    from stepaudio.dialogue.chat import Chat

INTRO = """## stepaudio
Press **Record**, ask something and press **Stop**; or drop a recording, or type. The answer is spoken while
it is written."""
Log = list[dict[str, str]]


def build(sa: "StepAudio", voices: list[str], loudspeaker: Loudspeaker) -> "Blocks":
    """Return the page for a loaded model; nothing is listening yet."""
    import gradio as gr

    def respond(chat: "Chat | None", log: Log, voice: str, spoken: str | None, typed: str) -> Iterator[Any]:
        if not spoken and not typed.strip():
            return
        chat = chat or sa.chat()
        try:
            chat.voice = sa.voice(voice)
            earlier = tuple({"role": m["role"], "content": _text(m["content"])} for m in log)
            for view in answer(chat, earlier, loudspeaker, spoken, typed.strip()):
                yield chat, list(view.log), view.ticket, view.times, view.sound
        except StepAudioError as error:
            raise gr.Error(str(error), print_exception=False) from None

    def interrupt(chat: "Chat | None") -> None:
        if chat is not None:
            chat.interrupt()

    with gr.Blocks(title="stepaudio", analytics_enabled=False) as page:
        gr.Markdown(INTRO)
        session, nothing, empty = gr.State(None), gr.State(None), gr.State("")
        ticket = gr.Textbox(visible="hidden", elem_id="ticket")
        with gr.Row():
            with gr.Column(scale=1):
                question = gr.Audio(
                    sources=["microphone", "upload"],
                    type="filepath",
                    label="Your question",
                    elem_id="question",
                )
                typed = gr.Textbox(label="or type it", submit_btn=True, elem_id="typed")
                voice = gr.Dropdown(
                    voices, value=sa.family.mouth.default_voice, label="Voice", elem_id="voice"
                )
                with gr.Row():
                    stop = gr.Button("Stop the reply", elem_id="stop")
                    fresh = gr.Button("New conversation", elem_id="fresh")
            with gr.Column(scale=2):
                log = gr.Chatbot(label="Conversation", elem_id="log", height=420)
                times = gr.Markdown(elem_id="latency")
                sound = gr.Audio(label="The last reply", interactive=False, elem_id="reply")
        outputs = [session, log, ticket, times, sound]
        asked = [
            question.stop_recording(respond, [session, log, voice, question, empty], outputs),
            question.upload(respond, [session, log, voice, question, empty], outputs),
            typed.submit(respond, [session, log, voice, nothing, typed], outputs),
        ]
        typed.submit(lambda: "", None, typed, queue=False)
        for event in asked[:2]:
            event.then(lambda: None, None, question)
        ticket.change(None, ticket, None, js="(ticket) => { if (ticket) window.stepaudio.play(ticket); }")
        for button in (stop, fresh):
            button.click(None, None, None, js="() => { window.stepaudio.stop(); }")
        stop.click(interrupt, session, None, queue=False)
        fresh.click(lambda: (None, [], "", "", None), None, outputs, cancels=[*asked])
    return page


def _text(content: Any) -> str:
    """Return a message's words: Gradio hands back a string, or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] if isinstance(part, dict) else str(part) for part in content)
