"""torchaudio beside a torch that its binary does not fit: nothing breaks, and what needs the binary says so."""

import subprocess
import sys

CODE = """
from polyjanus.core import hf
from transformers import LlamaForCausalLM, SiglipVisionModel, WhisperModel, ASTFeatureExtractor, MimiModel
import torch, torchaudio
assert torchaudio is hf.torchaudio()
assert torchaudio.functional.resample(torch.zeros(1, 160), 16000, 8000).shape == (1, 80)
from torchaudio._extension import _IS_ALIGN_AVAILABLE
if not _IS_ALIGN_AVAILABLE:
    try:
        torchaudio.functional.forced_align(torch.zeros(1, 4, 3), torch.ones(1, 2, dtype=torch.int32))
    except RuntimeError as error:
        assert "binary" in str(error), error
    else:
        raise AssertionError("a function without its binary was called")
print("fine")
"""


def test_transformers_and_torchaudio_are_imported_after_our_door() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr[-2000:]


def test_sound_is_declared_and_loaded_without_torch() -> None:
    code = (
        "import sys, io, numpy, soundfile\n"
        "from polyjanus.core.manager import load_plugins\n"
        "from polyjanus.core.settings import BuildContext\n"
        "known = load_plugins(third_party=False)\n"
        "assert 'soundfile' in sys.modules and 'torchaudio' not in sys.modules\n"
        "audio = known.registries.of('modality').get('audio').model_validate({'type': 'audio'})\n"
        "modality = audio.build(BuildContext(path='audio'))\n"
        "stream = io.BytesIO(); soundfile.write(stream, numpy.zeros(100), 8000, format='WAV')\n"
        "modality.preview(modality.load(stream.getvalue()))\n"
        "assert not {'torch', 'torchaudio', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
