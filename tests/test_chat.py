"""Chat turns with a scripted family: order of events, history, interruption, timings."""

import numpy as np
import pytest
from fakes import FakeEars, FakeMind, FakeMouth, fake_family, tone

from stepaudio.api import StepAudio
from stepaudio.audio import Audio
from stepaudio.dialogue.events import AudioDelta, Done, Heard, Interrupted, SpeechStarted, TextDelta
from stepaudio.dialogue.turns import RATE, TurnDetector
from stepaudio.errors import AudioError, InputError


class Loud(TurnDetector):
    def probability(self, state, window):
        return float(np.abs(window).max() > 0.1)


def test_a_turn_speaks_while_it_writes():
    family = fake_family()
    events = list(StepAudio(family).chat().turn(tone()))
    kinds = [type(event) for event in events]
    assert kinds[0] is Heard
    assert kinds[-1] is Done
    first_sound = kinds.index(AudioDelta)
    last_text = len(kinds) - 1 - kinds[::-1].index(TextDelta)
    assert kinds.index(TextDelta) < first_sound < last_text
    reply = events[-1].reply
    assert reply.text == family.mind.reply
    assert reply.transcript == "How are you today?"
    assert reply.audio.seconds == pytest.approx(
        sum(e.audio.seconds for e in events if isinstance(e, AudioDelta))
    )
    assert " ".join(clause for clause, *_ in family.mouth.said) == family.mind.reply
    t = reply.timings
    assert 0 <= t.transcribe_s <= t.first_text_s <= t.first_audio_s <= t.total_s


def test_history_and_system_reach_the_mind():
    family = fake_family()
    chat = StepAudio(family).chat(system="Be brief.")
    chat.send(tone())
    chat.send(text=" And now? ")
    said = family.mind.reply
    assert family.mind.asked[1] == [
        ("system", "Be brief."),
        ("user", "How are you today?"),
        ("assistant", said),
        ("user", "And now?"),
    ]


def test_chats_of_one_model_do_not_share_history():
    sa = StepAudio(fake_family())
    one, two = sa.chat(), sa.chat()
    one.send(text="hello")
    two.send(text="hello")
    assert len(one.history) == len(two.history) == 2


def test_an_interrupted_reply_emits_nothing_more():
    chat = StepAudio(fake_family()).chat()
    events = []
    for event in chat.turn(text="go on"):
        events.append(event)
        if isinstance(event, AudioDelta):
            chat.interrupt()
    assert isinstance(events[-1], Interrupted)
    assert sum(isinstance(event, AudioDelta) for event in events) == 1
    assert chat.history[-1].text != ""
    assert chat.send(text="and again").audio is not None


def test_an_interrupted_send_says_so():
    class Impatient(FakeMind):
        def stream(self, messages, *, cancel=None):
            yield "Well, "
            chat.interrupt()
            yield "then."

    chat = StepAudio(fake_family(mind=Impatient())).chat()
    with pytest.raises(InputError, match="interrupted"):
        chat.send(text="hello")


@pytest.mark.parametrize("call", [{}, {"source": tone(), "text": "both"}])
def test_a_turn_needs_exactly_one_question(call):
    with pytest.raises(InputError, match="either"):
        StepAudio(fake_family()).chat().send(call.get("source"), text=call.get("text"))


def test_silence_and_bad_files_are_clear_errors(tmp_path):
    chat = StepAudio(fake_family(ears=FakeEars(text=""))).chat()
    with pytest.raises(InputError, match="no speech"):
        chat.send(tone())
    with pytest.raises(AudioError, match=r"nothing\.wav"):
        chat.send(tmp_path / "nothing.wav")
    assert chat.history == []


def test_a_reply_without_words_has_no_sound():
    reply = StepAudio(fake_family(mind=FakeMind(reply="… !"))).chat().send(text="hm")
    assert reply.audio is None


def test_the_microphone_loop_answers_each_turn():
    quiet, loud = np.zeros(RATE, np.float32), np.full(RATE, 0.5, np.float32)
    stream = np.concatenate([quiet, loud, quiet, loud, quiet])
    chunks = [Audio(stream[at : at + 800], RATE) for at in range(0, len(stream), 800)]
    kinds = [type(e) for e in StepAudio(fake_family()).chat().stream(chunks, Loud())]
    assert kinds.count(SpeechStarted) == kinds.count(Heard) == kinds.count(Done) == 2


def test_speak_passes_voice_style_and_seed():
    family = fake_family()
    sa = StepAudio(family)
    sound = sa.speak("Hello there.", voice="ben", style="slow", seed=7)
    assert sound.sample_rate == family.mouth.sample_rate
    (said,) = family.mouth.said
    assert said[:2] == ("Hello there.", "ben")
    assert "slow" in said[2]
    assert said[3] == 7


def test_stream_is_lazy_and_equals_speak():
    mouth = FakeMouth()
    sa = StepAudio(fake_family(mouth=mouth))
    text = "One sentence is here. Another one follows it. And a third one ends the story."
    stream = sa.stream(text)
    next(stream)
    assert len(mouth.said) == 1
    rest = list(stream)
    assert len(rest) >= 1
    assert np.array_equal(sa.speak(text).samples, sa.speak(text).samples)


@pytest.mark.parametrize("text", ["", "   ", "…!?", "🙂🙂"])
def test_nothing_to_say_is_an_error(text):
    with pytest.raises(InputError, match="nothing to say"):
        StepAudio(fake_family()).speak(text)
