"""Plugins broken on purpose, one way each: the check that is for it says so, by name, with the line."""

from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.testing import Result, cases_of
from polyjanus.core.testing.running import run_cases

GOOD = '''
"""A plugin that keeps its contracts."""

from typing import Literal

from pydantic import Field

from polyjanus import hookimpl
from polyjanus.core.settings import AdaptorConfig, CodecConfig, EncoderConfig
from polyjanus.encoders.array import ArraySettings


class HeatConfig(ArraySettings):
    """Heat."""

    example_settings = {"shape": (1, 4, 4)}
    type: Literal["heat"]

    def build(self, context):
        from polyjanus.encoders.array.media import ArrayModality

        class Heat(ArrayModality):
            def load(self, source, start=None, duration=None):
                return super().load(source, start, duration)

            def example(self):
                return super().example()

            def preview(self, media):
                return super().preview(media)

        return Heat(context.path, self)


class RowsConfig(EncoderConfig):
    """One token per row."""

    modality_types = ("heat",)
    type: Literal["heat_rows"]
    width: int = Field(default=8, gt=0, description="values per token")

    def build(self, context):
        import torch
        from torch import nn
        from polyjanus.core.modules import Encoder

        class Rows(Encoder):
            def __init__(self, columns, width):
                super().__init__()
                self.width = width
                self.project = nn.Linear(columns, width)
                self.register_buffer("shift", torch.arange(float(width)), persistent=False)

            def reset_parameters(self):
                self.shift = torch.arange(float(self.width))

            def prepare(self, media):
                return {"rows": torch.from_numpy(media.values[0].copy())}

            def num_tokens(self, prepared):
                return prepared["rows"].shape[0], None

            def forward_stacked(self, rows):
                return self.project(rows) + self.shift

        return Rows(4, self.width)


class CodesConfig(CodecConfig):
    """One code per row."""

    modality_types = ("heat",)
    type: Literal["heat_codes"]

    def build(self, context):
        import torch
        from polyjanus.core.codecs import StackedCodec
        from polyjanus.encoders.array.media import GridArray

        class Codes(StackedCodec):
            cardinality, max_codes, min_codes = 16, 4, 4

            def prepare(self, media):
                return {"rows": torch.from_numpy(media.values[0].copy())}

            def num_codes(self, prepared):
                return 4

            def encode_stacked(self, rows):
                return ((rows.mean(-1, keepdim=True) + 1) * 8).long().clamp(0, 15)

            def decode_stacked(self, codes):
                rows = ((codes.float() + 0.5) / 8 - 1).expand(-1, -1, 4)
                return [GridArray(item[None].numpy().copy()) for item in rows]

        return Codes()


@hookimpl
def register(registries):
    registries.modalities.add(HeatConfig)
    registries.encoders.add(RowsConfig)
    registries.codecs.add(CodesConfig)
'''
ONE = "torch.from_numpy(media.values[0].copy())}\n\n            def num_tokens"
BROKEN: dict[str, tuple[str, str, str, str]] = {  # what is replaced, by what; the check, and a part of its sentence
    "features of another width": (
        "self.width = width\n",
        "self.width = width + 1\n",
        "features_have_the_declared_width",
        "as `width` says; found (12, 8) (Rows.forward_stacked in",
    ),
    "more tokens declared than given": (
        'return prepared["rows"].shape[0], None',
        'return prepared["rows"].shape[0] + 1, None',
        "declared_tokens_are_actual",
        "expected [5, 5, 5] features, as num_tokens says; found [4, 4, 4] (Rows.num_tokens in",
    ),
    "random numbers drawn in prepare": (
        ONE,
        ONE.replace("}\n", " + torch.rand(4, 4)}\n"),
        "prepare_is_deterministic",
        "expected no random numbers drawn in `prepare`; found a generator that moved (Rows.prepare in",
    ),
    "a tensor that is a plain attribute": (
        "self.project = nn",
        "self.scale = torch.ones(4)\n                self.project = nn",
        "tensors_are_parameters_or_buffers",
        "expected register_buffer for every tensor; found a plain attribute 'scale' (Rows.__init__ in",
    ),
    "a buffer that is not computed again": (
        "self.shift = torch.arange(float(self.width))",
        "pass",
        "buffers_come_back",
        "expected the buffer 'shift' to be saved, or computed again by reset_parameters; found [12345.0",
    ),
    "features that depend on the batch": (
        "return self.project(rows) + self.shift",
        "return self.project(rows - rows.mean(0)) + self.shift",
        "features_alone_are_features_in_a_batch",
        "expected the same features alone and in a batch; found a difference of",
    ),
    "no gradient": (
        "return self.project(rows) + self.shift",
        "return self.project(rows) * 0",
        "gradient_reaches_the_adaptor",
        "expected a gradient in every parameter of the adaptor; found none, or zeros",
    ),
    "features that vary": (
        "return self.project(rows) + self.shift",
        "return self.project(rows) + torch.rand(())",
        "features_are_repeatable",
        "expected equal features each time; found a difference of",
    ),
    "features of a width of their own in memory": (
        "return self.project(rows) + self.shift",
        "return (self.project(rows) + self.shift).float()",
        "features_follow_the_weights",
        "expected bfloat16 of weights in bfloat16; found torch.float32 (Rows.forward_stacked in",
    ),
    "torch imported at the top": (
        "from typing import Literal\n",
        "from typing import Literal\n\nimport torch\n",
        "declaration_leaves_torch_out",
        "expected imports of torch inside `build` only; found torch",
    ),
    "a network asked when imported": (
        "from typing import Literal\n",
        "from typing import Literal\n\nimport socket\n\nsocket.getaddrinfo('localhost', 9)\n",
        "declaration_asks_no_network",
        "expected no use of the network; found socket.getaddrinfo",
    ),
    "another exception for bad media": (
        "return super().load(source, start, duration)",
        "import numpy as np\n\n                return np.load(source)",
        "garbage_is_a_media_error",
        "expected a MediaError for a .npy file of noise; found ValueError",
    ),
    "a cut that is not looked at": (
        "return super().load(source, start, duration)",
        "return super().load(source)",
        "wrong_cuts_are_media_errors",
        "expected a MediaError for start=1000000000.0, duration=None; found that it gave GridArray",
    ),
    "an example that varies": (
        "return super().example()",
        "import numpy as np\n\n                return self.noise(super().example(), np.random.default_rng())",
        "example_is_always_the_same",
        "expected equal examples; found examples that differ (Heat.example in",
    ),
    "a preview that is no picture": (
        "return super().preview(media)",
        "return b'<html>'",
        "preview_is_a_picture",
        "expected the bytes of a PNG; found bytes b'<html>' (Heat.preview in",
    ),
    "a code out of range": (
        ".clamp(0, 15)",
        ".clamp(0, 15) + 8",
        "codes_are_in_range",
        "expected codes from 0 to 15, as cardinality says; found",
    ),
    "fewer codes than declared": (
        "keepdim=True) + 1) * 8)",
        "keepdim=True) + 1)[:, :3] * 8)",
        "declared_codes_are_actual",
        "expected codes of shapes [(4, 1), (4, 1), (4, 1)], as num_codes and num_codebooks say; found [(3, 1)",
    ),
    "codes that cannot all be decoded": (
        "rows = ((codes",
        "assert int(codes.max()) < 15, 'too large'\n                rows = ((codes",
        "every_code_decodes",
        "expected no exception; found AssertionError: too large (Codes.decode_stacked in",
    ),
    "codes that decode to others": (
        "codes.float() + 0.5) / 8",
        "15 - codes.float() + 0.5) / 8",
        "codes_of_a_fixed_codec_come_back",
        "expected a medium whose codes are those it was decoded from, [[",
    ),
    "codes that decode to the next": (
        "codes.float() + 0.5) / 8",
        "codes.float() + 1.5) / 8",
        "codes_of_a_fixed_codec_come_back",
        "(Codes.decode_stacked in",
    ),
    "another exception for a wrong byte": (
        "return super().load(source, start, duration)",
        "from pathlib import Path\n\n"
        "                is_file = isinstance(source, Path) and source.is_file()\n"
        "                if is_file and b\"'descr'\" not in source.read_bytes():\n"
        "                    raise KeyError('descr')\n"
        "                return super().load(source, start, duration)",
        "damaged_files_are_refused_or_read",
        "expected a medium or a MediaError for a file whose byte",
    ),
    "a field that a round trip loses": (
        'Field(default=8, gt=0, description="values per token")',
        'Field(default=8, gt=0, exclude=True, description="values per token")',
        "settings_survive_a_round_trip",
        "expected a dump with every field; found ['width'] left out (RowsConfig in",
    ),
    "a field without a description": (
        ', description="values per token"',
        "",
        "settings_are_described",
        "expected Field(description=…) on 'width', with its unit; found none (RowsConfig in",
    ),
    "settings that drop what they do not know": (
        'type: Literal["heat_rows"]\n',
        'type: Literal["heat_rows"]\n    model_config = {"extra": "ignore"}\n',
        "settings_refuse_unknown_keys",
        "expected a fault for the unknown key 'no_such_key'; found settings that took it",
    ),
    "a component that cannot be built": (
        "return Rows(4, self.width)",
        "return Rows(4)",
        "builds",
        "WiringError: encoder 'heat_rows' could not be built: RowsConfig.build.<locals>.Rows.__init__() missing",
    ),
}


def failures(file: Path, source: str, *checks: str) -> list[Result]:
    file.write_text(source.lstrip(), encoding="utf-8")
    cases = [case for case in cases_of(file) if not checks or case.check.name in checks]
    return [result for result in run_cases(cases) if result.outcome == "failed"]


@pytest.mark.slow
def test_the_plugin_that_is_broken_below_is_whole(tmp_path: Path) -> None:
    assert failures(tmp_path / "good.py", GOOD) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_caught_by_the_check_that_is_for_it(tmp_path: Path, name: str) -> None:
    mine, theirs, check, sentence = BROKEN[name]
    assert mine in GOOD
    found = failures(tmp_path / "broken.py", GOOD.replace(mine, theirs, 1), check)
    assert {result.check for result in found} == {check}
    assert sentence in found[0].message
    assert "broken.py" in found[0].message


def test_a_plugin_that_does_not_load_is_one_failure(tmp_path: Path) -> None:
    (result,) = failures(tmp_path / "broken.py", "import a_package_that_nobody_has", "plugin_loads")
    assert "No module named 'a_package_that_nobody_has'" in result.message


def test_an_expected_failure_has_its_reason_and_one_that_passes_is_told(tmp_path: Path) -> None:
    mine, theirs, check, _ = BROKEN["features that vary"]
    file = tmp_path / "broken.py"

    def outcome(source: str) -> Any:
        file.write_text(source.lstrip(), encoding="utf-8")
        cases = cases_of(file, expected_failures={"heat_rows": {check: "it dreams"}})
        (result,) = run_cases([case for case in cases if case.check.name == check])
        return result.outcome, result.message

    assert outcome(GOOD.replace(mine, theirs)) == ("expected", "it dreams")
    file.unlink()
    kind, message = outcome(GOOD)
    assert kind == "failed" and "it dreams" in message and "passes" in message
