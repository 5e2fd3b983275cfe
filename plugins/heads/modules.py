"""The torch side of the heads."""

from torch import Tensor, nn

from polyjanus.core.modules import LogitsHead


class LinearHead(LogitsHead):
    """Logits by one linear layer."""

    def __init__(self, width: int, columns: int, cardinality: int) -> None:
        super().__init__()
        self.shape = (columns, cardinality)
        self.output = nn.Linear(width, columns * cardinality)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits (R, K', V) of hidden (R, d)."""
        return self.output(hidden).unflatten(-1, self.shape)

    def last_layer(self) -> nn.Linear:
        """Return the one layer."""
        return self.output


class MlpHead(LogitsHead):
    """Logits by Linear, GELU, Linear (Janus: `output_mlp_projector` is `hidden`, `vision_head` is `output`)."""

    def __init__(self, width: int, hidden: int, columns: int, cardinality: int) -> None:
        super().__init__()
        self.shape = (columns, cardinality)
        self.hidden = nn.Linear(width, hidden)
        self.activation = nn.GELU()
        self.output = nn.Linear(hidden, columns * cardinality)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits (R, K', V) of hidden (R, d)."""
        return self.output(self.states(hidden)).unflatten(-1, self.shape)

    def last_layer(self) -> nn.Linear:
        """Return the layer after GELU."""
        return self.output

    def states(self, hidden: Tensor) -> Tensor:
        """Return what GELU gives (R, h)."""
        return self.activation(self.hidden(hidden))
