"""Square patches of a grid as tokens, seen by one layer or by convolutions."""

from typing import Any

import numpy as np
import pytest
import torch

from polyjanus.core.errors import ConfigError

YAML = """
polyjanus: 1
backbone:
  type: causal_lm
  architecture: {{model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1,
                 num_attention_heads: 2}}
modalities:
  radar:
    type: array
    shape: [2, {rows}, 16]
    understand: {{encoder: {{type: patch2d, patch: {patch}, stem: {stem}, width: 32, depth: 1}}}}
"""


def built(plugins: Any, tmp_path: Any, *, stem: str, patch: int = 4, rows: int = 16) -> Any:
    from polyjanus.core.pipeline import Pipeline

    path = tmp_path / "radar.yaml"
    path.write_text(YAML.format(stem=stem, patch=patch, rows=rows), encoding="utf-8")
    return Pipeline.from_yaml(path, plugins=plugins, device="cpu")


@pytest.mark.parametrize("rows", [16, 14])
def test_both_stems_give_one_token_per_patch_in_raster_order(plugins: Any, tmp_path: Any, rows: int) -> None:
    values = np.zeros((2, rows, 16), np.float32)
    changed = values.copy()
    changed[:, 5, 9] = 0.9  # in the patch of the second row and the third column
    for stem in ("linear", "convolutions"):
        pipeline = built(plugins, tmp_path, stem=stem, rows=rows)
        encoder = pipeline.model.part("radar.understand.encoder")
        modality = pipeline.compiler.modalities["radar"]
        items = [encoder.prepare(modality.load(each)) for each in (values, changed)]
        assert encoder.num_tokens(items[0]) == (16, (4, 4))
        with torch.no_grad():
            cells = torch.stack([item["cells"] for item in items])
            tokens = encoder._embedded(torch.nn.functional.pad(encoder.preparation.normalise(cells), encoder.missing))
        assert tokens.shape == (2, 16, 32)
        assert int((tokens[1] - tokens[0]).norm(dim=-1).argmax()) == 6


def test_convolutions_see_over_the_edges_of_patches_and_one_layer_does_not(plugins: Any, tmp_path: Any) -> None:
    values = np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32)
    for stem, reach in (("linear", 1), ("convolutions", 2)):
        pipeline = built(plugins, tmp_path, stem=stem)
        encoder = pipeline.model.part("radar.understand.encoder")
        cells = encoder.prepare(pipeline.compiler.modalities["radar"].load(values))["cells"][None].requires_grad_()
        encoder._embedded(encoder.preparation.normalise(cells))[0, 5].sum().backward()
        assert cells.grad is not None
        seen = cells.grad.abs().sum((0, 1)).unflatten(0, (4, 4)).unflatten(2, (4, 4)).sum((1, 3)) > 0
        assert bool(seen[1, 1]) and int(seen.sum()) >= reach**2
        assert (int(seen.sum()) == 1) == (stem == "linear")


def test_a_patch_that_cannot_be_halved_is_refused_by_line(plugins: Any, tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="radar.yaml:11.*6 is no power of two"):
        built(plugins, tmp_path, stem="convolutions", patch=6)
