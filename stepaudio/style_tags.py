"""The style tags: one table for all families, with names in English and Chinese.

A mouth reads the effect of a tag; tests and evaluations read its bounds, which hold on any voice.
"""

from stepaudio.effects import Bound, Effect, Measure, Tag


def _at_least(measure: Measure, low: float) -> Bound:
    return Bound(measure, low=low)


def _at_most(measure: Measure, high: float) -> Bound:
    return Bound(measure, high=high)


TAGS: tuple[Tag, ...] = (
    Tag(
        "rap",
        ("RAP", "rapping", "说唱"),
        "singing",
        Effect(range=0.8, level=1.0, tilt=0.5, delivery="rap"),
        (_at_least("beat", 0.1),),
        without=("whisper",),
    ),
    Tag(
        "humming",
        ("hum", "哼唱"),
        "singing",
        Effect(delivery="humming"),
        (_at_least("held", 0.25), _at_least("voiced", 0.8), _at_most("brightness", -2.5)),
        without=("whisper", "monotone", "expressive"),  # notes leave no room for another intonation
    ),
    Tag(
        "singing",
        ("sing", "song", "歌唱", "唱歌"),
        "singing",
        Effect(delivery="singing"),
        (_at_least("held", 0.25),),
        without=("whisper", "monotone", "expressive"),  # notes leave no room for another intonation
    ),
    Tag(
        "happy",
        ("cheerful", "joyful", "开心", "愉快", "高兴", "高兴1"),
        "emotion",
        Effect(rate=1.06, pitch=2.8, range=1.65, level=1.5, tilt=0.5, formants=1.02),
        (_at_least("pitch", 1.0), _at_least("range", 1.12)),
    ),
    Tag(
        "very happy",
        ("delighted", "非常高兴", "高兴2"),
        "emotion",
        Effect(rate=1.1, pitch=3.8, range=2.3, level=2.5, tilt=0.8, formants=1.03),
        (_at_least("pitch", 2.0), _at_least("range", 1.25)),
    ),
    Tag(
        "excited",
        ("enthusiastic", "激动", "兴奋"),
        "emotion",
        Effect(rate=1.2, pitch=3.0, range=1.5, level=5.0, tilt=1.0),
        (_at_least("rate", 1.1), _at_least("pitch", 1.5), _at_least("level", 2.0)),
    ),
    Tag(
        "angry",
        ("mad", "愤怒", "生气", "生气1"),
        "emotion",
        Effect(rate=1.12, range=1.3, level=5.0, tilt=1.8),
        (_at_least("level", 2.0), _at_least("brightness", 0.6), _at_least("rate", 1.05)),
    ),
    Tag(
        "very angry",
        ("furious", "非常生气", "生气2"),
        "emotion",
        Effect(rate=1.2, pitch=1.5, range=1.5, level=6.0, tilt=2.4),
        (_at_least("level", 3.0), _at_least("brightness", 1.2), _at_least("rate", 1.1)),
    ),
    Tag(
        "sad",
        ("unhappy", "难过", "悲伤", "悲伤1"),
        "emotion",
        Effect(rate=0.85, pitch=-2.0, range=0.55, level=-3.0, tilt=-1.0, breath=0.2),
        (_at_most("pitch", -0.8), _at_most("range", 0.8), _at_most("rate", 0.93)),
    ),
    Tag(
        "very sad",
        ("heartbroken", "非常悲伤", "悲伤2"),
        "emotion",
        Effect(rate=0.78, pitch=-2.5, range=0.4, level=-5.0, tilt=-1.5, breath=0.35, tremor=0.2),
        (_at_most("pitch", -1.0), _at_most("range", 0.7), _at_most("rate", 0.88), _at_most("level", -3.0)),
    ),
    Tag(
        "calm",
        ("relaxed", "soothing", "平静", "冷静"),
        "emotion",
        Effect(rate=0.9, pitch=-1.0, range=0.5, level=-3.0, tilt=-0.7),
        (_at_most("range", 0.85), _at_most("rate", 0.96), _at_most("level", -1.0)),
    ),
    Tag(
        "gentle",
        ("tender", "warm", "温和", "温柔"),
        "emotion",
        Effect(rate=0.93, pitch=0.5, range=0.85, level=-4.0, tilt=-1.8, breath=0.3),
        (_at_most("level", -2.5), _at_most("brightness", -0.8)),
    ),
    Tag(
        "serious",
        ("stern", "solemn", "认真", "严肃"),
        "emotion",
        Effect(rate=0.93, pitch=-2.0, range=0.65, level=1.0),
        (_at_most("pitch", -0.8), _at_most("range", 0.92)),
    ),
    Tag(
        "afraid",
        ("scared", "fearful", "恐惧", "害怕"),
        "emotion",
        Effect(rate=1.12, pitch=3.5, range=0.8, level=-3.0, breath=0.35, tremor=0.4),
        (_at_least("pitch", 2.0), _at_least("rate", 1.05), _at_most("level", -0.8)),
    ),
    Tag(
        "surprised",
        ("amazed", "惊讶", "吃惊"),
        "emotion",
        Effect(pitch=4.0, range=1.8, level=1.5),
        (_at_least("pitch", 2.2), _at_least("range", 1.3)),
    ),
    Tag(
        "tired",
        ("bored", "sleepy", "无聊", "疲惫"),
        "emotion",
        Effect(rate=0.8, pitch=-1.0, range=0.45, level=-3.0, tilt=-0.7, breath=0.2),
        (_at_most("rate", 0.88), _at_most("range", 0.75), _at_most("level", -1.5)),
    ),
    Tag(
        "coquettish",
        ("playful", "撒娇", "撒娇1"),
        "emotion",
        Effect(rate=0.92, pitch=4.5, range=2.0, formants=1.05, breath=0.15),
        (_at_least("pitch", 2.0), _at_least("range", 1.12), _at_most("rate", 0.97)),
    ),
    Tag("chinese", ("mandarin", "中文"), "language"),
    Tag("english", ("英文",), "language"),
    Tag("korean", ("韩语",), "language"),
    Tag("japanese", ("日语",), "language"),
    Tag("sichuanese", ("四川话",), "language"),
    Tag("cantonese", ("粤语",), "language"),
    Tag("guangdong", ("广东话",), "language"),
    Tag(
        "very slow",
        ("very slowly", "慢速2", "非常慢", "很慢"),
        "rate",
        Effect(rate=0.65),
        (_at_most("rate", 0.8),),
    ),
    Tag("slow", ("slowly", "慢速1", "慢速", "慢"), "rate", Effect(rate=0.8), (_at_most("rate", 0.9),)),
    Tag(
        "fast",
        ("quick", "quickly", "快速1", "快速", "快"),
        "rate",
        Effect(rate=1.25),
        (_at_least("rate", 1.1),),
    ),
    Tag(
        "very fast",
        ("very quick", "快速2", "非常快", "很快"),
        "rate",
        Effect(rate=1.5),
        (_at_least("rate", 1.25),),
    ),
    Tag(
        "whisper",
        ("whispering", "whispered", "悄悄话", "耳语"),
        "phonation",
        Effect(rate=0.95, level=-9.0, breath=1.0, whisper=True),
        (_at_most("voiced", 0.15), _at_most("level", -4.0)),
        without=("loud", "shouting", "high", "low", "monotone", "expressive"),
    ),
    Tag("loud", ("loudly", "大声"), "volume", Effect(level=5.0, tilt=0.5), (_at_least("level", 2.5),)),
    Tag(
        "soft",
        ("quiet", "quietly", "softly", "轻声", "小声"),
        "volume",
        Effect(level=-7.0, tilt=-0.5),
        (_at_most("level", -4.0),),
    ),
    Tag(
        "shouting",
        ("shout", "yelling", "大喊", "喊叫"),
        "volume",
        Effect(pitch=3.0, level=7.0, tilt=2.0),
        (_at_least("level", 3.0), _at_least("pitch", 1.5), _at_least("brightness", 0.6)),
    ),
    Tag(
        "high",
        ("high-pitched", "high pitch", "尖声", "高音"),
        "pitch",
        Effect(pitch=4.0),
        (_at_least("pitch", 2.5),),
    ),
    Tag(
        "low",
        ("low-pitched", "low pitch", "低音"),
        "pitch",
        Effect(pitch=-3.5),
        (_at_most("pitch", -2.0),),
    ),
    Tag(
        "deep",
        ("浑厚", "低沉"),
        "pitch",
        Effect(pitch=-3.0, formants=0.92),
        (_at_most("pitch", -1.7),),
    ),
    Tag(
        "childlike",
        ("child", "kid", "童声"),
        "pitch",
        Effect(pitch=6.0, range=1.1, formants=1.15),
        (_at_least("pitch", 4.0),),
    ),
    Tag(
        "monotone",
        ("flat", "robotic", "机械", "单调"),
        "intonation",
        Effect(range=0.06),
        (_at_most("range", 0.4),),
    ),
    Tag(
        "expressive",
        ("lively", "dramatic", "生动", "抑扬顿挫"),
        "intonation",
        Effect(range=1.8),
        (_at_least("range", 1.3),),
    ),
)
