"""The decoder-only transformer of every family: step1, Qwen2 and Llama shapes in one class."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stepaudio.errors import InputError
from stepaudio.lm.cache import KVCache, Slots
from stepaudio.lm.config import LMConfig
from stepaudio.lm.position import alibi_slopes, rope_tables, rotate, sqrt_alibi


@dataclass(frozen=True)
class Plan:
    """What all layers of one forward pass share, computed once.

    Attributes:
        rope: cosines and signed sines, each broadcasting to ``(batch, heads, new, head_dim)``; or ``None``.
        bias: attention bias or bool mask broadcasting to ``(batch, heads, new, keys)``; or ``None``.
        causal: the plain triangle, no bias needed.
        slots: where the cache takes the new keys and values; ``None`` without a cache.
    """

    rope: tuple[Tensor, Tensor] | None
    bias: Tensor | None
    causal: bool
    slots: Slots | None


class Linear(nn.Linear):
    """A linear layer that draws no first weights on the meta device: that alone would import a compiler."""

    def reset_parameters(self) -> None:
        """Draw first weights, where there is memory for them."""
        if not self.weight.is_meta:
            super().reset_parameters()


class Embedding(nn.Embedding):
    """An embedding table that draws no first weights on the meta device."""

    def reset_parameters(self) -> None:
        """Draw first weights, where there is memory for them."""
        if not self.weight.is_meta:
            super().reset_parameters()


class RMSNorm(nn.Module):
    """Root mean square normalisation; the variance in float32 whatever the weights' type."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        if x.dtype == torch.float32:
            if x.numel() == x.shape[-1] and x.device.type == "cpu" and not torch.is_grad_enabled():
                # One decode step: half the time of the general form, by a scalar instead of small tensors.
                flat = x.view(-1)
                return (x * self.weight).mul_((torch.dot(flat, flat).item() / len(flat) + self.eps) ** -0.5)
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return F.rms_norm(x.float(), self.weight.shape, None, self.eps).to(x.dtype) * self.weight


class Attention(nn.Module):
    """Grouped-query attention; head h reads the keys of group ``h // (heads / groups)``.

    `qkv_proj` is ``None`` for plain weights; packing for inference replaces the three projections by it.
    """

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.heads, self.groups, self.dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        wide, narrow = self.heads * self.dim, self.groups * self.dim
        self.q_proj: nn.Module = Linear(config.hidden_size, wide, bias=config.qkv_bias)
        self.k_proj: nn.Module = Linear(config.hidden_size, narrow, bias=config.qkv_bias)
        self.v_proj: nn.Module = Linear(config.hidden_size, narrow, bias=config.qkv_bias)
        self.o_proj: nn.Module = Linear(wide, config.hidden_size, bias=False)
        self.qkv_proj: nn.Module | None = None
        # What an adapter adds to a projection, by its name (`lm.lowrank`); no modules of this one.
        self.deltas: Mapping[str, Callable[[Tensor], Tensor]] = {}

    def forward(self, x: Tensor, layer: int, plan: Plan, cache: KVCache | None) -> Tensor:
        """Attend from the new positions ``(batch, new, hidden)`` to all seen so far."""
        batch, new, _ = x.shape
        if self.qkv_proj is not None:
            qkv = self.qkv_proj(x)
        else:
            qkv = torch.cat((self.q_proj(x), self.k_proj(x), self.v_proj(x)), -1)
        if self.deltas:
            qkv = qkv + self.deltas["qkv"](x)
        heads = qkv.view(batch, new, self.heads + 2 * self.groups, self.dim).transpose(1, 2)
        turned, values = heads[:, : self.heads + self.groups], heads[:, self.heads + self.groups :]
        if plan.rope is not None:
            turned = rotate(turned, *plan.rope)
        queries, keys = turned[:, : self.heads], turned[:, self.heads :]
        if cache is not None and plan.slots is not None:
            keys, values = cache.write(layer, keys, values, plan.slots)
        mixed = self._attend(queries.to(keys.dtype), keys, values, plan)
        mixed = mixed.to(x.dtype)
        out = self.o_proj(mixed)
        return out + self.deltas["out"](mixed) if self.deltas else out

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, plan: Plan) -> Tensor:
        batch, _, new, _ = queries.shape
        share = self.heads // self.groups
        bias = plan.bias
        if bias is not None and bias.dtype != torch.bool:
            bias = bias.to(queries.dtype)
        if new == 1:
            # The queries of a group become the rows of one product, so nothing is copied per head.
            grouped = queries.reshape(batch, self.groups, share, self.dim)
            if bias is not None and bias.shape[1] == self.heads:
                bias = bias.view(bias.shape[0], self.groups, share, bias.shape[-1])
            mixed = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=bias)
            return mixed.reshape(batch, 1, self.heads * self.dim)
        if share > 1:
            keys, values = keys.repeat_interleave(share, 1), values.repeat_interleave(share, 1)
        mixed = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias, is_causal=plan.causal and bias is None
        )
        return mixed.transpose(1, 2).reshape(batch, new, self.heads * self.dim)


class MLP(nn.Module):
    """SwiGLU feed-forward block; `gate_up_proj` replaces the first two projections when packed."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.gate_proj: nn.Module = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj: nn.Module = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj: nn.Module = Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.gate_up_proj: nn.Module | None = None
        self.deltas: Mapping[str, Callable[[Tensor], Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's contribution, ``(batch, new, hidden)``."""
        if self.gate_up_proj is not None:
            gate, up = self.gate_up_proj(x).chunk(2, -1)
        else:
            gate, up = self.gate_proj(x), self.up_proj(x)
        if not self.deltas:
            return self.down_proj(F.silu(gate) * up)
        more_gate, more_up = self.deltas["gate_up"](x).chunk(2, -1)
        inner = F.silu(gate + more_gate) * (up + more_up)
        return self.down_proj(inner) + self.deltas["down"](inner)


class Layer(nn.Module):
    """One block: attention and feed-forward, each on the normalised residual stream."""

    def __init__(self, config: LMConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, plan: Plan, cache: KVCache | None) -> Tensor:
        """Return the residual stream after this block."""
        x = x + self.self_attn(self.input_layernorm(x), self.index, plan, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Backbone(nn.Module):
    """Embedding table, blocks and final norm."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.embed_tokens: nn.Module = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class DecoderLM(nn.Module):
    """A decoder-only language model under the official key names (``model.…``, ``lm_head.weight``).

    Takes ids or embeddings, so that audio features can stand where words would. Holds no generation state:
    hand it a :class:`KVCache`.

    Example:
        >>> lm = DecoderLM(config).eval()
        >>> cache = lm.new_cache()
        >>> logits = lm(ids, cache=cache)          # prefill, (1, T, vocab)
        >>> logits = lm(next_id, cache=cache)      # one step, (1, 1, vocab)
    """

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.lm_head: nn.Module | None = None
        if not config.tie_word_embeddings:
            self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)
        # Plain attributes, not buffers: they are no weights, and must survive building on the meta device.
        self._slopes: Tensor | None = None
        self._tables: tuple[Tensor, Tensor] | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the residual stream."""
        return self.model.norm.weight.dtype

    def new_cache(self, batch: int = 1, capacity: int = 256) -> KVCache:
        """Return an empty KV cache for `batch` rows, of this model's type and on its device."""
        return KVCache(self.config, batch, capacity=capacity, dtype=self.dtype, device=self.device)

    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings of `ids`, ``(..., hidden)``; the place to put audio features in."""
        return self.model.embed_tokens(ids)

    def head(self, hidden: Tensor) -> Tensor:
        """Return the logits of final hidden states."""
        if self.lm_head is not None:
            return self.lm_head(hidden)
        weight = self.model.embed_tokens.weight
        assert isinstance(weight, Tensor)  # packing a tied model gives it an lm_head of its own
        return F.linear(hidden, weight)

    def forward(
        self,
        input_ids: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        cache: KVCache | None = None,
        mask: Tensor | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Return the logits after the given tokens.

        Args:
            input_ids: ``(batch, new)`` int64; or give
            inputs_embeds: ``(batch, new, hidden)``.
            cache: what came before; the new tokens are appended to it.
            mask: ``(batch, new)`` bool, False for padding on either side, which is never attended.
            last_only: only the logits of each row's last real token, ``(batch, 1, vocab)``.

        Returns:
            ``(batch, new, vocab)``; rows of padding hold numbers without meaning.

        Raises:
            InputError: shapes that do not fit, an id out of range, or more than the context holds.
        """
        hidden = self.hidden(input_ids, inputs_embeds=inputs_embeds, cache=cache, mask=mask)
        if last_only:
            if mask is None:
                hidden = hidden[:, -1:]
            else:
                columns = torch.arange(mask.shape[1], device=mask.device)
                last = (mask * columns).amax(1)
                hidden = hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[-1]))
        return self.head(hidden)

    def hidden(
        self,
        input_ids: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        cache: KVCache | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the final hidden states ``(batch, new, hidden)``; arguments as for :meth:`forward`."""
        if (input_ids is None) == (inputs_embeds is None):
            raise InputError("give either input_ids or inputs_embeds")
        x = self._embedded(input_ids) if input_ids is not None else inputs_embeds
        assert x is not None
        if x.dim() != 3 or x.shape[-1] != self.config.hidden_size:
            raise InputError(
                f"embeddings must be (batch, new, {self.config.hidden_size}), got {tuple(x.shape)}"
            )
        if x.shape[1] == 0:
            raise InputError("the language model was given no tokens")
        if cache is not None and cache.batch != x.shape[0]:
            raise InputError(f"{x.shape[0]} rows do not fit a cache of {cache.batch}")
        if mask is not None:
            if mask.shape != x.shape[:2]:
                raise InputError(f"the padding mask must be {tuple(x.shape[:2])}, got {tuple(mask.shape)}")
            if bool(mask.all()):
                mask = None
        x = x.to(self.dtype)
        plan = self._plan(x, cache, mask)
        for layer in self.model.layers:
            x = layer(x, plan, cache)
        if cache is not None and plan.slots is not None:
            cache.lengths = plan.slots.lengths_after
        return self.model.norm(x)

    def _embedded(self, ids: Tensor) -> Tensor:
        if ids.dim() != 2:
            raise InputError(f"ids must be (batch, new), got {tuple(ids.shape)}")
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.config.vocab_size:
            raise InputError(f"ids must lie in 0..{self.config.vocab_size - 1}")
        return self.embed(ids)

    def _plan(self, x: Tensor, cache: KVCache | None, mask: Tensor | None) -> Plan:
        """Work out positions, rotary factors and bias of one pass, for all layers at once."""
        new, device = x.shape[1], x.device
        slots = Slots(cache, new, mask) if cache is not None else None
        if slots is None and new > self.config.max_position_embeddings:
            raise InputError(f"{new} tokens do not fit the context of {self.config.max_position_embeddings}")
        if (slots is None and mask is None) or (slots is not None and slots.rows is None):
            first = slots.first if slots else 0
            return self._uniform(first, new, slots, device)
        if slots is not None:
            assert cache is not None
            before = torch.tensor(cache.lengths, device=device)[:, None]
            keys = torch.arange(slots.end, device=device)[None]
            valid = None
        else:
            assert mask is not None
            before = torch.zeros(x.shape[0], 1, dtype=torch.long, device=device)
            keys = (mask.long().cumsum(1) - 1).clamp(min=0)
            valid = mask
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=device) if mask is None else mask
        positions = before + (real.long().cumsum(1) - 1).clamp(min=0)
        distance = positions[:, :, None] - keys[:, None, :]
        if valid is not None:
            distance = distance.masked_fill(~valid[:, None, :], -1)
        rope = None
        if self.config.position == "rope":
            cos, sin = self._rope(int(positions.max()) + 1, device)
            rope = cos[positions][:, None], sin[positions][:, None]
            bias = (distance >= 0)[:, None]
        else:
            bias = sqrt_alibi(self._alibi(device), distance)
        return Plan(rope, bias, False, slots)

    def _uniform(self, first: int, new: int, slots: Slots | None, device: torch.device) -> Plan:
        """Plan for rows that all stand at `first`, without padding: slices, and no mask for one step."""
        end = first + new
        if self.config.position == "rope":
            cos, sin = self._rope(end, device)
            rope = cos[first:end], sin[first:end]
            if new == 1 or first == 0:
                return Plan(rope, None, new > 1, slots)
            queries = torch.arange(first, end, device=device)
            return Plan(
                rope, (queries[:, None] >= torch.arange(end, device=device))[None, None], False, slots
            )
        keys = torch.arange(end, device=device)
        # One decode step needs one row of the bias, (heads, 1, keys), never the square.
        distance = keys[first:, None] - keys
        return Plan(None, sqrt_alibi(self._alibi(device), distance)[None], False, slots)

    def _rope(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        tables = self._tables
        if tables is None or tables[0].shape[0] < length or tables[0].device != device:
            room = min(max(1024, 2 * length), max(length, self.config.max_position_embeddings))
            with torch.inference_mode(False):  # kept: training may need them later
                cos, sin = rope_tables(self.config.head_dim, self.config.rope_theta, room)
                tables = self._tables = cos.to(device, self.dtype), sin.to(device, self.dtype)
        return tables

    def _alibi(self, device: torch.device) -> Tensor:
        if self._slopes is None or self._slopes.device != device:
            with torch.inference_mode(False):
                self._slopes = alibi_slopes(self.config.num_attention_heads).to(device)
        return self._slopes
