"""Makes the miniatures: every suite in its published layout, written by us and spoken by nano's voices.

    python evals/make_miniatures.py            # writes evals/miniatures, a few minutes on two cores

They show that a suite runs from end to end and catch changes; they are far too small to rank systems.
"""

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np

import stepaudio
from stepaudio import Audio
from stepaudio.audio import concat
from stepaudio.lm.prompts.messages import ToolCallPart
from stepaudio.lm.prompts.tool_calls import render_call
from stepaudio.style_tags import TAGS

HERE = Path(__file__).resolve().parent / "miniatures"
RATE = 16_000

SENTENCES = (
    ("ada", "The ferry to the island leaves at nine in the morning."),
    ("ben", "She planted two rows of beans behind the old barn."),
    ("eve", "Please put the blue folder on the second shelf."),
    ("leo", "After the storm the river carried branches and mud."),
    ("ada", "I would like a window seat, if there is one left."),
    ("ben", "My grandfather repaired clocks in a narrow street."),
)
PROMPTS = (
    ("ada", "Every evening we walked along the harbour."),
    ("ben", "The train was late, so we had another coffee."),
)
TEXTS = (
    "The museum opens at ten and closes at half past five.",
    "Nobody had expected so many people to come.",
    "Could you tell me where the nearest bakery is?",
    "He folded the letter and put it back into his pocket.",
)
STYLED = ("The lighthouse can be seen from far away.", "We will meet in front of the library tomorrow.")
QUESTIONS = (
    ("What is the capital of France?", ["Paris"]),
    ("How many days are there in a week?", ["seven", "7"]),
    ("What colour do you get when you mix blue and yellow?", ["green"]),
    ("Which planet do we live on?", ["Earth"]),
    ("What is the opposite of hot?", ["cold"]),
    ("How many legs does a spider have?", ["eight", "8"]),
)
UNRECORDED = (
    ("Which animal is called man's best friend?", ["dog", "dogs"]),
    ("What do bees make?", ["honey"]),
)

# Category, turns (user turns are spoken, assistant turns are as said), checklist.
DIALOGUES = (
    (
        "Singing",
        ["Please sing the first line of a song about the sea."],
        [{"text": "about the sea", "any_of": ["sea", "ocean", "waves"]}],
    ),
    (
        "Creativity",
        ["Invent a name for a bakery run by cats."],
        [{"text": "gives a name in few words", "at_most_words": 60}],
    ),
    (
        "Role-playing",
        [
            "Pretend you are a ship's captain.",
            "Aye aye! Welcome aboard, sailor.",
            "Captain, where are we sailing today?",
        ],
        [
            {
                "text": "names a place or the sea",
                "any_of": [
                    "sea",
                    "island",
                    "port",
                    "harbour",
                    "ocean",
                    "bay",
                    "north",
                    "south",
                    "east",
                    "west",
                ],
            }
        ],
    ),
    (
        "Logical reasoning",
        ["Tom is taller than Ann, and Ann is taller than Sue. Who is the shortest?"],
        [
            {"text": "says Sue", "any_of": ["Sue"], "weight": 2},
            {"text": "says that Tom is the shortest", "fault": True, "any_of": ["Tom is the shortest"]},
        ],
    ),
    (
        "Voice understanding",
        ["I am so tired today. How do I sound to you?"],
        [{"text": "mentions being tired", "any_of": ["tired", "sleepy", "exhausted"]}],
    ),
    (
        "Voice instruction following",
        ["Answer in one short sentence: why is the sky blue?"],
        [
            {"text": "short", "at_most_words": 30},
            {"text": "mentions light", "any_of": ["light", "sunlight", "scatters", "scattering"]},
        ],
    ),
    (
        "Gaming",
        ["Let us play a word game. I say apple, you say a word that begins with its last letter."],
        [{"text": "plays along", "at_most_words": 60}],
    ),
    (
        "Speech emotion control",
        ["Tell me happily that it is going to be a sunny day."],
        [{"text": "says it", "any_of": ["sunny", "sun"]}],
    ),
    (
        "Language ability",
        ["What does the French word bonjour mean in English?"],
        [{"text": "translates it", "any_of": ["hello", "good day", "good morning"]}],
    ),
)

WEATHER = {"location": "Oslo"}
TOOL_DIALOGUES = {
    "get_date_time_positive": (
        ["Good morning!", "Good morning, how can I help?", "What time is it right now?"],
        ("get_date_time", {}),
    ),
    "get_date_time_negative": (["Hello.", "Hello there.", "How long does an egg have to boil?"], None),
    "get_weather_positive": (
        ["I am packing my bag.", "Where are you going?", "What is the weather like in Oslo?"],
        ("get_weather", WEATHER),
    ),
    "get_weather_negative": (["Hi.", "Hi, what can I do for you?", "Tell me a short joke about rain."], None),
    "timbre_positive": (
        ["Hi there.", "Hello!", "Please find me the voice of a cheerful old man."],
        ("timbre_rag", {"query": "a cheerful old man"}),
    ),
    "timbre_negative": (["Hello.", "Hello!", "Please speak a little slower."], None),
    "web_search_positive": (
        ["Good evening.", "Good evening!", "Search the web for the opening hours of the Louvre."],
        ("web_search", {"query": "opening hours of the Louvre"}),
    ),
    "web_search_negative": (["Hi.", "Hi!", "What is two plus three?"], None),
}


def main() -> None:
    """Write all miniatures anew."""
    shutil.rmtree(HERE, ignore_errors=True)
    asr(HERE / "asr", SENTENCES)
    asr(HERE / "codec", SENTENCES[:4])
    tts(HERE / "tts")
    style(HERE / "style")
    spoken_qa(HERE / "spoken-qa")
    dialogues(HERE / "stepeval-audio-360")
    paralinguistic(HERE / "stepeval-paralinguistic")
    toolcall(HERE / "stepeval-toolcall")
    size = sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file())
    print(f"{HERE.name}: {size / 1e6:.2f} MB")


@cache
def nano() -> stepaudio.StepAudio:
    """Load nano once."""
    return stepaudio.load("nano")


def say(text: str, voice: str = "ada", style: str | None = None) -> Audio:
    """Say `text` with nano, at 16 kHz."""
    return nano().speak(text, voice=voice, style=style, seed=1).resample(RATE)


def write_lines(path: Path, rows: list) -> None:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def save(audio: Audio, path: Path) -> None:
    """Write a sound, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.save(path)


def asr(folder: Path, sentences: tuple) -> None:
    """A manifest of clips and texts."""
    rows = []
    for at, (voice, text) in enumerate(sentences, 1):
        name = f"clip-{at:02}.opus"
        save(say(text, voice), folder / name)
        rows.append({"audio": name, "text": text, "speaker": voice})
    write_lines(folder / "manifest.jsonl", rows)


def tts(folder: Path) -> None:
    """SEED-style lists with prompts."""
    lines = []
    for at, (voice, words) in enumerate(PROMPTS, 1):
        save(say(words, voice), folder / "en" / "prompt-wavs" / f"{voice}.opus")
        for number, text in enumerate(TEXTS[2 * at - 2 : 2 * at], 2 * at - 1):
            lines.append(f"text-{number:02}|{words}|prompt-wavs/{voice}.opus|{text}")
    (folder / "en" / "meta.lst").write_text("\n".join(lines) + "\n", encoding="utf-8")


def style(folder: Path) -> None:
    """A text for every tag that states what can be measured; both for the tags of rate, which all can do."""
    tags = [tag for tag in TAGS if tag.bounds]
    rows = [
        {"id": f"{tag.name.replace(' ', '-')}-{at}", "text": text, "style": tag.name}
        for number, tag in enumerate(tags)
        for at, text in enumerate(STYLED, 1)
        if tag.group == "rate" or at == 1 + number % len(STYLED)
    ]
    write_lines(folder / "styles.jsonl", rows)


def spoken_qa(folder: Path) -> None:
    """Questions, some recorded, some as text."""
    rows = []
    for at, (question, answers) in enumerate(QUESTIONS, 1):
        name = f"question-{at:02}.opus"
        save(say(question, "ben" if at % 2 else "ada"), folder / name)
        rows.append({"id": f"recorded-{at:02}", "question": question, "answers": answers, "audio": name})
    for at, (question, answers) in enumerate(UNRECORDED, 1):
        rows.append({"id": f"text-{at:02}", "question": question, "answers": answers})
    write_lines(folder / "questions.jsonl", rows)


def dialogues(folder: Path) -> None:
    """StepEval-Audio-360: parquet, sounds, checklists."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    rows, checklists = [], []
    for at, (category, texts, checklist) in enumerate(DIALOGUES, 1):
        key, turns = f"dialogue-{at:02}", []
        for number, text in enumerate(texts):
            spoken = number % 2 == 0
            name = f"{key}-{number}.opus" if spoken else None
            if spoken:
                save(say(text, "ada" if at % 2 else "ben"), folder / "audios" / str(name))
            role, kind = ("user", "audio") if spoken else ("assistant", "text")
            turns.append({"role": role, "type": kind, "content": text, "audio_filename": name})
        rows.append({"conversation_id": key, "category": category, "conversation": turns})
        checklists.append({"conversation_id": key, "checklist": checklist})
    (folder / "data").mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(rows), folder / "data" / "miniature.parquet")
    write_lines(folder / "checklists.jsonl", checklists)


def paralinguistic(folder: Path) -> None:
    """StepEval-Audio-Paralinguistic: four of its folders."""
    sentence = "The garden gate was open when I came home."
    rng = np.random.default_rng(3)
    rain = Audio((0.05 * rng.standard_normal(2 * RATE)).astype(np.float32), RATE)
    time = np.arange(RATE // 5) / RATE
    beep = np.concatenate([0.3 * np.sin(2 * np.pi * 880 * time), np.zeros(RATE // 5)])
    beeps = Audio(np.tile(beep, 3).astype(np.float32), RATE)
    tasks = {
        "gender": [
            (
                "Is the speaker of the next sentence a man or a woman?",
                say(sentence, "ben"),
                "man",
                "It is a man.",
            ),
            (
                "Is the speaker of the next sentence a man or a woman?",
                say(sentence, "ada"),
                "woman",
                "It is a woman.",
            ),
        ],
        "speed": [
            (
                "Is the next sentence spoken slowly or fast?",
                say(sentence, "ada", "very slow"),
                "slowly",
                "It is spoken slowly.",
            ),
            (
                "Is the next sentence spoken slowly or fast?",
                say(sentence, "ada", "very fast"),
                "fast",
                "It is spoken fast.",
            ),
        ],
        "event": [("What do you hear after this question?", beeps, "beeps", "I hear three beeps.")],
        "scene": [("Where could the next sound have been recorded?", rain, "rain", "It sounds like rain.")],
    }
    for name, clips in tasks.items():
        rows = []
        for at, (question, clip, label, answer) in enumerate(clips, 1):
            pause = Audio(np.zeros(RATE // 3, np.float32), RATE)
            save(concat([say(question, "eve"), pause, clip]), folder / name / "audio" / f"{name}-{at}.wav")
            task = {"name": name, "label": label, "answer": answer}
            rows.append({"audio": f"audio/{name}-{at}.wav", "task": task})
        text = json.dumps(rows, ensure_ascii=False, indent=1)
        (folder / name / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def toolcall(folder: Path) -> None:
    """StepEval-Audio-Toolcall: its eight files."""
    for name, (texts, call) in TOOL_DIALOGUES.items():
        turns = []
        for at, text in enumerate(texts):
            value: object = text
            if at % 2 == 0:
                value = {"type": "wav", "value": f"wav/{name}-0-{at}.wav"}
                save(say(text, "ben" if "positive" in name else "ada"), folder / "wav" / f"{name}-0-{at}.wav")
            who = "Assistant" if at % 2 else "Human"
            turns.append({"session_id": name, "turn_idx": at, "from": who, "text": text, "value": value})
        if call is not None:
            value = render_call(ToolCallPart(*call))
            turns.append(
                {
                    "session_id": name,
                    "turn_idx": len(texts),
                    "from": "Assistant",
                    "text": value,
                    "value": value,
                }
            )
        write_lines(folder / f"{name}.jsonl", [turns])


if __name__ == "__main__":
    main()
