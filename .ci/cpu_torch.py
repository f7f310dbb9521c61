"""Install a release of torch without CUDA's libraries: python .ci/cpu_torch.py VERSION.

PyPI's torch for Linux is a build for CUDA. With its libraries it takes 3 to 6 GB, of
which a CPU needs nothing but that they can be linked. Here stand-ins of a few KB take
their place, in which every function returns cudaErrorNoDevice; the requirements go from
the metadata, so that pip does not bring them later. A build for the CPU, as of an index
in PIP_EXTRA_INDEX_URL, is left as it is. Needs gcc and binutils. For tests only.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import distribution
from pathlib import Path

CUDA = re.compile("nvidia|cuda|triton")  # requirements
LIBRARY = re.compile("lib(cu|nccl|nv)")
FUNCTION = re.compile("cu|nccl|nv")  # where it has no version that tells its library
NO_DEVICE = 100  # cudaErrorNoDevice


def main() -> None:
    """Torch, its metadata, the stand-ins, and what else it requires."""
    release = f"torch=={sys.argv[1]}"
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "--no-deps", release], check=True)
    torch = distribution("torch")
    if any(CUDA.match(requirement) for requirement in torch.requires or []):
        metadata = Path(str(torch.locate_file(f"torch-{torch.version}.dist-info")))
        metadata /= "METADATA"
        text = metadata.read_text(encoding="utf-8")
        lines = text.splitlines(keepends=True)
        start = "Requires-Dist: "
        metadata.write_text(
            "".join(x for x in lines if not CUDA.match(x.removeprefix(start))),
            encoding="utf-8",
        )
        write_stand_ins(Path(str(torch.locate_file("torch/lib"))))
    subprocess.run([*pip, release], check=True)


def write_stand_ins(folder: Path) -> None:
    """One library for each that those in `folder` need and that is CUDA's."""
    files = [str(path) for path in folder.glob("*.so*")]
    headers = _read("readelf", "-dVW", *files)
    needed = set(re.findall(r"NEEDED.*\[(.+)\]", headers))
    library_of = {}  # by version of a symbol
    for kind, name in re.findall(r"(File|Name): (\S+)", headers):
        if kind == "File":
            library = name
        else:
            library_of[name] = library
    defined = set(re.findall(r" \w (\w+)", _read("nm", "-D", "--defined-only", *files)))
    functions: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for symbol in _read("nm", "-D", "--undefined-only", *files).split():
        name, _, version = symbol.partition("@")
        if version in library_of:
            functions[library_of[version]][version].add(name)
        elif FUNCTION.match(name) and name not in defined:
            functions[""][""].add(name)
    for library in sorted(needed):
        if LIBRARY.match(library) and not (folder / library).exists():
            _compile(folder / library, functions.get(library, functions[""]))


def _compile(path: Path, functions: dict[str, set[str]]) -> None:
    """A library of functions, by their version."""
    names = [name for members in functions.values() for name in members]
    code = "".join(f"int {name}(void) {{ return {NO_DEVICE}; }}\n" for name in names)
    command = ["gcc", "-w", "-fno-builtin", "-shared", "-fPIC", "-x", "c", "-"]
    command += ["-o", str(path), f"-Wl,-soname,{path.name}"]
    if "" not in functions:
        script = path.with_suffix(".map")
        script.write_text(
            "".join(
                f"{version} {{ global: {'; '.join(members)}; }};\n"
                for version, members in functions.items()
            )
        )
        command.append(f"-Wl,--version-script={script}")
    subprocess.run(command, input=code, text=True, check=True)


def _read(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
