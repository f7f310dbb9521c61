"""The library without Ax."""

from __future__ import annotations

import subprocess
import sys


def test_only_botorch_xval_ax_needs_ax_and_says_so():
    code = (
        "import sys, botorch_xval; print('ax' in sys.modules); "
        "sys.modules['ax'] = None; import botorch_xval.ax"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False"
    assert done.returncode == 1
    assert 'pip install "botorch-xval[ax]"' in done.stderr
