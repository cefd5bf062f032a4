"""Pitch from mel frames: the F0 predictor of the vocoder."""

from torch import Tensor, nn

LAYERS = 5


class F0Predictor(nn.Module):
    """Five convolutions over the mel and one linear layer: F0 in Hz for each frame."""

    def __init__(self, mel_bins: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(LAYERS):
            layers += [nn.Conv1d(channels if index else mel_bins, channels, 3, padding=1), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Map log-mel [batch, bins, frames] to F0 [batch, frames] in Hz, never negative."""
        return self.classifier(self.condnet(mel).transpose(1, 2)).squeeze(-1).abs()
