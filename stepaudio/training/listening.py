"""Losses of the ear: spelling, writing, and answering speech as one would answer its words.

Source: arXiv 2507.16632, sections 3 and 4, at nano's size; the encoder stays frozen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stepaudio.lm.adaptor import FRAMES_PER_EMBEDDING, Adaptor, spell
from stepaudio.lm.model import DecoderLM
from stepaudio.training.disturb import disturb
from stepaudio.training.lessons import Spoken
from stepaudio.training.loop import Losses

if TYPE_CHECKING:
    from stepaudio.encoder import Encoder

MASKED_FRAMES = 20
"""Longest stretch of features (50 Hz) that is hidden from the adaptor in training."""
MASKS_PER_SECOND = 0.4
SPELLING = 0.3
"""Weight of the spelling beside the reply."""


@dataclass(frozen=True, eq=False)
class Front:
    """From lessons to features, on one device.

    Attributes:
        encoder: of Whisper; lessons whose features are known need none.
        music: (pieces, n), see `disturb.make_music`.
        device: where to compute.
    """

    encoder: "Encoder | None"
    music: Tensor | None
    device: str = "cpu"

    def __call__(self, spoken: Sequence[Spoken], seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Features (batch, T, width), zeros behind the ends, and lengths (batch,) in frames of 50 Hz.

        Args:
            spoken: of one kind: all with sound, or all with features.
            seed: of disturbances and of stretches that are hidden; without, all is as it is.
        """
        if spoken[0].sound.ndim == 1:
            features, lengths = self._encoded(spoken, seed)
        else:
            features, lengths = padded(spoken)
            features = features.to(self.device)
        if seed is not None:
            features = features * _masks(lengths, features.shape[1], seed).to(self.device)
        return features, lengths

    @torch.no_grad()
    def _encoded(self, spoken: Sequence[Spoken], seed: int | None) -> tuple[Tensor, Tensor]:
        from stepaudio.features.whisper import HOP
        from stepaudio.features.whisper_weights import encode

        assert self.encoder is not None
        step = HOP * FRAMES_PER_EMBEDDING
        lengths = torch.tensor([-(-len(each.sound) // step) * FRAMES_PER_EMBEDDING for each in spoken])
        rows = np.zeros((len(spoken), max(len(each.sound) for each in spoken)), np.int16)
        for row, each in zip(rows, spoken, strict=True):
            row[: len(each.sound)] = each.sound
        sound = torch.from_numpy(rows).to(self.device).float() / 32768
        if seed is not None and self.music is not None:
            random = torch.Generator(self.device).manual_seed(seed)
            sizes = torch.tensor([len(each.sound) for each in spoken], device=self.device)
            sound = disturb(sound, sizes, [each.background for each in spoken], self.music, random)
        most = int(lengths.max())
        features = encode(self.encoder, sound)[:, :most].float()
        inside = torch.arange(most)[None] < lengths[:, None]
        return features * inside[..., None].to(self.device), lengths


def padded(spoken: Sequence[Spoken]) -> tuple[Tensor, Tensor]:
    """Known features of a batch, (batch, T, width) float32, and lengths (batch,)."""
    lengths = [len(each.sound) // FRAMES_PER_EMBEDDING * FRAMES_PER_EMBEDDING for each in spoken]
    batch = np.zeros((len(spoken), max(lengths), spoken[0].sound.shape[1]), np.float32)
    for row, (each, length) in enumerate(zip(spoken, lengths, strict=True)):
        batch[row, :length] = each.sound[:length]
    return torch.from_numpy(batch), torch.tensor(lengths)


def _masks(lengths: Tensor, size: int, seed: int) -> Tensor:
    """Zeros where a stretch is hidden, (batch, size, 1)."""
    random = np.random.default_rng((2, seed))
    masks = np.ones((len(lengths), size, 1), np.float32)
    for row, length in zip(masks, lengths.tolist(), strict=True):
        for _ in range(random.poisson(MASKS_PER_SECOND * length / 50)):
            start = int(random.integers(length))
            row[start : start + int(random.integers(1, MASKED_FRAMES))] = 0.0
    return torch.from_numpy(masks)


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


def reply_loss(
    model: DecoderLM, reader: DecoderLM, embeddings: Tensor, lengths: Tensor, spoken: Sequence[Spoken]
) -> Losses:
    """What the replies' ids behind the sound cost: cross-entropy, or the distance from what reading gives.

    Args:
        model: its weights need no gradient; an adapter that is put on may.
        reader: the same without the adapter.
        embeddings: (batch, T / 4, hidden) of the sounds.
        lengths: (batch,) of the features.
        spoken: the batch; either all of them are read too, or none.
    """
    device = embeddings.device
    rows, places = [], []
    for row, each in enumerate(spoken):
        ids = torch.tensor([*each.before, *each.after, *each.reply[:-1]], device=device)
        words = model.embed(ids)
        sound = embeddings[row, : int(lengths[row]) // FRAMES_PER_EMBEDDING].to(words.dtype)
        first = len(each.before)
        rows.append(torch.cat((words[:first], sound, words[first:])))
        start = first + len(sound) + len(each.after) - 1
        places.append(torch.arange(start, start + len(each.reply)))
    told = _told(model, rows, places)
    target = torch.cat([torch.tensor(each.reply) for each in spoken]).to(device)
    wrong = (told.argmax(-1) != target).float().mean()
    if not spoken[0].read:
        return {"reply": F.cross_entropy(told, target), "reply_errors": wrong.detach()}
    with torch.no_grad():
        read = [reader.embed(torch.tensor([*each.read, *each.reply[:-1]], device=device)) for each in spoken]
        places = [torch.arange(len(each.read) - 1, len(each.read) + len(each.reply) - 1) for each in spoken]
        wanted = _told(reader, read, places).softmax(-1)
    distance = F.kl_div(told.log_softmax(-1), wanted, reduction="batchmean")
    # The likeliest words count by themselves too: they are what is said.
    return {"answer": distance + 0.3 * F.cross_entropy(told, target), "answer_errors": wrong.detach()}


def _told(model: DecoderLM, rows: Sequence[Tensor], places: Sequence[Tensor]) -> Tensor:
    """Logits (N, vocabulary) float32 at the places of each row of embeddings, one after the other."""
    longest = max(len(row) for row in rows)
    # Padded behind, where a causal model does not look.
    inputs = torch.stack([F.pad(row, (0, 0, 0, longest - len(row))) for row in rows])
    hidden = model.hidden(inputs_embeds=inputs)
    return model.head(torch.cat([hidden[row, at] for row, at in enumerate(places)])).float()


def losses(
    adaptor: Adaptor,
    models: tuple[DecoderLM, DecoderLM] | None,
    spoken: Sequence[Spoken],
    front: Front,
    seed: int | None = None,
) -> Losses:
    """Spelling, and with a language model the reply; ``total`` is what gets minimised.

    Args:
        adaptor: learns.
        models: the language model with the adapter and without, if it takes part.
        spoken: the batch.
        front: gives the features.
        seed: of what is random in training.
    """
    features, lengths = front(spoken, seed)
    embeddings, logits = adaptor(features)
    parts = spelling_loss(logits, lengths, [each.text for each in spoken])
    total = parts["spelling"]
    if models is not None:
        replies = reply_loss(*models, embeddings, lengths, spoken)
        parts |= replies
        total = replies.get("reply", replies.get("answer", total)) + SPELLING * total
    return {**parts, "total": total}
