"""TorchScript archives that are the same bytes for the same model, whatever was exported before.

torch gives a class to each module that a process traces, with a file of its own where the name is
taken: `linear.___torch_mangle_306.Linear`. Here they are numbered in the order in which the modules
of the archive hold them.
"""

import io
import re

import torch

WRITTEN_BY_ITSELF = ("version", "byteorder", ".data/serialization_id")
"""Records that the writer adds to every archive."""
_IN_CODE = re.compile(rb"(__torch__[\w.]*?\.___torch_mangle_)(\d+)\b")
_IN_PICKLE = re.compile(rb"(c__torch__[\w.]*?\.___torch_mangle_)(\d+)(?=\n)")


def canonical(archive: bytes) -> bytes:
    """Return an archive without what differs between machines and exports.

    The source locations go, which name files of the machine, and the classes get their numbers.

    Args:
        archive: what `torch.jit.save` wrote of a module that was traced a second time; of a first
            time some names are not taken.
    """
    reader = torch._C.PyTorchFileReader(io.BytesIO(archive))
    records = {
        name: reader.get_record(name)
        for name in reader.get_all_records()
        if not name.endswith(".debug_pkl") and name not in WRITTEN_BY_ITSELF
    }
    found = [number for _, number in _IN_PICKLE.findall(records["data.pkl"])]
    for name, data in records.items():
        if name.startswith("code/"):
            found += [number for _, number in _IN_CODE.findall(data)]
    new = {number: str(index).encode() for index, number in enumerate(dict.fromkeys(found))}

    def numbered(match: re.Match[bytes]) -> bytes:
        return match[1] + new[match[2]]

    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, data in records.items():
        if name.startswith("code/"):
            path = name.removesuffix(".py").replace("/", ".").encode()
            renamed = _IN_CODE.sub(numbered, path).decode().replace(".", "/") + ".py"
            code = _IN_CODE.sub(numbered, data)
            writer.write_record(renamed, code, len(code))
        else:
            kept = _IN_PICKLE.sub(numbered, data) if name.endswith(".pkl") else data
            writer.write_record(name, kept, len(kept))
    writer.write_end_of_file()
    return buffer.getvalue()
