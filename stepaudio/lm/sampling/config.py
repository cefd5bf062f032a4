"""How freely the next id is chosen."""

from pydantic import BaseModel, ConfigDict, Field


class Sampling(BaseModel):
    """Settings of one sampler; every rule is off by default except the draw itself.

    They act in this order, each on what the one before left:

    1. legality: ids that may not come now get -inf (see :mod:`stepaudio.lm.sampling.legality`);
    2. history: `repetition_penalty`, `step_repetition_rule`, `no_repeat_ngram`;
    3. truncation that must see raw logits has its place here;
    4. `temperature` (0 takes the best id and ends the list);
    5. `top_k`, 6. `top_p`, 7. `min_p`;
    8. the draw, from the row's own generator.

    Attributes:
        temperature: divides the logits; 0 is greedy.
        top_k: keep the k best ids; 0 keeps all.
        top_p: keep the fewest best ids whose probability reaches p; 1 keeps all.
        min_p: drop ids less likely than this share of the best one's probability; 0 keeps all.
        repetition_penalty: divide (positive) or multiply (negative) the logits of ids seen; 1 is off.
        step_repetition_rule: Step-Audio's own rule: forbid the last id when it is twice among the last ten.
        no_repeat_ngram: forbid an id that would repeat this many ids in a row; 0 is off.
        history: look back at most this many ids for the penalty and the n-grams; 0 looks at all.
        penalise_prompt: whether the prompt's ids count for the penalty and the n-grams.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(default=1.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, lt=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    step_repetition_rule: bool = False
    no_repeat_ngram: int = Field(default=0, ge=0)
    history: int = Field(default=0, ge=0)
    penalise_prompt: bool = False
