"""Language models: text tokenizers, prompts, backbones, generation."""
