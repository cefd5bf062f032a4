"""The whole loop on nano with its real weights: hearing, answering, speaking, also through the CLI."""

import json
import subprocess
import sys

import pytest
from sizes import size

from stepaudio.evaluation.metrics.text import text_errors

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

QUESTIONS = (
    "What is the capital of France?",
    "How many days are there in a week?",
    "Can you tell me a short story about a dog?",
    "What color is the sky on a clear day?",
    "Why do people sleep at night?",
    "How do I make a cup of tea?",
    "What is the largest animal in the ocean?",
    "Who wrote the play Hamlet?",
    "What should I eat for breakfast?",
    "How far is the moon from the earth?",
    "What is a good name for a cat?",
    "Can you explain what a computer does?",
    "What is the weather like in winter?",
    "How can I learn to play the piano?",
    "What do plants need to grow?",
    "Why is exercise good for you?",
    "What is your favorite season of the year?",
    "How do birds fly?",
    "What is the opposite of happy?",
    "Where do polar bears live?",
)
VOICES = ("ben", "amy", "leo", "ivy")


def wer(pairs: list[tuple[str, str]]) -> float:
    counts = [text_errors(reference, hypothesis) for reference, hypothesis in pairs]
    return sum(c.count for c in counts) / sum(c.length for c in counts)


def test_real_recordings_are_heard_right(nano, shared):
    folder = shared / "data" / "speech" / "vctk_dev"
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    pairs = [(row["text"], nano.transcribe(folder / row["audio"]).text) for row in rows]
    print(f"vctk_dev WER {wer(pairs):.3f}")
    assert wer(pairs) <= 0.10


def test_spoken_questions_get_intelligible_replies(nano):
    heard, said = [], []
    for number, question in enumerate(QUESTIONS[: size(2, 20)]):
        spoken = nano.speak(question, voice=VOICES[number % len(VOICES)])
        reply = nano.chat().send(spoken)
        heard.append((question, reply.transcript))
        said.append((reply.text, nano.transcribe(reply.audio).text))
        assert reply.audio.peak > 0.05
    print(f"questions WER {wer(heard):.3f}, replies WER {wer(said):.3f}")
    assert wer(heard) <= 0.10
    assert wer(said) <= 0.10


def test_the_cli_answers_a_recording(nano, tmp_path):
    nano.speak("What is the capital of France?", voice="ben").save(tmp_path / "q.wav")
    command = [sys.executable, "-m", "stepaudio.cli.main"]
    done = subprocess.run(
        [*command, "chat", "q.wav", "-o", "a.wav", "--json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert "france" in answer["transcript"].lower()
    assert "paris" in answer["reply"].lower()
    assert answer["timings"]["first_audio_s"] <= answer["timings"]["total_s"]
    heard = subprocess.run(
        [*command, "transcribe", "a.wav", "--json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "paris" in json.loads(heard.stdout)[0]["text"].lower()
