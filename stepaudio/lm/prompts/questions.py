"""Questions about how something is said, with what may be answered (arXiv 2507.16632, section 4).

A question may be put in any words; its answer is the question's own sentence with one of a few words in it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question.

    Attributes:
        name: of what it asks for.
        about: the same in words.
        wordings: ways to ask; the first one is what tests ask.
        sentence: the answer, with ``{}`` for the word that depends on the sound.
        words: by value, the word.
    """

    name: str
    about: str
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
        "whether the speaker is a man or a woman",
        (
            "Is the speaker a man or a woman?",
            "Am I a man or a woman?",
            "Is this a male or a female voice?",
            "Who is speaking, a man or a woman?",
            "What is the gender of the speaker?",
            "Can you tell whether I am male or female?",
            "Does that sound like a boy or a girl?",
            "Is this person a lady?",
        ),
        "The speaker is a {}.",
        {"man": "man", "woman": "woman"},
    ),
    Question(
        "pitch",
        "how high or low the speaker's voice is",
        (
            "Is the voice high or low?",
            "Is my voice high or low?",
            "Is this a high or a low voice?",
            "What is the pitch of the voice, high or low?",
            "Is her voice deep?",
            "Is my voice higher than others?",
        ),
        "The voice is {}.",
        {"high": "high", "low": "low"},
    ),
    Question(
        "speed",
        "how fast or slowly the speaker talks",
        (
            "Is the speech slow, normal or fast?",
            "Do I speak slowly, normally or fast?",
            "How fast is the speaker talking: slow, normal or fast?",
            "What is the speed of the speech, slow, normal or fast?",
            "Was that spoken slowly?",
            "Is she in a hurry?",
        ),
        "The speech is {}.",
        {"slow": "slow", "normal": "normal", "fast": "fast"},
    ),
    Question(
        "emotion",
        "how the speaker feels and sounds",
        (
            "Does the speaker sound calm, excited, neutral or whispering?",
            "How do I sound: calm, excited, neutral or whispering?",
            "What is the emotion of the speaker: calm, excited, neutral or whispering?",
            "What is the tone of the speaker: calm, excited, neutral or whispering?",
            "Does he whisper?",
            "Which emotion do you hear?",
            "In what mood did I say that?",
            "Do I seem happy or sad?",
        ),
        "The tone is {}.",
        {"calm": "calm", "excited": "excited", "neutral": "neutral", "whispering": "whispered"},
    ),
    Question(
        "background",
        "what can be heard in the background",
        (
            "Is there noise or music in the background?",
            "What is in the background: noise, music or nothing?",
            "Is the background quiet, or is there noise or music?",
            "What do you hear in the background?",
            "Is it loud around me?",
        ),
        "In the background there is {}.",
        {"quiet": "silence", "noise": "noise", "music": "music"},
    ),
)

OTHERS: tuple[str, ...] = (
    "Who painted the Mona Lisa?",
    "Hello, how are you?",
    "Please speak more slowly.",
    "Which film should I watch tonight?",
    "Is Kim the name of a man or a woman?",
    "What is louder, a train or a plane?",
    "Are you a woman?",
    "Should I speak slowly on a stage?",
    "Can you sing?",
    "What is seven plus two?",
)
"""Questions about anything else, some of which only look like the ones above."""


def question(name: str) -> Question:
    """The question of a name."""
    return next(each for each in QUESTIONS if each.name == name)
