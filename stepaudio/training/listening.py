"""Losses of the ear: writing down, telling how, and answering speech as one would answer its words.

Source: arXiv 2507.16632, sections 3 and 4, at nano's size; Whisper stays frozen.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stepaudio.lm.adaptor import Adaptor
from stepaudio.lm.bridge import Bridge, soft_words
from stepaudio.lm.model import DecoderLM
from stepaudio.training.lessons import Spoken
from stepaudio.training.loop import Losses

LIKELIEST = 0.3
"""Weight of the words themselves beside the distance from the distribution: they are what is said."""


def losses(
    adaptor: Adaptor, models: tuple[DecoderLM, DecoderLM], spoken: Sequence[Spoken], bridge: Bridge
) -> Losses:
    """What the replies' ids behind the sounds cost: cross-entropy, or the distance from what reading gives.

    Args:
        adaptor: learns.
        models: the language model with the adapter, and without.
        spoken: the batch; either all of them are read too, or none.
        bridge: from the ear's vocabulary.

    Returns:
        ``total`` is what gets minimised.
    """
    model, reader = models
    device = model.device
    sounds = adaptor(torch.from_numpy(np.stack([each.heard.manner for each in spoken])).to(device))
    rows, places = [], []
    for sound, each in zip(sounds, spoken, strict=True):
        words = model.embed(torch.tensor([*each.before, *each.after, *each.reply[:-1]], device=device))
        ids, shares = bridge.mixtures(each.heard)
        heard = soft_words(model, ids.to(device), shares.to(device))
        first = len(each.before)
        rows.append(torch.cat((words[:first], sound.to(words.dtype), heard, words[first:])))
        start = first + len(sound) + len(heard) + len(each.after) - 1
        places.append(torch.arange(start, start + len(each.reply)))
    told = _told(model, rows, places)
    target = torch.cat([torch.tensor(each.reply) for each in spoken]).to(device)
    wrong = (told.argmax(-1) != target).float().mean().detach()
    if not spoken[0].read:
        loss = F.cross_entropy(told, target)
        return {"reply": loss, "reply_errors": wrong, "total": loss}
    with torch.no_grad():
        read = [reader.embed(torch.tensor([*each.read, *each.reply[:-1]], device=device)) for each in spoken]
        places = [torch.arange(len(each.read) - 1, len(each.read) + len(each.reply) - 1) for each in spoken]
        wanted = _told(reader, read, places).softmax(-1)
    distance = F.kl_div(told.log_softmax(-1), wanted, reduction="batchmean")
    total = distance + LIKELIEST * F.cross_entropy(told, target)
    return {"answer": distance, "answer_errors": wrong, "total": total}


def _told(model: DecoderLM, rows: Sequence[Tensor], places: Sequence[Tensor]) -> Tensor:
    """Logits (N, vocabulary) float32 at the places of each row of embeddings, one after the other."""
    longest = max(len(row) for row in rows)
    # Padded behind, where a causal model does not look.
    inputs = torch.stack([F.pad(row, (0, 0, 0, longest - len(row))) for row in rows])
    hidden = model.hidden(inputs_embeds=inputs)
    return model.head(torch.cat([hidden[row, at] for row, at in enumerate(places)])).float()
