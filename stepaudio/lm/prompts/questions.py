"""Questions about how something is said, with what may be answered (arXiv 2507.16632, section 4).

A question may be put in any words; its answer is the question's own sentence with one of a few words in it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question.

    Attributes:
        name: of what it asks for.
        wordings: ways to ask; the first one is what tests ask.
        sentence: the answer, with ``{}`` for the word that depends on the sound.
        words: by value, the word.
    """

    name: str
    wordings: tuple[str, ...]
    sentence: str
    words: dict[str, str]

    @property
    def answers(self) -> dict[str, str]:
        """Sentences by value."""
        return {value: self.sentence.format(word) for value, word in self.words.items()}

    def value(self, said: str) -> str | None:
        """The value that an answer tells, or ``None``: the one whose first word of its own is said first."""
        words = said.lower().replace(".", " ").replace(",", " ").split()
        for word in words:
            for value, own in self.words.items():
                if word in (value, own, *_ALSO.get(value, ())):
                    return value
        return None


_ALSO = {
    "man": ("male",),
    "woman": ("female",),
    "whispering": ("whisper", "whispers"),
    "quiet": ("silent", "nothing", "no"),
    "normal": ("medium",),
}

QUESTIONS: tuple[Question, ...] = (
    Question(
        "gender",
        (
            "Is the speaker a man or a woman?",
            "Am I a man or a woman?",
            "Is this a male or a female voice?",
            "Who is speaking, a man or a woman?",
            "What is the gender of the speaker?",
        ),
        "The speaker is a {}.",
        {"man": "man", "woman": "woman"},
    ),
    Question(
        "pitch",
        (
            "Is the voice high or low?",
            "Is my voice high or low?",
            "Is this a high or a low voice?",
            "What is the pitch of the voice, high or low?",
        ),
        "The voice is {}.",
        {"high": "high", "low": "low"},
    ),
    Question(
        "speed",
        (
            "Is the speech slow, normal or fast?",
            "Do I speak slowly, normally or fast?",
            "How fast is the speaker talking: slow, normal or fast?",
            "What is the speed of the speech, slow, normal or fast?",
        ),
        "The speech is {}.",
        {"slow": "slow", "normal": "normal", "fast": "fast"},
    ),
    Question(
        "emotion",
        (
            "Does the speaker sound calm, excited, neutral or whispering?",
            "How do I sound: calm, excited, neutral or whispering?",
            "What is the emotion of the speaker: calm, excited, neutral or whispering?",
            "What is the tone of the speaker: calm, excited, neutral or whispering?",
        ),
        "The tone is {}.",
        {"calm": "calm", "excited": "excited", "neutral": "neutral", "whispering": "whispered"},
    ),
    Question(
        "background",
        (
            "Is there noise or music in the background?",
            "What is in the background: noise, music or nothing?",
            "Is the background quiet, or is there noise or music?",
            "What do you hear in the background?",
        ),
        "In the background there is {}.",
        {"quiet": "silence", "noise": "noise", "music": "music"},
    ),
)


def question(name: str) -> Question:
    """The question of a name."""
    return next(each for each in QUESTIONS if each.name == name)
