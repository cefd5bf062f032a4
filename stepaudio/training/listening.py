"""Lessons of the ear: spelling, writing down, and answering speech as one would answer its words.

Source: arXiv 2507.16632, sections 3 and 4 (stages of training), at nano's size; the encoder stays frozen, and
its features are cached.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stepaudio.lm.adaptor import FRAMES_PER_EMBEDDING, Adaptor, spell
from stepaudio.lm.model import DecoderLM
from stepaudio.training.loop import Losses

MASKED_FRAMES = 20
"""Longest stretch of features (50 Hz) that is hidden from the adaptor in training."""
MASKS_PER_SECOND = 0.4


@dataclass(frozen=True, eq=False)
class Spoken:
    """Something said, and what the language model is to write on hearing it.

    Attributes:
        features: (T, width) float16 of the encoder, 50 Hz.
        text: what is said, if it is known; "" else.
        before: ids that stand before the sound.
        after: ids between the sound and the reply.
        reply: ids to write, the stop id last.
    """

    features: np.ndarray
    text: str = ""
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    reply: tuple[int, ...] = ()


def pad_features(
    spoken: Sequence[Spoken], random: np.random.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Features of a batch (batch, T, width) with stretches hidden if `random`, and lengths (batch,)."""
    lengths = [len(each.features) // FRAMES_PER_EMBEDDING * FRAMES_PER_EMBEDDING for each in spoken]
    batch = np.zeros((len(spoken), max(lengths), spoken[0].features.shape[1]), np.float32)
    for row, (each, length) in enumerate(zip(spoken, lengths, strict=True)):
        batch[row, :length] = each.features[:length]
        if random is not None:
            for _ in range(random.poisson(MASKS_PER_SECOND * length / 50)):
                start = int(random.integers(length))
                batch[row, start : min(length, start + int(random.integers(1, MASKED_FRAMES)))] = 0.0
    return torch.from_numpy(batch), torch.tensor(lengths)


def spelling_loss(logits: Tensor, lengths: Tensor, texts: Sequence[str]) -> Losses:
    """CTC over the clips whose text is known and fits, a mean a character.

    Args:
        logits: (batch, T / 2, 29).
        lengths: (batch,) of the features, in frames of 50 Hz.
        texts: of the clips.
    """
    targets = [spell(text) for text in texts]
    rows = [i for i, target in enumerate(targets) if target and len(target) < int(lengths[i]) // 2]
    if not rows:
        return {"spelling": logits.sum() * 0}
    shares = logits[rows].float().log_softmax(-1).transpose(0, 1)
    joined = torch.tensor([char for i in rows for char in targets[i]], device=logits.device)
    sizes = torch.tensor([len(targets[i]) for i in rows], device=logits.device)
    loss = F.ctc_loss(shares, joined, (lengths[rows] // 2).to(logits.device), sizes, zero_infinity=True)
    return {"spelling": loss}


def reply_loss(model: DecoderLM, embeddings: Tensor, lengths: Tensor, spoken: Sequence[Spoken]) -> Losses:
    """Cross-entropy and errors of the replies' ids behind the sound.

    Args:
        model: its weights need no gradient; an adapter that is put on may.
        embeddings: (batch, T / 4, hidden) of the sounds.
        lengths: (batch,) of the features.
        spoken: the batch.
    """
    rows, places, wanted = [], [], []
    for row, each in enumerate(spoken):
        ids = torch.tensor([*each.before, *each.after, *each.reply[:-1]], device=embeddings.device)
        words = model.embed(ids)
        sound = embeddings[row, : int(lengths[row]) // FRAMES_PER_EMBEDDING].to(words.dtype)
        first = len(each.before)
        rows.append(torch.cat((words[:first], sound, words[first:])))
        start = first + len(sound) + len(each.after) - 1
        places.append(torch.arange(start, start + len(each.reply)))
        wanted.append(torch.tensor(each.reply))
    longest = max(len(row) for row in rows)
    # Padded behind, where a causal model does not look.
    inputs = torch.stack([F.pad(row, (0, 0, 0, longest - len(row))) for row in rows])
    hidden = model.hidden(inputs_embeds=inputs)
    told = torch.cat([hidden[row, at] for row, at in enumerate(places)])
    logits, target = model.head(told).float(), torch.cat(wanted).to(told.device)
    wrong = (logits.argmax(-1) != target).float().mean()
    return {"reply": F.cross_entropy(logits, target), "reply_errors": wrong.detach()}


def losses(
    adaptor: Adaptor,
    model: DecoderLM | None,
    spoken: Sequence[Spoken],
    random: np.random.Generator | None = None,
) -> Losses:
    """Spelling, and with a language model the reply; ``total`` is what gets minimised."""
    features, lengths = pad_features(spoken, random)
    features = features.to(adaptor.out.weight.device)
    embeddings, logits = adaptor(features)
    parts = spelling_loss(logits, lengths, [each.text for each in spoken])
    total = parts["spelling"]
    if model is not None:
        parts |= reply_loss(model, embeddings, lengths, spoken)
        total = parts["reply"] + 0.3 * total
    return {**parts, "total": total}
