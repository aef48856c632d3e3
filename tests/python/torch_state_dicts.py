"""Loads every state dict of a folder into its module.

usage: torch_state_dicts.py FOLDER

For each NAME.pth, beside the module NAME.py: NAME.names and NAME.bytes get the names and bytes of its tensors, in order, and
NAME.again the dictionary as torch.save writes it.
"""

import importlib
import sys
import zipfile
from pathlib import Path

import torch


def main():
    folder = Path(sys.argv[1])
    sys.path.insert(0, str(folder))
    for path in sorted(folder.glob("*.pth")):
        assert zipfile.ZipFile(path).testzip() is None
        state = torch.load(path, weights_only=True)
        mapped = torch.load(path, weights_only=True, mmap=True)
        assert list(state) == list(mapped) and all(torch.equal(state[name], mapped[name]) for name in state), path.name
        net = importlib.import_module(path.stem).Model()
        assert list(net.state_dict()) == list(state), path.name
        net.load_state_dict(state)
        path.with_suffix(".names").write_text("\n".join(state))
        path.with_suffix(".bytes").write_bytes(b"".join(t.contiguous().numpy().tobytes() for t in state.values()))
        torch.save(net.state_dict(), path.with_suffix(".again"))


if __name__ == "__main__":
    main()
