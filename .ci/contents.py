"""Wheel and sdist have all files of the package, and nothing that is not theirs."""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

root = Path(__file__).parents[1]
package = {
    path.relative_to(root).as_posix()
    for path in (root / "botorch_xval").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}
assert {Path(name).suffix for name in package} >= {".css", ".js", ".csv", ".cpp"}
for name in sys.argv[1:]:
    if name.endswith(".whl"):
        with zipfile.ZipFile(name) as archive:
            found = set(archive.namelist())
        others = {each for each in found if ".dist-info/" not in each}
        assert others == package, others ^ package
    else:
        with tarfile.open(name) as archive:
            files = [member.name for member in archive if member.isfile()]
        found = {each.partition("/")[2] for each in files}
        wanted = package | {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"}
        assert found >= wanted, wanted - found
    strange = [each for each in found if re.search(r"__pycache__|\.pyc$|/\.|~$", each)]
    assert not strange, strange
    print(f"{Path(name).name}: {len(found)} files")
