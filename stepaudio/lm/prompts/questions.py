"""Questions about how something is said, with the answers nano learns (arXiv 2507.16632, section 4).

A question stands behind the sound in the user's turn, in any of its wordings; an answer is one short sentence
out of the question's own.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question.

    Attributes:
        name: of what it asks for.
        wordings: ways to ask; the first one is what tests ask.
        answers: what is said for each value.
    """

    name: str
    wordings: tuple[str, ...]
    answers: dict[str, str]

    def value(self, said: str) -> str | None:
        """The value that an answer tells, or ``None``: the one whose first word of its own is said first."""
        words = said.lower().replace(".", " ").replace(",", " ").split()
        for word in words:
            for value in self.answers:
                if word in (value, *_ALSO.get(value, ())):
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
        {"man": "The speaker is a man.", "woman": "The speaker is a woman."},
    ),
    Question(
        "pitch",
        (
            "Is the voice high or low?",
            "Is my voice high or low?",
            "Is this a high or a low voice?",
            "What is the pitch of the voice, high or low?",
        ),
        {"high": "The voice is high.", "low": "The voice is low."},
    ),
    Question(
        "speed",
        (
            "Is the speech slow, normal or fast?",
            "Do I speak slowly, normally or fast?",
            "How fast is the speaker talking: slow, normal or fast?",
            "What is the speed of the speech, slow, normal or fast?",
        ),
        {
            "slow": "The speech is slow.",
            "normal": "The speech has a normal speed.",
            "fast": "The speech is fast.",
        },
    ),
    Question(
        "emotion",
        (
            "Does the speaker sound calm, excited, neutral or whispering?",
            "How do I sound: calm, excited, neutral or whispering?",
            "What is the emotion of the speaker: calm, excited, neutral or whispering?",
            "What is the mood of the speaker?",
        ),
        {
            "calm": "The speaker sounds calm.",
            "excited": "The speaker sounds excited.",
            "neutral": "The speaker sounds neutral.",
            "whispering": "The speaker is whispering.",
        },
    ),
    Question(
        "background",
        (
            "Is there noise or music in the background?",
            "What is in the background: noise, music or nothing?",
            "Is the background quiet, or is there noise or music?",
            "What do you hear in the background?",
        ),
        {
            "quiet": "The background is quiet.",
            "noise": "There is noise in the background.",
            "music": "There is music in the background.",
        },
    ),
)


def question(name: str) -> Question:
    """The question of a name."""
    return next(each for each in QUESTIONS if each.name == name)
